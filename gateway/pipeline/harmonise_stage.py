"""Process the raw topic into the output topics exactly once.

Each input partition has a transactional producer (``<group>-<topic>-<partition>``). One
transaction contains the outputs of a batch and its consumed offset. The stage acquires a
partition in three steps:

1. Start its producer. This fences the previous owner and ends its transaction.
2. Read the committed offset.
3. Seek to it.

The stage processes only records that were fetched after the seek. After a rebalance or a
failure it drops the fetched records **and** acquires the partition again. Without the new
seek, the dropped records would be lost. See docs/decisions/0014.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from gateway.errors import Denied, Fenced, RetryLater
from gateway.kafka.connection import (
    AUTHORIZATION_ERRORS,
    access_denied,
    client_arguments,
    was_cancelled_by_library,
)
from gateway.kafka.read_progress import ReadProgress, report_lag
from gateway.kafka.record_fetch import Fetched, RecordFetch
from gateway.kafka.transactions import Batches, RecordTooLarge, TransactionalProducer
from gateway.messages.topics import INCOMPLETE_ENTRIES, PERSONAL_DOCUMENT_TOPICS, RAW
from gateway.observability import blocked_commits, metrics, tracing
from gateway.pipeline.chunk_processing import process_chunk
from gateway.pipeline.entry_moves import EntryMoves
from gateway.pipeline.garbage_collector import tune_garbage_collector
from gateway.pipeline.processed_record import (
    CountKey,
    ProcessRecord,
    count_key,
    count_results,
)
from gateway.pipeline.standing_documents import StandingKeys, TombstoneFilter
from gateway.settings import Settings

log = structlog.get_logger()

CONSUMER_GROUP = "harmonise"
BATCH_RECORDS = 2_000
FETCH_BYTES = 1_048_576
"""Bytes to read ahead per partition; 16 times as many in total. A larger record comes alone."""
RECORDS_PER_YIELD = 100
"""Number of records after which heartbeats and pollers may run on the event loop."""
POSITION_SECONDS = 10.0
METADATA_MS = 30_000  # finds new partitions, and a topic that was created again
STOP_SECONDS = 8.0
FIRST_RETRY_SECONDS = 0.2
MAX_RETRY_SECONDS = 10.0
FENCED_BACKOFF_SECONDS = 3.0
"""Extra delay after fencing, longer than a heartbeat interval.

