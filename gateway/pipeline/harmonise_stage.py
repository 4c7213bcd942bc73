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
from gateway.kafka.connection import REFUSALS, arguments, denied, given_up
from gateway.kafka.transactions import Batches, RecordTooLarge, Transactional
from gateway.messages.rejection import rejection
from gateway.messages.topics import RAW
from gateway.observability import blocked_commits, metrics, tracing
from gateway.pipeline.processed_record import Kind, Process, Result, count, kind
from gateway.records import Raw, Rejected
from gateway.settings import Settings

log = structlog.get_logger()

GROUP = "harmonise"
BATCH_RECORDS = 2_000
FETCH_BYTES = 1_048_576
"""So much of a partition is read ahead, and no more before it is delivered; 16 times that in all. A larger record comes alone."""
SLICE = 100
"""After so many records the event loop gets its turn: heartbeats, and the pollers of the same process."""
POLL_MS = 200
POSITION_SECONDS = 10.0
STOP_SECONDS = 8.0
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 10.0
FENCED_SECONDS = 3.0
"""Longer than a heartbeat: an instance that lost its membership learns so before it would fence its successor in turn."""


@dataclass(slots=True)
class _Lane:
    """One owned input partition: its producer, and when it may be taken again after a failure."""

    transactional: Transactional
    ready: bool = False
    failures: int = 0
    retry_at: float = 0.0
    large: set[int] = field(default_factory=set)
    """Offsets of records whose documents do not fit their topic."""


