"""Create, verify and read the topics."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer

from gateway.cli.runtime import load_settings


def read(
    topic: Annotated[str, typer.Argument(help="Topic to read.")],
    limit: Annotated[
        int, typer.Option(min=0, help="Stop after so many records; 0 reads all that are there.")
    ] = 0,
    headers: Annotated[bool, typer.Option("--headers", help="Print headers too.")] = False,
) -> None:
    """Print the committed records of a topic, with one JSON object on each line."""
    from gateway.kafka.topic_reader import read_topic

    async def print_all() -> None:
        async for record in read_topic(load_settings(), topic, limit=limit):
            line = {
                "key": record.key.decode() if record.key else None,
                "value": json.loads(record.value) if record.value else None,
            }
            if headers:
                line["headers"] = {name: value.decode() for name, value in record.headers}
            print(json.dumps(line, ensure_ascii=False))

    asyncio.run(print_all())


topics_app = typer.Typer(help="Create and verify the topics.", no_args_is_help=True)


@topics_app.command("apply")
def apply_topics() -> None:
    """Create the topics that are missing."""
    from gateway.kafka import topic_admin
    from gateway.messages import topics

    settings = load_settings()
    created = asyncio.run(topic_admin.create_missing(settings))
    for name in created:
        print(f"created {name}")
    print(f"{len(topics.TOPICS) - len(created)} were there already, {len(created)} created")


@topics_app.command("verify")
def verify_topics() -> None:
    """Say whether every topic is there as declared."""
    from gateway.kafka import topic_admin
    from gateway.messages import topics

    different = asyncio.run(topic_admin.verify_topics(load_settings()))
    for line in different:
        print(line)
    if different:
        raise typer.Exit(1)
    print(f"all {len(topics.TOPICS)} topics are there as declared")
