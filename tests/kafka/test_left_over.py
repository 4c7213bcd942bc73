"""Rename a stream, change its ids or change the type that it emits.

The dry run lists the documents that no stream updates any more.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from gateway.config.connector import Connector
from gateway.config.loading import build_connector
from gateway.config.yaml.document import parse_yaml
from gateway.harmonise.harmoniser import Harmoniser
from gateway.kafka import topic_admin
from gateway.messages.cloudevents import encode_raw_headers
from gateway.messages.topics import RAW
from gateway.operations.change_summary import summarise
from gateway.operations.renormalise import ORPHANED, find_changes
from gateway.pipeline.harmonise_stage import CONSUMER_GROUP
from gateway.pipeline.record_processor import RecordProcessor
from gateway.records import RawRecord
from gateway.settings import Settings

pytestmark = pytest.mark.kafka
KEY = b"0123456789abcdef0123456789abcdef"
TEXT = """language: 1
connector: {name}
country: FR
title: A catalogue that is kept with care
owner: {{name: Tests, contact: tests@example.org}}
rest: {{url: {{production: "https://registry.example"}}}}
streams:
  entries:
    emits: learning_opportunity
    request: {{get: /entries}}
    records: items
    id: id
    cursor: scan
    map:
      title.en: title
      isced_f: {{const: "0214"}}
      learning_outcomes: {{each: title, map: {{title.en: "@"}}}}
      languages: {{const: en}}
      homepage: {{const: "https://registry.example"}}
      provider.name.en: {{const: A school}}
      provider.country: {{const: FR}}
    tests: [{{name: shape, given: {{id: "1", title: One}}, expect_some: {{}}}}]
"""
QUALIFICATION = {
    "emits: learning_opportunity": "emits: qualification",
    "provider.": "awarding_body.",
}


def connector(name: str, changes: dict[str, str]) -> Connector:
    text = TEXT.format(name=name)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    found, findings = build_connector(parse_yaml(text.encode(), f"{name}.yaml"))
    assert found is not None, findings
    return found


def deliver(made: Connector) -> RecordProcessor:
    return RecordProcessor({made.connector: Harmoniser(made, None, pseudonym_key=KEY)}.get, KEY)


async def publish(settings: Settings, name: str, count: int) -> None:
    """Write raw records and what the stage makes of them, and say that it has them all."""
    stage, places = deliver(connector(name, {})), {}
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    await producer.start()
    for number in range(count):
        raw = RawRecord(
            connector=name,
            stream="entries",
            native_id=str(number),
            body=b'{"id": "%d", "title": "Entry"}' % number,
        )
        sent = await producer.send_and_wait(
            RAW.name, raw.body, raw.key.encode(), headers=encode_raw_headers(raw)
        )
        places[TopicPartition(RAW.name, sent.partition)] = sent.offset + 1
        record = SimpleNamespace(
            key=raw.key.encode(),
            value=raw.body,
            headers=encode_raw_headers(raw),
            timestamp=0,
            topic=RAW.name,
            partition=0,
            offset=0,
        )
        for one in stage(record).outgoing:
            await producer.send_and_wait(one.topic, one.value, one.key, headers=list(one.headers))
    await producer.stop()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        group_id=CONSUMER_GROUP,
        enable_auto_commit=False,
    )
    await consumer.start()
    everywhere = [TopicPartition(RAW.name, partition) for partition in range(RAW.partitions)]
    consumer.assign(everywhere)
    await consumer.commit(await consumer.end_offsets(everywhere))
    await consumer.stop()


@pytest.mark.parametrize(
    ("changes", "anew", "left", "summary"),
    [
        ({}, 0, 0, []),
        (
            {"title.en: title": "title.fr: title"},
            3,
            0,
            ["3 published with changes", "3 title.en: removed", "3 title.fr: added"],
        ),
        ({"  entries:": "  courses:"}, 0, 3, [f"3 {ORPHANED}"]),
        (
            {"    id: id\n": '    id: id\n    iri: "https://registry.example/{id}"\n'},
            3,
            3,
            ["3 published for the first time", f"3 {ORPHANED}"],
        ),
        (QUALIFICATION, 3, 3, ["3 published for the first time", f"3 {ORPHANED}"]),
        (
            {"{const: en}": "{const: fr}"},
            3,
            0,
            ["3 published with changes", "3 learningAchievementSpecification.language: changed"],
        ),
        (
            {"title.en: title": "title.en: subtitle"},
            0,
            0,
            ["3 withdrawn, because rejected: missing title"],
        ),
    ],
    ids=[
        "nothing changed",
        "another text",
        "renamed",
        "another iri",
        "emits something else",
        "another language",
        "no title",
    ],
)
def test_dry_run_lists_orphaned_documents(
    settings: Settings,
    name: str,
    changes: dict[str, str],
    anew: int,
    left: int,
    summary: list[str],
) -> None:
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        await publish(settings, name, 3)
        processor = deliver(connector(name, changes))
        found = await find_changes(settings, processor, name)
        lines = [
            " ".join(line.split()) for line in (await summarise(settings, processor, found)).lines()
        ]
        assert set(summary) <= set(lines), lines
        assert bool(lines) == bool(found)
        assert len([one for one in found if one.outcome == "accepted"]) == anew
        over = [one for one in found if one.outcome == ORPHANED]
        assert len(over) == left
        assert {one.topics for one in over} <= {("europass.learning-opportunities.v1",)}
        assert len(found) == anew + left + 3 * ("withdrawn" in "".join(summary))

    asyncio.run(scenario())
