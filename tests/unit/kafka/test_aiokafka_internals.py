"""Check that the private names of aiokafka that the gateway uses exist and work."""

from __future__ import annotations

import asyncio
import inspect

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from gateway.kafka.aiokafka_internals import sender_task, wait_for_metadata


def test_sender_task_is_none_before_the_start():
    async def scenario() -> None:
        producer = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1")
        assert sender_task(producer) is None

    asyncio.run(scenario())


def test_sender_task_returns_the_task_that_the_sender_starts():
    """The gateway cancels this task when ``stop`` does not return."""

    async def scenario() -> None:
        producer = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1")
        sending = producer._sender._sender_task = asyncio.create_task(asyncio.sleep(60))
        assert sender_task(producer) is sending
        sending.cancel()
        await asyncio.wait([sending])

    asyncio.run(scenario())


def test_wait_for_metadata_waits_for_the_given_topic():
    """The private method takes a topic, and the wrapper passes it on."""

    async def scenario() -> list[str]:
        consumer = AIOKafkaConsumer(bootstrap_servers="127.0.0.1:1", group_id=None)
        private = consumer._client._wait_on_metadata
        assert inspect.iscoroutinefunction(private)
        assert list(inspect.signature(private).parameters) == ["topic"]
        topics: list[str] = []

        async def record_topic(topic: str) -> None:
            topics.append(topic)

        consumer._client._wait_on_metadata = record_topic
        await wait_for_metadata(consumer, "gateway.raw.v1")
        return topics

    assert asyncio.run(scenario()) == ["gateway.raw.v1"]
