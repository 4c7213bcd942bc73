"""Erase one record, or a person, from every topic, and see to it that nothing brings them back.

The eraser takes each stream for a moment, as another worker would: it starts the stream's transactional producer, which fences the
owner, and writes what keeps the erased from coming back, in one transaction with a line of the audit. An owner that was fenced takes
its stream again and reads that first. Then the raw topic is read: whatever was written before the fence is there, and nothing that
is suppressed is written after it. What is found gets a tombstone on the raw topic and on the digests, in the stream's transaction
again. The stage harmonises in the order of the raw topic, so it takes away documents and rejections behind any record that was still
on its way.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from gateway.errors import Fenced, RetryLater, UsageError
from gateway.harmonise.data_subjects import DataSubjectFinder, identifier_kinds
from gateway.harmonise.pseudonyms import pseudonymiser
from gateway.kafka.send import send_message
from gateway.kafka.topic_reader import read_topic
from gateway.messages.cloudevents import decode_raw
from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.suppression import SuppressionKind, encode_suppression, suppression_id
from gateway.messages.topics import AUDIT, DIGESTS, RAW, TOPICS
from gateway.pipeline.catch_up import wait_until_harmonised
from gateway.pipeline.loaded_config import LoadedConfig
from gateway.pipeline.record_processor import RecordProcessor, build_record_processor
from gateway.pipeline.stream_state import RawEntry, StreamState, erasure_entry
from gateway.pseudonym_keys import SUPPRESSION_AUDIENCE, load_keys
from gateway.records import RawRecord
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

MAX_ATTEMPTS = 20
RETRY_SECONDS = 0.3
"""A worker that was fenced takes its stream again: then it is our turn once more."""
BATCH_SIZE = 500
ErasureState = Literal["begun", "erased", "nothing found"]


class ErasedRecord(NamedTuple):
    """One record that is erased."""

    connector: str
    stream: str
    native_id: str

    def raw(self) -> RawRecord:
        """Return the record without its content."""
        return RawRecord(
            connector=self.connector, stream=self.stream, native_id=self.native_id, body=None
        )


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """What is to be erased: one record, or everything that names a person."""

    kind: SuppressionKind
    connectors: tuple[str, ...]
    suppression_ids: tuple[tuple[str, ...], ...]
    """Suppression ids: one group an identifier; in a group, one id a key, the key in use first."""
    native_id: str = field(default="", repr=False)
    plain_identifiers: tuple[str, ...] = field(default=(), repr=False)
    """The identifiers as they were given, to look for and never to write."""


class RecordPosition(msgspec.Struct, frozen=True, order=True):
    """Where a tombstone stands."""

    topic: str
    partition: int
    offset: int


class ErasureReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What was done. Holds no personal data: ``suppressed`` are keyed hashes."""

    receipt: str
    at: str
    by: str
    reason: str
    kind: SuppressionKind
    state: ErasureState
    connectors: tuple[str, ...]
    suppressed: tuple[str, ...]
    records: int = 0
    tombstones: tuple[RecordPosition, ...] = ()


class RemainingRecords(msgspec.Struct, frozen=True):
    """What a topic still holds. A reader still gets ``live`` records; ``earlier`` ones go with the next compaction."""

    topic: str
    live: int
    earlier: int


def request_for_record(
    settings: Settings, fleet: LoadedConfig, connector: str, native_id: str
) -> ErasureRequest:
    """Ask for one record of a connector."""
    if connector not in fleet.connectors:
        raise UsageError(f"unknown connector {connector}; there are: {', '.join(fleet.connectors)}")
    suppression_ids = tuple(
        suppression_id(key, connector, native_id)
        for key in load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)
    )
    return ErasureRequest("record", (connector,), (suppression_ids,), native_id, (native_id,))


