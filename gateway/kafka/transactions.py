"""Every Kafka transaction of the gateway goes through this file.

Rules, each measured with aiokafka 0.14:

1. Start the producer (this fences the previous owner of the transactional id and ends its transaction), and only then read the
   position that decides what to do next.
2. Await every future: ``commit_transaction`` answers well even after a send inside the transaction failed.
3. After any failure, timeout or cancellation the producer is discarded, never used again, and the position is read again. An
   exception from a commit does not say that the transaction was aborted.
4. Begin, commit, abort and stop have a time limit; aiokafka gives them none.
5. A position is read up to the high watermark, not up to the last stable offset: another stream's open transaction on the same
   partition would hide what this one committed after it began.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    IllegalOperation,
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
)

from gateway.errors import Fenced, RetryLater
from gateway.kafka.batches import Batch, Batches
from gateway.kafka.connection import (
    AUTHORIZATION_ERRORS,
    access_denied,
    client_arguments,
    was_cancelled_by_library,
)
from gateway.messages.outgoing import OutgoingRecord, partition_for
from gateway.observability import blocked_commits, metrics
from gateway.settings import Settings

__all__ = [
    "Batches",
    "OutgoingRecord",
    "RecordTooLarge",
    "TransactionalProducer",
    "partition_for",
    "read_partition",
]

START_SECONDS = 20.0
COMMIT_SECONDS = 15.0
STOP_SECONDS = 5.0
READ_SECONDS = 60.0
"""How long a read may make no progress; longer than any other instance can hold a transaction open."""
TRANSACTION_TIMEOUT_MS = 20_000
"""How long a dead instance can hold back every read_committed reader of its partitions."""
CLIENT_STATE_ERRORS = AssertionError, KeyError, IllegalOperation
"""What aiokafka raises when its own state was lost: a send after an earlier one of the transaction was refused is illegal to it."""
BATCH_BYTES = 262_144
SMALLEST_BATCH_BYTES = 1_024
REQUEST_BYTES = 16_777_216
"""No broker is asked to take a record larger than this: some close the connection instead of answering."""


class RecordTooLarge(Exception):
    """A record does not fit its topic; ``indexes`` are its places among those that were given.

    Without indexes it is not known yet which one: the next tries send smaller batches and find out.
    """

    def __init__(self, indexes: list[int]) -> None:
        super().__init__(f"{len(indexes) or 'some'} records do not fit their topic")
        self.indexes = indexes


class TransactionalProducer:
    """One transactional id. Not started until :meth:`fence`; unusable after a failure until the next :meth:`fence`."""

    def __init__(self, settings: Settings, transactional_id: str, role: str) -> None:
        self.transactional_id = transactional_id
        self._settings = settings
        self._role = role
        blocked_commits.register_role(role)
        self._producer: AIOKafkaProducer | None = None
        self._partitions: dict[str, int] = {}
        self._batch_bytes: dict[str, int] = {}
        """Topics that refused a batch of several records, with the size that is tried now."""
        self._refused_bytes: dict[str, int] = {}
        """Topics that refused a single record, with the size of the smallest one, until the next commit."""

    @property
    def ready(self) -> bool:
        """True between a successful :meth:`fence` and the first failure."""
        return self._producer is not None

    async def fence(self) -> None:
        """Start a new producer: the previous owner of this id can commit nothing any more. Read positions only after this."""
        await self._discard_producer()
        self._mark_blocked()
        producer = AIOKafkaProducer(
            **client_arguments(self._settings),
            transactional_id=self.transactional_id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            max_batch_size=BATCH_BYTES,
            max_request_size=REQUEST_BYTES,
            retry_backoff_ms=20,
            request_timeout_ms=15_000,
        )
        try:
            await asyncio.wait_for(producer.start(), START_SECONDS)
        except BaseException as error:
            await _stop_producer(producer)
            raise self._translate_error(error, "start") from error
        self._producer = producer
        self._mark_unblocked()

    async def add_records(
        self, records: Iterable[OutgoingRecord], batches: Batches | None = None
    ) -> Batches:
        """Return ``batches``, or new ones, with ``records`` added, for the next :meth:`write`. Nothing is sent; raises as that does."""
        if batches is None:
            if self._producer is None:
                raise RetryLater(
                    "not_fenced", f"{self.transactional_id}: the producer was discarded"
                )
            batches = Batches(self._producer, self._partitions, self._batch_bytes)
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await batches.add(records)
        except BaseException as error:
            await self._discard_producer()
            raise self._translate_error(error, "asking for partitions") from error
        return batches

    async def commit(
        self,
        records: Sequence[OutgoingRecord] | Batches,
        offsets: dict[TopicPartition, int] | None = None,
        group: str = "",
    ) -> None:
        """Write ``records`` and, for a consumer, its new offsets in one transaction. Returns once it is committed.

        Raises :class:`RecordTooLarge` with nothing written, :class:`~gateway.errors.Fenced`, or
        :class:`~gateway.errors.RetryLater`; after any of them :attr:`ready` is false.
        """
        producer = self._producer
        if producer is None:
            raise RetryLater("not_fenced", f"{self.transactional_id}: the producer was discarded")
        self._mark_blocked()
        batches = records if isinstance(records, Batches) else await self.add_records(records)
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await producer.begin_transaction()
                await self._send(producer, batches.batches())
                if offsets:
                    await producer.send_offsets_to_transaction(offsets, group)
                await producer.commit_transaction()
        except BaseException as error:
            await self._discard_producer()
            raise self._translate_error(error, "commit") from error
        metrics.LAST_COMMIT.labels(self._role).set(time.time())
        self._refused_bytes.clear()
        self._mark_unblocked()

    async def close(self) -> None:
        """Let go of this id: drop the producer without any claim about its last transaction."""
        self._mark_unblocked()
        await self._discard_producer()

    async def _discard_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop_producer(producer)

    def _mark_blocked(self) -> None:
        blocked_commits.mark_blocked(self._role, self.transactional_id)

    def _mark_unblocked(self) -> None:
        blocked_commits.mark_unblocked(self._role, self.transactional_id)

    async def _send(self, producer: AIOKafkaProducer, batches: Sequence[Batch]) -> None:
        """Send every batch, in order, and await them all."""
        refused = self._refused_bytes
        if large := [
            one.first_index
            for one in batches
            if one.is_single and one.builder.size() >= refused.get(one.topic, REQUEST_BYTES)
        ]:
            raise RecordTooLarge(large)
        futures = []
        for batch in batches:
            future = await producer.send_batch(
                batch.builder, batch.topic, partition=batch.partition
            )
            future.add_done_callback(_ignore_exception)
            futures.append(future)
        results = await asyncio.gather(*futures, return_exceptions=True)
        self._check_results(results, batches)

    def _check_results(self, results: Sequence[Any], sent: Sequence[Batch]) -> None:
        """Raise when one batch failed. A batch of several that is too large does not say which of them is: smaller ones are tried next."""
        refused = [
            one
            for result, one in zip(results, sent, strict=True)
            if isinstance(result, MessageSizeTooLargeError)
        ]
        for result in results:
            if isinstance(result, MessageSizeTooLargeError) or not isinstance(
                result, BaseException
            ):
                continue
            if not (
                refused and isinstance(result, OutOfOrderSequenceNumber)
            ):  # batches behind a refused one are out of order
                raise result
        for batch in refused:
            topic, size = batch.topic, batch.builder.size()
            if batch.is_single:
                self._refused_bytes[topic] = min(size, self._refused_bytes.get(topic, size))
            else:
                self._batch_bytes[topic] = max(
                    SMALLEST_BATCH_BYTES, min(size, self._batch_bytes.get(topic, BATCH_BYTES)) // 2
                )
        if refused:
            raise RecordTooLarge([batch.first_index for batch in refused if batch.is_single])

    def _translate_error(self, error: BaseException, what: str) -> BaseException:
        if isinstance(error, ProducerFenced | InvalidProducerEpoch):
            metrics.FENCED.labels(self._role).inc()
            metrics.PRODUCERS_REPLACED.labels(self._role, "fenced").inc()
            return Fenced(
                f"{self.transactional_id}: another instance took over, or the transaction outlived its time limit"
            )
        if isinstance(error, AUTHORIZATION_ERRORS):
            return access_denied(self._settings, f"a transaction of {self.transactional_id}", error)
        if isinstance(error, RecordTooLarge):
            metrics.PRODUCERS_REPLACED.labels(self._role, "record_too_large").inc()
        dropped = isinstance(error, asyncio.CancelledError) and was_cancelled_by_library()
        if dropped or isinstance(error, (TimeoutError, KafkaError, OSError, *CLIENT_STATE_ERRORS)):
            metrics.PRODUCERS_REPLACED.labels(self._role, type(error).__name__).inc()
            return RetryLater(
                "kafka", f"{self.transactional_id}: {what} did not succeed ({type(error).__name__})"
            )
        return error


def _ignore_exception(future: asyncio.Future[Any]) -> None:
    """Mark a failure as seen: the transaction has failed already when nobody asks for it."""
    if not future.cancelled():
        future.exception()


async def _stop_producer(producer: AIOKafkaProducer) -> None:
    """Close a producer in a bounded time: what it still wants to send is of no use, since its transaction will not be ended by it."""
    sender = producer._sender.sender_task  # noqa: SLF001 - aiokafka waits for ever for a broker that is away; pinned version
    try:
        await asyncio.wait_for(producer.stop(), STOP_SECONDS)
    except Exception:  # noqa: BLE001 - whatever it says, this producer is not used again
        if sender is not None:
            sender.cancel()
            await asyncio.wait([sender], timeout=1)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(producer.client.close(), 1)


async def read_partition(
    settings: Settings,
    topic: str,
    partition: int,
    prefixes: Iterable[bytes] | None = None,
    *,
    on_record: Callable[[bytes, bytes | None], object] | None = None,
) -> dict[bytes, bytes]:
    """Return the latest committed value of every key of one partition of a compacted topic; a tombstone removes its key.

    ``prefixes`` keeps only keys that begin with one of them. With ``keep`` nothing is gathered here: it gets each record as it comes, a
    tombstone as ``None``; when this raises, it has had only a part. Whatever was committed before the call is seen: an open transaction of
    somebody else is waited for. Raises :class:`~gateway.errors.RetryLater` when the broker does not serve it.
    """
    wanted = tuple(prefixes) if prefixes is not None else None
    found: dict[bytes, bytes] = {}
    try:
        async for record in _read_to_end(settings, TopicPartition(topic, partition)):
            if wanted is not None and not record.key.startswith(wanted):
                continue
            if on_record is not None:
                on_record(record.key, record.value)
            elif record.value is None:
                found.pop(record.key, None)
            else:
                found[record.key] = record.value
    except AUTHORIZATION_ERRORS as error:
        raise access_denied(settings, f"reading {topic}", error) from error
    except (TimeoutError, KafkaError, OSError, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and not was_cancelled_by_library():
            raise
        raise RetryLater(
            "kafka",
            f"{topic}: partition {partition} could not be read to its end ({type(error).__name__})",
        ) from error
    return found


async def _read_to_end(
    settings: Settings, topic_partition: TopicPartition
) -> AsyncIterator[ConsumerRecord]:
    consumer = AIOKafkaConsumer(
        **client_arguments(settings),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        group_id=None,
        fetch_max_wait_ms=100,
    )
    try:
        await asyncio.wait_for(consumer.start(), START_SECONDS)
        await asyncio.wait_for(
            consumer._client._wait_on_metadata(topic_partition.topic), START_SECONDS
        )
        consumer.assign([topic_partition])
        await asyncio.wait_for(consumer.seek_to_beginning(topic_partition), START_SECONDS)
        end: int | None = None
        deadline = time.monotonic() + READ_SECONDS
        while end is None or await _position(consumer, topic_partition) < end:
            before = await _position(consumer, topic_partition)
            for records in (await consumer.getmany(timeout_ms=200, max_records=5_000)).values():
                for record in records:
                    yield record
            if end is None:
                end = consumer.highwater(topic_partition)
            if await _position(consumer, topic_partition) > before:
                deadline = time.monotonic() + READ_SECONDS
            elif time.monotonic() > deadline:
                raise TimeoutError
    finally:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(consumer.stop(), STOP_SECONDS)


async def _position(consumer: AIOKafkaConsumer, topic_partition: TopicPartition) -> int:
    """Return where the reading stands. Without a limit this waits for ever when the broker went away before the first record came."""
    return int(await asyncio.wait_for(consumer.position(topic_partition), START_SECONDS))
