"""Read the committed records of a topic, from its beginning to its present end.

A consumer without a group reads them, so no offset is stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from gateway.errors import RetryLater, Unavailable, UsageError
from gateway.kafka.client_session import client_session
from gateway.kafka.connection import admin_client, client_arguments
from gateway.kafka.record_fetch import fetch_records
from gateway.kafka.unreadable_records import is_well_formed, skip
from gateway.messages.outgoing import partition_for
from gateway.settings import Settings
from gateway.similar_name import did_you_mean

FETCH_MS = 50
"""Longest wait of a fetch request in milliseconds. A longer one would only delay the stop."""

SEEK_THRESHOLD = 2_000
"""Gap in records up to which reading is cheaper than a seek."""


def _open_consumer(
    settings: Settings, topic: str, isolation: str = "read_committed"
) -> AbstractAsyncContextManager[AIOKafkaConsumer]:
    arguments: dict[str, Any] = client_arguments(settings)
    consumer = AIOKafkaConsumer(
        topic,
        **arguments,
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
    """Return whether a topic contains committed records from ``begin`` up to ``ends``.

    Both are offsets by partition; a partition that is missing in ``begin`` starts at 0.
    Comparing offsets is not enough, because transaction markers also use offsets. Returns
    true while a transaction that began before ``ends`` is still open.
    """
    async with _open_consumer(settings, topic) as consumer:
        partitions = list(consumer.assignment())
        stable = await consumer.end_offsets(partitions)
        begins = await consumer.beginning_offsets(partitions)
        unread: list[TopicPartition] = []
        for topic_partition in partitions:
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
                await fetch_records(consumer, *unread, timeout_ms=200, max_records=1)
            ).items():
                if any(record.offset < ends[topic_partition.partition] for record in records):
                    return True
            unread = [
                topic_partition
                for topic_partition in unread
                if await consumer.position(topic_partition) < ends[topic_partition.partition]
            ]
        return False


@contextmanager
def retry_later(what: str) -> Iterator[None]:
    """Raise :class:`~gateway.errors.RetryLater` in place of a failure of Kafka.

    A command ends if no broker answers. A role tries again.
    """
    try:
        yield
    except (Unavailable, KafkaError, OSError) as error:
        raise RetryLater("kafka", f"{what} failed ({type(error).__name__})") from error


async def count_partitions(settings: Settings, topic: str) -> int:
    """Return the number of partitions of a topic."""
    async with _open_consumer(settings, topic) as consumer:
        return len(consumer.assignment())


async def log_end_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Return the end offset of each partition, including records of open transactions."""
    async with _open_consumer(settings, topic, "read_uncommitted") as consumer:
        return {
            topic_partition.partition: end
            for topic_partition, end in (
                await consumer.end_offsets(list(consumer.assignment()))
            ).items()
        }


