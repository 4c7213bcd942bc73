"""Check that an erased record leaves the broker's disk as well as the topic."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from gateway.local import broker as kafka
from gateway.messages import topics

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]
PERSON = b"Kanariana Zwitscherbach"


def hurried(topic: topics.Topic) -> dict[str, str]:
    """The topic's settings with a second for each day."""
    found = topics.topic_config(topic)
    return {
        name: str(max(1, int(value) // topics.DAY_MS) * 1000) if name.endswith(".ms") else value
        for name, value in found.items()
    }


def on_disk(folder: Path) -> bool:
    return any(PERSON in path.read_bytes() for path in folder.rglob("*.log"))


def test_tombstone_removes_bytes_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the times that are declared, a second for each day: written, erased, a later record closes the segment, gone."""
    monkeypatch.setattr(
        kafka,
        "PROPERTIES",
        kafka.PROPERTIES + "\nlog.cleaner.backoff.ms=500\nlog.cleaner.enable=true\n",
    )

    async def scenario(bootstrap: str) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        await admin.create_topics(
            [
                NewTopic(topic.name, 1, 1, topic_configs=hurried(topic))
                for topic in (topics.RAW, topics.REJECTIONS)
            ]
        )
        await admin.close()
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            for topic in (topics.RAW, topics.REJECTIONS):
                await producer.send_and_wait(topic.name, PERSON, key=b"a|1")
            assert on_disk(tmp_path / "kafka")
            for topic in (topics.RAW, topics.REJECTIONS):
                await producer.send_and_wait(topic.name, None, key=b"a|1")
            deadline = time.monotonic() + 150
            number = 0
            while on_disk(tmp_path / "kafka") and time.monotonic() < deadline:
                await asyncio.sleep(2)
                number += 1
                for topic in (
                    topics.RAW,
                    topics.REJECTIONS,
                ):  # traffic goes on, as in life: it closes segments
                    await producer.send_and_wait(
                        topic.name, b"later", key=f"a|later {number % 3}".encode()
                    )
        assert not on_disk(tmp_path / "kafka")

    with kafka.running(tmp_path / "kafka") as broker:
        asyncio.run(scenario(broker.bootstrap))
