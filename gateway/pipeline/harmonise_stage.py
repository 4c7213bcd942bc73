"""Raw topic → harmonised topics, exactly once.

One transactional producer per input partition (``<group>-<topic>-<partition>``): outputs and the consumed offset in one transaction.
A partition is taken in this order: start its producer, which fences the previous owner and ends its transaction; read the committed
offset; seek. Only records that were fetched after that are processed. Whatever was fetched before a rebalance or a failure is dropped
**and** its partition taken anew: dropping without seeking would lose records.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import traceback
from collections import Counter
from collections.abc import Container, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
from gateway.kafka.transactions import Batches, RecordTooLarge, TransactionalProducer
from gateway.messages.rejection import encode_rejection
from gateway.messages.topics import RAW
from gateway.observability import blocked_commits, metrics, tracing
from gateway.pipeline.processed_record import (
    CountKey,
    ProcessedRecord,
    ProcessRecord,
    count_key,
    count_results,
)
from gateway.records import RawRecord, Rejected
from gateway.settings import Settings

log = structlog.get_logger()

CONSUMER_GROUP = "harmonise"
BATCH_RECORDS = 2_000
FETCH_BYTES = 1_048_576
"""So much of a partition is read ahead, and no more before it is delivered; 16 times that in all. A larger record comes alone."""
RECORDS_PER_YIELD = 100
"""After so many records the event loop gets its turn: heartbeats, and the pollers of the same process."""
POLL_MS = 200
POSITION_SECONDS = 10.0
STOP_SECONDS = 8.0
FIRST_RETRY_SECONDS = 0.2
MAX_RETRY_SECONDS = 10.0
FENCED_BACKOFF_SECONDS = 3.0
"""Longer than a heartbeat: an instance that lost its membership learns so before it would fence its successor in turn."""


@dataclass(slots=True)
class _PartitionState:
    """One owned input partition: its producer, and when it may be taken again after a failure."""

    transactional: TransactionalProducer
    ready: bool = False
    failures: int = 0
    retry_at: float = 0.0
    too_large_offsets: set[int] = field(default_factory=set)
    """Offsets of records whose documents do not fit their topic."""


class HarmoniseStage(ConsumerRebalanceListener):  # type: ignore[misc]
    """Consume, process, produce. :meth:`run` returns when :meth:`stop` was called and the last batch is committed.

    ``shrink`` says what is written for a record whose documents do not fit their topic: a rejection.
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
    ) -> None:
        self._settings = settings
        self._process = process
        self._shrink = reject_too_large
        self._topic = topic
        self._group = group
        self._batch = batch
        self._partitions: dict[TopicPartition, _PartitionState] = {}
        self._assigned: set[TopicPartition] = set()
        self._committed_offsets: dict[TopicPartition, int] = {}
        """How far this process has committed each partition."""
        self._lock = asyncio.Lock()
        self._generation = 0
        self._stopping = False
        self.committed = 0
        self.consumer: AIOKafkaConsumer | None = None

    def set_processor(self, process: ProcessRecord, reject_too_large: ProcessRecord) -> None:
        """Process with these from the next batch on; a batch knows one version of them."""
        self._process, self._shrink = process, reject_too_large

    def stop(self) -> None:
        """Finish the batch in hand, then return from :meth:`run`."""
        self._stopping = True

    async def run(self) -> None:
        """Work until stopped. A broker that is away is waited for; nothing is dropped.

        Raises :class:`~gateway.errors.Denied` when Kafka refuses this principal before anything could be committed.
        """
        tune_garbage_collector()
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
        """Wait before a new consumer is made, where that may help."""
        if isinstance(error, AUTHORIZATION_ERRORS) and not self.committed:
            raise access_denied(
                self._settings, f"reading {self._topic} as group {self._group}", error
            ) from error
        log.warning("stage starts anew", error=type(error).__name__)
        await asyncio.sleep(
            MAX_RETRY_SECONDS if isinstance(error, AUTHORIZATION_ERRORS) else FIRST_RETRY_SECONDS
        )

    async def _connect(self) -> AIOKafkaConsumer | None:
        """Return a consumer that has reached the brokers; ``None`` when stopped before."""
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
        if self.consumer is not None:
            with contextlib.suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(self.consumer.stop(), STOP_SECONDS)

    async def _run_cycle(self, consumer: AIOKafkaConsumer) -> None:
        """Take what has to be taken, fetch, and deliver each partition's records in a transaction of its own, side by side."""
        async with self._lock:
            generation = self._generation
            await self._acquire_partitions(consumer)
        fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=self._batch)
        async with self._lock:
            deliveries = []
            for topic_partition, records in fetched.items():
                state = self._partitions.get(topic_partition)
                if state is None:
                    continue  # not ours any more: its new owner reads on from the committed offset
                if state.ready and generation == self._generation:
                    deliveries.append(
                        self._process_partition(consumer, topic_partition, state, records)
                    )
                else:
                    state.ready = False
            await _gather_all(deliveries)

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
        """Fence, then read the committed offset, then seek."""
        try:
            await state.transactional.fence()
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
        """Refuse an offset behind what was committed here: what a broker that lost its last offsets, or has not read them yet, would say.

        Going on from it would write everything after it once more. A process that starts anew has nothing but the broker's word.
        """
        if position < (done := self._committed_offsets.get(topic_partition, 0)):
            blocked_commits.mark_blocked("harmonise", _offset_regressed_reason(topic_partition))
            told = f"offset {position} of partition {topic_partition.partition} is behind {done}, which was committed here"
            raise RetryLater(
                "offset_went_back",
                f"{told}: waiting for the broker; a restart takes its word, and repeats what is between",
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
            state.failures = 0
            self.committed += len(records)
            self._committed_offsets[topic_partition] = records[-1].offset + 1
            count_results(kinds)
            partition = str(topic_partition.partition)
            metrics.BATCH_DURATION.labels(partition).observe(time.monotonic() - started)
            with contextlib.suppress(
                KafkaError
            ):  # the partition may be on its way to another member
                metrics.CONSUMER_LAG.labels(partition).set(
                    max(
                        0,
                        (consumer.highwater(topic_partition) or 0)
                        - await consumer.position(topic_partition),
                    )
                )

    async def _process_records(
        self,
        state: _PartitionState,
        records: Sequence[ConsumerRecord],
        trace_parents: dict[bytes, bytes] | None,
    ) -> tuple[Batches, list[int], Counter[CountKey]]:
        """Process records a slice at a time. Return the batches to send, the offset each of their records comes from, and what to count."""
        batches = await state.transactional.add_records(())
        origins: list[int] = []
        kinds: Counter[CountKey] = Counter()
        process, reject_too_large = self._process, self._shrink  # the same for the whole batch
        for start in range(0, len(records), RECORDS_PER_YIELD):
            chunk = records[start : start + RECORDS_PER_YIELD]
            results = _process_chunk(chunk, process, reject_too_large, state.too_large_offsets)
            if trace_parents:
                tracing.copy_trace_headers(chunk, results, trace_parents)
            await state.transactional.add_records(
                [one for result in results for one in result.outgoing], batches
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
        """Give the partition up until it is taken again, later each time."""
        if isinstance(error, Denied) and not self.committed:
            raise error
        state.ready = False
        state.failures += 1
        delay = FIRST_RETRY_SECONDS * 2 ** min(state.failures - 1, 8)
        if isinstance(error, Fenced):
            delay += FENCED_BACKOFF_SECONDS
        state.retry_at = time.monotonic() + min(MAX_RETRY_SECONDS, delay)
        log.warning(
            "stage waits",
            partition=topic_partition.partition,
            error=str(error) or type(error).__name__,
            next_try_seconds=round(delay, 1),
        )

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let the batch in hand finish, then let go of the producers."""
        async with self._lock:
            self._generation += 1
            lanes = [
                self._partitions.pop(topic_partition)
                for topic_partition in revoked
                if topic_partition in self._partitions
            ]
            await asyncio.gather(*(state.transactional.close() for state in lanes))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Note what is owned now; the next round takes it."""
        assigned = set(assigned)
        async with self._lock:
            self._generation += 1
            for topic_partition in self._assigned - assigned:
                metrics.CONSUMER_LAG.remove_by_labels(
                    {"partition": str(topic_partition.partition)}
                )  # its new owner knows it from now on
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
                    )
                )


