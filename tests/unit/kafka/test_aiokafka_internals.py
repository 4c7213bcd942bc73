"""Check that the private names of aiokafka that the gateway uses exist and work."""

from __future__ import annotations

import asyncio
import inspect
import re

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.producer import message_accumulator
from aiokafka.producer.message_accumulator import BatchBuilder

from gateway.kafka.aiokafka_internals import SendableBatch, sender_task, wait_for_metadata
from gateway.kafka.record_batch import RecordBatch
from gateway.messages.outgoing import OutgoingRecord


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


def test_a_sendable_batch_has_what_aiokafka_asks_of_a_batch():
    """Another version that asks for more must fail here, and not in a transaction."""
    source = inspect.getsource(message_accumulator)
    asked = set(re.findall(r"\bself\._builder\.(\w+)", source.split("class MessageBatch")[1]))
    asked |= set(re.findall(r"\bbatch\._builder\.(\w+)", source))
    assert asked == {
        "append",
        "record_count",
        "closed",
        "close",
        "_set_producer_state",
        "_build",
    }
    for name in asked:
        theirs = inspect.signature(getattr(BatchBuilder, name)).parameters
        ours = inspect.signature(getattr(SendableBatch, name)).parameters
        assert len(theirs) == len(ours) or name == "append"


def test_a_sendable_batch_behaves_as_a_closed_batch_of_aiokafka():
    records = RecordBatch(1_000)
    records.append(OutgoingRecord("t", b"k", b"v", []), 5)
    batch = SendableBatch(records)
    theirs = BatchBuilder(1_000, 0, is_transactional=1)
    theirs.append(timestamp=5, key=b"k", value=b"v")
    theirs.close()
    for one in (batch, theirs):
        one.close()
        one._set_producer_state(1, 2, 3)
        assert one.append(timestamp=5, key=b"k", value=b"v") is None
    assert batch.closed() is theirs.closed() is True
    assert batch.record_count() == theirs.record_count() == 1
    assert batch._build() == bytes(theirs._build())
    assert batch._build() == batch._build()
