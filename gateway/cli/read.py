"""Read a topic as any subscriber would: read_committed, plain JSON values, standard headers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

import typer
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from gateway.errors import UsageError
from gateway.settings import Settings


async def read_topic(settings: Settings, topic: str, *, limit: int = 0) -> AsyncIterator[ConsumerRecord]:
    """Yield the committed records of a topic that are there now, at most ``limit`` of them; in order within a partition."""
    from gateway.publish.connection import arguments

    consumer = AIOKafkaConsumer(
        topic,
        **arguments(settings),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        group_id=None,
    )
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


def read(
    topic: Annotated[str, typer.Argument(help="Topic to read.")],
    limit: Annotated[int, typer.Option(min=0, help="Stop after so many records; 0 reads all that are there.")] = 0,
    headers: Annotated[bool, typer.Option("--headers", help="Print headers too.")] = False,
) -> None:
    """Print the committed records of a topic, one JSON object a line: key, value, and headers when asked for."""
    from gateway.cli.run import settings_here

    async def print_all() -> None:
        async for record in read_topic(settings_here(), topic, limit=limit):
            line = {"key": record.key.decode() if record.key else None, "value": json.loads(record.value) if record.value else None}
            if headers:
                line["headers"] = {name: value.decode() for name, value in record.headers}
            print(json.dumps(line, ensure_ascii=False))

    asyncio.run(print_all())
