"""Publish again what a changed mapping table or connector changes.

The owner of a stream renormalises between two polls, so no older record can overtake a newer one.
It waits until the harmonise stage has processed the raw topic. It processes the raw records with
the current files and compares the results with the published documents. It writes the raw records
that differ again, and ``correctionof`` names the corrected event. The stage then publishes them
exactly once, like all other records. See docs/decisions/0012.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gateway.kafka.topic_reader import read_topic
from gateway.kafka.unreadable_records import skip_unreadable
from gateway.messages.cloudevents import decode_raw, has_exact_time, stored_content_id
from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.topics import ENTRY_TOPICS, RAW, REJECTIONS
from gateway.pipeline.catch_up import wait_until_harmonised
from gateway.pipeline.processed_record import ProcessedRecord
from gateway.pipeline.raw_entry import VALUE_BYTES, RawEntry, repeated_entry
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pipeline.stream_counts import count_received
from gateway.pipeline.stream_state import StreamState
from gateway.render.render import EVENT_TYPES
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

BATCH_SIZE = 500
EXACT_TIME = "states an exact time"
"""Stands for the content of a document about a person that is to be published again."""
ORPHANED = "left over: no raw record leads there since the stream's name, id, iri or emits changed"
"""The outcome of a document that the current files would not write under its key."""
NO_EVENT = ("", "")


@dataclass(frozen=True, slots=True)
class OutcomeChange:
    """A raw record whose outcome changes with the current files.

    ``corrected_event_id`` is the event that it corrects. It is empty if there was no event.
    """

    record: ConsumerRecord
    corrected_event_id: str
    outcome: str
    topics: tuple[str, ...]


async def find_changes(
    settings: Settings, processor: RecordProcessor, connector: str, stream: str = ""
) -> list[OutcomeChange]:
    """Return what the current files would publish differently. Nothing is written.

    Without ``stream``, the list covers the whole connector, and documents that are :data:`ORPHANED`
    come last. The owner of a stream cannot remove these, because no raw record leads to their keys.
    """
    await wait_until_harmonised(settings)
    prefix = f"{connector}|".encode()
    latest: dict[bytes, tuple[ConsumerRecord, str]] = {}
    async for record in read_topic(settings, RAW.name):
        if record.key.startswith(prefix):
            with skip_unreadable(record):
                raw = decode_raw(record.key, None, record.headers)
                latest[record.key] = record, raw.stream
    results = {
        key: (record, processor(record))
        for key, (record, of_stream) in latest.items()
        if stream in {"", of_stream}
    }
    topics = {outgoing.topic for _, result in results.values() for outgoing in result.outgoing} - {
        REJECTIONS.name
    }
    published_event_ids = await _published_event_ids(
        settings, topics | processor.output_topics(connector)
    )
    changes = [
        change
        for record, result in results.values()
        if (change := _compare_record(processor, record, result, published_event_ids))
    ]
    return (
        changes
        if stream
        else changes + await _orphaned_documents(settings, processor, connector, results.values())
    )


async def renormalise(
    settings: Settings, processor: RecordProcessor, stream_state: StreamState
) -> int:
    """Publish what the current files change in one stream; return the number of records.

    Only the owner of the stream may call it.
    """
    await stream_state.open()
    changes = await find_changes(settings, processor, stream_state.connector, stream_state.stream)
    for start in range(0, len(changes), BATCH_SIZE):
        part = changes[start : start + BATCH_SIZE]
        same = await stream_state.write([_entry(stream_state, change) for change in part], None)
        count_received(stream_state, len(part), unchanged=same)
    return len(changes)


async def _published_event_ids(
    settings: Settings, topics: Iterable[str]
) -> dict[tuple[str, bytes], tuple[str, str]]:
    """Return the event id and the content id of each document on ``topics``.

    Deleted documents are not included.
    """
    event_ids: dict[tuple[str, bytes], tuple[str, str]] = {}
    for topic in sorted(topics):
        async for record in read_topic(settings, topic):
            if record.value is None:
                event_ids.pop((topic, record.key), None)
            else:
                with skip_unreadable(record):
                    event_id = dict(record.headers)["ce_id"].decode()
                    # Earlier releases wrote exact times. Such a document is published again.
                    event_ids[topic, record.key] = (
                        event_id,
                        EXACT_TIME if has_exact_time(record) else stored_content_id(record.headers),
                    )
    return event_ids


async def _orphaned_documents(
    settings: Settings,
    processor: RecordProcessor,
    connector: str,
    results: Iterable[tuple[ConsumerRecord, ProcessedRecord]],
) -> list[OutcomeChange]:
    """Return the documents of a connector to which none of its raw records leads.

    The current files publish these records under other keys, or not at all.
    """
    reachable_keys = {
        (message.topic, message.key)
        for record, result in results
        for message in (
            *result.outgoing,
            *processor.tombstones_for(decode_raw(record.key, None, record.headers)),
        )
    }
    source = f"/connectors/{connector}/".encode()
    orphans: dict[tuple[str, bytes], ConsumerRecord] = {}
    for topic in sorted(EVENT_TYPES):
        async for record in read_topic(settings, topic):
            orphans.pop((topic, record.key), None)
            headers = dict(record.headers)
            if (
                record.value is not None
                and (topic, record.key) not in reachable_keys
                and headers.get("ce_source", b"").startswith(source)
                and "ce_id" in headers
            ):
                orphans[topic, record.key] = record
    return [
        OutcomeChange(record, dict(record.headers)["ce_id"].decode(), ORPHANED, (topic,))
        for (topic, _), record in orphans.items()
    ]


def _compare_record(
    processor: RecordProcessor,
    record: ConsumerRecord,
    result: ProcessedRecord,
    published_event_ids: dict[tuple[str, bytes], tuple[str, str]],
) -> OutcomeChange | None:
    """Return the change of a record, or ``None`` if its outcome is the same."""
    outgoing: list[OutgoingRecord] = [
        message for message in result.outgoing if message.topic != REJECTIONS.name
    ]
    if result.outcome == "rejected":
        outgoing = processor.tombstones_for(decode_raw(record.key, None, record.headers))
    elif any(message.topic in ENTRY_TOPICS for message in outgoing):
        outgoing += _moved_entries(processor, record, outgoing, published_event_ids)
    before = [
        event_id
        for message in outgoing
        for event_id, content in [published_event_ids.get((message.topic, message.key), NO_EVENT)]
        if content != ("" if message.value is None else stored_content_id(message.headers))
    ]
    if not before:
        return None
    return OutcomeChange(
        record,
        next(filter(None, before), ""),
        result.outcome,
        tuple(message.topic for message in outgoing),
    )


def _moved_entries(
    processor: RecordProcessor,
    record: ConsumerRecord,
    outgoing: Iterable[OutgoingRecord],
    published_event_ids: dict[tuple[str, bytes], tuple[str, str]],
) -> list[OutgoingRecord]:
    """Return the tombstones of the documents that a catalogue entry has on its other topics."""
    present = {(message.topic, message.key) for message in outgoing}
    return [
        message
        for message in processor.tombstones_for(decode_raw(record.key, None, record.headers))
        if (message.topic, message.key) not in present
        and (message.topic, message.key) in published_event_ids
    ]


def _entry(stream_state: StreamState, change: OutcomeChange) -> RawEntry:
    raw = decode_raw(change.record.key, change.record.value, change.record.headers)
    return repeated_entry(
        msgspec.structs.replace(
            raw,
            written_before=True,
            corrects_event_id=change.corrected_event_id,
            # Its documents are new events, even if they return to an earlier content.
            event_id="",
        ),
        stream_state.digests.get(raw.native_id, bytes(VALUE_BYTES)),
    )