class Stage(ConsumerRebalanceListener):  # type: ignore[misc]
    """Consume, process, produce. :meth:`run` returns when :meth:`stop` was called and the last batch is committed.

    ``shrink`` says what is written for a record whose documents do not fit their topic: a rejection.
    """

    def __init__(
        self,
        settings: Settings,
        process: Process,
        shrink: Process,
        *,
        topic: str = RAW.name,
        group: str = GROUP,
        batch: int = BATCH_RECORDS,
    ) -> None:
        self._settings = settings
        self._process = process
        self._shrink = shrink
        self._topic = topic
        self._group = group
        self._batch = batch
        self._lanes: dict[TopicPartition, _Lane] = {}
        self._had: set[TopicPartition] = set()
        self._done: dict[TopicPartition, int] = {}
        """How far this process has committed each partition."""
        self._lock = asyncio.Lock()
        self._generation = 0
        self._stopping = False
        self.committed = 0
        self.consumer: AIOKafkaConsumer | None = None

    def use(self, process: Process, shrink: Process) -> None:
        """Process with these from the next batch on; a batch knows one version of them."""
        self._process, self._shrink = process, shrink

    def stop(self) -> None:
        """Finish the batch in hand, then return from :meth:`run`."""
        self._stopping = True

    async def run(self) -> None:
        """Work until stopped. A broker that is away is waited for; nothing is dropped.

        Raises :class:`~gateway.errors.Denied` when Kafka refuses this principal before anything could be committed.
        """
        settle()
        while not self._stopping:
            try:
                consumer = await self._connect()
                while consumer is not None and not self._stopping:
                    await self._round(consumer)
            except KafkaError as error:
                await self._lost(error)
            except asyncio.CancelledError as error:
                if not given_up():
                    raise
                await self._lost(error)
            finally:
                await asyncio.shield(self._close())

    async def _lost(self, error: BaseException) -> None:
        """Wait before a new consumer is made, where that may help."""
        if isinstance(error, REFUSALS) and not self.committed:
            raise denied(self._settings, f"reading {self._topic} as group {self._group}", error) from error
        log.warning("stage starts anew", error=type(error).__name__)
        await asyncio.sleep(LONGEST_RETRY_SECONDS if isinstance(error, REFUSALS) else FIRST_RETRY_SECONDS)

    async def _connect(self) -> AIOKafkaConsumer | None:
        """Return a consumer that has reached the brokers; ``None`` when stopped before."""
        delay = FIRST_RETRY_SECONDS
        while not self._stopping:
            consumer = AIOKafkaConsumer(
                **arguments(self._settings),
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
            except REFUSALS:
                raise
            except (KafkaError, OSError) as error:
                log.warning("stage cannot reach Kafka", error=type(error).__name__, next_try_seconds=delay)
                await consumer.stop()
                await asyncio.sleep(delay)
                delay = min(LONGEST_RETRY_SECONDS, delay * 2)
            else:
                return consumer
        return None

    async def _close(self) -> None:
        await asyncio.gather(*(lane.transactional.discard() for lane in self._lanes.values()))
        self._lanes.clear()
        if self.consumer is not None:
            with contextlib.suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(self.consumer.stop(), STOP_SECONDS)

    async def _round(self, consumer: AIOKafkaConsumer) -> None:
        """Take what has to be taken, fetch, and deliver each partition's records in a transaction of its own, side by side."""
        async with self._lock:
            generation = self._generation
            await self._take_all(consumer)
        fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=self._batch)
        async with self._lock:
            deliveries = []
            for place, records in fetched.items():
                lane = self._lanes.get(place)
                if lane is None:
                    continue  # not ours any more: its new owner reads on from the committed offset
                if lane.ready and generation == self._generation:
                    deliveries.append(self._deliver(consumer, place, lane, records))
                else:
                    lane.ready = False
            await _all(deliveries)

    async def _take_all(self, consumer: AIOKafkaConsumer) -> None:
        now = time.monotonic()
        await _all([self._take(consumer, place, lane) for place, lane in self._lanes.items() if not lane.ready and now >= lane.retry_at])

    async def _take(self, consumer: AIOKafkaConsumer, place: TopicPartition, lane: _Lane) -> None:
        """Fence, then read the committed offset, then seek."""
        try:
            await lane.transactional.fence()
            async with asyncio.timeout(POSITION_SECONDS):
                position = await consumer.committed(place)
                self._believe(place, position or 0)
                if position is None:
                    await consumer.seek_to_beginning(place)
                else:
                    consumer.seek(place, position)
        except (RetryLater, Fenced, Denied, KafkaError, TimeoutError) as error:
            self._failed(place, lane, error)
        else:
            lane.ready = True

    def _believe(self, place: TopicPartition, position: int) -> None:
        """Refuse an offset behind what was committed here: what a broker that lost its last offsets, or has not read them yet, would say.

        Going on from it would write everything after it once more. A process that starts anew has nothing but the broker's word.
        """
        if position < (done := self._done.get(place, 0)):
            blocked_commits.waits("harmonise", _went_back(place))
            told = f"offset {position} of partition {place.partition} is behind {done}, which was committed here"
            raise RetryLater("offset_went_back", f"{told}: waiting for the broker; a restart takes its word, and repeats what is between")
        blocked_commits.goes_on("harmonise", _went_back(place))

    async def _deliver(self, consumer: AIOKafkaConsumer, place: TopicPartition, lane: _Lane, records: Sequence[ConsumerRecord]) -> None:
        with tracing.harmonising(records, place.partition) as going:
            await self._write(consumer, place, lane, records, going)

    async def _write(
        self,
        consumer: AIOKafkaConsumer,
        place: TopicPartition,
        lane: _Lane,
        records: Sequence[ConsumerRecord],
        going: dict[bytes, bytes] | None,
    ) -> None:
        started = time.monotonic()
        try:
            batches, origins, kinds = await self._made(lane, records, going)
            await lane.transactional.write(batches, {place: records[-1].offset + 1}, self._group)
        except RecordTooLarge as error:
            lane.large.update(origins[index] for index in error.indexes)
            lane.ready = False
        except (RetryLater, Fenced, Denied) as error:
            self._failed(place, lane, error)
        else:
            lane.large.clear()
            lane.failures = 0
            self.committed += len(records)
            self._done[place] = records[-1].offset + 1
            count(kinds)
            partition = str(place.partition)
            metrics.BATCH_DURATION.labels(partition).observe(time.monotonic() - started)
            with contextlib.suppress(KafkaError):  # the partition may be on its way to another member
                metrics.CONSUMER_LAG.labels(partition).set(max(0, (consumer.highwater(place) or 0) - await consumer.position(place)))

    async def _made(
        self, lane: _Lane, records: Sequence[ConsumerRecord], going: dict[bytes, bytes] | None
    ) -> tuple[Batches, list[int], Counter[Kind]]:
        """Process records a slice at a time. Return the batches to send, the offset each of their records comes from, and what to count."""
        batches = await lane.transactional.fill(())
        origins: list[int] = []
        kinds: Counter[Kind] = Counter()
        process, shrink = self._process, self._shrink  # the same for the whole batch
        for start in range(0, len(records), SLICE):
            part = records[start : start + SLICE]
            results = _results(part, process, shrink, lane.large)
            if going:
                tracing.carry_on(part, results, going)
            await lane.transactional.fill([one for result in results for one in result.outgoing], batches)
            origins += [record.offset for record, result in zip(part, results, strict=True) for _ in result.outgoing]
            kinds.update(map(kind, results))
            await asyncio.sleep(0)
        return batches, origins, kinds

    def _failed(self, place: TopicPartition, lane: _Lane, error: Exception) -> None:
        """Give the partition up until it is taken again, later each time."""
        if isinstance(error, Denied) and not self.committed:
            raise error
        lane.ready = False
        lane.failures += 1
        delay = FIRST_RETRY_SECONDS * 2 ** min(lane.failures - 1, 8)
        if isinstance(error, Fenced):
            delay += FENCED_SECONDS
        lane.retry_at = time.monotonic() + min(LONGEST_RETRY_SECONDS, delay)
        log.warning("stage waits", partition=place.partition, error=str(error) or type(error).__name__, next_try_seconds=round(delay, 1))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let the batch in hand finish, then let go of the producers."""
        async with self._lock:
            self._generation += 1
            lanes = [self._lanes.pop(place) for place in revoked if place in self._lanes]
            await asyncio.gather(*(lane.transactional.discard() for lane in lanes))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Note what is owned now; the next round takes it."""
        assigned = set(assigned)
        async with self._lock:
            self._generation += 1
            for place in self._had - assigned:
                metrics.CONSUMER_LAG.remove_by_labels({"partition": str(place.partition)})  # its new owner knows it from now on
                blocked_commits.goes_on("harmonise", _went_back(place))
            self._had = assigned
            for place in assigned:
                self._lanes[place] = _Lane(Transactional(self._settings, f"{self._group}-{place.topic}-{place.partition}", "harmonise"))


