"""Every Kafka transaction of the gateway goes through this file.

Rules, each measured with aiokafka 0.14:

1. Start the producer (this fences the previous owner of the transactional id and ends its transaction), and only then read the
   position that decides what to do next.
2. Await every future: ``commit_transaction`` answers well even after a send inside the transaction failed.
3. After any failure, timeout or cancellation the producer is discarded, never used again, and the position is read again. An
   exception from a commit does not say that the transaction was aborted.
4. Begin, commit, abort and stop have a time limit; aiokafka gives them none.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from gateway.errors import Denied, Fenced, RetryLater
from gateway.publish.connection import arguments
from gateway.settings import Settings
from gateway.watch import metrics

START_SECONDS = 20.0
COMMIT_SECONDS = 20.0
STOP_SECONDS = 5.0
TRANSACTION_TIMEOUT_MS = 15_000
"""How long a dead instance can hold back every read_committed reader of its partitions."""
BATCH_BYTES = 262_144
REFUSALS = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
HEADERS = list[tuple[str, bytes]]


class RecordTooLarge(Exception):  # noqa: N818 - it is a fact about a record, handled by the caller
    """A record does not fit its topic; ``indexes`` are its places in the list that was given."""

    def __init__(self, indexes: list[int]) -> None:
        super().__init__(f"{len(indexes)} records do not fit their topic")
        self.indexes = indexes


class Outgoing:
    """One record on its way to a topic."""

    __slots__ = ("headers", "key", "partition", "topic", "value")

    def __init__(self, topic: str, key: bytes, value: bytes | None, headers: HEADERS, partition: int | None = None) -> None:
        self.topic = topic
        self.key = key
        self.value = value
        self.headers = headers
        self.partition = partition


def partition_for(key: bytes, partitions: int) -> int:
    """Return the partition of a key: CRC-32 modulo, librdkafka's ``consistent``."""
    return zlib.crc32(key) % partitions


