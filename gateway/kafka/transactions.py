"""Run every Kafka transaction of the gateway.

The module follows five rules, each verified with aiokafka 0.14 (docs/decisions/0003):

1. Start the producer first. This fences the previous owner of the transactional id and ends
   its transaction. Read the position only after that.
2. Await every future, because ``commit_transaction`` succeeds even after a failed send.
3. After any failure, timeout or cancellation, discard the producer and read the position
   again. An exception from a commit does not mean that the transaction was aborted.
4. Set a time limit for begin, commit, abort and stop, because aiokafka has none.
5. Read a position up to the high watermark, not up to the last stable offset. Otherwise an
   open transaction of another stream could hide committed records of this one.
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
from gateway.kafka.aiokafka_internals import SendableBatch, sender_task, wait_for_metadata
from gateway.kafka.batches import BATCH_BYTES, Batch, Batches
from gateway.kafka.connection import (
    AUTHORIZATION_ERRORS,
    access_denied,
    client_arguments,
    was_cancelled_by_library,
)
from gateway.kafka.record_fetch import UnreadableRecords, fetch_records
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
"""Longest time without progress while reading. It exceeds the time limit of a transaction."""
TRANSACTION_TIMEOUT_MS = 20_000
"""Longest time for which a dead instance can block ``read_committed`` readers."""
CLIENT_STATE_ERRORS = AssertionError, KeyError, IllegalOperation
"""Errors of aiokafka when its internal state is lost.

