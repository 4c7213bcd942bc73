"""Read a topic as any subscriber would: read_committed, plain JSON values, standard headers."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer


def read(
    topic: Annotated[str, typer.Argument(help="Topic to read.")],
    limit: Annotated[int, typer.Option(min=0, help="Stop after so many records; 0 reads all that are there.")] = 0,
    headers: Annotated[bool, typer.Option("--headers", help="Print headers too.")] = False,
) -> None:
    """Print the committed records of a topic, one JSON object a line: key, value, and headers when asked for."""
    from gateway.cli.run import settings_here
    from gateway.kafka.topic_reader import read_topic

    async def print_all() -> None:
        async for record in read_topic(settings_here(), topic, limit=limit):
            line = {"key": record.key.decode() if record.key else None, "value": json.loads(record.value) if record.value else None}
            if headers:
                line["headers"] = {name: value.decode() for name, value in record.headers}
            print(json.dumps(line, ensure_ascii=False))

    asyncio.run(print_all())