def _went_back(place: TopicPartition) -> str:
    return f"the committed offset of partition {place.partition} went back; see the log before restarting anything"


def settle() -> None:
    """Take what is loaded by now for lasting: the collector does not walk through it with every batch, which cost a tenth of the time."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _results(part: Sequence[ConsumerRecord], process: Process, shrink: Process, large: Container[int]) -> list[Result]:
    try:
        return [shrink(record) if record.offset in large else process(record) for record in part] if large else list(map(process, part))
    except Exception:  # noqa: BLE001 - processing is total; should it not be, the record that breaks it is rejected, not retried for ever
        return [broken(record, process) for record in part]


def broken(record: ConsumerRecord, process: Process) -> Result:
    """Return the result of ``process``, or a rejection that names the kind of exception and never what the record holds."""
    try:
        return process(record)
    except Exception as error:  # noqa: BLE001 - see above
        key = (record.key or b"").decode(errors="replace")
        connector, _, native_id = key.partition("|")
        frame = traceback.extract_tb(error.__traceback__)[-1]  # the message of an exception may quote the record
        place = f"{record.topic}-{record.partition}@{record.offset}"
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        log.error("record breaks the gateway", position=place, error=type(error).__name__, where=where)  # noqa: TRY400 - no traceback, see above
        rejected = Rejected(stage="decode", field="", reason="internal_error", detail=type(error).__name__)
        raw = Raw(connector=connector, stream="", native_id=native_id, body=None)
        outgoing = rejection(rejected, raw, topic=record.topic, partition=record.partition, offset=record.offset)
        return Result([outgoing], connector, "", "rejected", reason=rejected.reason)


async def _all(work: list[Coroutine[None, None, None]]) -> None:
    """Let every piece of work end, then raise the first failure."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