async def last_stable_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Return the last stable offset of each partition.

    It is the end of the records that a ``read_committed`` reader can see.
    """
    async with _open_consumer(settings, topic) as consumer:
        return {
            topic_partition.partition: end
            for topic_partition, end in (
                await consumer.end_offsets(list(consumer.assignment()))
            ).items()
        }


async def read_positions(
    settings: Settings, topic: str, positions: Iterable[tuple[int, int]]
) -> AsyncIterator[ConsumerRecord]:
    """Yield the records at ``positions``, which are pairs of partition and offset.

    Records that compaction or retention has deleted are left out.
    """
    offsets: dict[int, list[int]] = {}
    for partition, offset in sorted(positions):
        offsets.setdefault(partition, []).append(offset)
    if not offsets:
        return
    async with _open_consumer(settings, topic) as consumer:
        partitions = {
            topic_partition.partition: topic_partition for topic_partition in consumer.assignment()
        }
        ends = await consumer.end_offsets(list(partitions.values()))
        for partition, unread in offsets.items():
            topic_partition = partitions[partition]
            consumer.pause(*partitions.values())
            consumer.resume(topic_partition)
            async for record in _read_offsets(
                consumer, topic_partition, unread, ends[topic_partition]
            ):
                yield record


async def _read_offsets(
    consumer: AIOKafkaConsumer, topic_partition: TopicPartition, offsets: list[int], end: int
) -> AsyncIterator[ConsumerRecord]:
    """Yield the records at ascending ``offsets``.

    The consumer seeks over a gap of at least :data:`SEEK_THRESHOLD`, and reads through a
    smaller one.
    """
    unread = deque(offset for offset in offsets if offset < end)
    position = -SEEK_THRESHOLD
    while unread:
        if unread[0] - position >= SEEK_THRESHOLD:
            consumer.seek(topic_partition, unread[0])
        for record in (
            await fetch_records(consumer, topic_partition, timeout_ms=200, max_records=500)
        ).get(topic_partition, ()):
            while unread and unread[0] < record.offset:
                unread.popleft()  # compaction or retention has deleted this record
            if unread and unread[0] == record.offset:
                unread.popleft()
                yield record
        position = await consumer.position(topic_partition)
        while unread and unread[0] < position:
            unread.popleft()


async def read_latest(settings: Settings, topic: str, key: bytes) -> ConsumerRecord | None:
    """Return the newest committed record of a key, which can be a tombstone.

    Returns ``None`` if there is none. Only the partition of the key is read.
    """
    latest = None
    async with _open_consumer(settings, topic) as consumer:
        partitions = {
            topic_partition.partition: topic_partition for topic_partition in consumer.assignment()
        }
        topic_partition = partitions[partition_for(key, len(partitions))]
        consumer.pause(*partitions.values())
        consumer.resume(topic_partition)
        end = (await consumer.end_offsets([topic_partition]))[topic_partition]
        while await consumer.position(topic_partition) < end:
            for record in (
                await fetch_records(consumer, topic_partition, timeout_ms=200, max_records=500)
            ).get(topic_partition, ()):
                if record.key == key:
                    latest = record
    return latest


async def _require_topic(settings: Settings, topic: str) -> None:
    """Raise an error at once if a topic is not there. A consumer waits for it for 40 seconds."""
    admin = await admin_client(settings)
    try:
        names = await admin.list_topics()
    finally:
        await admin.close()
    if topic not in names:
        raise UsageError(
            f"no topic {topic}: it does not exist, or this user may not see it"
            f"{did_you_mean(topic, names)}; create the topics with `gateway topics apply`; "
            f"there are: {', '.join(sorted(names)) or 'none'}"
        )


async def read_tail(settings: Settings, topic: str, most: int) -> AsyncIterator[ConsumerRecord]:
    """Yield the committed records at the last ``most`` offsets of a topic, partition by partition.

    They are fewer records than offsets where compaction or a transaction left gaps. Raises
    :class:`~gateway.errors.UsageError` if the topic does not exist.
    """
    await _require_topic(settings, topic)
    async with _open_consumer(settings, topic) as consumer:
        partitions = list(consumer.assignment())
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        share = max(1, most // max(1, len(partitions)))
        for partition in partitions:
            consumer.seek(partition, max(begins[partition], ends[partition] - share))
        unread = [partition for partition in partitions if begins[partition] < ends[partition]]
        while unread:
            fetched = await fetch_records(consumer, *unread, timeout_ms=200, max_records=200)
            for partition, records in fetched.items():
                for record in records:
                    if record.offset < ends[partition]:
                        yield record
            unread = [
                partition
                for partition in unread
                if await consumer.position(partition) < ends[partition]
            ]


async def read_topic(
    settings: Settings,
    topic: str,
    *,
    limit: int = 0,
    every_record: bool = False,
    follow: bool = False,
) -> AsyncIterator[ConsumerRecord]:
    """Yield the committed records that a topic contains now, in order within a partition.

    Records whose key or headers are not text are left out, unless ``every_record`` is true. With
    a ``limit`` other than 0, yield no more than ``limit`` records. With ``follow``, continue with
    new records without end. Raises
    :class:`~gateway.errors.UsageError` if the topic does not exist.
    """
    count = 0
    await _require_topic(settings, topic)
    async with _open_consumer(settings, topic) as consumer:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while follow or any(
            [
                await consumer.position(topic_partition) < end
                for topic_partition, end in ends.items()
            ]
        ):
            for records in (
                await fetch_records(consumer, timeout_ms=500, max_records=500)
            ).values():
                for record in records:
                    if not every_record and not is_well_formed(record):
                        skip(record)
                        continue
                    yield record
                    count += 1
                    if limit and count >= limit:
                        return
