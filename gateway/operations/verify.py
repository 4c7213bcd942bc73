"""Read a whole registry again and compare it with the topics.

Nothing is written. Each served record must be published, rejected, deleted, withheld or suppressed.
The report counts these outcomes. It names each missing, stale or unexpected record by its native
id. If the id identifies a person, the report gives only the position of the raw record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from gateway.config.connector import Connector
from gateway.errors import UsageError
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.secrets import Secrets
from gateway.harmonise.data_subjects import DataSubjectFinder, PersonalValueFinder
from gateway.kafka.topic_reader import read_topic
from gateway.kafka.transactions import read_partition
from gateway.kafka.unreadable_records import DECODING_ERRORS, skip, skip_unreadable
from gateway.messages.cloudevents import (
    DELETED_DIGEST,
    content_digest,
    decode_raw,
    event_time,
    stored_content_id,
    to_rfc3339,
)
from gateway.messages.outgoing import partition_for
from gateway.messages.rejection import Rejection
from gateway.messages.topics import DIGESTS, RAW, REJECTIONS
from gateway.operations.served_records import ServedRecords, read_stream
from gateway.pipeline.catch_up import wait_until_harmonised
from gateway.pipeline.loaded_config import LoadedConfig
from gateway.pipeline.record_processor import RecordProcessor, build_record_processor
from gateway.pipeline.suppression_list import SuppressionList, read_suppression_list
from gateway.pseudonym_keys import SUPPRESSION_AUDIENCE, load_keys
from gateway.records import RawRecord
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

MASKED = "***"
NO_OFFSET = -1
"""The offset in the rejection of a record that was too large for the raw topic."""
MIN_PERSONAL_VALUE_LENGTH = 4
"""Shorter personal values are ignored, because they are part of too many ids."""
RecordEnding = Literal["published", "rejected", "deleted", "suppressed"]
DiscrepancyKind = Literal["missing", "unexpected", "stale"]
SHARED_ID: tuple[DiscrepancyKind, str, str] = (
    "missing", RAW.name, "shares its id with another content; add to id what tells them apart"
)  # fmt: skip


class Discrepancy(msgspec.Struct, frozen=True, kw_only=True):
    """A record that is not in the expected state.

    ``id`` is masked if it identifies a person. ``at`` is the position of the raw record.
    """

    id: str
    topic: str
    why: str
    at: str = ""


class StreamReport(
    msgspec.Struct, kw_only=True, rename={"unexpected": "surplus", "duplicated": "doubled"}
):
    """The counts of one stream, and its discrepancies."""

    stream: str
    served: int = 0
    published: int = 0
    rejected: int = 0
    unchanged: int = 0
    deleted: int = 0
    suppressed: int = 0
    missing: list[Discrepancy] = []
    unexpected: list[Discrepancy] = []
    stale: list[Discrepancy] = []
    duplicated: list[Discrepancy] = []
    """Records that were written more often than they were received."""

    @property
    def complete(self) -> bool:
        """Whether each served record has exactly one outcome, and nothing else is published."""
        ended = self.published + self.rejected + self.unchanged + self.deleted + self.suppressed
        return ended == self.served and not (
            self.missing or self.unexpected or self.stale or self.duplicated
        )


class Report(msgspec.Struct, kw_only=True):
    """The result of :func:`verify`."""

    connector: str
    read_at: str
    complete: bool
    streams: list[StreamReport]


@dataclass(slots=True)
class TopicContents:
    """The records of one connector on all topics."""

    raw: dict[str, ConsumerRecord] = field(default_factory=dict)
    """The latest raw record of each native id, including deletions."""
    documents: dict[tuple[str, bytes], ConsumerRecord] = field(default_factory=dict)
    repeated_events: dict[tuple[str, bytes], ConsumerRecord] = field(default_factory=dict)
    """The last record of each key that repeats the event before it. On the raw topic, records that
    the gateway wrote again on purpose are not included."""
    rejections: dict[str, Rejection] = field(default_factory=dict)
    digests: dict[tuple[str, str], bytes] = field(default_factory=dict)
    suppressed: SuppressionList = field(default_factory=SuppressionList)


async def verify(settings: Settings, config: LoadedConfig, name: str, secrets: Secrets) -> Report:
    """Read the registry of a connector and compare it with the topics.

    The rate limits of the registry hold, so this takes as long as a first poll. Raises
    :class:`~gateway.errors.RetryLater` if the harmonise stage is behind. Raises
    :class:`~gateway.errors.UsageError` for a push connector, and the errors of reading a registry.
    """
    connector = config.connectors[name]
    processor = build_record_processor(settings, config.harmonisers.get)
    if connector.push is not None:
        raise UsageError(
            f"{name}: the registry pushes its records and cannot be read again; "
            "compare with its own list"
        )
    now = datetime.now(UTC)
    async with RegistryClient(connector, secrets, settings.registry_environment) as client:
        served = {
            stream: await read_stream(connector, stream, client, now)
            for stream in connector.streams
        }
    await wait_until_harmonised(settings)
    topics = await read_topics(settings, connector, processor)
    comparison = _Comparison(connector, processor, topics)
    streams = [comparison.stream(stream, records) for stream, records in served.items()]
    return Report(
        connector=name,
        read_at=to_rfc3339(now),
        complete=all(stream.complete for stream in streams),
        streams=streams,
    )


async def read_topics(
    settings: Settings, connector: Connector, processor: RecordProcessor
) -> TopicContents:
    """Read the records of a connector from all topics."""
    name = connector.connector
    contents, prefix = TopicContents(), f"{name}|".encode()
    async for record in read_topic(settings, RAW.name):
        if record.key.startswith(prefix):
            native_id = record.key[len(prefix) :].decode()
            try:
                raw = decode_raw(record.key, None, record.headers)
            except DECODING_ERRORS:
                skip(record)
                continue
            if _same_event(contents.raw.get(native_id), record) and not raw.written_before:
                contents.repeated_events[RAW.name, record.key] = record
            contents.raw[native_id] = record
    for topic in sorted(processor.output_topics(name)):
        async for record in read_topic(settings, topic):
            document_key = (topic, record.key)
            if _same_event(contents.documents.pop(document_key, None), record):
                contents.repeated_events[document_key] = record
            if record.value is not None and _source(record).startswith(f"/connectors/{name}/"):
                contents.documents[document_key] = record
    contents.rejections = await _read_rejections(settings, prefix)
    for stream in connector.streams:
        start = prefix + stream.encode() + b"|"
        digests = await read_partition(
            settings, DIGESTS.name, partition_for(start[:-1], DIGESTS.partitions), [start]
        )
        contents.digests |= {
            (stream, key[len(start) :].decode(errors="replace")): value
            for key, value in digests.items()
        }
    contents.suppressed = await read_suppression_list(
        settings,
        DataSubjectFinder(connector, load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)),
    )
    return contents


async def _read_rejections(settings: Settings, prefix: bytes) -> dict[str, Rejection]:
    rejections: dict[str, Rejection] = {}
    async for record in read_topic(settings, REJECTIONS.name):
        if record.key.startswith(prefix):
            native_id = record.key[len(prefix) :].decode()
            rejections.pop(native_id, None)
            if record.value is not None:
                with skip_unreadable(record):
                    rejections[native_id] = msgspec.json.decode(record.value, type=Rejection)
    return rejections


def _same_event(before: ConsumerRecord | None, record: ConsumerRecord) -> bool:
    return before is not None and (
        stored_content_id(before.headers) == stored_content_id(record.headers)
    )


def _source(record: ConsumerRecord) -> str:
    source: bytes = dict(record.headers).get("ce_source", b"")
    return source.decode()


def _difference(served: RawRecord, stored: RawRecord) -> str:
    """Return how the content that the registry serves differs from the stored one."""
    if stored.body is None:
        return "the registry has it and it is deleted here"
    if served.changed_at and stored.changed_at and served.changed_at < stored.changed_at:
        return (
            "the registry has another content with an older change time; "
            "the gateway takes it when a second reading shows it again"
        )
    return "the registry has a newer version"


class _Comparison:
    """The comparison of one connector with its topics, one stream at a time."""

    def __init__(
        self, connector: Connector, processor: RecordProcessor, topics: TopicContents
    ) -> None:
        self._connector, self._processor, self._topics = connector, processor, topics
        self._personal = PersonalValueFinder(connector)

    def stream(self, stream: str, served: ServedRecords) -> StreamReport:
        report = StreamReport(
            stream=stream, served=served.count, unchanged=served.count - len(served.latest)
        )
        expected: set[tuple[str, bytes]] = set()
        for native_id, raw in served.latest.items():
            document_keys = self._document_keys(raw)
            expected |= document_keys
            documents = [*filter(None, map(self._topics.documents.get, document_keys))]
            ending = SHARED_ID if native_id in served.shared else self._classify(raw, documents)
            if isinstance(ending, str):
                setattr(report, ending, getattr(report, ending) + 1)
            else:
                kind, topic, why = ending
                getattr(report, kind).append(
                    self._finding(raw, self._topics.raw.get(native_id), topic, why)
                )
        report.duplicated += self._duplicates(stream)
        report.unexpected += self._orphans(stream, served, expected)
        return report

    def _classify(
        self, raw: RawRecord, documents: list[ConsumerRecord]
    ) -> RecordEnding | tuple[DiscrepancyKind, str, str]:
        """Return the outcome of a record, or its kind of discrepancy, the topic and the reason."""
        if self._topics.suppressed(raw):
            return (
                "suppressed"
                if not documents
                else ("unexpected", documents[0].topic, "was erased and is still published")
            )
        record = self._topics.raw.get(raw.native_id)
        if record is not None and (other := self._other_stream(raw, record)):
            if raw.body is None:
                return "deleted"  # The record that stands belongs to the other stream.
            why = f"shares its id with the stream {other}; add to id what tells the streams apart"
            return "missing", RAW.name, why
        is_stored = record is not None and record.value is not None
        if raw.body is None:
            return (
                "deleted"
                if not (documents or is_stored)
                else ("stale", RAW.name, "the registry deleted it and it is still stored")
            )
        rejection = self._topics.rejections.get(raw.native_id)
        if record is None or (
            rejection is not None
            and rejection.raw["offset"] == NO_OFFSET
            and self._is_known_version(raw)
        ):
            if rejection is not None and self._is_known_version(raw):
                return "rejected"
            return "missing", RAW.name, "was never received, or its raw record no longer exists"
        stored_raw = decode_raw(record.key, record.value, record.headers)
        if stored_raw.stream == raw.stream and content_digest(stored_raw) != content_digest(raw):
            return "stale", RAW.name, _difference(raw, stored_raw)
        return self._classify_published(record, stored_raw, documents, rejection)

    def _other_stream(self, raw: RawRecord, record: ConsumerRecord) -> str:
        """Return another stream of the connector that wrote the raw record, or an empty text."""
        stream = _source(record).rpartition("/")[2]
        return stream if stream != raw.stream and stream in self._connector.streams else ""

    def _classify_published(
        self,
        record: ConsumerRecord,
        stored_raw: RawRecord,
        documents: list[ConsumerRecord],
        rejection: Rejection | None,
    ) -> RecordEnding | tuple[DiscrepancyKind, str, str]:
        rejected = rejection is not None and (
            rejection.raw["partition"],
            rejection.raw["offset"],
        ) == (record.partition, record.offset)
        if rejected:
            return (
                "rejected"
                if not documents
                else ("unexpected", documents[0].topic, "was rejected and is published as well")
            )
        result = self._processor(record)
        expected_topics = {
            message.topic
            for message in result.outgoing
            if message.value is not None and message.topic != REJECTIONS.name
        }
        if not documents:
            if result.outcome == "deleted":
                return "deleted"
            if result.outcome == "accepted" and not expected_topics:
                return "published"  # a stream in shadow mode publishes nothing
            return (
                "missing",
                min(expected_topics, default=REJECTIONS.name),
                "is on the raw topic and is not published",
            )
        if result.outcome == "deleted":
            return "unexpected", documents[0].topic, "is published although it may not be"
        if missing_topics := expected_topics - {document.topic for document in documents}:
            return "missing", min(missing_topics), "is published on the other topics only"
        topics = {document.topic for document in documents}
        if expected_topics and (other_topics := topics - expected_topics):
            return "unexpected", min(other_topics), "is published on this topic as well"
        changed_at = stored_raw.changed_at
        if outdated := [
            document
            for document in documents
            if changed_at
            and dict(document.headers).get("ce_time")
            # Earlier releases wrote the exact time.
            not in {event_time(document.topic, changed_at), to_rfc3339(changed_at).encode()}
        ]:
            return "stale", outdated[0].topic, "was not made from the current raw record"
        return "published"

    def _duplicates(self, stream: str) -> Iterator[Discrepancy]:
        """Yield the records that were written twice in a row, although they were received once.

        A document may repeat if its record was received again, and the raw topic forgets older
        versions. A raw record that is marked as the first version proves that there was no other.
        If several records share a key, nothing can be proved.
        """
        source = f"/connectors/{self._connector.connector}/{stream}"
        records_by_key: dict[tuple[str, bytes], list[tuple[RawRecord, ConsumerRecord]]] = {}
        for record in self._topics.raw.values():
            raw = decode_raw(record.key, record.value, record.headers)
            if _source(record) == source and (RAW.name, record.key) in self._topics.repeated_events:
                yield self._finding(raw, record, RAW.name, "was received once and written twice")
            for key in (
                self._document_keys(raw) & self._topics.repeated_events.keys()
                if self._topics.repeated_events
                else ()
            ):
                records_by_key.setdefault(key, []).append((raw, record))
        for (topic, _), source_records in records_by_key.items():
            raw, record = source_records[0]
            if (
                len(source_records) == 1
                and _source(record) == source
                and not (raw.written_before or raw.erasure)
                and (RAW.name, record.key) not in self._topics.repeated_events
            ):
                yield self._finding(raw, record, topic, "was received once and published twice")

    def _orphans(
        self, stream: str, served: ServedRecords, expected: set[tuple[str, bytes]]
    ) -> Iterator[Discrepancy]:
        """Yield the published records that the registry did not serve.

        The registry no longer has them, and the gateway did not notice their deletion.
        """
        source = f"/connectors/{self._connector.connector}/{stream}"
        for native_id, record in self._topics.raw.items():
            if record.value is None or native_id in served.latest or _source(record) != source:
                continue
            raw = decode_raw(record.key, record.value, record.headers)
            expected |= self._document_keys(raw)
            if native_id not in served.skipped:
                yield self._finding(raw, record, RAW.name, "the registry does not serve it")
        for (topic, key), document in self._topics.documents.items():
            if _source(document) == source and (topic, key) not in expected:
                at = f"{topic}-{document.partition}@{document.offset}"
                yield Discrepancy(
                    id=MASKED,
                    topic=topic,
                    why="no record that the registry serves has this key",
                    at=at,
                )

    def _document_keys(self, raw: RawRecord) -> set[tuple[str, bytes]]:
        return {
            (tombstone.topic, tombstone.key)
            for tombstone in self._processor.tombstones_for(raw)
            if tombstone.topic != REJECTIONS.name
        }

    def _is_known_version(self, raw: RawRecord) -> bool:
        known = self._topics.digests.get((raw.stream, raw.native_id), DELETED_DIGEST)
        return known[:16] == content_digest(raw)

    def _finding(
        self, raw: RawRecord, record: ConsumerRecord | None, topic: str, why: str
    ) -> Discrepancy:
        at = f"{RAW.name}-{record.partition}@{record.offset}" if record is not None else ""
        return Discrepancy(
            id=MASKED if self._identifies_person(raw) else raw.native_id,
            topic=topic,
            why=why,
            at=at,
        )

    def _identifies_person(self, raw: RawRecord) -> bool:
        """Return whether the native id and a protected value contain each other."""
        values = [value for value in self._personal(raw) if len(value) >= MIN_PERSONAL_VALUE_LENGTH]
        return any(value in raw.native_id or raw.native_id in value for value in values)
