"""Check on a real Kafka that compressed batches hold the same records, and fit where they should."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaConsumer

from gateway.kafka.batches import Batches
from gateway.kafka.transactions import RecordTooLarge, TransactionalProducer
from gateway.messages.header_block import HeaderBlock
from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.topics import DOCUMENT_TOPICS, QUALIFICATIONS_TOPIC, RAW
from gateway.settings import Settings

pytestmark = pytest.mark.kafka
Create = Callable[..., Awaitable[str]]
DAY = 1_780_000_000_000
LETTERS = bytes(range(97, 123)) * 4_000
"""A value that shrinks to a hundredth."""


@pytest.fixture
def documents(monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    """A topic of documents of this test alone."""
    monkeypatch.setattr("gateway.kafka.batches.DOCUMENT_TOPICS", frozenset({name}))
    return name


def with_compression(settings: Settings, compression: str) -> Settings:
    return settings.model_copy(update={"compression": compression})


async def read(settings: Settings, topic: str, count: int) -> list[tuple[object, ...]]:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=settings.kafka_bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            records = [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()
    return [
        (record.partition, record.timestamp, record.key, record.value, list(record.headers))
        for record in sorted(records, key=lambda record: record.key)
    ]


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_readers_see_the_same_records(
    settings: Settings, documents: str, create_topic: Create, compression: str
) -> None:
    async def scenario() -> None:
        await create_topic(documents, 4)
        headers = [("ce_id", b"1"), ("provenance", b"{}" * 300)]
        records = [
            OutgoingRecord(
                documents,
                f"key-{number:04d}".encode(),
                None if number % 10 == 3 else LETTERS[: number * 60],
                HeaderBlock.of(headers) if number % 2 else headers,
                partition=number % 4,
                timestamp=DAY + number,
            )
            for number in range(600)
        ]
        writer = TransactionalProducer(with_compression(settings, compression), documents, "test")
        await writer.fence()
        await writer.commit(records)
        await writer.close()
        assert await read(settings, documents, 600) == [
            (record.partition, record.timestamp, record.key, record.value, headers)
            for record in records
        ]

    asyncio.run(scenario())


def test_the_limit_of_a_topic_holds_for_what_is_sent(
    settings: Settings, documents: str, create_topic: Create
) -> None:
    """A document that fits compressed is written, and one that does not is named."""

    async def scenario() -> None:
        await create_topic(documents, 1, max_message_bytes=20_000)
        writer = TransactionalProducer(settings, documents, "test")
        await writer.fence()
        await writer.commit([OutgoingRecord(documents, b"a", LETTERS, [])])
        plain = TransactionalProducer(
            with_compression(settings, "none"), f"{documents}-plain", "test"
        )
        await plain.fence()
        with pytest.raises(RecordTooLarge) as refused:
            await plain.commit([OutgoingRecord(documents, b"b", LETTERS, [])])
        assert refused.value.indexes == [0]
        assert len(await read(settings, documents, 1)) == 1
        await writer.close()
        await plain.close()

    asyncio.run(scenario())


def test_only_the_record_that_is_too_large_when_sent_is_named(
    settings: Settings, documents: str, create_topic: Create
) -> None:
    """The larger record of the two shrinks, so it stays."""
    from random import Random

    async def scenario() -> None:
        await create_topic(documents, 1, max_message_bytes=20_000)
        writer = TransactionalProducer(settings, documents, "test")
        large = [
            OutgoingRecord(documents, b"noise", Random(1).randbytes(60_000), []),
            OutgoingRecord(documents, b"letters", LETTERS, []),
            OutgoingRecord(documents, b"small", b"1", []),
        ]
        named: set[int] = set()
        for _ in range(12):
            await writer.fence()
            try:
                await writer.commit([record for n, record in enumerate(large) if n not in named])
            except RecordTooLarge as error:
                named.update(error.indexes)
            else:
                break
        await writer.close()
        assert named == {0}
        assert [row[2] for row in await read(settings, documents, 2)] == [b"letters", b"small"]

    asyncio.run(scenario())


def test_only_the_topics_of_platforms_are_compressed() -> None:
    """Commands, digests and raw records stay as they are, whatever reads them."""
    batches = Batches(None, {}, {}, compress=True)  # type: ignore[arg-type]
    records = [
        OutgoingRecord(topic, b"k", LETTERS, [], partition=0)
        for topic in (QUALIFICATIONS_TOPIC, RAW.name)
    ]
    asyncio.run(batches.add(records))
    document, raw = batches.batches()
    assert document.records.sent_size < document.records.size / 50
    assert raw.records.sent_size == raw.records.size
    assert RAW.name not in DOCUMENT_TOPICS
