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
from gateway.harmonise.data_subjects import Subjects, identifier_kinds
from gateway.harmonise.pseudonyms import pseudonymiser
from gateway.kafka.send import send
from gateway.kafka.topic_reader import read_topic
from gateway.messages.cloudevents import raw_from
from gateway.messages.outgoing import Outgoing
from gateway.messages.suppression import Kind, outgoing, record_id
from gateway.messages.topics import AUDIT, DIGESTS, RAW, TOPICS
from gateway.pipeline.catch_up import wait_for_stage
from gateway.pipeline.loaded_config import Fleet
from gateway.pipeline.record_processor import Deliver, deliver_for
from gateway.pipeline.stream_state import Entry, Ledger, erasure
from gateway.pseudonym_keys import SUPPRESSION, keys_of
from gateway.records import Raw
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

TRIES = 20
PAUSE_SECONDS = 0.3
"""A worker that was fenced takes its stream again: then it is our turn once more."""
PART = 500
State = Literal["begun", "erased", "nothing found"]


class Found(NamedTuple):
    """One record that is erased."""

    connector: str
    stream: str
    native_id: str

    def raw(self) -> Raw:
        """Return the record without its content."""
        return Raw(connector=self.connector, stream=self.stream, native_id=self.native_id, body=None)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be erased: one record, or everything that names a person."""

    kind: Kind
    connectors: tuple[str, ...]
    ids: tuple[tuple[str, ...], ...]
    """Suppression ids: one group an identifier; in a group, one id a key, the key in use first."""
    native_id: str = field(default="", repr=False)
    clear: tuple[str, ...] = field(default=(), repr=False)
    """The identifiers as they were given, to look for and never to write."""


class Place(msgspec.Struct, frozen=True, order=True):
    """Where a tombstone stands."""

    topic: str
    partition: int
    offset: int


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What was done. Holds no personal data: ``suppressed`` are keyed hashes."""

    receipt: str
    at: str
    by: str
    reason: str
    kind: Kind
    state: State
    connectors: tuple[str, ...]
    suppressed: tuple[str, ...]
    records: int = 0
    tombstones: tuple[Place, ...] = ()


class Remains(msgspec.Struct, frozen=True):
    """What a topic still holds. A reader still gets ``live`` records; ``earlier`` ones go with the next compaction."""

    topic: str
    live: int
    earlier: int


def record(settings: Settings, fleet: Fleet, connector: str, native_id: str) -> Asked:
    """Ask for one record of a connector."""
    if connector not in fleet.connectors:
        raise UsageError(f"unknown connector {connector}; there are: {', '.join(fleet.connectors)}")
    ids = tuple(record_id(key, connector, native_id) for key in keys_of(settings).of(SUPPRESSION))
    return Asked("record", (connector,), (ids,), native_id, (native_id,))


def person(settings: Settings, fleet: Fleet, identifiers: Iterable[tuple[str, str]]) -> Asked:
    """Ask for everything that names a person by one of ``identifiers``: pairs of kind (``esi``, or what ``pseudonym:`` says) and value."""
    known = identifier_kinds(fleet.connectors.values())
    keys = keys_of(settings).of(SUPPRESSION)
    ids: list[tuple[str, ...]] = []
    clear = []
    for kind, value in identifiers:
        countries = sorted(country for country, name in known if name == kind)
        if not countries:
            names = ", ".join(sorted({name for _, name in known})) or "none"
            raise UsageError(f"no connector finds persons by {kind!r}; the kinds of identifiers are: {names}")
        clear.append(value)
        ids += [tuple(pseudonymiser(key, country, kind)(value) for key in keys) for country in countries]
    if not ids:
        raise UsageError("give at least one identifier, one a line: KIND VALUE")
    return Asked("person", tuple(fleet.connectors), tuple(ids), clear=tuple(clear))


async def erase(settings: Settings, fleet: Fleet, asked: Asked, *, reason: str, by: str) -> Receipt:
    """Erase, and return the receipt once the stage has taken away what it had made. Doing it again is harmless.

    Raises :class:`~gateway.errors.RetryLater` when no stage harmonises: raw records and digests are gone then, and nothing comes back.
    """
    if any(text in reason or text in by for text in asked.clear):
        raise UsageError("the reason and the name stand in the receipt: give a case number, not the identifier")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    ids = tuple(group[0] for group in asked.ids)
    begun = Receipt(
        receipt=uuid.uuid4().hex, at=at, by=by, reason=reason, kind=asked.kind, state="begun", connectors=asked.connectors, suppressed=ids
    )
    found = await _suppress(settings, fleet, asked, begun)
    found |= await find(settings, fleet, asked)
    for name, stream in _streams(fleet, asked):
        mine = sorted(one for one in found if (one.connector, one.stream) == (name, stream))
        for start in range(0, len(mine), PART):
            await _as_owner(settings, name, stream, [erasure(one.raw(), "asked") for one in mine[start : start + PART]])
    tombstones: tuple[Place, ...] = ()
    if found:
        await wait_for_stage(settings)
        tombstones = await _tombstones(settings, deliver_for(settings, fleet.harmonisers.get), found)
    state: State = "erased" if found else "nothing found"
    receipt = msgspec.structs.replace(begun, state=state, records=len(found), tombstones=tombstones)
    await send(settings, AUDIT, asked.connectors[0], msgspec.json.encode(receipt))
    return receipt


