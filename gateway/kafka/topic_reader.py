"""Read what is committed on a topic now, from its beginning to its end, as any subscriber would."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from gateway.errors import UsageError
from gateway.kafka.client_session import client_session
from gateway.kafka.connection import client_arguments
from gateway.messages.outgoing import partition_for
from gateway.settings import Settings

FETCH_MS = 50
"""What is there is read to its end: a longer wait for more would only delay the stop of the consumer."""

SEEK_THRESHOLD = 2_000
"""It is cheaper to read so many records than to ask a broker for another place."""


def _open_consumer(
    settings: Settings, topic: str, isolation: str = "read_committed"
) -> AbstractAsyncContextManager[AIOKafkaConsumer]:
    given: dict[str, Any] = client_arguments(settings)
    consumer = AIOKafkaConsumer(
        topic,
        **given,
        isolation_level=isolation,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        group_id=None,
        fetch_max_wait_ms=FETCH_MS,
    )
    return client_session(consumer, settings, f"reading {topic}")


async def has_committed_records(
    settings: Settings, topic: str, begin: dict[TopicPartition, int], ends: dict[int, int]
) -> bool:
    """Return whether a topic holds committed records from ``begin`` up to ``ends``, by partition; one that is not named counts from 0.

    Offsets alone do not tell: the markers of transactions take offsets too. While a transaction from before ``ends`` is open, it may.
    """
    async with _open_consumer(settings, topic) as consumer:
        places = list(consumer.assignment())
        stable = await consumer.end_offsets(places)
        begins = await consumer.beginning_offsets(places)
        unread: list[TopicPartition] = []
        for topic_partition in places:
            start, end = (
                max(begin.get(topic_partition, 0), begins[topic_partition]),
                ends.get(topic_partition.partition, 0),
            )
            if start < end and stable[topic_partition] < end:
                return True
            consumer.seek(topic_partition, start)
            (unread.append if start < end else consumer.pause)(topic_partition)
        while unread:
            for topic_partition, records in (
                await consumer.getmany(*unread, timeout_ms=200, max_records=1)
            ).items():
                if any(record.offset < ends[topic_partition.partition] for record in records):
                    return True
            unread = [
                topic_partition
                for topic_partition in unread
                if await consumer.position(topic_partition) < ends[topic_partition.partition]
            ]
        return False


async def log_end_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Return the offset behind whatever was written to each partition by now, its transaction ended or not."""
    async with _open_consumer(settings, topic, "read_uncommitted") as consumer:
        return {
            topic_partition.partition: end
            for topic_partition, end in (
                await consumer.end_offsets(list(consumer.assignment()))
            ).items()
        }


async def last_stable_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Return the offset behind the last record of each partition."""
    async with _open_consumer(settings, topic) as consumer:
        return {
            topic_partition.partition: end
            for topic_partition, end in (
                await consumer.end_offsets(list(consumer.assignment()))
            ).items()
        }


async def read_positions(
    settings: Settings, topic: str, wanted: Iterable[tuple[int, int]]
) -> AsyncIterator[ConsumerRecord]:
    """Yield the records at these partitions and offsets; what compaction or retention took is left out."""
    offsets: dict[int, list[int]] = {}
    for partition, offset in sorted(wanted):
        offsets.setdefault(partition, []).append(offset)
    if not offsets:
        return
    async with _open_consumer(settings, topic) as consumer:
        places = {
            topic_partition.partition: topic_partition for topic_partition in consumer.assignment()
        }
        ends = await consumer.end_offsets(list(places.values()))
        for partition, unread in offsets.items():
            topic_partition = places[partition]
            consumer.pause(*places.values())
            consumer.resume(topic_partition)
            async for record in _read_offsets(
                consumer, topic_partition, unread, ends[topic_partition]
            ):
                yield record


async def _read_offsets(
    consumer: AIOKafkaConsumer, topic_partition: TopicPartition, offsets: list[int], end: int
) -> AsyncIterator[ConsumerRecord]:
    """Yield the records at ascending ``offsets``; a wide gap is jumped over, a narrow one read through."""
    unread = deque(offset for offset in offsets if offset < end)
    position = -SEEK_THRESHOLD
    while unread:
        if unread[0] - position >= SEEK_THRESHOLD:
            consumer.seek(topic_partition, unread[0])
        for record in (
            await consumer.getmany(topic_partition, timeout_ms=200, max_records=500)
        ).get(topic_partition, ()):
            while unread and unread[0] < record.offset:
                unread.popleft()  # not there any more
            if unread and unread[0] == record.offset:
                unread.popleft()
                yield record
        position = await consumer.position(topic_partition)
        while unread and unread[0] < position:
            unread.popleft()


async def read_latest(settings: Settings, topic: str, key: bytes) -> ConsumerRecord | None:
    """Return the newest committed record of a key, a tombstone too; only the key's partition is read."""
    found = None
    async with _open_consumer(settings, topic) as consumer:
        places = {
            topic_partition.partition: topic_partition for topic_partition in consumer.assignment()
        }
        topic_partition = places[partition_for(key, len(places))]
        consumer.pause(*places.values())
        consumer.resume(topic_partition)
        end = (await consumer.end_offsets([topic_partition]))[topic_partition]
        while await consumer.position(topic_partition) < end:
            for record in (
                await consumer.getmany(topic_partition, timeout_ms=200, max_records=500)
            ).get(topic_partition, ()):
                if record.key == key:
                    found = record
    return found


async def read_topic(
    settings: Settings, topic: str, *, limit: int = 0
) -> AsyncIterator[ConsumerRecord]:
    """Yield the committed records of a topic that are there now, at most ``limit`` of them; in order within a partition."""
    given = 0
    async with _open_consumer(settings, topic) as consumer:
        names = await consumer.topics()
        if topic not in names:
            raise UsageError(f"no topic {topic}; there are: {', '.join(sorted(names)) or 'none'}")
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any(
            [
                await consumer.position(topic_partition) < end
                for topic_partition, end in ends.items()
            ]
        ):
            for records in (await consumer.getmany(timeout_ms=500, max_records=500)).values():
                for record in records:
                    yield record
                    given += 1
                    if limit and given >= limit:
                        return