def _offset_regressed_reason(topic_partition: TopicPartition) -> str:
    return f"the committed offset of partition {topic_partition.partition} went back; see the log before restarting anything"


def tune_garbage_collector() -> None:
    """Take what is loaded by now for lasting: the collector does not walk through it with every batch, which cost a tenth of the time."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _process_chunk(
    chunk: Sequence[ConsumerRecord],
    process: ProcessRecord,
    reject_too_large: ProcessRecord,
    large: Container[int],
) -> list[ProcessedRecord]:
    try:
        return (
            [
                reject_too_large(record) if record.offset in large else process(record)
                for record in chunk
            ]
            if large
            else list(map(process, chunk))
        )
    except Exception:  # noqa: BLE001 - processing is total; should it not be, the record that breaks it is rejected, not retried for ever
        return [process_or_reject(record, process) for record in chunk]


def process_or_reject(record: ConsumerRecord, process: ProcessRecord) -> ProcessedRecord:
    """Return the result of ``process``, or a rejection that names the kind of exception and never what the record holds."""
    try:
        return process(record)
    except Exception as error:  # noqa: BLE001 - see above
        key = (record.key or b"").decode(errors="replace")
        connector, _, native_id = key.partition("|")
        frame = traceback.extract_tb(error.__traceback__)[
            -1
        ]  # the message of an exception may quote the record
        topic_partition = f"{record.topic}-{record.partition}@{record.offset}"
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        log.error(
            "record breaks the gateway",
            position=topic_partition,
            error=type(error).__name__,
            where=where,
        )
        rejected = Rejected(
            stage="decode", field="", reason="internal_error", detail=type(error).__name__
        )
        raw = RawRecord(connector=connector, stream="", native_id=native_id, body=None)
        outgoing = encode_rejection(
            rejected, raw, topic=record.topic, partition=record.partition, offset=record.offset
        )
        return ProcessedRecord([outgoing], connector, "", "rejected", reason=rejected.reason)


async def _gather_all(work: list[Coroutine[None, None, None]]) -> None:
    """Let every piece of work end, then raise the first failure."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
