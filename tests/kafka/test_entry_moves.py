"""A catalogue entry is on the topic of complete or on that of incomplete entries, never on both.

Subscribers of each topic see the documents and the deletions that concern them, and no others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from msgspec.structs import replace

from gateway.config.loading import load_connector
from gateway.kafka import topic_admin
from gateway.kafka.topic_reader import read_topic
from gateway.messages.cloudevents import content_id, encode_raw_headers
from gateway.messages.topics import (
    INCOMPLETE_ENTRIES_TOPIC,
    OPPORTUNITIES_TOPIC,
    QUALIFICATIONS_TOPIC,
)
from gateway.observability import metrics
from gateway.pipeline.loaded_config import load_config
from gateway.pipeline.raw_entry import erasure_entry
from gateway.pipeline.record_processor import build_record_processor
from gateway.records import RawRecord
from gateway.settings import Settings
from tests.end_to_end.test_audiences import settings as keys
from tests.security.test_holders_without_consent import RESTART, Stage

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
STREAMS = load_connector(ROOT / "connectors" / "demo-rest.yaml").streams
PROGRAMME: dict[str, Any] = STREAMS["programmes"].tests[0].given
COURSE: dict[str, Any] = STREAMS["courses"].tests[0].given
COMPLETE, INCOMPLETE = QUALIFICATIONS_TOPIC, INCOMPLETE_ENTRIES_TOPIC
DOCUMENT, TOMBSTONE = True, False
CASES = {
    # The versions of a record, and what a reader of each topic then finds of it.
    "complete": ("whole, whole, whole", {COMPLETE: [DOCUMENT] * 3}),
    "incomplete": ("poor, poor, poor", {INCOMPLETE: [DOCUMENT] * 3}),
    "a whole life": (
        f"poor, whole, {RESTART}, poor, gone",
        {
            INCOMPLETE: [DOCUMENT, TOMBSTONE, DOCUMENT, TOMBSTONE],
            COMPLETE: [DOCUMENT, TOMBSTONE],
        },
    ),
    "becomes complete": (
        "poor, whole, whole, gone",
        {INCOMPLETE: [DOCUMENT, TOMBSTONE], COMPLETE: [DOCUMENT, DOCUMENT, TOMBSTONE]},
    ),
    "becomes complete after a restart": (
        f"poor, {RESTART}, whole, {RESTART}, whole",
        {INCOMPLETE: [DOCUMENT, TOMBSTONE], COMPLETE: [DOCUMENT, DOCUMENT]},
    ),
    "becomes incomplete": (
        "whole, poor, poor, poor",
        {COMPLETE: [DOCUMENT, TOMBSTONE], INCOMPLETE: [DOCUMENT] * 3},
    ),
    "lacks another field": (
        "poor, poorer, poor, gone",
        {INCOMPLETE: [DOCUMENT, DOCUMENT, DOCUMENT, TOMBSTONE]},
    ),
    "incomplete and deleted": ("poor, gone", {INCOMPLETE: [DOCUMENT, TOMBSTONE]}),
    "complete and deleted": ("whole, gone", {COMPLETE: [DOCUMENT, TOMBSTONE]}),
    "incomplete and erased": (
        f"poor, {RESTART}, erased",
        {INCOMPLETE: [DOCUMENT, TOMBSTONE]},
    ),
    "incomplete and unreadable": (
        "poor, bad, poor",
        {INCOMPLETE: [DOCUMENT, TOMBSTONE, DOCUMENT], COMPLETE: [TOMBSTONE]},
    ),
    "a value that cannot be used": (
        "poor, unusable, whole",
        {INCOMPLETE: [DOCUMENT, TOMBSTONE], COMPLETE: [DOCUMENT]},
    ),
    "a course that becomes complete and incomplete": (
        "course poor, course whole, course poor",
        {
            INCOMPLETE: [DOCUMENT, TOMBSTONE, DOCUMENT],
            OPPORTUNITIES_TOPIC: [DOCUMENT, TOMBSTONE],
        },
    ),
}


def raw_record(words: str, native_id: str, number: int) -> RawRecord:
    kind, _, state = words.rpartition(" ")
    given = dict(COURSE if kind else PROGRAMME) | {"version": number}
    if state in {"poor", "poorer"}:
        given["learningOutcomes"] = []
    if state == "poorer":
        given["fieldsOfStudy"] = None
    if state == "unusable":
        given["fieldsOfStudy"] = "1234"
    raw = RawRecord(
        connector="demo-rest",
        stream="courses" if kind else "programmes",
        native_id=native_id,
        body=b"{" if state == "bad" else json.dumps(given, default=float).encode(),
        written_before=number > 0,
    )
    if state == "erased":
        return erasure_entry(raw, "asked").raw
    return replace(raw, body=None) if state == "gone" else raw


@pytest.mark.parametrize("one_batch", [False, True], ids=["one by one", "in one batch"])
def test_entry_is_on_one_topic(
    settings: Settings,
    name: str,
    create_topic: Callable[..., Awaitable[str]],
    one_batch: bool,
) -> None:
    ids = {case: f"{name}-{number}" for number, case in enumerate(CASES)}
    config = load_config(keys(), ["demo-rest"])
    process = build_record_processor(keys(), config.harmonisers.get)
    versions = {case: words.split(", ") for case, (words, _) in CASES.items()}
    counter = metrics.INCOMPLETE_ENTRIES.labels("demo-rest", "programmes", "learning_outcomes")
    counted = counter._value.get()

    async def scenario() -> list[Any]:
        await topic_admin.create_missing(settings)
        await create_topic(name, 2)
        producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
        await producer.start()
        stage = Stage(settings, name, process)
        try:
            if one_batch:
                await stage.stop()
                every = [
                    raw_record(word, ids[case], number)
                    for case, words in versions.items()
                    for number, word in enumerate(word for word in words if word != RESTART)
                ]
                for raw in every:
                    await producer.send_and_wait(
                        name, raw.body, key=raw.key.encode(), headers=encode_raw_headers(raw)
                    )
                await stage.restart()
                async with asyncio.timeout(60):
                    while stage.stage.committed < len(every):
                        await asyncio.sleep(0.05)
            else:
                for number in range(max(map(len, versions.values()))):
                    now = {case: words[number:][:1] for case, words in versions.items()}
                    if [RESTART] in now.values():
                        await stage.restart()
                    records = [
                        raw_record(word, ids[case], number)
                        for case, words in now.items()
                        for word in words
                        if word != RESTART
                    ]
                    await stage.process(records, producer)
        finally:
            await stage.stop()
            await producer.stop()
        return [
            record
            for topic in (COMPLETE, OPPORTUNITIES_TOPIC, INCOMPLETE)
            async for record in read_topic(settings, topic)
        ]

    found = asyncio.run(scenario())
    for case, (words, expected) in CASES.items():
        stream = "courses" if words.startswith("course") else "programmes"
        gone = RawRecord(connector="demo-rest", stream=stream, native_id=ids[case], body=None)
        key = {out.key for out in process.tombstones_for(gone)}
        events: dict[str, list[bool]] = {}
        for record in found:
            if record.key in key:
                events.setdefault(record.topic, []).append(record.value is not None)
        assert events == expected, case
    assert len({dict(record.headers)["ce_id"] for record in found}) == len(found)
    for record in found:
        headers = dict(record.headers)
        expected_id = content_id(record.topic, record.key, record.value)
        assert headers["ce_contentid"].decode() == expected_id
        assert headers["ce_subject"] == record.key
        assert ("ce_missingfields" in headers) == (
            record.topic == INCOMPLETE and record.value is not None
        )
        if record.topic == INCOMPLETE:
            word = b"changed" if record.value is not None else b"deleted"
            assert headers["ce_type"] == (b"eu.qualification-gateway.incomplete-entry.%b.v1" % word)
    documents = sum(
        words.split(", ").count(word) for words, _ in CASES.values() for word in ("poor", "poorer")
    )
    assert counter._value.get() - counted == documents
