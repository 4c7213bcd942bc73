"""Read what is committed on a topic now, from its beginning to its end, as any subscriber would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from gateway.errors import UsageError
from gateway.publish.connection import arguments
from gateway.settings import Settings


def _consumer(settings: Settings, topic: str) -> AIOKafkaConsumer:
    given: dict[str, Any] = arguments(settings)
    return AIOKafkaConsumer(
        topic, **given, isolation_level="read_committed", auto_offset_reset="earliest", enable_auto_commit=False, group_id=None
    )


async def holds_records_after(settings: Settings, topic: str, offsets: dict[TopicPartition, int]) -> bool:
    """Return whether a topic holds committed records from ``offsets`` on; a partition that is not named counts from its beginning.

    An end offset alone does not tell: the markers of transactions take offsets too.
    """
    consumer = _consumer(settings, topic)
    await consumer.start()
    try:
        places = list(consumer.assignment())
        ends = await consumer.end_offsets(places)
        begins = await consumer.beginning_offsets(places)
        for place in places:
            consumer.seek(place, max(offsets.get(place, 0), begins[place]))
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            if any((await consumer.getmany(timeout_ms=200, max_records=1)).values()):
                return True
        return False
    finally:
        await consumer.stop()


async def read_topic(settings: Settings, topic: str, *, limit: int = 0) -> AsyncIterator[ConsumerRecord]:
    """Yield the committed records of a topic that are there now, at most ``limit`` of them; in order within a partition."""
    consumer = _consumer(settings, topic)
    await consumer.start()
    given = 0
    try:
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
    finally:
        await consumer.stop()