An instance that lost its membership learns it in this time. Otherwise it would fence its
successor.
"""


@dataclass(slots=True)
class _PartitionState:
    """One owned input partition: its producer, and the time of the next attempt."""

    transactional: TransactionalProducer
    tombstones: TombstoneFilter
    ready: bool = False
    failures: int = 0
    retry_at: float = 0.0
    too_large_offsets: set[int] = field(default_factory=set)
    """Offsets of records whose documents exceed the size limit of their topic."""


class HarmoniseStage(ConsumerRebalanceListener):  # type: ignore[misc]
    """A consumer of raw records that writes the results of ``process``.

    If the documents of a record exceed the size limit of their topic, the stage writes the
    result of ``reject_too_large`` instead. It calls ``check_keys`` after each acquisition of a
    partition, and ends with its :class:`~gateway.errors.ConfigError`.
    """

    def __init__(
        self,
        settings: Settings,
        process: ProcessRecord,
        reject_too_large: ProcessRecord,
        *,
        topic: str = RAW.name,
        group: str = CONSUMER_GROUP,
        batch: int = BATCH_RECORDS,
        check_keys: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._settings = settings
        self._check_keys = check_keys
        self._process = process
        self._reject_too_large = reject_too_large
        self._topic = topic
        self._group = group
        self._partitions: dict[TopicPartition, _PartitionState] = {}
        self._standing = StandingKeys(settings)
        self._incomplete_entries = StandingKeys(settings, [INCOMPLETE_ENTRIES])
        self._assigned: set[TopicPartition] = set()
        self._committed_offsets: dict[TopicPartition, int] = {}
        """Last offset that this process has committed, by partition."""
        self._lock = asyncio.Lock()
        self._generation = 0
        self._stopping = False
        self._fetcher = RecordFetch(batch)
        self._progress = ReadProgress("harmonise")
        self._restarts = 0
        """Restarts in a row, since every partition was read."""
        self.committed = 0
        self.consumer: AIOKafkaConsumer | None = None

    def set_processor(self, process: ProcessRecord, reject_too_large: ProcessRecord) -> None:
        """Use these functions from the next batch on. One batch never mixes two versions."""
        self._process, self._reject_too_large = process, reject_too_large

    def stop(self) -> None:
        """Make :meth:`run` return once the present batch is committed."""
        self._stopping = True

    async def run(self) -> None:
        """Process records until :meth:`stop`. Without a broker, wait and lose nothing.

        Raises :class:`~gateway.errors.Denied` if Kafka refuses this principal before the
        first commit.
        """
        tune_garbage_collector()
        # A stage that never commits must look like one that stopped committing.
        metrics.LAST_COMMIT.labels("harmonise").set(time.time())
        while not self._stopping:
            try:
                consumer = await self._connect()
                while consumer is not None and not self._stopping:
                    await self._run_cycle(consumer)
            except KafkaError as error:
                await self._wait_before_reconnect(error)
            except asyncio.CancelledError as error:
                if not was_cancelled_by_library():
                    raise
                await self._wait_before_reconnect(error)
            finally:
                await asyncio.shield(self._close())

    async def _wait_before_reconnect(self, error: BaseException) -> None:
        """Wait before a new consumer starts, or raise an error that waiting cannot fix."""
        if isinstance(error, AUTHORIZATION_ERRORS) and not self.committed:
            raise access_denied(
                self._settings, f"reading {self._topic} as group {self._group}", error
            ) from error
        self._restarts = self._restarts + 1 if self._progress.failed else 0
        self._progress.mark_failed(f"{self._topic} cannot be read ({type(error).__name__})")
        doublings = 8 if isinstance(error, AUTHORIZATION_ERRORS) else min(self._restarts, 8)
        delay = min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2**doublings)
        log.warning("stage restarts", error=type(error).__name__, next_try_seconds=round(delay, 1))
        await asyncio.sleep(delay)

    async def _connect(self) -> AIOKafkaConsumer | None:
        """Return a connected consumer, or ``None`` if the stage was stopped first."""
        delay = FIRST_RETRY_SECONDS
        while not self._stopping:
            consumer = AIOKafkaConsumer(
                **client_arguments(self._settings),
                group_id=self._group,
                group_instance_id=self._settings.instance or None,
                isolation_level="read_committed",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                max_partition_fetch_bytes=FETCH_BYTES,
                fetch_max_bytes=16 * FETCH_BYTES,
                session_timeout_ms=10_000,
                heartbeat_interval_ms=2_000,
                max_poll_interval_ms=120_000,
                metadata_max_age_ms=METADATA_MS,
            )
            self.consumer = consumer
            consumer.subscribe([self._topic], listener=self)
            try:
                await consumer.start()
            except AUTHORIZATION_ERRORS:
                raise
            except (KafkaError, OSError) as error:
                log.warning(
                    "stage cannot reach Kafka", error=type(error).__name__, next_try_seconds=delay
                )
                await consumer.stop()
                await asyncio.sleep(delay)
                delay = min(MAX_RETRY_SECONDS, delay * 2)
            else:
                return consumer
        return None

    async def _close(self) -> None:
        await asyncio.gather(*(state.transactional.close() for state in self._partitions.values()))
        self._partitions.clear()
        self._progress.forget_all()
        if self.consumer is not None:
            with contextlib.suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(self.consumer.stop(), STOP_SECONDS)

    async def _run_cycle(self, consumer: AIOKafkaConsumer) -> None:
        """Acquire partitions, fetch, and process each partition in its own transaction.

        The partitions are processed concurrently.
        """
        async with self._lock:
            generation = self._generation
            await self._acquire_partitions(consumer)
        fetched = await self._fetcher.fetch(
            consumer, [each for each, state in self._partitions.items() if state.ready]
        )
        async with self._lock:
            await self._progress.check(consumer, list(self._partitions))
            self._release_unreadable(fetched)
            partition_work = []
            for topic_partition, records in fetched.records.items():
                state = self._partitions.get(topic_partition)
                if state is None:
                    continue  # revoked: its new owner continues from the committed offset
                if state.ready and generation == self._generation:
                    partition_work.append(
                        self._process_partition(consumer, topic_partition, state, records)
                    )
                else:
                    state.ready = False
            await _gather_all(partition_work)

    def _release_unreadable(self, fetched: Fetched) -> None:
        """Give partitions up whose records cannot be decoded, or may be lost with them."""
        for topic_partition, error in fetched.unreadable.items():
            if state := self._partitions.get(topic_partition):
                self._progress.mark_unreadable(topic_partition, error.cause)
                self._release_partition(topic_partition, state, error)
        if fetched.lost:
            for state in self._partitions.values():
                state.ready = False

    async def _acquire_partitions(self, consumer: AIOKafkaConsumer) -> None:
        now = time.monotonic()
        await _gather_all(
            [
                self._acquire_partition(consumer, topic_partition, state)
                for topic_partition, state in self._partitions.items()
                if not state.ready and now >= state.retry_at
            ]
        )

    async def _acquire_partition(
        self, consumer: AIOKafkaConsumer, topic_partition: TopicPartition, state: _PartitionState
    ) -> None:
        """Fence, read the committed offset, and seek to it, in this order."""
        try:
            await state.transactional.fence()
            state.tombstones.acquire()
            if self._check_keys:
                await self._check_keys()
            async with asyncio.timeout(POSITION_SECONDS):
                position = await consumer.committed(topic_partition)
                self._check_committed_offset(topic_partition, position or 0)
                if position is None:
                    await consumer.seek_to_beginning(topic_partition)
                else:
                    consumer.seek(topic_partition, position)
        except (RetryLater, Fenced, Denied, KafkaError, TimeoutError) as error:
            self._release_partition(topic_partition, state, error)
        else:
            state.ready = True

    def _check_committed_offset(self, topic_partition: TopicPartition, position: int) -> None:
        """Reject a committed offset that is lower than one that this process has committed.

        A broker returns one if it lost its latest offsets or has not loaded them yet. To
        continue from it would write the records in between again. A restarted process cannot
        detect this, because it has committed nothing yet.
        """
        if position < (committed := self._committed_offsets.get(topic_partition, 0)):
            blocked_commits.mark_blocked("harmonise", _offset_regressed_reason(topic_partition))
            raise RetryLater(
                "offset_went_back",
                f"offset {position} of partition {topic_partition.partition} is behind "
                f"{committed}, which this worker committed; waiting for the broker to recover; "
                "a restarted worker accepts the lower offset and repeats the records in between",
            )
        blocked_commits.mark_unblocked("harmonise", _offset_regressed_reason(topic_partition))

    async def _process_partition(
        self,
        consumer: AIOKafkaConsumer,
        topic_partition: TopicPartition,
        state: _PartitionState,
        records: Sequence[ConsumerRecord],
    ) -> None:
        with tracing.batch_spans(records, topic_partition.partition) as trace_parents:
            await self._write(consumer, topic_partition, state, records, trace_parents)

    async def _write(
        self,
        consumer: AIOKafkaConsumer,
        topic_partition: TopicPartition,
        state: _PartitionState,
        records: Sequence[ConsumerRecord],
        trace_parents: dict[bytes, bytes] | None,
    ) -> None:
        started = time.monotonic()
        try:
            batches, origins, kinds = await self._process_records(state, records, trace_parents)
            await state.transactional.commit(
                batches, {topic_partition: records[-1].offset + 1}, self._group
            )
        except RecordTooLarge as error:
            state.too_large_offsets.update(origins[index] for index in error.indexes)
            state.ready = False
        except (RetryLater, Fenced, Denied) as error:
            self._release_partition(topic_partition, state, error)
        else:
            state.too_large_offsets.clear()
            state.tombstones.commit()
            state.failures = 0
            self.committed += len(records)
            self._committed_offsets[topic_partition] = records[-1].offset + 1
            count_results(kinds)
            partition = str(topic_partition.partition)
            metrics.BATCH_DURATION.labels(partition).observe(time.monotonic() - started)
            # The partition may have moved to another member in the meantime.
            with contextlib.suppress(KafkaError):
                report_lag(consumer, topic_partition, await consumer.position(topic_partition))

    async def _process_records(
        self,
        state: _PartitionState,
        records: Sequence[ConsumerRecord],
        trace_parents: dict[bytes, bytes] | None,
    ) -> tuple[Batches, list[int], Counter[CountKey]]:
        """Return the batches to send, the source offset of each of their records, and counts.

        The records are processed in chunks, so that other tasks of the event loop can run.
        """
        batches = await state.transactional.add_records(())
        origins: list[int] = []
        kinds: Counter[CountKey] = Counter()
        # One version of the functions processes the whole batch.
        process, reject_too_large = self._process, self._reject_too_large
        for start in range(0, len(records), RECORDS_PER_YIELD):
            chunk = records[start : start + RECORDS_PER_YIELD]
            results = process_chunk(chunk, process, reject_too_large, state.too_large_offsets)
            await state.tombstones.apply(chunk, results)
            if trace_parents:
                tracing.copy_trace_headers(chunk, results, trace_parents, PERSONAL_DOCUMENT_TOPICS)
            await state.transactional.add_records(
                [record for result in results for record in result.outgoing], batches
            )
            origins += [
                record.offset
                for record, result in zip(chunk, results, strict=True)
                for _ in result.outgoing
            ]
            kinds.update(map(count_key, results))
            await asyncio.sleep(0)
        return batches, origins, kinds

    def _release_partition(
        self, topic_partition: TopicPartition, state: _PartitionState, error: Exception
    ) -> None:
        """Give a partition up until its next attempt, with exponential backoff."""
        if isinstance(error, Denied) and not self.committed:
            raise error
        state.ready = False
        state.failures += 1
        delay = FIRST_RETRY_SECONDS * 2 ** min(state.failures - 1, 8)
        if isinstance(error, Fenced):
            delay += FENCED_BACKOFF_SECONDS
        delay = min(MAX_RETRY_SECONDS, delay)
        state.retry_at = time.monotonic() + delay
        log.warning(
            "stage waits",
            partition=topic_partition.partition,
            error=str(error) or type(error).__name__,
            next_try_seconds=round(delay, 1),
        )

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Wait for the present batch, then close the producers of the revoked partitions."""
        async with self._lock:
            self._generation += 1
            states = [
                self._partitions.pop(topic_partition)
                for topic_partition in revoked
                if topic_partition in self._partitions
            ]
            await asyncio.gather(*(state.transactional.close() for state in states))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Store the assigned partitions. The next cycle acquires them."""
        assigned = set(assigned)
        async with self._lock:
            self._generation += 1
            self._progress.forget(self._assigned - assigned)
            for topic_partition in self._assigned - assigned:
                # The new owner reports the lag from now on.
                metrics.CONSUMER_LAG.remove_by_labels({"partition": str(topic_partition.partition)})
                blocked_commits.mark_unblocked(
                    "harmonise", _offset_regressed_reason(topic_partition)
                )
            self._assigned = assigned
            for topic_partition in assigned:
                self._partitions[topic_partition] = _PartitionState(
                    TransactionalProducer(
                        self._settings,
                        f"{self._group}-{topic_partition.topic}-{topic_partition.partition}",
                        "harmonise",
                    ),
                    TombstoneFilter(self._standing, EntryMoves(self._incomplete_entries)),
                )


def _offset_regressed_reason(topic_partition: TopicPartition) -> str:
    return (
        f"the committed offset of partition {topic_partition.partition} went back; "
        "read the log before you restart a worker"
    )


async def _gather_all(work: list[Coroutine[None, None, None]]) -> None:
    """Await every coroutine, then raise the first error."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