For example, it raises ``IllegalOperation`` for a send after a refused send.
"""
SMALLEST_BATCH_BYTES = 1_024
REQUEST_BYTES = 16_777_216
"""Largest record that is sent. Some brokers close the connection on a larger one."""


class RecordTooLarge(Exception):
    """One or more records exceed the size limit of their topic.

    ``indexes`` are their positions among the added records. Without indexes, the record is
    not identified yet; the next attempts send smaller batches to find it.
    """

    def __init__(self, indexes: list[int]) -> None:
        super().__init__(f"{len(indexes) or 'some'} records do not fit their topic")
        self.indexes = indexes


class TransactionalProducer:
    """A producer for one transactional id.

    Call :meth:`fence` before the first commit, and again after each failure.
    """

    def __init__(self, settings: Settings, transactional_id: str, role: str) -> None:
        self.transactional_id = transactional_id
        self._settings = settings
        self._role = role
        blocked_commits.register_role(role)
        metrics.FENCED.labels(role)  # 0: Prometheus sees no increase in a first value of 1
        self._producer: AIOKafkaProducer | None = None
        self._partitions: dict[str, int] = {}
        self._batch_bytes: dict[str, int] = {}
        """Batch size to try next, for topics that refused a batch of several records."""
        self._refused_bytes: dict[str, int] = {}
        """Sent size of the smallest refused record by topic. Cleared by the next commit."""

    @property
    def ready(self) -> bool:
        """True between a successful :meth:`fence` and the first failure."""
        return self._producer is not None

    async def fence(self) -> None:
        """Start a new producer, after which the previous owner of this id cannot commit.

        Read positions only after this call. Raises :class:`~gateway.errors.Denied`,
        :class:`~gateway.errors.Fenced` or :class:`~gateway.errors.RetryLater`.
        """
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
        """Return ``batches``, or new ones, with ``records`` added, for the next :meth:`commit`.

        Nothing is sent yet. Raises the same errors as :meth:`commit`.
        """
        if batches is None:
            if self._producer is None:
                raise RetryLater(
                    "not_fenced", f"{self.transactional_id}: the producer was discarded"
                )
            batches = Batches(
                self._producer,
                self._partitions,
                self._batch_bytes,
                compress=self._settings.compression == "zstd",
            )
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await batches.add(records)
        except BaseException as error:
            await self._discard_producer()
            raise self._translate_error(error, "reading the partition counts") from error
        return batches

    async def commit(
        self,
        records: Sequence[OutgoingRecord] | Batches,
        offsets: dict[TopicPartition, int] | None = None,
        group: str = "",
    ) -> None:
        """Write ``records`` and the consumed ``offsets`` of ``group`` in one transaction.

        1. Encode the records into batches, unless the caller has done so.
        2. Begin the transaction.
        3. Send every batch and await every result.
        4. Add the consumed offsets, if there are any.
        5. Commit.
        6. After a failure in steps 2 to 5, discard the producer and translate the error.
        7. Report the successful commit in the metrics.

        Raises :class:`RecordTooLarge` if nothing was written because a record is too large.
        Raises :class:`~gateway.errors.Fenced` if another instance took over, and
        :class:`~gateway.errors.Denied` if the principal lacks a right. Raises
        :class:`~gateway.errors.RetryLater` for any other failure of Kafka; the transaction
        may then be committed or not. After any error :attr:`ready` is false.
        """
        producer = self._producer
        if producer is None:
            raise RetryLater("not_fenced", f"{self.transactional_id}: the producer was discarded")
        self._mark_blocked()
        # 1. Encode the records.
        batches = records if isinstance(records, Batches) else await self.add_records(records)
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                # 2. Begin the transaction.
                await producer.begin_transaction()
                # 3. Send every batch. A commit would succeed even if one of them failed.
                await self._send(producer, batches.batches())
                # 4. Add the offsets, so that records and offsets are committed together.
                if offsets:
                    await producer.send_offsets_to_transaction(offsets, group)
                # 5. Commit.
                await producer.commit_transaction()
        except BaseException as error:
            # 6. Discard the producer, because its state is unknown.
            await self._discard_producer()
            raise self._translate_error(error, "commit") from error
        # 7. Report the commit.
        metrics.LAST_COMMIT.labels(self._role).set(time.time())
        self._refused_bytes.clear()
        self._mark_unblocked()

    async def close(self) -> None:
        """Discard the producer. Its last transaction may be committed or not."""
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
        """Send every batch in order, and await every result.

        Raises :class:`RecordTooLarge` at once for records that are known to be too large.
        """
        if too_large := [batch.first_index for batch in batches if self._is_too_large(batch)]:
            raise RecordTooLarge(too_large)
        futures = []
        for batch in batches:
            future = await producer.send_batch(
                SendableBatch(batch.records), batch.topic, partition=batch.partition
            )
            future.add_done_callback(_ignore_exception)
            futures.append(future)
        results = await asyncio.gather(*futures, return_exceptions=True)
        self._check_results(results, batches)

    def _is_too_large(self, batch: Batch) -> bool:
        """Return whether a batch is one record that no broker takes, or that was refused."""
        if not batch.is_single:
            return False
        refused = self._refused_bytes.get(batch.topic)
        return batch.records.size >= REQUEST_BYTES or (
            refused is not None and batch.records.sent_size >= refused
        )

    def _check_results(self, results: Sequence[Any], sent: Sequence[Batch]) -> None:
        """Raise an error if a batch failed.

        If a batch of several records is too large, Kafka does not name the record. The next
        attempt therefore uses smaller batches.
        """
        refused = [
            batch
            for result, batch in zip(results, sent, strict=True)
            if isinstance(result, MessageSizeTooLargeError)
        ]
        for result in results:
            if isinstance(result, MessageSizeTooLargeError) or not isinstance(
                result, BaseException
            ):
                continue
            # Batches that follow a refused one are out of order, which is no failure of their own.
            if not (refused and isinstance(result, OutOfOrderSequenceNumber)):
                raise result
        for batch in refused:
            topic, size = batch.topic, batch.records.size
            if batch.is_single:
                sent_size = batch.records.sent_size
                self._refused_bytes[topic] = min(
                    sent_size, self._refused_bytes.get(topic, sent_size)
                )
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
                f"{self.transactional_id}: another instance took over, "
                "or the transaction exceeded its time limit"
            )
        if isinstance(error, AUTHORIZATION_ERRORS):
            return access_denied(self._settings, f"a transaction of {self.transactional_id}", error)
        if isinstance(error, RecordTooLarge):
            metrics.PRODUCERS_REPLACED.labels(self._role, "record_too_large").inc()
        dropped = isinstance(error, asyncio.CancelledError) and was_cancelled_by_library()
        if dropped or isinstance(error, (TimeoutError, KafkaError, OSError, *CLIENT_STATE_ERRORS)):
            metrics.PRODUCERS_REPLACED.labels(self._role, type(error).__name__).inc()
            return RetryLater(
                "kafka", f"{self.transactional_id}: {what} failed ({type(error).__name__})"
            )
        return error


def _ignore_exception(future: asyncio.Future[Any]) -> None:
    """Retrieve the exception of a send, so that asyncio does not log it as never retrieved.

    :meth:`TransactionalProducer.commit` reports the failure of the transaction.
    """
    if not future.cancelled():
        future.exception()


async def _stop_producer(producer: AIOKafkaProducer) -> None:
    """Stop a producer within a bounded time.

    aiokafka would wait for a missing broker without a limit. Unsent records are dropped,
    because this producer will not commit their transaction.
    """
    sender = sender_task(producer)
    try:
        await asyncio.wait_for(producer.stop(), STOP_SECONDS)
    except Exception:  # noqa: BLE001 - the producer is discarded after any error
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
    """Return the latest committed value of each key in one partition of a compacted topic.

    A tombstone removes its key. ``prefixes`` selects the keys that begin with one of them.
    With ``on_record``, the result is empty and the function receives each record instead, a
    tombstone as ``None``. It has received only some of the records if this call fails.

    The call waits for open transactions of other producers. The result therefore contains
    every record that was committed before the call. Raises
    :class:`~gateway.errors.RetryLater` if the partition could not be read to its end. Raises
    :class:`~gateway.errors.Denied` if the principal may not read the topic, and
    :class:`~gateway.errors.IntegrityStop` for records that cannot be decoded.
    """
    key_prefixes = tuple(prefixes) if prefixes is not None else None
    values: dict[bytes, bytes] = {}
    try:
        async for record in _read_to_end(settings, TopicPartition(topic, partition)):
            if key_prefixes is not None and not record.key.startswith(key_prefixes):
                continue
            if on_record is not None:
                on_record(record.key, record.value)
            elif record.value is None:
                values.pop(record.key, None)
            else:
                values[record.key] = record.value
    except AUTHORIZATION_ERRORS as error:
        raise access_denied(settings, f"reading {topic}", error) from error
    except UnreadableRecords as error:
        raise error.integrity_stop(f"partition {partition} of {topic}") from None
    except (TimeoutError, KafkaError, OSError, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and not was_cancelled_by_library():
            raise
        raise RetryLater(
            "kafka",
            f"{topic}: partition {partition} could not be read to its end ({type(error).__name__})",
        ) from error
    return values


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
        await asyncio.wait_for(wait_for_metadata(consumer, topic_partition.topic), START_SECONDS)
        consumer.assign([topic_partition])
        await asyncio.wait_for(consumer.seek_to_beginning(topic_partition), START_SECONDS)
        end: int | None = None
        deadline = time.monotonic() + READ_SECONDS
        while end is None or await _position(consumer, topic_partition) < end:
            previous = await _position(consumer, topic_partition)
            for records in (
                await fetch_records(consumer, timeout_ms=200, max_records=5_000)
            ).values():
                for record in records:
                    yield record
            if end is None:
                end = consumer.highwater(topic_partition)
            if await _position(consumer, topic_partition) > previous:
                deadline = time.monotonic() + READ_SECONDS
            elif time.monotonic() > deadline:
                raise TimeoutError
    finally:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(consumer.stop(), STOP_SECONDS)


async def _position(consumer: AIOKafkaConsumer, topic_partition: TopicPartition) -> int:
    """Return the offset of the next record to read, within :data:`START_SECONDS`.

    Without the limit, this would never return if the broker went down before the first
    record arrived.
    """
    return int(await asyncio.wait_for(consumer.position(topic_partition), START_SECONDS))
