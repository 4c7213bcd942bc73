"""Show what the demo published: topics, a rejection, one record, and why it has its EQF level."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table

from gateway.cli.safe_console import SafeConsole
from gateway.kafka.topic_reader import read_topic
from gateway.messages.topics import CREDENTIALS_TOPIC, PLATFORMS, RAW, REJECTIONS, TOPICS
from gateway.printable import one_line
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.harmonise.explanation import Explanation, FieldExplanation
    from gateway.pipeline.loaded_config import LoadedConfig

WIDTH = 80
MAX_COUNTED = 100_000


async def show_results(
    console: SafeConsole, settings: Settings, config: LoadedConfig, *, status_page: str
) -> None:
    """Print the documents of each topic, one rejection and one record with its explanation.

    ``status_page`` is the address of the status page, if it stays available.
    """
    drawn = Table(box=None, pad_edge=False)
    drawn.add_column("topic")
    drawn.add_column("documents", justify="right")
    for topic, number in (await count_documents(settings)).items():
        drawn.add_row(topic, f"{number:,}")
    console.print()
    console.print(drawn)
    lines = [*_subscribe_lines(settings, status_page)]
    async for record in read_topic(settings, REJECTIONS.name, limit=1):
        lines += _rejection_lines(json.loads(record.value))
    if page := await find_explanation(settings, config):
        lines += [*_record_lines(page), *_level_lines(page)]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


async def count_documents(settings: Settings) -> dict[str, int]:
    """Return the number of documents on each topic for platforms.

    Count at most ``MAX_COUNTED`` records of a topic.
    """
    found = {}
    for topic in TOPICS:
        if set(topic.readers) & set(PLATFORMS):
            standing: dict[bytes, bool] = {}
            async for record in read_topic(settings, topic.name, limit=MAX_COUNTED):
                standing[record.key] = record.value is not None
            found[topic.name] = sum(standing.values())
    return found


async def find_explanation(settings: Settings, config: LoadedConfig) -> Explanation | None:
    """Return the explanation of a published credential whose EQF level a table states."""
    from gateway.harmonise.explanation import explain
    from gateway.messages.cloudevents import decode_raw
    from gateway.pipeline.record_processor import build_record_processor

    published = {
        record.key
        async for record in read_topic(settings, CREDENTIALS_TOPIC, limit=MAX_COUNTED)
        if record.value is not None
    }
    processor = build_record_processor(settings, config.harmonisers.get)
    async for record in read_topic(settings, RAW.name):
        if record.value is None:
            continue
        raw = decode_raw(record.key, record.value, record.headers)
        if not any(tombstone.key in published for tombstone in processor.tombstones_for(raw)):
            continue
        page = explain(
            config.connectors[raw.connector],
            raw,
            config.harmonisers[raw.connector](raw),
            tables=config.tables,
            position=f"{RAW.name}-{record.partition}@{record.offset}",
        )
        if any(row.row for row in _level(page).rows):
            return page
    return None


def _level(page: Explanation) -> FieldExplanation:
    from gateway.harmonise.explanation import FieldExplanation

    absent = FieldExplanation(field="eqf_level", value="", personal=False, rule="")
    return next((field for field in page.fields if field.field == "eqf_level"), absent)


def _subscribe_lines(settings: Settings, status_page: str) -> Iterator[str]:
    if not status_page:
        yield "to read the topics yourself, run the demo again with --keep"
        return
    yield f"status page  {status_page}/   metrics  {status_page}/metrics"
    yield "read a topic, in another terminal:"
    yield (
        f"  GATEWAY_KAFKA_BOOTSTRAP={settings.kafka_bootstrap} \\\n"
        f"  {sys.argv[0]} topics read {CREDENTIALS_TOPIC} --limit 1"
    )


def _rejection_lines(rejection: dict[str, str]) -> Iterator[str]:
    yield "\none rejected record"
    for name in ("connector", "stream", "field", "reason", "detail"):
        if text := rejection.get(name):
            yield from _wrap(name, text)


def _record_lines(page: Explanation) -> Iterator[str]:
    """Yield the fields of a record. The values of personal fields are not shown."""
    yield "\none harmonised record"
    yield from _wrap("registry", f"{page.connector}, stream {page.stream}", width=31)
    yield from _wrap("topic", CREDENTIALS_TOPIC, width=31)
    for field in page.fields:
        if field.value:
            yield from _wrap(field.field, field.value, width=31)


def _level_lines(page: Explanation) -> Iterator[str]:
    """Yield the answer to the question why the record has its EQF level."""
    field = _level(page)
    yield f"\nWhy EQF {field.value}?"
    yield from _wrap(
        "the record says",
        ", ".join(f"{source.expression} {' | '.join(source.values)}" for source in field.sources),
    )
    for row in field.rows:
        yield from _wrap("the table row", f"{row.row}, version {row.version}")
        yield from _wrap("its legal source", row.source)
        yield from _wrap("its address", row.address)
    yield "`gateway explain CONNECTOR RECORD` answers this for every field of any record"


def _wrap(name: str, text: str, width: int = 16) -> list[str]:
    return textwrap.wrap(
        one_line(text),
        WIDTH,
        initial_indent=f"  {name:<{width}} ",
        subsequent_indent=" " * (width + 3),
        break_long_words=False,
        break_on_hyphens=False,
    )
