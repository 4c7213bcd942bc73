"""Raw topic → harmonised topics, exactly once.

One transactional producer per input partition (``harmonise-<topic>-<partition>``): outputs and consumed offsets in one
transaction. On assignment the producer is started first, which fences the previous owner and ends its transaction; only then is the
committed offset read and sought. Batches fetched before an assignment, or before a failure, are dropped **and** sought again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from gateway.errors import Fenced, RetryLater
from gateway.publish.connection import arguments
from gateway.publish.topics import RAW
from gateway.publish.transactions import Outgoing, RecordTooLarge, Transactional
from gateway.settings import Settings
from gateway.watch import metrics

log = structlog.get_logger()

GROUP = "harmonise"
BATCH_RECORDS = 2_000
POLL_MS = 200
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 10.0


@dataclass(slots=True)
class Result:
    """What one raw record became. ``count`` says how it ended: labels of ``gateway_records_total`` and, for rejections, more."""

    outgoing: list[Outgoing]
    connector: str
    stream: str
    outcome: str
    reason: str = ""
    field: str = ""
    issues: tuple[str, ...] = ()


Process = Callable[[ConsumerRecord], Result]
"""Pure and total: a raw record from the topic to what is to be written."""

Shrink = Callable[[ConsumerRecord], Result]
"""What to write instead when the output of a record does not fit its topic: a rejection."""


@dataclass(slots=True)
class _Partition:
    """One owned input partition: its producer and whether its position was read after fencing."""

    transactional: Transactional
    ready: bool = False
    failures: int = 0
    retry_at: float = 0.0
    held: set[int] = field(default_factory=set)


class Stage(ConsumerRebalanceListener):  # type: ignore[misc]
    """Consume, harmonise, produce. :meth:`run` returns when :meth:`stop` was called and the last batch is committed."""

    def __init__(self, settings: Settings, process: Process, shrink: Shrink, *, topic: str = RAW.name, group: str = GROUP) -> None:
        self._settings = settings
        self._process = process
        self._shrink = shrink
        self._topic = topic
        self._group = group
        self._owned: dict[TopicPartition, _Partition] = {}
        self._lock = asyncio.Lock()
        self._generation = 0
        self._stopping = False
        self._blocked_since = 0.0
        self.committed = 0
        self.consumer: AIOKafkaConsumer | None = None

    def stop(self) -> None:
        """Finish the batch in hand, then return from :meth:`run`."""
        self._stopping = True

    async def run(self) -> None:
        """Work until stopped. A broker that is away is waited for; nothing is dropped."""
        self.consumer = AIOKafkaConsumer(
            **arguments(self._settings),
            group_id=self._group,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 * 1024 * 1024,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=2_000,
            max_poll_interval_ms=120_000,
        )
        self.consumer.subscribe([self._topic], listener=self)
        await self.consumer.start()
        try:
            while not self._stopping:
                await self._round(self.consumer)
        finally:
            await asyncio.shield(self._close())

    async def _close(self) -> None:
        for owned in self._owned.values():
            await owned.transactional.discard()
        if self.consumer is not None:
            await asyncio.wait_for(self.consumer.stop(), 8)

    async def _round(self, consumer: AIOKafkaConsumer) -> None:
        generation = self._generation
        try:
            fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH_RECORDS)
        except KafkaError as error:
            self._blocked(error)
            await asyncio.sleep(FIRST_RETRY_SECONDS)
            return
        async with self._lock:
            if generation != self._generation:
                return  # fetched for an older assignment; the new one has sought its own position
            await self._recover(consumer)
            for place, records in fetched.items():
                owned = self._owned.get(place)
                if owned is not None and owned.ready and records:
                    await self._deliver(consumer, place, owned, records)

    async def _deliver(self, consumer: AIOKafkaConsumer, place: TopicPartition, owned: _Partition, records: Sequence[ConsumerRecord]) -> None:
        started = time.perf_counter()
        process, shrink, held = self._process, self._shrink, owned.held
        results = [shrink(record) if record.offset in held else process(record) for record in records]
        outgoing = [one for result in results for one in result.outgoing]
        try:
            await owned.transactional.write(outgoing, {place: records[-1].offset + 1}, self._group)
        except RecordTooLarge as error:
            held |= _origins(records, results, error.indexes)
            owned.ready = False
            return
        except (RetryLater, Fenced) as error:
            owned.ready = False
            owned.failures += 1
            owned.retry_at = time.monotonic() + min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(owned.failures, 8))
            self._blocked(error)
            return
        held.clear()
        owned.failures = 0
        self._blocked_since = 0.0
        self.committed += len(records)
        count(results)
        _observe(consumer, place, records[-1].offset, time.perf_counter() - started)

    async def _recover(self, consumer: AIOKafkaConsumer) -> None:
        """Give every partition that lost its producer a new one, and read its position again."""
        for place, owned in self._owned.items():
            if not owned.ready and time.monotonic() >= owned.retry_at:
                await self._take(consumer, place, owned)

    async def _take(self, consumer: AIOKafkaConsumer, place: TopicPartition, owned: _Partition) -> None:
        try:
            await owned.transactional.fence()
            position = await consumer.committed(place)
            if position is None:
                await consumer.seek_to_beginning(place)
            else:
                consumer.seek(place, position)
        except (RetryLater, Fenced, KafkaError) as error:
            owned.failures += 1
            owned.retry_at = time.monotonic() + min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(owned.failures, 8))
            self._blocked(error)
            return
        owned.ready = True

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let the batch in hand finish, then let go of the producers."""
        async with self._lock:
            self._generation += 1
            for place in revoked:
                owned = self._owned.pop(place, None)
                if owned is not None:
                    await owned.transactional.discard()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Fence first, then read and seek each position."""
        async with self._lock:
            self._generation += 1
            for place in assigned:
                owned = _Partition(Transactional(self._settings, f"{self._group}-{place.topic}-{place.partition}", "harmonise"))
                self._owned[place] = owned
                if self.consumer is not None:
                    await self._take(self.consumer, place, owned)

    def _blocked(self, error: Exception) -> None:
        now = time.monotonic()
        self._blocked_since = self._blocked_since or now
        metrics.PUBLISH_BLOCKED.labels("harmonise").set(now - self._blocked_since)
        log.warning("stage waits", error=str(error) or type(error).__name__)


def count(results: Iterable[Result]) -> None:
    """Add committed results to the metrics: one call a batch, grouped, so that the hot path pays little."""
    ended = Counter((result.connector, result.stream, result.outcome) for result in results)
    for labels, number in ended.items():
        metrics.RECORDS.labels(*labels).inc(number)
    for result in results:
        if result.reason:
            metrics.REJECTIONS.labels(result.connector, result.stream, result.reason, result.field).inc()
        for code in result.issues:
            metrics.ISSUES.labels(result.connector, result.stream, code).inc()


def _origins(records: Sequence[ConsumerRecord], results: Sequence[Result], indexes: Iterable[int]) -> set[int]:
    """Return the offsets of the records whose outputs stand at ``indexes`` of the flattened output."""
    wanted = sorted(indexes)
    offsets: set[int] = set()
    start = 0
    for record, result in zip(records, results, strict=True):
        end = start + len(result.outgoing)
        if any(start <= index < end for index in wanted):
            offsets.add(record.offset)
        start = end
    return offsets


def _observe(consumer: AIOKafkaConsumer, place: TopicPartition, offset: int, seconds: float) -> None:
    partition = str(place.partition)
    metrics.BATCH_DURATION.labels(partition).observe(seconds)
    metrics.PUBLISH_BLOCKED.labels("harmonise").set(0)
    metrics.LAST_COMMIT.labels("harmonise").set(time.time())
    end = consumer.highwater(place)
    if end is not None:
        metrics.CONSUMER_LAG.labels(partition).set(max(0, end - offset - 1))
