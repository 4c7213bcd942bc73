"""Read a registry whole once more and hold what it serves against what stands on the topics.

Nothing is written. A record the registry serves must stand as documents, as one rejection, or be known as deleted, withheld or
suppressed; the sums are printed. What is found missing, stale or left over is named by its native id, and by its place on the raw
topic alone where the id itself says who a person is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from gateway import fetch
from gateway.config.connector import Connector
from gateway.config.requests import Cursor as CursorRule
from gateway.errors import UsageError
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.secrets import Secrets
from gateway.harmonise.data_subjects import DataSubjectFinder, PersonalValueFinder
from gateway.kafka.topic_reader import read_topic
from gateway.kafka.transactions import read_partition
from gateway.messages.cloudevents import DELETED_DIGEST, content_digest, decode_raw, to_rfc3339
from gateway.messages.outgoing import partition_for
from gateway.messages.rejection import Rejection
from gateway.messages.topics import DIGESTS, RAW, REJECTIONS
from gateway.pipeline.catch_up import wait_until_harmonised
from gateway.pipeline.loaded_config import LoadedConfig
from gateway.pipeline.poll import StreamCursor, windows
from gateway.pipeline.record_processor import RecordProcessor, build_record_processor
from gateway.pipeline.stream_state import RawEntry
from gateway.pipeline.suppression_list import SuppressionList, read_suppression_list
from gateway.pseudonym_keys import SUPPRESSION_AUDIENCE, load_keys
from gateway.records import RawRecord
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

MASKED = "***"
NO_OFFSET = -1
"""Offset in the rejection of a record that did not fit the raw topic."""
MIN_PERSONAL_VALUE_LENGTH = 4
"""A personal value shorter than this stands in too many ids to say anything."""
RecordEnding = Literal["published", "rejected", "deleted", "suppressed"]
DiscrepancyKind = Literal["missing", "unexpected", "stale"]


class Discrepancy(msgspec.Struct, frozen=True, kw_only=True):
    """One record that is not where it should be. ``id`` is hidden when it says who somebody is; ``at`` is its raw record."""

    id: str
    topic: str
    why: str
    at: str = ""


class StreamReport(
    msgspec.Struct, kw_only=True, rename={"unexpected": "surplus", "duplicated": "doubled"}
):
    """The sums of one stream, and what does not fit them."""

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
    """Written more often than they were received."""

    @property
    def complete(self) -> bool:
        """Whether every record that was served has its one place, and nothing else stands."""
        ended = self.published + self.rejected + self.unchanged + self.deleted + self.suppressed
        return ended == self.served and not (
            self.missing or self.unexpected or self.stale or self.duplicated
        )


class Report(msgspec.Struct, kw_only=True):
    """What :func:`verify` found."""

    connector: str
    read_at: str
    complete: bool
    streams: list[StreamReport]


@dataclass(slots=True)
class TopicContents:
    """What stands on the topics of one connector."""

    raw: dict[str, ConsumerRecord] = field(default_factory=dict)
    """The latest record of each native id on the raw topic, deletions too."""
    documents: dict[tuple[str, bytes], ConsumerRecord] = field(default_factory=dict)
    repeated_events: dict[tuple[str, bytes], ConsumerRecord] = field(default_factory=dict)
    """The last record of a key, by topic, whose event is the one before it; on the raw topic only where nobody wrote it anew."""
    rejections: dict[str, Rejection] = field(default_factory=dict)
    digests: dict[tuple[str, str], bytes] = field(default_factory=dict)
    suppressed: SuppressionList = field(default_factory=SuppressionList)


@dataclass(slots=True)
class ServedRecords:
    """One reading of a stream: the last version of each record, and how many versions came before it."""

    latest: dict[str, RawRecord] = field(default_factory=dict)
    count: int = 0


async def verify(settings: Settings, config: LoadedConfig, name: str, secrets: Secrets) -> Report:
    """Read the registry of a connector, within its limits, and judge what stands. Takes as long as a first poll.

    Raises :class:`~gateway.errors.RetryLater` when the stage is behind, and what reading a registry raises.
    """
    connector, processor = (
        config.connectors[name],
        build_record_processor(settings, config.harmonisers.get),
    )
    if connector.push is not None:
        raise UsageError(
            f"{name}: the registry calls us and cannot be read again; compare with its own list"
        )
    now = datetime.now(UTC)
    async with RegistryClient(connector, secrets, settings.registry_environment) as client:
        served = {
            stream: await read_stream(connector, stream, client, now)
            for stream in connector.streams
        }
    await wait_until_harmonised(settings)
    topics = await read_topics(settings, connector, processor)
    judge = _Comparison(connector, processor, topics)
    streams = [judge.stream(stream, one) for stream, one in served.items()]
    return Report(
        connector=name,
        read_at=to_rfc3339(now),
        complete=all(one.complete for one in streams),
        streams=streams,
    )


async def read_stream(
    connector: Connector, stream: str, client: RegistryClient, now: datetime
) -> ServedRecords:
    """Read a stream from its beginning up to ``now``, as a first poll would."""
    found = ServedRecords()
    for window in windows(
        connector.streams[stream].cursor or CursorRule(scan=True), StreamCursor(), now
    ):
        async for page in fetch.read_pages(connector, stream, window, client, position=""):
            for raw in page.records:
                before = found.latest.get(raw.native_id)
                found.count += 1
                if before is None or to_entry(raw).value[16:] >= to_entry(before).value[16:]:
                    found.latest[raw.native_id] = raw
    return found


def to_entry(raw: RawRecord) -> RawEntry:
    """Return the entry that the stream_state would keep of a record."""
    return RawEntry(raw, content_digest(raw), raw.changed_at)


async def read_topics(
    settings: Settings, connector: Connector, processor: RecordProcessor
) -> TopicContents:
    """Read everything that stands of a connector."""
    name = connector.connector
    found, prefix = TopicContents(), f"{name}|".encode()
    async for record in read_topic(settings, RAW.name):
        if record.key.startswith(prefix):
            native_id = record.key[len(prefix) :].decode()
            if (
                _same_event(found.raw.get(native_id), record)
                and not decode_raw(record.key, None, record.headers).written_before
            ):
                found.repeated_events[RAW.name, record.key] = record
            found.raw[native_id] = record
    for topic in sorted(processor.output_topics(name)):
        async for record in read_topic(settings, topic):
            place = (topic, record.key)
            if _same_event(found.documents.pop(place, None), record):
                found.repeated_events[place] = record
            if record.value is not None and _source(record).startswith(f"/connectors/{name}/"):
                found.documents[place] = record
    found.rejections = await _read_rejections(settings, prefix)
    for stream in connector.streams:
        start = prefix + stream.encode() + b"|"
        digests = await read_partition(
            settings, DIGESTS.name, partition_for(start[:-1], DIGESTS.partitions), [start]
        )
        found.digests |= {
            (stream, key[len(start) :].decode()): value for key, value in digests.items()
        }
    found.suppressed = await read_suppression_list(
        settings,
        DataSubjectFinder(connector, load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)),
    )
    return found


async def _read_rejections(settings: Settings, prefix: bytes) -> dict[str, Rejection]:
    found: dict[str, Rejection] = {}
    async for record in read_topic(settings, REJECTIONS.name):
        if record.key.startswith(prefix):
            native_id = record.key[len(prefix) :].decode()
            found.pop(native_id, None)
            if record.value is not None:
                found[native_id] = msgspec.json.decode(record.value, type=Rejection)
    return found


def _same_event(before: ConsumerRecord | None, record: ConsumerRecord) -> bool:
    return before is not None and dict(before.headers).get("ce_id") == dict(record.headers).get(
        "ce_id"
    )


def _source(record: ConsumerRecord) -> str:
    source: bytes = dict(record.headers).get("ce_source", b"")
    return source.decode()


class _Comparison:
    """Judges the records of one connector, one stream after the other."""

    def __init__(
        self, connector: Connector, processor: RecordProcessor, topics: TopicContents
    ) -> None:
        self._connector, self._processor, self._topics = connector, processor, topics
        self._personal = PersonalValueFinder(connector)

    def stream(self, stream: str, served: ServedRecords) -> StreamReport:
        report = StreamReport(
            stream=stream,
            served=served.count,
            unchanged=served.count - len(served.latest),
            missing=[],
            unexpected=[],
            stale=[],
            duplicated=[],
        )
        expected: set[tuple[str, bytes]] = set()
        for native_id, raw in served.latest.items():
            places = self._document_keys(raw)
            expected |= places
            ending = self._classify(
                raw,
                [
                    self._topics.documents[place]
                    for place in places
                    if place in self._topics.documents
                ],
            )
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
        """Return how a record ended, or what is wrong with it."""
        if self._topics.suppressed(raw):
            return (
                "suppressed"
                if not documents
                else ("unexpected", documents[0].topic, "was erased and stands")
            )
        record = self._topics.raw.get(raw.native_id)
        there = record is not None and record.value is not None
        if raw.body is None:
            return (
                "deleted"
                if not (documents or there)
                else ("stale", RAW.name, "the registry deleted it and it stands")
            )
        rejection = self._topics.rejections.get(raw.native_id)
        if record is None or (
            rejection is not None and rejection.raw["offset"] == -1 and self._is_known_version(raw)
        ):
            if rejection is not None and self._is_known_version(raw):
                return "rejected"
            return "missing", RAW.name, "was never received, or its raw record is gone"
        stored_raw = decode_raw(record.key, record.value, record.headers)
        if (
            stored_raw.stream == raw.stream
            and content_digest(stored_raw) != content_digest(raw)
            and to_entry(raw).supersedes(to_entry(stored_raw).value)
        ):
            return (
                "stale",
                RAW.name,
                "the registry has a newer version"
                if there
                else "the registry has it and it is deleted here",
            )
        return self._classify_published(record, stored_raw, documents, rejection)

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
                else ("unexpected", documents[0].topic, "was rejected and stands as well")
            )
        result = self._processor(record)
        wanted = {
            one.topic
            for one in result.outgoing
            if one.value is not None and one.topic != REJECTIONS.name
        }
        if not documents:
            if result.outcome == "deleted":
                return "deleted"
            if result.outcome == "accepted" and not wanted:
                return "published"  # in shadow mode nothing leaves
            return (
                "missing",
                min(wanted, default=REJECTIONS.name),
                "is on the raw topic and stands nowhere",
            )
        if result.outcome == "deleted":
            return "unexpected", documents[0].topic, "may not be published and stands"
        if missing_topics := wanted - {one.topic for one in documents}:
            return "missing", min(missing_topics), "stands on the other topics only"
        moment = to_rfc3339(stored_raw.changed_at).encode() if stored_raw.changed_at else None
        if old := [
            one for one in documents if moment and dict(one.headers).get("ce_time") != moment
        ]:
            return "stale", old[0].topic, "is not made of the raw record that stands"
        return "published"

    def _duplicates(self, stream: str) -> Iterator[Discrepancy]:
        """Yield what was written twice in succession though its record was received once.

        A document may repeat where its record was received again, and the raw topic forgets older versions; one that says of itself that
        it is the first proves that there was no other. Where several records share a key, nothing is proved.
        """
        source = f"/connectors/{self._connector.connector}/{stream}"
        of: dict[tuple[str, bytes], list[tuple[RawRecord, ConsumerRecord]]] = {}
        for record in self._topics.raw.values():
            raw = decode_raw(record.key, record.value, record.headers)
            if _source(record) == source and (RAW.name, record.key) in self._topics.repeated_events:
                yield self._finding(raw, record, RAW.name, "was received once and written twice")
            for place in (
                self._document_keys(raw) & self._topics.repeated_events.keys()
                if self._topics.repeated_events
                else ()
            ):
                of.setdefault(place, []).append((raw, record))
        for (topic, _), source_records in of.items():
            raw, record = source_records[0]
            if (
                len(source_records) == 1
                and _source(record) == source
                and not raw.written_before
                and (RAW.name, record.key) not in self._topics.repeated_events
            ):
                yield self._finding(raw, record, topic, "was received once and published twice")

    def _orphans(
        self, stream: str, served: ServedRecords, expected: set[tuple[str, bytes]]
    ) -> Iterator[Discrepancy]:
        """Yield what stands on the topics and was not served: the registry has it no more, and nobody noticed."""
        source = f"/connectors/{self._connector.connector}/{stream}"
        for native_id, record in self._topics.raw.items():
            if record.value is None or native_id in served.latest or _source(record) != source:
                continue
            raw = decode_raw(record.key, record.value, record.headers)
            expected |= self._document_keys(raw)
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
            (one.topic, one.key)
            for one in self._processor.tombstones_for(raw)
            if one.topic != REJECTIONS.name
        }

    def _is_known_version(self, raw: RawRecord) -> bool:
        known = self._topics.digests.get((raw.stream, raw.native_id), DELETED_DIGEST)
        return not to_entry(raw).supersedes(known)

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
        """Return whether the native id holds, or is part of, a value that a rule protects."""
        values = [value for value in self._personal(raw) if len(value) >= MIN_PERSONAL_VALUE_LENGTH]
        return any(value in raw.native_id or raw.native_id in value for value in values)