class Transactional:
    """One transactional id. Not started until :meth:`fence`; unusable after a failure until the next :meth:`fence`."""

    def __init__(self, settings: Settings, transactional_id: str, role: str) -> None:
        self.transactional_id = transactional_id
        self._settings = settings
        self._role = role
        self._producer: AIOKafkaProducer | None = None
        self._partitions: dict[str, int] = {}

    @property
    def ready(self) -> bool:
        """True between a successful :meth:`fence` and the first failure."""
        return self._producer is not None

    async def fence(self) -> None:
        """Start a new producer: the previous owner of this id can commit nothing any more. Read positions only after this."""
        await self.discard()
        producer = AIOKafkaProducer(
            **arguments(self._settings),
            transactional_id=self.transactional_id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            max_batch_size=BATCH_BYTES,
            max_request_size=16_777_216,
            retry_backoff_ms=20,
            request_timeout_ms=15_000,
        )
        try:
            await asyncio.wait_for(producer.start(), START_SECONDS)
        except BaseException as error:
            await _stop(producer)
            raise self._translate(error, "start") from error
        self._producer = producer

    async def write(self, records: Sequence[Outgoing], offsets: dict[TopicPartition, int] | None = None, group: str = "") -> None:
        """Write ``records`` and, for a consumer, its new offsets in one transaction. Returns once it is committed.

        Raises :class:`RecordTooLarge` with nothing written, :class:`~gateway.errors.Fenced`, or
        :class:`~gateway.errors.RetryLater`; after any of them :attr:`ready` is false.
        """
        producer = self._producer
        if producer is None:
            raise RetryLater("not_fenced", f"{self.transactional_id}: the producer was discarded")
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await producer.begin_transaction()
                await self._send(producer, records)
                if offsets:
                    await producer.send_offsets_to_transaction(offsets, group)
                await producer.commit_transaction()
        except RecordTooLarge:
            await self._abort(producer)
            raise
        except BaseException as error:
            await self.discard()
            raise self._translate(error, "commit") from error

    async def discard(self) -> None:
        """Drop the producer without any claim about its last transaction."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    async def _send(self, producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> None:
        grouped: dict[tuple[str, int], list[int]] = {}
        for index, record in enumerate(records):
            count = self._partitions.get(record.topic) or await self._count(producer, record.topic)
            partition = record.partition if record.partition is not None else zlib.crc32(record.key) % count
            grouped.setdefault((record.topic, partition), []).append(index)
        futures: list[tuple[Any, list[int]]] = []
        for (topic, partition), indexes in grouped.items():
            batch, held = producer.create_batch(), []
            for index in indexes:
                record = records[index]
                if batch.append(key=record.key, value=record.value, timestamp=None, headers=record.headers) is None:
                    if held:
                        futures.append((await producer.send_batch(batch, topic, partition=partition), held))
                    batch, held = producer.create_batch(), []
                    if batch.append(key=record.key, value=record.value, timestamp=None, headers=record.headers) is None:
                        future = await self._send_alone(producer, record, partition, index)
                        futures.append((future, [index]))
                        continue
                held.append(index)
            if held:
                futures.append((await producer.send_batch(batch, topic, partition=partition), held))
        await _await_all(futures)

    async def _send_alone(self, producer: AIOKafkaProducer, record: Outgoing, partition: int, index: int) -> Any:
        """Send a record that is larger than a batch; the broker or the client may find it too large."""
        try:
            return await producer.send(record.topic, value=record.value, key=record.key, partition=partition, headers=list(record.headers))
        except MessageSizeTooLargeError:
            raise RecordTooLarge([index]) from None

    async def _count(self, producer: AIOKafkaProducer, topic: str) -> int:
        found = len(await producer.partitions_for(topic))
        self._partitions[topic] = found
        return found

    async def _abort(self, producer: AIOKafkaProducer) -> None:
        """Abort, then discard all the same: a producer is never used after a failed send."""
        with contextlib.suppress(Exception):
            await asyncio.wait_for(producer.abort_transaction(), STOP_SECONDS)
        await self.discard()
        metrics.PRODUCERS_REPLACED.labels(self._role, "record_too_large").inc()

    def _translate(self, error: BaseException, what: str) -> BaseException:
        if isinstance(error, ProducerFenced | InvalidProducerEpoch):
            metrics.FENCED.labels(self._role).inc()
            metrics.PRODUCERS_REPLACED.labels(self._role, "fenced").inc()
            return Fenced(f"{self.transactional_id}: another instance took over, or the transaction outlived its time limit")
        if isinstance(error, REFUSALS):
            return Denied(f"{self.transactional_id}: Kafka refuses this principal ({type(error).__name__}); see the ACLs in deploy/")
        if isinstance(error, TimeoutError | KafkaError | OSError):
            metrics.PRODUCERS_REPLACED.labels(self._role, type(error).__name__).inc()
            return RetryLater("kafka", f"{self.transactional_id}: {what} did not succeed ({type(error).__name__})")
        return error


async def _await_all(futures: list[tuple[Any, list[int]]]) -> None:
    """Await every future of a transaction; report records that are too large together, any other failure at once."""
    results = await asyncio.gather(*(future for future, _ in futures), return_exceptions=True)
    large: list[int] = []
    for result, (_, indexes) in zip(results, futures, strict=True):
        if isinstance(result, MessageSizeTooLargeError):
            large += indexes
        elif isinstance(result, BaseException):
            raise result
    if large:
        raise RecordTooLarge(large)


async def _stop(producer: AIOKafkaProducer) -> None:
    with contextlib.suppress(Exception):
        await asyncio.wait_for(producer.stop(), STOP_SECONDS)


async def read_partition(settings: Settings, topic: str, partition: int, prefixes: Iterable[bytes] | None = None) -> dict[bytes, bytes]:
    """Return the latest committed value of every key of one partition of a compacted topic; a tombstone removes its key.

    ``prefixes`` keeps only keys that begin with one of them.
    """
    wanted = tuple(prefixes) if prefixes is not None else None
    found: dict[bytes, bytes] = {}
    consumer = AIOKafkaConsumer(
        **arguments(settings), isolation_level="read_committed", auto_offset_reset="earliest", enable_auto_commit=False, group_id=None
    )
    await asyncio.wait_for(consumer.start(), START_SECONDS)
    try:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        await consumer.seek_to_beginning(place)
        while await consumer.position(place) < end:
            for records in (await consumer.getmany(timeout_ms=500, max_records=10_000)).values():
                for record in records:
                    if wanted is not None and not record.key.startswith(wanted):
                        continue
                    if record.value is None:
                        found.pop(record.key, None)
                    else:
                        found[record.key] = record.value
    finally:
        await asyncio.wait_for(consumer.stop(), STOP_SECONDS)
    return found
