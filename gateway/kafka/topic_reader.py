"""Read what is committed on a topic now, from its beginning to its end, as any subscriber would."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from gateway.errors import UsageError
from gateway.kafka.client_session import started
from gateway.kafka.connection import arguments
from gateway.messages.outgoing import partition_for
from gateway.settings import Settings

FETCH_MS = 50
"""What is there is read to its end: a longer wait for more would only delay the stop of the consumer."""

FAR = 2_000
"""It is cheaper to read so many records than to ask a broker for another place."""


def _reading(settings: Settings, topic: str, isolation: str = "read_committed") -> AbstractAsyncContextManager[AIOKafkaConsumer]:
    given: dict[str, Any] = arguments(settings)
    consumer = AIOKafkaConsumer(
        topic,
        **given,
        isolation_level=isolation,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        group_id=None,
        fetch_max_wait_ms=FETCH_MS,
    )
    return started(consumer, settings, f"reading {topic}")


async def holds_records_between(settings: Settings, topic: str, begin: dict[TopicPartition, int], ends: dict[int, int]) -> bool:
    """Return whether a topic holds committed records from ``begin`` up to ``ends``, by partition; one that is not named counts from 0.

    Offsets alone do not tell: the markers of transactions take offsets too. While a transaction from before ``ends`` is open, it may.
    """
    async with _reading(settings, topic) as consumer:
        places = list(consumer.assignment())
        stable = await consumer.end_offsets(places)
        begins = await consumer.beginning_offsets(places)
        left: list[TopicPartition] = []
        for place in places:
            start, end = max(begin.get(place, 0), begins[place]), ends.get(place.partition, 0)
            if start < end and stable[place] < end:
                return True
            consumer.seek(place, start)
            (left.append if start < end else consumer.pause)(place)
        while left:
            for place, records in (await consumer.getmany(*left, timeout_ms=200, max_records=1)).items():
                if any(record.offset < ends[place.partition] for record in records):
                    return True
            left = [place for place in left if await consumer.position(place) < ends[place.partition]]
        return False


async def written(settings: Settings, topic: str) -> dict[int, int]:
    """Return the offset behind whatever was written to each partition by now, its transaction ended or not."""
    async with _reading(settings, topic, "read_uncommitted") as consumer:
        return {place.partition: end for place, end in (await consumer.end_offsets(list(consumer.assignment()))).items()}


async def end_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Return the offset behind the last record of each partition."""
    async with _reading(settings, topic) as consumer:
        return {place.partition: end for place, end in (await consumer.end_offsets(list(consumer.assignment()))).items()}


async def read_places(settings: Settings, topic: str, wanted: Iterable[tuple[int, int]]) -> AsyncIterator[ConsumerRecord]:
    """Yield the records at these partitions and offsets; what compaction or retention took is left out."""
    offsets: dict[int, list[int]] = {}
    for partition, offset in sorted(wanted):
        offsets.setdefault(partition, []).append(offset)
    if not offsets:
        return
    async with _reading(settings, topic) as consumer:
        places = {place.partition: place for place in consumer.assignment()}
        ends = await consumer.end_offsets(list(places.values()))
        for partition, left in offsets.items():
            place = places[partition]
            consumer.pause(*places.values())
            consumer.resume(place)
            async for record in _at(consumer, place, left, ends[place]):
                yield record


async def _at(consumer: AIOKafkaConsumer, place: TopicPartition, offsets: list[int], end: int) -> AsyncIterator[ConsumerRecord]:
    """Yield the records at ascending ``offsets``; a wide gap is jumped over, a narrow one read through."""
    left = deque(offset for offset in offsets if offset < end)
    position = -FAR
    while left:
        if left[0] - position >= FAR:
            consumer.seek(place, left[0])
        for record in (await consumer.getmany(place, timeout_ms=200, max_records=500)).get(place, ()):
            while left and left[0] < record.offset:
                left.popleft()  # not there any more
            if left and left[0] == record.offset:
                left.popleft()
                yield record
        position = await consumer.position(place)
        while left and left[0] < position:
            left.popleft()


async def newest(settings: Settings, topic: str, key: bytes) -> ConsumerRecord | None:
    """Return the newest committed record of a key, a tombstone too; only the key's partition is read."""
    found = None
    async with _reading(settings, topic) as consumer:
        places = {place.partition: place for place in consumer.assignment()}
        place = places[partition_for(key, len(places))]
        consumer.pause(*places.values())
        consumer.resume(place)
        end = (await consumer.end_offsets([place]))[place]
        while await consumer.position(place) < end:
            for record in (await consumer.getmany(place, timeout_ms=200, max_records=500)).get(place, ()):
                if record.key == key:
                    found = record
    return found


async def read_topic(settings: Settings, topic: str, *, limit: int = 0) -> AsyncIterator[ConsumerRecord]:
    """Yield the committed records of a topic that are there now, at most ``limit`` of them; in order within a partition."""
    given = 0
    async with _reading(settings, topic) as consumer:
        names = await consumer.topics()
        if topic not in names:
            raise UsageError(f"no topic {topic}; there are: {', '.join(sorted(names)) or 'none'}")
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500, max_records=500)).values():
                for record in records:
                    yield record
                    given += 1
                    if limit and given >= limit:
                        return
