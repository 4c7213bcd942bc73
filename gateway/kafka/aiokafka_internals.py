"""Use the private parts of aiokafka that the gateway cannot do without.

Each function reaches into one private name, for which aiokafka 0.14 has no public
equivalent. The version of aiokafka is pinned. A unit test fails if one of the names
disappears in another version.
"""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer


def sender_task(producer: AIOKafkaProducer) -> asyncio.Task[None] | None:
    """Return the task that sends the batches of a producer; ``None`` before its start.

    Only cancelling this task ends a producer whose broker is down.
    """
    task: asyncio.Task[None] | None = producer._sender.sender_task  # noqa: SLF001 - see above
    return task


async def wait_for_metadata(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Return once a started consumer knows the partitions of a topic.

    Raises ``UnknownTopicOrPartitionError`` if the topic does not exist. Raises
    ``TopicAuthorizationFailedError`` if the principal may not describe it.
    """
    await consumer._client._wait_on_metadata(topic)  # noqa: SLF001 - see above
