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
from gateway.fetch.registry_client import Client
from gateway.fetch.secrets import Secrets
from gateway.harmonise.data_subjects import PersonalValues, Subjects
from gateway.kafka.topic_reader import read_topic
from gateway.kafka.transactions import read_partition
from gateway.messages.cloudevents import GONE, digest, iso, raw_from
from gateway.messages.outgoing import partition_for
from gateway.messages.rejection import Rejection
from gateway.messages.topics import DIGESTS, RAW, REJECTIONS
from gateway.pipeline.catch_up import wait_for_stage
from gateway.pipeline.loaded_config import Fleet
from gateway.pipeline.poll import Cursor, windows
from gateway.pipeline.record_processor import Deliver, deliver_for
from gateway.pipeline.stream_state import Entry
from gateway.pipeline.suppression_list import Suppressed, read_suppressed
from gateway.pseudonym_keys import SUPPRESSION, keys_of
from gateway.records import Raw
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

HIDDEN = "***"
NOWHERE = -1
"""Offset in the rejection of a record that did not fit the raw topic."""
SHORTEST = 4
"""A personal value shorter than this stands in too many ids to say anything."""
Ending = Literal["published", "rejected", "deleted", "suppressed"]
Kind = Literal["missing", "surplus", "stale"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One record that is not where it should be. ``id`` is hidden when it says who somebody is; ``at`` is its raw record."""

    id: str
    topic: str
    why: str
    at: str = ""


class StreamReport(msgspec.Struct, kw_only=True):
    """The sums of one stream, and what does not fit them."""

    stream: str
    served: int = 0
    published: int = 0
    rejected: int = 0
    unchanged: int = 0
    deleted: int = 0
    suppressed: int = 0
    missing: list[Finding] = []
    surplus: list[Finding] = []
    stale: list[Finding] = []
    doubled: list[Finding] = []
    """Written more often than they were received."""

    @property
    def complete(self) -> bool:
        """Whether every record that was served has its one place, and nothing else stands."""
        ended = self.published + self.rejected + self.unchanged + self.deleted + self.suppressed
        return ended == self.served and not (self.missing or self.surplus or self.stale or self.doubled)


class Report(msgspec.Struct, kw_only=True):
    """What :func:`verify` found."""

    connector: str
    read_at: str
    complete: bool
    streams: list[StreamReport]


@dataclass(slots=True)
class Topics:
    """What stands on the topics of one connector."""

    raw: dict[str, ConsumerRecord] = field(default_factory=dict)
    """The latest record of each native id on the raw topic, deletions too."""
    documents: dict[tuple[str, bytes], ConsumerRecord] = field(default_factory=dict)
    repeated: dict[tuple[str, bytes], ConsumerRecord] = field(default_factory=dict)
    """The last record of a key, by topic, whose event is the one before it; on the raw topic only where nobody wrote it anew."""
    rejections: dict[str, Rejection] = field(default_factory=dict)
    digests: dict[tuple[str, str], bytes] = field(default_factory=dict)
    suppressed: Suppressed = field(default_factory=Suppressed)


@dataclass(slots=True)
class Served:
    """One reading of a stream: the last version of each record, and how many versions came before it."""

    last: dict[str, Raw] = field(default_factory=dict)
    count: int = 0


async def verify(settings: Settings, fleet: Fleet, name: str, secrets: Secrets) -> Report:
    """Read the registry of a connector, within its limits, and judge what stands. Takes as long as a first poll.

    Raises :class:`~gateway.errors.RetryLater` when the stage is behind, and what reading a registry raises.
    """
    connector, deliver = fleet.connectors[name], deliver_for(settings, fleet.harmonisers.get)
    if connector.push is not None:
        raise UsageError(f"{name}: the registry calls us and cannot be read again; compare with its own list")
    now = datetime.now(UTC)
    async with Client(connector, secrets, settings.stage) as client:
        served = {stream: await read_stream(connector, stream, client, now) for stream in connector.streams}
    await wait_for_stage(settings)
    topics = await read_topics(settings, connector, deliver)
    judge = _Judge(connector, deliver, topics)
    streams = [judge.stream(stream, one) for stream, one in served.items()]
    return Report(connector=name, read_at=iso(now), complete=all(one.complete for one in streams), streams=streams)


async def read_stream(connector: Connector, stream: str, client: Client, now: datetime) -> Served:
    """Read a stream from its beginning up to ``now``, as a first poll would."""
    found = Served()
    for window in windows(connector.streams[stream].cursor or CursorRule(scan=True), Cursor(), now):
        async for page in fetch.pages(connector, stream, window, client, position=""):
            for raw in page.raws:
                before = found.last.get(raw.native_id)
                found.count += 1
                if before is None or entry_of(raw).value[16:] >= entry_of(before).value[16:]:
                    found.last[raw.native_id] = raw
    return found


def entry_of(raw: Raw) -> Entry:
    """Return the entry that the ledger would keep of a record."""
    return Entry(raw, digest(raw), raw.changed_at)


async def read_topics(settings: Settings, connector: Connector, deliver: Deliver) -> Topics:
    """Read everything that stands of a connector."""
    name = connector.connector
    found, prefix = Topics(), f"{name}|".encode()
    async for record in read_topic(settings, RAW.name):
        if record.key.startswith(prefix):
            native_id = record.key[len(prefix) :].decode()
            if _same_event(found.raw.get(native_id), record) and not raw_from(record.key, None, record.headers).again:
                found.repeated[RAW.name, record.key] = record
            found.raw[native_id] = record
    for topic in sorted(deliver.topics(name)):
        async for record in read_topic(settings, topic):
            place = (topic, record.key)
            if _same_event(found.documents.pop(place, None), record):
                found.repeated[place] = record
            if record.value is not None and _source(record).startswith(f"/connectors/{name}/"):
                found.documents[place] = record
    found.rejections = await _read_rejections(settings, prefix)
    for stream in connector.streams:
        start = prefix + stream.encode() + b"|"
        digests = await read_partition(settings, DIGESTS.name, partition_for(start[:-1], DIGESTS.partitions), [start])
        found.digests |= {(stream, key[len(start) :].decode()): value for key, value in digests.items()}
    found.suppressed = await read_suppressed(settings, Subjects(connector, keys_of(settings).of(SUPPRESSION)))
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
    return before is not None and dict(before.headers).get("ce_id") == dict(record.headers).get("ce_id")


def _source(record: ConsumerRecord) -> str:
    source: bytes = dict(record.headers).get("ce_source", b"")
    return source.decode()


class _Judge:
    """Judges the records of one connector, one stream after the other."""

    def __init__(self, connector: Connector, deliver: Deliver, topics: Topics) -> None:
        self._connector, self._deliver, self._topics = connector, deliver, topics
        self._personal = PersonalValues(connector)

    def stream(self, stream: str, served: Served) -> StreamReport:
        report = StreamReport(
            stream=stream, served=served.count, unchanged=served.count - len(served.last), missing=[], surplus=[], stale=[], doubled=[]
        )
        expected: set[tuple[str, bytes]] = set()
        for native_id, raw in served.last.items():
            places = self._places(raw)
            expected |= places
            ending = self._judge(raw, [self._topics.documents[place] for place in places if place in self._topics.documents])
            if isinstance(ending, str):
                setattr(report, ending, getattr(report, ending) + 1)
            else:
                kind, topic, why = ending
                getattr(report, kind).append(self._finding(raw, self._topics.raw.get(native_id), topic, why))
        report.doubled += self._doubled(stream)
        report.surplus += self._left_over(stream, served, expected)
        return report

    def _judge(self, raw: Raw, documents: list[ConsumerRecord]) -> Ending | tuple[Kind, str, str]:
        """Return how a record ended, or what is wrong with it."""
        if self._topics.suppressed(raw):
            return "suppressed" if not documents else ("surplus", documents[0].topic, "was erased and stands")
        record = self._topics.raw.get(raw.native_id)
        there = record is not None and record.value is not None
        if raw.body is None:
            return "deleted" if not (documents or there) else ("stale", RAW.name, "the registry deleted it and it stands")
        rejection = self._topics.rejections.get(raw.native_id)
        if record is None or (rejection is not None and rejection.raw["offset"] == -1 and self._known(raw)):
            if rejection is not None and self._known(raw):
                return "rejected"
            return "missing", RAW.name, "was never received, or its raw record is gone"
        held = raw_from(record.key, record.value, record.headers)
        if held.stream == raw.stream and digest(held) != digest(raw) and entry_of(raw).supersedes(entry_of(held).value):
            return "stale", RAW.name, "the registry has a newer version" if there else "the registry has it and it is deleted here"
        return self._outcome(record, held, documents, rejection)

    def _outcome(
        self, record: ConsumerRecord, held: Raw, documents: list[ConsumerRecord], rejection: Rejection | None
    ) -> Ending | tuple[Kind, str, str]:
        rejected = rejection is not None and (rejection.raw["partition"], rejection.raw["offset"]) == (record.partition, record.offset)
        if rejected:
            return "rejected" if not documents else ("surplus", documents[0].topic, "was rejected and stands as well")
        result = self._deliver(record)
        wanted = {one.topic for one in result.outgoing if one.value is not None and one.topic != REJECTIONS.name}
        if not documents:
            if result.outcome == "deleted":
                return "deleted"
            if result.outcome == "accepted" and not wanted:
                return "published"  # in shadow mode nothing leaves
            return "missing", min(wanted, default=REJECTIONS.name), "is on the raw topic and stands nowhere"
        if result.outcome == "deleted":
            return "surplus", documents[0].topic, "may not be published and stands"
        if lacking := wanted - {one.topic for one in documents}:
            return "missing", min(lacking), "stands on the other topics only"
        moment = iso(held.changed_at).encode() if held.changed_at else None
        if old := [one for one in documents if moment and dict(one.headers).get("ce_time") != moment]:
            return "stale", old[0].topic, "is not made of the raw record that stands"
        return "published"

    def _doubled(self, stream: str) -> Iterator[Finding]:
        """Yield what was written twice in succession though its record was received once.

        A document may repeat where its record was received again, and the raw topic forgets older versions; one that says of itself that
        it is the first proves that there was no other. Where several records share a key, nothing is proved.
        """
        source = f"/connectors/{self._connector.connector}/{stream}"
        of: dict[tuple[str, bytes], list[tuple[Raw, ConsumerRecord]]] = {}
        for record in self._topics.raw.values():
            raw = raw_from(record.key, record.value, record.headers)
            if _source(record) == source and (RAW.name, record.key) in self._topics.repeated:
                yield self._finding(raw, record, RAW.name, "was received once and written twice")
            for place in self._places(raw) & self._topics.repeated.keys() if self._topics.repeated else ():
                of.setdefault(place, []).append((raw, record))
        for (topic, _), makers in of.items():
            raw, record = makers[0]
            if len(makers) == 1 and _source(record) == source and not raw.again and (RAW.name, record.key) not in self._topics.repeated:
                yield self._finding(raw, record, topic, "was received once and published twice")

    def _left_over(self, stream: str, served: Served, expected: set[tuple[str, bytes]]) -> Iterator[Finding]:
        """Yield what stands on the topics and was not served: the registry has it no more, and nobody noticed."""
        source = f"/connectors/{self._connector.connector}/{stream}"
        for native_id, record in self._topics.raw.items():
            if record.value is None or native_id in served.last or _source(record) != source:
                continue
            raw = raw_from(record.key, record.value, record.headers)
            expected |= self._places(raw)
            yield self._finding(raw, record, RAW.name, "the registry does not serve it")
        for (topic, key), document in self._topics.documents.items():
            if _source(document) == source and (topic, key) not in expected:
                at = f"{topic}-{document.partition}@{document.offset}"
                yield Finding(id=HIDDEN, topic=topic, why="no record that the registry serves has this key", at=at)

    def _places(self, raw: Raw) -> set[tuple[str, bytes]]:
        return {(one.topic, one.key) for one in self._deliver.erased(raw) if one.topic != REJECTIONS.name}

    def _known(self, raw: Raw) -> bool:
        known = self._topics.digests.get((raw.stream, raw.native_id), GONE)
        return not entry_of(raw).supersedes(known)

    def _finding(self, raw: Raw, record: ConsumerRecord | None, topic: str, why: str) -> Finding:
        at = f"{RAW.name}-{record.partition}@{record.offset}" if record is not None else ""
        return Finding(id=HIDDEN if self._says_who(raw) else raw.native_id, topic=topic, why=why, at=at)

    def _says_who(self, raw: Raw) -> bool:
        """Return whether the native id holds, or is part of, a value that a rule protects."""
        values = [value for value in self._personal(raw) if len(value) >= SHORTEST]
        return any(value in raw.native_id or raw.native_id in value for value in values)
