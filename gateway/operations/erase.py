"""Erase one record, or all records of a person, from every topic, and prevent their return.

The eraser acquires each stream for a moment, as another worker would. It starts the transactional
producer of the stream, which fences the owner. In one transaction it writes the suppression entries
and a line of the audit. The fenced owner acquires its stream again and reads the suppression
entries first.

Then the eraser reads the raw topic. It finds every record that was written before the fence, and no
suppressed record is written after it. Each match gets a tombstone on the raw topic and on the
digests, in the transaction of the stream. The harmonise stage reads the raw topic in order. It
therefore removes documents and rejections after any record that it had not processed yet. See
docs/decisions/0024.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from gateway.errors import Fenced, RetryLater, UsageError
from gateway.harmonise.data_subjects import DataSubjectFinder
from gateway.kafka.send import send_message
from gateway.kafka.topic_reader import read_topic
from gateway.kafka.transactions import read_partition
from gateway.kafka.unreadable_records import DECODING_ERRORS, skip
from gateway.messages.cloudevents import decode_raw
from gateway.messages.outgoing import OutgoingRecord, partition_for
from gateway.messages.suppression import SuppressionKind, encode_suppression
from gateway.messages.topics import AUDIT, DIGESTS, RAW, REJECTIONS, SUPPRESSIONS, TOPICS
from gateway.operations.erasure_request import ErasureRequest
from gateway.pipeline.catch_up import wait_until_harmonised
from gateway.pipeline.id_claims import rejection_key
from gateway.pipeline.loaded_config import LoadedConfig
from gateway.pipeline.raw_entry import RawEntry, erasure_entry
from gateway.pipeline.record_processor import RecordProcessor, build_record_processor
from gateway.pipeline.stream_state import StreamState
from gateway.pseudonym_keys import SUPPRESSION_AUDIENCE, load_keys
from gateway.records import RawRecord
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

MAX_ATTEMPTS = 20
RETRY_SECONDS = 0.3
"""The wait before the next attempt, after a fenced worker acquired its stream again."""
BATCH_SIZE = 500
ErasureState = Literal["begun", "erased", "suppressed", "undone", "nothing found"]
"""``suppressed`` means that no record was found, and that a later one is kept away."""


class ErasedRecord(NamedTuple):
    """A record that is erased."""

    connector: str
    stream: str
    native_id: str

    def raw(self) -> RawRecord:
        """Return the record without its content."""
        return RawRecord(
            connector=self.connector, stream=self.stream, native_id=self.native_id, body=None
        )


class RecordPosition(msgspec.Struct, frozen=True, order=True):
    """The position of a tombstone."""

    topic: str
    partition: int
    offset: int


class ErasureReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """The receipt of an erasure. It contains no personal data.

    ``suppressed`` holds keyed hashes.
    """

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
    undoes: tuple[str, ...] = ()
    """The receipts of the erasures that this one undoes."""
    unknown_lines: tuple[int, ...] = ()
    """The lines of standard input whose identifier no record has."""


class RemainingRecords(msgspec.Struct, frozen=True):
    """The matching records that a topic still contains.

    Readers receive the ``live`` records. Compaction removes the ``earlier`` versions.
    """

    topic: str
    live: int
    earlier: int


async def erase(
    settings: Settings,
    config: LoadedConfig,
    request: ErasureRequest,
    *,
    reason: str,
    by: str,
    even_if_unknown: bool = False,
) -> ErasureReceipt:
    """Carry out an erasure and return the receipt. Repeating an erasure is harmless.

    An id that no record has is not suppressed, because it may be a slip of the pen, and another
    person could have it. One such identifier refuses the whole request, unless
    ``even_if_unknown``.

    Returns after the harmonise stage has removed the published documents. Raises
    :class:`~gateway.errors.RetryLater` if no stage is running. In that case raw records and digests
    are already erased, and nothing returns.
    """
    started_receipt = start_receipt(request, "begun", reason, by)
    if not even_if_unknown:
        is_known, unknown_lines = await _find_unknown(settings, config, request)
        if not is_known:
            return msgspec.structs.replace(
                started_receipt, state="nothing found", suppressed=(), unknown_lines=unknown_lines
            )
    records = await _write_suppressions(settings, config, request, started_receipt)
    records |= await find_records(settings, config, request)
    for name, stream in affected_streams(config, request):
        stream_records = sorted(
            record for record in records if (record.connector, record.stream) == (name, stream)
        )
        for start in range(0, len(stream_records), BATCH_SIZE):
            await write_as_owner(
                settings,
                name,
                stream,
                [
                    erasure_entry(record.raw(), "asked")
                    for record in stream_records[start : start + BATCH_SIZE]
                ],
            )
    tombstones: tuple[RecordPosition, ...] = ()
    if records:
        await wait_until_harmonised(settings)
        tombstones = await _tombstones(
            settings, build_record_processor(settings, config.harmonisers.get), records
        )
    state: ErasureState = "erased" if records else "suppressed"
    receipt = msgspec.structs.replace(
        started_receipt, state=state, records=len(records), tombstones=tombstones
    )
    await send_message(settings, AUDIT, request.connectors[0], msgspec.json.encode(receipt))
    return receipt


def start_receipt(
    request: ErasureRequest, state: ErasureState, reason: str, by: str
) -> ErasureReceipt:
    """Return the receipt of a request that begins now.

    Raises :class:`~gateway.errors.UsageError` if the reason or the name contains an identifier.
    """
    if any(text in reason or text in by for text in request.plain_identifiers):
        raise UsageError(
            "the receipt contains the reason and the name; "
            "give a case number instead of the identifier"
        )
    return ErasureReceipt(
        receipt=uuid.uuid4().hex,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        by=by,
        reason=reason,
        kind=request.kind,
        state=state,
        connectors=request.connectors,
        suppressed=tuple(group[0] for group in request.suppression_ids),
    )


async def find_records(
    settings: Settings,
    config: LoadedConfig,
    request: ErasureRequest,
    named_ids: set[str] | None = None,
) -> set[ErasedRecord]:
    """Return all records on the raw topic that match the request.

    A record matches if any version that can still be read matches. ``named_ids`` receives the
    requested ids of persons that a record names.
    """
    keys = load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)
    suppression_ids = {suppressed for group in request.suppression_ids for suppressed in group}
    subjects = {
        name: DataSubjectFinder(config.connectors[name], keys) for name in request.connectors
    }
    records: set[ErasedRecord] = set()
    async for raw_record in read_topic(settings, RAW.name):
        try:
            raw = decode_raw(raw_record.key, raw_record.value, raw_record.headers)
        except DECODING_ERRORS:
            skip(raw_record)
            continue
        if raw.connector not in subjects:
            continue
        if request.kind == "record":
            if raw.native_id not in request.native_ids.get(raw.stream, request.all_native_ids):
                continue
        else:
            named = suppression_ids.intersection(subjects[raw.connector](raw))
            if not named:
                continue
            if named_ids is not None:
                named_ids |= named
        if raw.stream not in config.connectors[raw.connector].streams:
            raise UsageError(
                f"the record belongs to the stream {raw.stream}, "
                f"which {raw.connector} no longer has; "
                "add the stream to the connector again for the erasure"
            )
        records.add(ErasedRecord(raw.connector, raw.stream, raw.native_id))
    return records


async def find_remaining(
    settings: Settings, config: LoadedConfig, request: ErasureRequest
) -> list[RemainingRecords]:
    """Read every topic from offset 0 and return what still matches the request.

    The list is empty once the erasure is complete.
    """
    records = await find_records(settings, config, request)
    if request.kind == "record":
        records |= {
            ErasedRecord(request.connectors[0], stream, native_id)
            for stream, native_ids in request.native_ids.items()
            for native_id in native_ids
        }
    keys = _record_keys(build_record_processor(settings, config.harmonisers.get), records)
    texts = (
        [text.encode() for text in request.plain_identifiers] if request.kind == "person" else []
    )
    remaining = []
    for topic in TOPICS:
        versions: dict[bytes, list[bool]] = {}
        # A record that no gateway wrote may contain an identifier too.
        async for record in read_topic(settings, topic.name, every_record=True):
            if record.key is not None and (
                (topic.name, record.key) in keys or _contains_identifier(record, texts)
            ):
                versions.setdefault(record.key, []).append(record.value is not None)
        live = sum(has_values[-1] for has_values in versions.values())
        earlier = sum(map(sum, versions.values())) - live
        if live or earlier:
            remaining.append(RemainingRecords(topic.name, live, earlier))
    return remaining


async def _write_suppressions(
    settings: Settings,
    config: LoadedConfig,
    request: ErasureRequest,
    started_receipt: ErasureReceipt,
) -> set[ErasedRecord]:
    """Make the suppression entries durable and fence the owner of each stream.

    Return the requested record if a digest of it exists.
    """
    key = load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)[0]
    extra_records = [
        encode_suppression(group[0], request.kind, key, started_receipt.at)
        for group in request.suppression_ids
    ]
    extra_records.append(audit_record(started_receipt))
    records = set()
    for name, stream in affected_streams(config, request):
        known_ids = await write_as_owner(settings, name, stream, extra_records=extra_records)
        # The first transaction makes them durable. The other owners only have to be fenced.
        extra_records = []
        records |= {
            ErasedRecord(name, stream, native_id)
            for native_id in request.native_ids.get(stream, ())
            if native_id in known_ids
        }
    return records


def audit_record(receipt: ErasureReceipt) -> OutgoingRecord:
    """Return a receipt as a record of the audit topic."""
    return OutgoingRecord(
        AUDIT.name,
        receipt.connectors[0].encode(),
        msgspec.json.encode(receipt),
        [("content-type", b"application/json")],
        0,
    )


async def _find_unknown(
    settings: Settings, config: LoadedConfig, request: ErasureRequest
) -> tuple[bool, tuple[int, ...]]:
    """Return whether all ids are known, and the lines with the identifiers that are not.

    An id is known if a record with it was received or erased at any time.
    """
    suppressed_ids = await suppressed_ids_of(settings, request)
    if request.kind == "person":
        named_ids = set(suppressed_ids)
        await find_records(settings, config, request, named_ids)
        unknown_lines = tuple(
            line for line, ids in enumerate(request.ids_by_line, 1) if ids.isdisjoint(named_ids)
        )
        return not unknown_lines, unknown_lines
    is_known = bool(suppressed_ids) or await _was_received(settings, request)
    return is_known or bool(await find_records(settings, config, request)), ()


async def suppressed_ids_of(settings: Settings, request: ErasureRequest) -> frozenset[str]:
    """Return the suppression ids of a request that are on the suppression list now."""
    entries = await read_partition(settings, SUPPRESSIONS.name, 0)
    return frozenset(
        id_ for group in request.suppression_ids for id_ in group if id_.encode() in entries
    )


async def _was_received(settings: Settings, request: ErasureRequest) -> bool:
    """Return whether a record with one of the ids has a digest."""
    for stream, native_ids in request.native_ids.items():
        name = f"{request.connectors[0]}|{stream}".encode()
        keys = [name + b"|" + native_id.encode() for native_id in native_ids]
        stored = await read_partition(
            settings, DIGESTS.name, partition_for(name, DIGESTS.partitions), keys
        )
        if not stored.keys().isdisjoint(keys):
            return True
    return False


async def write_as_owner(
    settings: Settings,
    connector: str,
    stream: str,
    entries: Sequence[RawEntry] = (),
    extra_records: Sequence[OutgoingRecord] = (),
) -> Collection[str]:
    """Acquire a stream, write in its transaction and return its native ids.

    A worker that acquires the stream again only delays this function.
    """
    for attempt in range(MAX_ATTEMPTS):
        stream_state = StreamState(settings, connector, stream)
        try:
            await stream_state.open()
            await stream_state.write(list(entries), None, extra_records)
        except (Fenced, RetryLater):
            if attempt == MAX_ATTEMPTS - 1:
                raise
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return stream_state.digests
        finally:
            await stream_state.close()
    raise AssertionError


async def _tombstones(
    settings: Settings, processor: RecordProcessor, records: set[ErasedRecord]
) -> tuple[RecordPosition, ...]:
    """Return the positions of the tombstones of this erasure: the last record of each key."""
    keys = _record_keys(processor, records)
    last: dict[tuple[str, bytes], RecordPosition | None] = {}
    for topic in sorted({name for name, _ in keys}):
        async for record in read_topic(settings, topic):
            if (topic, record.key) in keys:
                last[topic, record.key] = (
                    RecordPosition(topic, record.partition, record.offset)
                    if record.value is None
                    else None
                )
    return tuple(sorted(position for position in last.values() if position is not None))


def _record_keys(
    processor: RecordProcessor, records: Iterable[ErasedRecord]
) -> set[tuple[str, bytes]]:
    """Return each topic and key under which the records may have been written."""
    keys = set()
    for record in records:
        raw = erasure_entry(record.raw(), "asked").raw
        keys |= {(out.topic, out.key) for out in processor.tombstones_for(raw)}
        keys |= {
            (RAW.name, raw.key.encode()),
            (DIGESTS.name, f"{record.connector}|{record.stream}|{record.native_id}".encode()),
            (REJECTIONS.name, rejection_key(raw).encode()),
        }
    return keys


def _contains_identifier(record: ConsumerRecord, texts: Iterable[bytes]) -> bool:
    """Return whether a record contains one of the identifiers as plain text.

    The key, the value and the headers are searched.
    """
    return any(
        text in part
        for text in texts
        for part in (record.key, record.value, *(value for _, value in record.headers))
        if part is not None
    )


def affected_streams(config: LoadedConfig, request: ErasureRequest) -> Iterator[tuple[str, str]]:
    """Yield the connector and the stream of each stream whose records a request may concern."""
    return (
        (name, stream) for name in request.connectors for stream in config.connectors[name].streams
    )
