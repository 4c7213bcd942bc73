"""Fill a topic with the comparison's records, as pollers would."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.peers.records import bodies
from gateway.messages.cloudevents import encode_raw_headers
from gateway.records import RawRecord


async def fill(
    bootstrap: str,
    topic: str,
    count: int,
    partitions: int = 4,
    connectors: Sequence[str] = ("bench-peers",),
    kind: str = "few",
) -> None:
    """Write ``count`` records of one set, one connector after the other, to all partitions in turn.

    A missing topic is created.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    if topic not in await admin.list_topics():
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    await admin.close()
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, max_batch_size=262_144
    )
    await producer.start()
    batches = [producer.create_batch() for _ in range(partitions)]
    for number, (native_id, body) in enumerate(bodies(count, kind=kind)):
        raw = RawRecord(
            connector=connectors[number % len(connectors)],
            stream="programmes",
            native_id=native_id,
            body=body,
        )
        place, key, headers = (
            number // len(connectors) % partitions,
            raw.key.encode(),
            encode_raw_headers(raw),
        )
        if batches[place].append(key=key, value=body, timestamp=None, headers=headers) is None:
            await producer.send_batch(batches[place], topic, partition=place)
            batches[place] = producer.create_batch()
            batches[place].append(key=key, value=body, timestamp=None, headers=headers)
    for place, batch in enumerate(batches):
        if batch.record_count():
            await producer.send_batch(batch, topic, partition=place)
    await producer.stop()
