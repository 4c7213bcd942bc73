"""After a table or a connector changed: read the raw records again and publish only what came out differently.

The owner of a stream does it between two polls, so that no newer record can be overtaken: it waits until the stage has harmonised
what is there, compares what the present files give with what stands on the topics, and writes the raw records that differ once more,
with ``correctionof`` naming the event that is corrected. The stage then publishes them like any other record, exactly once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gateway.kafka.topic_reader import read_topic
from gateway.messages.cloudevents import decode_raw
from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.topics import RAW, REJECTIONS
from gateway.observability import metrics
from gateway.pipeline.catch_up import wait_until_harmonised
from gateway.pipeline.processed_record import ProcessedRecord
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pipeline.stream_state import RawEntry, StreamState
from gateway.render.render import EVENT_TYPES
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

BATCH_SIZE = 500
ORPHANED = "left over: no raw record leads there since the stream's name, id, iri or emits changed"
"""The outcome of a document that stands where the present files would not put it."""


@dataclass(frozen=True, slots=True)
class OutcomeChange:
    """One raw record whose outcome the present files change. ``before`` is the event it corrects, empty when there was none."""

    record: ConsumerRecord
    corrected_event_id: str
    outcome: str
    topics: tuple[str, ...]


async def find_changes(
    settings: Settings, deliver: RecordProcessor, connector: str, stream: str = ""
) -> list[OutcomeChange]:
    """Return what the present files would publish differently, without writing anything.

    Of a whole connector, what is :data:`LEFT_OVER` comes last: the owner of a stream cannot take it away, since no raw record leads there.
    """
    await wait_until_harmonised(settings)
    prefix = f"{connector}|".encode()
    latest: dict[bytes, ConsumerRecord] = {}
    async for record in read_topic(settings, RAW.name):
        if record.key.startswith(prefix):
            latest[record.key] = record
    results = {
        key: (record, deliver(record))
        for key, record in latest.items()
        if stream in {"", decode_raw(key, None, record.headers).stream}
    }
    topics = {one.topic for _, result in results.values() for one in result.outgoing} - {
        REJECTIONS.name
    }
    standing = await _published_event_ids(settings, topics | deliver.output_topics(connector))
    found = [
        change
        for record, result in results.values()
        if (change := _compare_record(deliver, record, result, standing))
    ]
    return (
        found
        if stream
        else found + await _orphaned_documents(settings, deliver, connector, results.values())
    )


async def renormalise(settings: Settings, deliver: RecordProcessor, ledger: StreamState) -> int:
    """Publish what the present files change in one stream; return how many records. Call it only as the stream's owner."""
    await ledger.open()
    changes = await find_changes(settings, deliver, ledger.connector, ledger.stream)
    for start in range(0, len(changes), BATCH_SIZE):
        part = changes[start : start + BATCH_SIZE]
        await ledger.write([_entry(ledger, change) for change in part], None)
        metrics.RECEIVED.labels(ledger.connector, ledger.stream).inc(len(part))
    return len(changes)


async def _published_event_ids(
    settings: Settings, topics: Iterable[str]
) -> dict[tuple[str, bytes], str]:
    """Return the event id of every document that stands on ``topics``; a deleted one is absent."""
    found: dict[tuple[str, bytes], str] = {}
    for topic in sorted(topics):
        async for record in read_topic(settings, topic):
            if record.value is None:
                found.pop((topic, record.key), None)
            else:
                found[topic, record.key] = dict(record.headers)["ce_id"].decode()
    return found


async def _orphaned_documents(
    settings: Settings,
    deliver: RecordProcessor,
    connector: str,
    results: Iterable[tuple[ConsumerRecord, ProcessedRecord]],
) -> list[OutcomeChange]:
    """Return the documents of a connector that none of its raw records leads to: what came of them stands elsewhere now, or nowhere."""
    reachable_keys = {
        (one.topic, one.key)
        for record, result in results
        for one in (
            *result.outgoing,
            *deliver.tombstones_for(decode_raw(record.key, None, record.headers)),
        )
    }
    source = f"/connectors/{connector}/".encode()
    found: dict[tuple[str, bytes], ConsumerRecord] = {}
    for topic in sorted(EVENT_TYPES):
        async for record in read_topic(settings, topic):
            found.pop((topic, record.key), None)
            headers = dict(record.headers)
            if (
                record.value is not None
                and (topic, record.key) not in reachable_keys
                and headers["ce_source"].startswith(source)
            ):
                found[topic, record.key] = record
    return [
        OutcomeChange(record, dict(record.headers)["ce_id"].decode(), ORPHANED, (topic,))
        for (topic, _), record in found.items()
    ]


def _compare_record(
    deliver: RecordProcessor,
    record: ConsumerRecord,
    result: ProcessedRecord,
    standing: dict[tuple[str, bytes], str],
) -> OutcomeChange | None:
    """Return the change a record undergoes, or ``None``."""
    outgoing: list[OutgoingRecord] = [
        one for one in result.outgoing if one.topic != REJECTIONS.name
    ]
    if result.outcome == "rejected":
        outgoing = deliver.tombstones_for(decode_raw(record.key, None, record.headers))
    before = [
        standing.get((one.topic, one.key), "")
        for one in outgoing
        if standing.get((one.topic, one.key), "")
        != ("" if one.value is None else dict(one.headers)["ce_id"].decode())
    ]
    if not before:
        return None
    return OutcomeChange(
        record, next(filter(None, before), ""), result.outcome, tuple(one.topic for one in outgoing)
    )


def _entry(ledger: StreamState, change: OutcomeChange) -> RawEntry:
    raw = decode_raw(change.record.key, change.record.value, change.record.headers)
    known = ledger.digests.get(raw.native_id, bytes(24))
    return RawEntry(
        msgspec.structs.replace(
            raw, written_before=True, corrects_event_id=change.corrected_event_id
        ),
        known[:16],
        raw.changed_at,
    )
