"""Read topics with plain aiokafka and ``read_committed``, without any code of the gateway."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition


async def read_all(
    bootstrap: str, topic: str, isolation: str = "read_committed"
) -> list[ConsumerRecord]:
    """Return every record of a topic up to its high watermarks."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level=isolation,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for number in await _partitions(consumer, topic)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends: dict[TopicPartition, int] = {}
        found: list[ConsumerRecord] = []
        async with asyncio.timeout(120):
            while len(ends) < len(places) or any(
                [await consumer.position(place) < ends[place] for place in places]
            ):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    found += records
                ends |= {
                    place: consumer.highwater(place)
                    for place in places
                    if place not in ends and consumer.highwater(place) is not None
                }
        return found
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client._wait_on_metadata(topic)
    return consumer.partitions_for_topic(topic)


async def fill(
    bootstrap: str,
    topic: str,
    records: list[tuple[bytes, bytes | None]],
    partition: int | None = None,
) -> None:
    """Write records to a topic and wait for every acknowledgement."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        enable_idempotence=True,
        linger_ms=5,
        max_batch_size=131_072,
        max_request_size=8_000_000,
    )
    await producer.start()
    try:
        sent = [
            await producer.send(topic, key=key, value=value, partition=partition)
            for key, value in records
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
