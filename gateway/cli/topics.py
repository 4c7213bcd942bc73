"""``gateway topics``: create, verify and read the topics."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Annotated, Any

import typer

from gateway.cli.command_group import CommandGroup
from gateway.cli.runtime import load_settings


def read(
    topic: Annotated[str, typer.Argument(help="Name of the topic.")],
    limit: Annotated[
        int, typer.Option(min=0, help="Stop after this number of records. 0 reads all records.")
    ] = 0,
    headers: Annotated[bool, typer.Option("--headers", help="Print the headers also.")] = False,
) -> None:
    """Print the committed records of a topic, with one JSON object on each line.

    A value that is not JSON, such as an XML record, is printed as text. Bytes that are not text
    are printed in base64.
    """
    from gateway.kafka.topic_reader import read_topic

    async def print_all() -> None:
        async for record in read_topic(load_settings(), topic, limit=limit, every_record=True):
            line = {"key": _decode_text(record.key), "value": decode_value(record.value)}
            if headers:
                line["headers"] = {name: _decode_text(value) for name, value in record.headers}
            print(_to_printable_json(line))

    asyncio.run(print_all())


def decode_value(value: bytes | None) -> Any:
    """Return the parsed JSON of a record's value, or its text if the value is not JSON.

    A tombstone gives ``None``. A value that is not text gives its size and its bytes in base64.
    """
    if value is None:
        return None
    try:
        return json.loads(value, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return _decode_text(value)


def _decode_text(value: bytes | None) -> str | dict[str, Any] | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return {"bytes": len(value or b""), "base64": base64.b64encode(value or b"").decode()}


def _refuse_constant(name: str) -> Any:
    """Refuse ``NaN`` and ``Infinity``, which are not JSON."""
    raise ValueError(name)


def _to_printable_json(line: dict[str, Any]) -> str:
    """Return JSON in which every character that a terminal does not show is escaped."""
    text = json.dumps(line, ensure_ascii=False)
    return (
        text
        if text.isprintable()
        else "".join(
            character if character.isprintable() else json.dumps(character)[1:-1]
            for character in text
        )
    )


topics_app = typer.Typer(
    cls=CommandGroup, help="Create, verify and read the topics.", no_args_is_help=True
)


@topics_app.command("apply")
def apply_topics() -> None:
    """Create the missing topics."""
    from gateway.kafka import topic_admin
    from gateway.messages import topics

    settings = load_settings()
    created = asyncio.run(topic_admin.create_missing(settings))
    for name in created:
        print(f"created {name}")
    print(f"{len(topics.TOPICS) - len(created)} existed already, {len(created)} created")


@topics_app.command("verify")
def verify_topics() -> None:
    """Check that every topic exists with the declared settings.

    The exit code is 1 if a setting differs.
    """
    from gateway.kafka import topic_admin
    from gateway.messages import topics

    different = asyncio.run(topic_admin.verify_topics(load_settings()))
    for line in different:
        print(line)
    if different:
        raise typer.Exit(1)
    print(f"all {len(topics.TOPICS)} topics have the declared settings")