def request_for_person(
    settings: Settings, fleet: LoadedConfig, identifiers: Iterable[tuple[str, str]]
) -> ErasureRequest:
    """Ask for everything that names a person by one of ``identifiers``: pairs of kind (``esi``, or what ``pseudonym:`` says) and value."""
    known = identifier_kinds(fleet.connectors.values())
    keys = load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)
    suppression_ids: list[tuple[str, ...]] = []
    clear = []
    for kind, value in identifiers:
        countries = sorted(country for country, name in known if name == kind)
        if not countries:
            names = ", ".join(sorted({name for _, name in known})) or "none"
            raise UsageError(
                f"no connector finds persons by {kind!r}; the kinds of identifiers are: {names}"
            )
        clear.append(value)
        suppression_ids += [
            tuple(pseudonymiser(key, country, kind)(value) for key in keys) for country in countries
        ]
    if not suppression_ids:
        raise UsageError("give at least one identifier, one a line: KIND VALUE")
    return ErasureRequest(
        "person", tuple(fleet.connectors), tuple(suppression_ids), plain_identifiers=tuple(clear)
    )


async def erase(
    settings: Settings, fleet: LoadedConfig, asked: ErasureRequest, *, reason: str, by: str
) -> ErasureReceipt:
    """Erase, and return the receipt once the stage has taken away what it had made. Doing it again is harmless.

    Raises :class:`~gateway.errors.RetryLater` when no stage harmonises: raw records and digests are gone then, and nothing comes back.
    """
    if any(text in reason or text in by for text in asked.plain_identifiers):
        raise UsageError(
            "the reason and the name stand in the receipt: give a case number, not the identifier"
        )
    at = datetime.now(UTC).isoformat(timespec="seconds")
    suppression_ids = tuple(group[0] for group in asked.suppression_ids)
    started_receipt = ErasureReceipt(
        receipt=uuid.uuid4().hex,
        at=at,
        by=by,
        reason=reason,
        kind=asked.kind,
        state="begun",
        connectors=asked.connectors,
        suppressed=suppression_ids,
    )
    found = await _write_suppressions(settings, fleet, asked, started_receipt)
    found |= await find_records(settings, fleet, asked)
    for name, stream in _affected_streams(fleet, asked):
        mine = sorted(one for one in found if (one.connector, one.stream) == (name, stream))
        for start in range(0, len(mine), BATCH_SIZE):
            await _write_as_owner(
                settings,
                name,
                stream,
                [erasure_entry(one.raw(), "asked") for one in mine[start : start + BATCH_SIZE]],
            )
    tombstones: tuple[RecordPosition, ...] = ()
    if found:
        await wait_until_harmonised(settings)
        tombstones = await _tombstones(
            settings, build_record_processor(settings, fleet.harmonisers.get), found
        )
    state: ErasureState = "erased" if found else "nothing found"
    receipt = msgspec.structs.replace(
        started_receipt, state=state, records=len(found), tombstones=tombstones
    )
    await send_message(settings, AUDIT, asked.connectors[0], msgspec.json.encode(receipt))
    return receipt


async def find_records(
    settings: Settings, fleet: LoadedConfig, asked: ErasureRequest
) -> set[ErasedRecord]:
    """Return every record on the raw topic that is asked for, by any version of it that can still be read."""
    keys = load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)
    suppression_ids = {one for group in asked.suppression_ids for one in group}
    subjects = {name: DataSubjectFinder(fleet.connectors[name], keys) for name in asked.connectors}
    found: set[ErasedRecord] = set()
    async for raw_record in read_topic(settings, RAW.name):
        raw = decode_raw(raw_record.key, raw_record.value, raw_record.headers)
        if raw.connector not in subjects:
            continue
        wanted = (
            raw.native_id == asked.native_id
            if asked.kind == "record"
            else not suppression_ids.isdisjoint(subjects[raw.connector](raw))
        )
        if not wanted:
            continue
        if raw.stream not in fleet.connectors[raw.connector].streams:
            raise UsageError(
                f"{raw.connector} has no stream {raw.stream} any more, which the record is of: put it back for the erasure"
            )
        found.add(ErasedRecord(raw.connector, raw.stream, raw.native_id))
    return found


