"""Read the end of a topic, as the page does."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from gateway.errors import UsageError
from gateway.kafka.topic_reader import read_tail
from gateway.observability.topics_page import TopicQuery
from gateway.operations import browse_topics
from gateway.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


async def write(settings: Settings, topic: str, keys: list[str]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    await producer.start()
    try:
        for number, key in enumerate(keys):
            value = f'{{"name": "Aino {number}"}}'.encode()
            headers = [("ce_source", b"/connectors/aa/awards"), ("ce_subject", key.encode())]
            await producer.send_and_wait(
                topic, value, key.encode(), headers=headers, timestamp_ms=1_000 + number
            )
    finally:
        await producer.stop()


def test_the_last_records_come_first_and_the_rest_is_not_read(
    settings: Settings, name: str, create_topic, monkeypatch: pytest.MonkeyPatch
):
    async def run() -> None:
        topic = await create_topic(f"{name}.v1")
        assert [record async for record in read_tail(settings, topic, 100)] == []
        await write(settings, topic, [f"aa|{number}" for number in range(60)])
        everything = [record async for record in read_tail(settings, topic, 10_000)]
        assert len(everything) == 60
        some = [record async for record in read_tail(settings, topic, 8)]
        assert 0 < len(some) <= 8

        query = TopicQuery(topic, number=10)
        newest = await browse_topics.browse_topic(settings, query)
        assert [record.at for record in newest] == [(1_059 - n) / 1000 for n in range(10)]
        assert "Aino" not in str(newest)
        monkeypatch.setattr(browse_topics, "TOPIC_NAMES", (*browse_topics.TOPIC_NAMES, topic))
        (one,) = await browse_topics.browse_topic(settings, TopicQuery(topic, key="aa|42"))
        assert (one.key, "Aino 42" in one.value) == ("aa|42", True)
        by_header = TopicQuery(topic, header="ce_subject=aa|7", number=50)
        assert len(await browse_topics.browse_topic(settings, by_header)) == 1
        assert not await browse_topics.browse_topic(settings, TopicQuery(topic, connector="bb"))
        with pytest.raises(UsageError, match="no topic"):
            await browse_topics.browse_topic(settings, TopicQuery(f"{name}.v9"))

    asyncio.run(run())