async def find(settings: Settings, fleet: Fleet, asked: Asked) -> set[Found]:
    """Return every record on the raw topic that is asked for, by any version of it that can still be read."""
    keys = keys_of(settings).of(SUPPRESSION)
    ids = {one for group in asked.ids for one in group}
    subjects = {name: Subjects(fleet.connectors[name], keys) for name in asked.connectors}
    found: set[Found] = set()
    async for raw_record in read_topic(settings, RAW.name):
        raw = raw_from(raw_record.key, raw_record.value, raw_record.headers)
        if raw.connector not in subjects:
            continue
        wanted = raw.native_id == asked.native_id if asked.kind == "record" else not ids.isdisjoint(subjects[raw.connector](raw))
        if not wanted:
            continue
        if raw.stream not in fleet.connectors[raw.connector].streams:
            raise UsageError(f"{raw.connector} has no stream {raw.stream} any more, which the record is of: put it back for the erasure")
        found.add(Found(raw.connector, raw.stream, raw.native_id))
    return found


async def remains(settings: Settings, fleet: Fleet, asked: Asked) -> list[Remains]:
    """Read every topic from offset 0 and return what is left of what was asked for: nothing once the erasure is complete."""
    found = await find(settings, fleet, asked)
    if asked.kind == "record":
        found |= {Found(asked.connectors[0], stream, asked.native_id) for stream in fleet.connectors[asked.connectors[0]].streams}
    keys = _keys(deliver_for(settings, fleet.harmonisers.get), found)
    texts = [text.encode() for text in asked.clear] if asked.kind == "person" else []
    left = []
    for topic in TOPICS:
        versions: dict[bytes, list[bool]] = {}
        async for one in read_topic(settings, topic.name):
            if one.key is not None and ((topic.name, one.key) in keys or _names(one, texts)):
                versions.setdefault(one.key, []).append(one.value is not None)
        live = sum(there[-1] for there in versions.values())
        earlier = sum(map(sum, versions.values())) - live
        if live or earlier:
            left.append(Remains(topic.name, live, earlier))
    return left


async def _suppress(settings: Settings, fleet: Fleet, asked: Asked, begun: Receipt) -> set[Found]:
    """Make the entries durable and take every stream from its owner; return what the digests know of a record that was asked for."""
    key = keys_of(settings).of(SUPPRESSION)[0]
    also = [outgoing(group[0], asked.kind, key, begun.at) for group in asked.ids]
    also.append(Outgoing(AUDIT.name, begun.connectors[0].encode(), msgspec.json.encode(begun), [("content-type", b"application/json")], 0))
    found = set()
    for name, stream in _streams(fleet, asked):
        known = await _as_owner(settings, name, stream, also=also)
        also = []  # durable from the first transaction on: the other streams only have to be taken
        if asked.native_id in known:
            found.add(Found(name, stream, asked.native_id))
    return found


async def _as_owner(
    settings: Settings, connector: str, stream: str, entries: Sequence[Entry] = (), also: Sequence[Outgoing] = ()
) -> Collection[str]:
    """Take a stream, write in its transaction, and return the native ids it knows. A worker that takes it back only delays this."""
    for attempt in range(TRIES):
        ledger = Ledger(settings, connector, stream)
        try:
            await ledger.open()
            await ledger.write(list(entries), None, also)
        except (Fenced, RetryLater):
            if attempt == TRIES - 1:
                raise
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            return ledger.known
        finally:
            await ledger.close()
    raise AssertionError


async def _tombstones(settings: Settings, deliver: Deliver, found: set[Found]) -> tuple[Place, ...]:
    """Return where the tombstones stand that this erasure wrote: the last record of each key."""
    keys = _keys(deliver, found)
    last: dict[tuple[str, bytes], Place | None] = {}
    for topic in sorted({name for name, _ in keys}):
        async for one in read_topic(settings, topic):
            if (topic, one.key) in keys:
                last[topic, one.key] = Place(topic, one.partition, one.offset) if one.value is None else None
    return tuple(sorted(place for place in last.values() if place is not None))


def _keys(deliver: Deliver, found: Iterable[Found]) -> set[tuple[str, bytes]]:
    """Return every topic and key that something of the records may stand under."""
    keys = set()
    for one in found:
        raw = erasure(one.raw(), "asked").raw
        keys |= {(out.topic, out.key) for out in deliver.erased(raw)}
        keys |= {(RAW.name, raw.key.encode()), (DIGESTS.name, f"{one.connector}|{one.stream}|{one.native_id}".encode())}
    return keys


def _names(one: ConsumerRecord, texts: Iterable[bytes]) -> bool:
    """Return whether a record holds one of the identifiers in clear, in its key, its value or its headers."""
    return any(text in part for text in texts for part in (one.key, one.value or b"", *(value for _, value in one.headers)))


def _streams(fleet: Fleet, asked: Asked) -> Iterator[tuple[str, str]]:
    return ((name, stream) for name in asked.connectors for stream in fleet.connectors[name].streams)