async def find_remaining(
    settings: Settings, fleet: LoadedConfig, asked: ErasureRequest
) -> list[RemainingRecords]:
    """Read every topic from offset 0 and return what is left of what was asked for: nothing once the erasure is complete."""
    found = await find_records(settings, fleet, asked)
    if asked.kind == "record":
        found |= {
            ErasedRecord(asked.connectors[0], stream, asked.native_id)
            for stream in fleet.connectors[asked.connectors[0]].streams
        }
    keys = _record_keys(build_record_processor(settings, fleet.harmonisers.get), found)
    texts = [text.encode() for text in asked.plain_identifiers] if asked.kind == "person" else []
    left = []
    for topic in TOPICS:
        versions: dict[bytes, list[bool]] = {}
        async for one in read_topic(settings, topic.name):
            if one.key is not None and (
                (topic.name, one.key) in keys or _contains_identifier(one, texts)
            ):
                versions.setdefault(one.key, []).append(one.value is not None)
        live = sum(there[-1] for there in versions.values())
        earlier = sum(map(sum, versions.values())) - live
        if live or earlier:
            left.append(RemainingRecords(topic.name, live, earlier))
    return left


async def _write_suppressions(
    settings: Settings, fleet: LoadedConfig, asked: ErasureRequest, started_receipt: ErasureReceipt
) -> set[ErasedRecord]:
    """Make the entries durable and take every stream from its owner; return what the digests know of a record that was asked for."""
    key = load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)[0]
    extra_records = [
        encode_suppression(group[0], asked.kind, key, started_receipt.at)
        for group in asked.suppression_ids
    ]
    extra_records.append(
        OutgoingRecord(
            AUDIT.name,
            started_receipt.connectors[0].encode(),
            msgspec.json.encode(started_receipt),
            [("content-type", b"application/json")],
            0,
        )
    )
    found = set()
    for name, stream in _affected_streams(fleet, asked):
        known = await _write_as_owner(settings, name, stream, extra_records=extra_records)
        extra_records = []  # durable from the first transaction on: the other streams only have to be taken
        if asked.native_id in known:
            found.add(ErasedRecord(name, stream, asked.native_id))
    return found


async def _write_as_owner(
    settings: Settings,
    connector: str,
    stream: str,
    entries: Sequence[RawEntry] = (),
    extra_records: Sequence[OutgoingRecord] = (),
) -> Collection[str]:
    """Take a stream, write in its transaction, and return the native ids it knows. A worker that takes it back only delays this."""
    for attempt in range(MAX_ATTEMPTS):
        ledger = StreamState(settings, connector, stream)
        try:
            await ledger.open()
            await ledger.write(list(entries), None, extra_records)
        except (Fenced, RetryLater):
            if attempt == MAX_ATTEMPTS - 1:
                raise
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return ledger.digests
        finally:
            await ledger.close()
    raise AssertionError


async def _tombstones(
    settings: Settings, deliver: RecordProcessor, found: set[ErasedRecord]
) -> tuple[RecordPosition, ...]:
    """Return where the tombstones stand that this erasure wrote: the last record of each key."""
    keys = _record_keys(deliver, found)
    last: dict[tuple[str, bytes], RecordPosition | None] = {}
    for topic in sorted({name for name, _ in keys}):
        async for one in read_topic(settings, topic):
            if (topic, one.key) in keys:
                last[topic, one.key] = (
                    RecordPosition(topic, one.partition, one.offset) if one.value is None else None
                )
    return tuple(sorted(place for place in last.values() if place is not None))


def _record_keys(deliver: RecordProcessor, found: Iterable[ErasedRecord]) -> set[tuple[str, bytes]]:
    """Return every topic and key that something of the records may stand under."""
    keys = set()
    for one in found:
        raw = erasure_entry(one.raw(), "asked").raw
        keys |= {(out.topic, out.key) for out in deliver.tombstones_for(raw)}
        keys |= {
            (RAW.name, raw.key.encode()),
            (DIGESTS.name, f"{one.connector}|{one.stream}|{one.native_id}".encode()),
        }
    return keys


def _contains_identifier(one: ConsumerRecord, texts: Iterable[bytes]) -> bool:
    """Return whether a record holds one of the identifiers in clear, in its key, its value or its headers."""
    return any(
        text in part
        for text in texts
        for part in (one.key, one.value or b"", *(value for _, value in one.headers))
    )


def _affected_streams(fleet: LoadedConfig, asked: ErasureRequest) -> Iterator[tuple[str, str]]:
    return (
        (name, stream) for name in asked.connectors for stream in fleet.connectors[name].streams
    )
