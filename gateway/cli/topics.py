"""``gateway topics``: create, verify and read the topics."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Annotated, Any

import typer

from gateway.cli.command_group import CommandGroup
from gateway.cli.runtime import load_settings
from gateway.operations.readable_records import decode_headers, decode_text, decode_value, matches


def read(
    topic: Annotated[str, typer.Argument(help="Name of the topic.")],
    limit: Annotated[
        int, typer.Option(min=0, help="Stop after this number of records. 0 reads all records.")
    ] = 0,
    headers: Annotated[bool, typer.Option("--headers", help="Print the headers also.")] = False,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Continue with new records until you press Ctrl-C."),
    ] = False,
    key: Annotated[str, typer.Option(help="Only records whose key contains this text.")] = "",
    header: Annotated[
        list[str] | None,
        typer.Option(
            help="Only records with this header: NAME, or NAME=TEXT for a value "
            "that contains a text. Can be repeated."
        ),
    ] = None,
    connector: Annotated[str, typer.Option(help="Only records of this connector.")] = "",
    as_json: Annotated[  # noqa: ARG001 - other commands have it, so that people expect it
        bool, typer.Option("--json", help="Changes nothing: the output is always JSON.")
    ] = False,
) -> None:
    """Print the committed records of a topic, with one JSON object on each line.

    A value that is not JSON, such as an XML record, is printed as text. Bytes that are not text
    are printed in base64.
    """
    from gateway.kafka.topic_reader import read_topic

    async def print_all() -> int:
        printed = 0
        async for record in read_topic(load_settings(), topic, every_record=True, follow=follow):
            if not matches(record, key, header or [], connector):
                continue
            line = {"key": decode_text(record.key), "value": decode_value(record.value)}
            if headers:
                line["headers"] = decode_headers(record.headers)
            print(_to_printable_json(line), flush=follow)
            printed += 1
            if printed == limit:
                break
        return printed

    # The usual way to end `--follow` is no failure.
    with contextlib.suppress(KeyboardInterrupt) if follow else contextlib.nullcontext():
        if not asyncio.run(print_all()) and (key or header or connector):
            print(f"{topic} has no record that matches", file=sys.stderr)


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
def apply_topics(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Create the missing topics."""
    from gateway.kafka import topic_admin
    from gateway.messages import topics

    settings = load_settings()
    created = asyncio.run(topic_admin.create_missing(settings))
    if as_json:
        existed = [topic.name for topic in topics.TOPICS if topic.name not in created]
        print(json.dumps({"created": list(created), "existed": existed}, indent=1))
        return
    for name in created:
        print(f"created {name}")
    print(f"{len(topics.TOPICS) - len(created)} existed already, {len(created)} created")


@topics_app.command("verify")
def verify_topics(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that every topic exists with the declared settings.

    The exit code is 1 if a setting differs.
    """
    from gateway.kafka import topic_admin
    from gateway.messages import topics

    different = asyncio.run(topic_admin.verify_topics(load_settings()))
    if as_json:
        print(json.dumps({"topics": len(topics.TOPICS), "differences": different}, indent=1))
    else:
        all_equal = f"all {len(topics.TOPICS)} topics have the declared settings"
        print("\n".join(different) or all_equal)
    if different:
        raise typer.Exit(1)
