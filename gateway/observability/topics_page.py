"""Render the form that selects records of a topic, and the page that shows them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import htpy
from htpy import Element, Node, code, p

from gateway.observability import page_elements as elements
from gateway.observability.page_layout import render_document

NUMBERS = (10, 50, 200)
MAX_VALUE = 20_000
"""The characters of one value that are shown."""


@dataclass(frozen=True, slots=True)
class TopicQuery:
    """Which records of a topic to show. An empty text selects all."""

    topic: str
    key: str = ""
    header: str = ""
    connector: str = ""
    number: int = NUMBERS[0]

    @classmethod
    def from_form(cls, fields: Mapping[str, str], topics: Sequence[str]) -> TopicQuery | None:
        """Return the query of a form; ``None`` for an unknown topic."""
        if fields.get("topic") not in topics:
            return None
        number = fields.get("number", "")
        return cls(
            topic=fields["topic"],
            key=fields.get("key", ""),
            header=fields.get("header", ""),
            connector=fields.get("connector", ""),
            number=int(number) if number in {str(one) for one in NUMBERS} else NUMBERS[0],
        )


@dataclass(frozen=True, slots=True)
class BrowsedRecord:
    """One record, with persons hidden. ``at`` is a Unix time."""

    position: str
    at: float
    key: str
    headers: Mapping[str, str]
    value: str
    size: int
    is_personal: bool


@dataclass(frozen=True, slots=True)
class TopicBrowser:
    """The topics that can be browsed, and the function that reads them."""

    topics: tuple[str, ...]
    read: Callable[[TopicQuery], Awaitable[list[BrowsedRecord]]]


def topics_form(
    topics: Iterable[str], connectors: Iterable[str], query: TopicQuery | None = None
) -> Element:
    """Return the form that selects records. It needs no script."""
    chosen = query or TopicQuery("")
    topic_options = [
        htpy.option(value=name, selected=name == chosen.topic)[name] for name in topics
    ]
    connector_options = [
        htpy.option(value="")["all"],
        *(
            htpy.option(value=name, selected=name == chosen.connector)[name]
            for name in sorted(connectors)
        ),
    ]
    number_options = [
        htpy.option(value=str(number), selected=number == chosen.number)[str(number)]
        for number in NUMBERS
    ]
    fields: tuple[tuple[str, Node], ...] = (
        ("Topic ", htpy.select(name="topic")[topic_options]),
        ("Connector ", htpy.select(name="connector")[connector_options]),
        ("Key contains ", htpy.input(name="key", value=chosen.key, maxlength="500")),
        ("Header ", htpy.input(name="header", value=chosen.header, maxlength="500")),
        ("Records ", htpy.select(name="number")[number_options]),
    )
    form = htpy.form(action="/topics", method="get")[
        p(".fields")[
            [[htpy.label[text, field], " "] for text, field in fields], htpy.button["Show"]
        ]
    ]
    note = p[
        "The last records, the newest first. A header is NAME, or NAME=TEXT for a part of its "
        "value. Persons are hidden."
    ]
    return elements.titled_section("topics", "Browse a topic", [form, note])


def render_topic(
    query: TopicQuery,
    browser: TopicBrowser,
    connectors: Iterable[str],
    records: Sequence[BrowsedRecord],
    now: float,
    problem: str = "",
) -> str:
    """Return the page with the records, or with the ``problem`` because of which there are none."""
    found: Node = p[problem or "No record of the last ones matches."]
    if records:
        found = [
            p["This topic has personal data: keys and values are hidden."]
            if any(record.is_personal for record in records)
            else None,
            [_record(record, now) for record in records],
        ]
    count = elements.count(len(records), "record", "records")
    answer = elements.titled_section("records", f"{query.topic}: {count}", found)
    return render_document(
        f"records of {query.topic}",
        None,
        [topics_form(browser.topics, connectors, query), answer],
        p[htpy.a(href="/")["Back to the status page"]],
    )


def _record(record: BrowsedRecord, now: float) -> Element:
    value = record.value[:MAX_VALUE] + ("…" if len(record.value) > MAX_VALUE else "")
    age = elements.duration(max(0.0, now - record.at))
    return htpy.details[
        htpy.summary[code[record.position], f", {age} ago, ", code[record.key]],
        htpy.dl[
            htpy.dt["Time"],
            htpy.dd[elements.instant(record.at)],
            [[htpy.dt[name], htpy.dd[code[text]]] for name, text in record.headers.items()],
            htpy.dt[f"Value, {elements.number(record.size)} bytes"],
            htpy.dd[htpy.pre(".wrapped")[value]],
        ],
    ]
