"""Check the page that shows the records of a topic: behind the token, and without persons."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from aiokafka import ConsumerRecord
from lxml import html

from gateway.errors import Unavailable
from gateway.messages.topics import TOPICS
from gateway.observability.health_server import HealthServer
from gateway.observability.topics_page import (
    BrowsedRecord,
    TopicBrowser,
    TopicQuery,
    render_topic,
)
from gateway.operations.browse_topics import HIDDEN, TOPIC_NAMES, form_of, show_record
from gateway.settings import Settings

NOW = 1_800_000_000.0
TOKEN = "a token for tests only"
PERSON = {
    "id": "010190-901A",
    "name": "Aino Virtanen",
    "born": "1990-01-01",
    "levels": [{"code": "6"}] * 5,
    "010190-901A": {"x": 1},
}
HEADERS = [
    ("ce_type", b"eu.europa.credential.issued.v1"),
    ("ce_source", b"/connectors/fi-koski/awards"),
    ("ce_subject", b"010190-901A"),
    ("context.student", b"010190-901A"),
]


def record(topic: str, value: bytes | None, key: bytes = b"fi-koski|010190-901A") -> ConsumerRecord:
    return ConsumerRecord(
        topic=topic,
        partition=2,
        offset=1041,
        timestamp=int(NOW * 1000) - 5_000,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=HEADERS,
    )


@pytest.mark.parametrize("topic", [one.name for one in TOPICS if one.personal])
def test_personal_topics_show_neither_key_nor_value_of_a_person(topic: str):
    value = json.dumps(PERSON).encode() if topic != "gateway.rejections.v1" else b'{"reason": "x"}'
    for content in (value, b"<a><name>010190-901A</name></a>", b"\xff010190-901A", None):
        if topic == "gateway.rejections.v1" and content not in {value, None}:
            continue
        shown = show_record(record(topic, content))
        text = str(shown)
        assert shown.is_personal
        assert shown.key == HIDDEN
        for personal in ("010190", "Virtanen", "1990-01-01"):
            assert personal not in text
        assert shown.headers["ce_source"] == "/connectors/fi-koski/awards"


@pytest.mark.parametrize("topic", [one.name for one in TOPICS if not one.personal])
def test_other_topics_show_their_values(topic: str):
    shown = show_record(record(topic, b'{"title": "Welder"}', b"key"))
    assert (shown.key, shown.is_personal) == ("key", False)
    assert "Welder" in shown.value


def test_the_form_of_a_value_keeps_the_names_of_fields_only():
    assert form_of(PERSON) == {
        "id": "text",
        "name": "text",
        "born": "text",
        "levels": [{"code": "text"}] * 3 + ["and 2 more"],
        "*": {"x": "number"},
    }


def test_an_unknown_topic_is_treated_as_personal():
    assert show_record(record("other", b'"Virtanen"')).value == "text"


def test_a_tombstone_is_named():
    assert "tombstone" in show_record(record("europass.qualifications.v1", None)).value


async def read(_query: TopicQuery) -> list[BrowsedRecord]:
    return [show_record(record("europass.qualifications.v1", b'{"title": "<b>Welder"}', b"key"))]


BROWSER = TopicBrowser(TOPIC_NAMES, read)
QUERY = TopicQuery("europass.qualifications.v1", key="k", connector="fi-koski", number=50)


def test_page_shows_records_and_keeps_the_filter():
    page = render_topic(QUERY, BROWSER, ["fi-koski", "aa"], asyncio.run(read(QUERY)), NOW)
    tree = html.fromstring(page)
    assert "<b>Welder" in tree.xpath("string(//details//pre)")
    assert tree.xpath("//select[@name='topic']/option[@selected]/text()") == [QUERY.topic]
    assert tree.xpath("//select[@name='connector']/option[@selected]/text()") == ["fi-koski"]
    assert tree.xpath("//input[@name='key']/@value") == ["k"]
    assert tree.xpath("//select[@name='number']/option[@selected]/text()") == ["50"]
    assert "<script" not in page


@pytest.mark.parametrize("number", ["7", "", "-1", "1e9", "x"])
def test_a_number_that_no_form_sends_becomes_the_smallest(number: str):
    query = TopicQuery.from_form({"topic": QUERY.topic, "number": number}, TOPIC_NAMES)
    assert query
    assert query.number == 10


def ask(query: str, reader: Any = read, **headers: str) -> tuple[int, str, int]:
    asked = []

    async def counted(one: TopicQuery) -> list[BrowsedRecord]:
        asked.append(one)
        return await reader(one)

    async def go() -> tuple[int, str]:
        options = Settings(metrics_port=0, health_token=TOKEN)
        browser = TopicBrowser(TOPIC_NAMES, counted)
        async with (
            HealthServer(options, browser=browser) as server,
            aiohttp.ClientSession() as session,
            session.get(server.url + "/topics?" + query, headers=headers) as reply,
        ):
            return reply.status, await reply.text()

    return *asyncio.run(go()), len(asked)


BEARER = f"Bearer {TOKEN}"


def test_topics_need_the_token_and_read_nothing_without_it():
    query = f"topic={QUERY.topic}"
    assert ask(query)[::2] == (401, 0)
    assert ask(query, Authorization="Bearer wrong")[::2] == (401, 0)
    status, page, reads = ask(query, Authorization=BEARER)
    assert (status, reads) == (200, 1)
    assert "Welder" in page
    assert ask(query, Authorization=BEARER, Host="rebound.example")[::2] == (421, 0)


def test_an_unknown_topic_is_not_read():
    assert ask("topic=__consumer_offsets", Authorization=BEARER)[::2] == (404, 0)


def test_a_kafka_that_does_not_answer_is_said_on_the_page():
    async def fail(_query: TopicQuery) -> list[BrowsedRecord]:
        raise Unavailable("no Kafka answers")

    status, page, _ = ask(f"topic={QUERY.topic}", fail, Authorization=BEARER)
    assert status == 503
    assert "no Kafka answers" in page
