"""Use the private parts of aiokafka that the gateway cannot do without.

Each function or class depends on private names, for which aiokafka 0.14 has no public
equivalent. The version of aiokafka is pinned. A unit test fails if one of the names
disappears in another version, or if another version asks a batch for more.
"""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from gateway.kafka.record_batch import RecordBatch


def sender_task(producer: AIOKafkaProducer) -> asyncio.Task[None] | None:
    """Return the task that sends the batches of a producer; ``None`` before its start.

    Only cancelling this task ends a producer whose broker is down.
    """
    task: asyncio.Task[None] | None = producer._sender.sender_task  # noqa: SLF001 - see above
    return task


async def wait_for_metadata(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Return once a started consumer knows the partitions of a topic.

    Raises ``UnknownTopicOrPartitionError`` if the topic does not exist. Raises
    ``TopicAuthorizationFailedError`` if the principal may not describe it.
    """
    await consumer._client._wait_on_metadata(topic)  # noqa: SLF001 - see above


class SendableBatch:
    """A :class:`RecordBatch` that ``AIOKafkaProducer.send_batch`` accepts.

    It has the methods of aiokafka's ``BatchBuilder`` that its accumulator calls for a whole batch.
    """

    __slots__ = ("_batch",)

    def __init__(self, batch: RecordBatch) -> None:
        batch.close()
        self._batch = batch

    def append(self, **_: object) -> None:
        """Refuse a record, as a closed ``BatchBuilder`` does."""

    def close(self) -> None:
        """Do nothing, because the batch is closed."""

    def closed(self) -> bool:
        """Return that no record can be added."""
        return True

    def record_count(self) -> int:
        """Return the number of records."""
        return self._batch.record_count

    def _set_producer_state(self, producer_id: int, producer_epoch: int, sequence: int) -> None:
        self._batch.set_producer(producer_id, producer_epoch, sequence)

    def _build(self) -> bytes:
        return self._batch.encode()
