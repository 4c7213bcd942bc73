"""Write a command to its topic, in the partition of its connector."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer

from gateway.kafka.client_session import client_session
from gateway.kafka.connection import client_arguments
from gateway.messages.outgoing import partition_for
from gateway.messages.topics import COMMANDS, Topic
from gateway.settings import Settings


async def send_command(settings: Settings, connector: str, value: bytes) -> None:
    """Write a command for a connector and return once it is durable."""
    await send_message(settings, COMMANDS, connector, value)


async def send_message(settings: Settings, topic: Topic, connector: str, value: bytes) -> None:
    """Write a message about a connector and return once it is durable.

    Raises the same errors as :func:`~gateway.kafka.client_session.client_session`.
    """
    key = connector.encode()
    producer = AIOKafkaProducer(**client_arguments(settings), enable_idempotence=True)
    async with client_session(producer, settings, f"writing {topic.name}"):
        await producer.send_and_wait(
            topic.name, value, key=key, partition=partition_for(key, topic.partitions)
        )
