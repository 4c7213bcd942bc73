"""Compare aiokafka with confluent-kafka in the stage's loop of consuming and committing.

This benchmark is not part of ``make bench``. It needs ``pip install confluent-kafka==2.16.1``,
which the gateway does not need. docs/decisions/0019 uses its figures.

The processing itself costs nothing. A raw record of 1.2 KB with 5 headers becomes a document of 3.8
KB with 0, 3 or 8 headers.
"""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.stage import PARTITIONS, broker, prepare, same
from gateway.kafka.transactions import TransactionalProducer
from gateway.messages.outgoing import OutgoingRecord
from gateway.settings import Settings

RECORDS = 60_000
ROUNDS = 3
BATCH = 2_000
VALUE = b"x" * 3_800
HEADERS: list[tuple[str, bytes]] = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"4bf4ca40bb3dc4516c33380e3ba9b14f"),
    ("ce_source", b"/connectors/bench/programmes"),
    ("ce_type", b"eu.europass.qualification.changed.v1"),
    ("ce_subject", b"urn:uuid:908a15be-64b4-598c-8e97-98858ffd7a6b"),
    ("ce_dataschema", b"https://schemas.qualification-gateway.eu/europass.qualifications.v1.json"),
    ("content-type", b"application/json"),
    ("provenance", b"p" * 900),
]


@dataclass(slots=True)
class Record:
    """A record of confluent-kafka as attributes, because its messages offer only methods."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp: int


def outgoing(name: str, record: Any, headers: list[tuple[str, bytes]]) -> OutgoingRecord:
    """Return the document for a record."""
    return OutgoingRecord(f"{name}-out", record.key, VALUE, headers, record.partition)


async def with_aiokafka(bootstrap: str, name: str, headers: list[tuple[str, bytes]]) -> float:
    """Return CPU microseconds a record with aiokafka and prepared batches.

    Each partition has its own transaction.
    """
    settings = Settings(kafka_bootstrap=bootstrap, registry_environment="acceptance")
    group = uuid.uuid4().hex
    lanes = [
        TransactionalProducer(settings, f"{group}-{place}", "bench") for place in range(PARTITIONS)
    ]
    for lane in lanes:
        await lane.fence()
    consumer = AIOKafkaConsumer(
        f"{name}-in",
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    done, first, started = 0, 0, 0.0
    while done < RECORDS:
        for place, records in (await consumer.getmany(timeout_ms=200, max_records=BATCH)).items():
            written = [outgoing(name, record, headers) for record in records]
            offsets = {TopicPartition(place.topic, place.partition): records[-1].offset + 1}
            await lanes[place.partition].commit(written, offsets, group)
            done += len(records)
            if not started:
                first, started = done, time.process_time()
    cost = (time.process_time() - started) / (done - first) * 1e6
    await consumer.stop()
    for lane in lanes:
        await lane.close()
    return cost


def with_confluent(bootstrap: str, name: str, headers: list[tuple[str, bytes]]) -> float:
    """Return CPU microseconds a record with confluent-kafka and KIP-447.

    Each partition has its own transaction. The figure includes librdkafka's threads.
    """
    import confluent_kafka as confluent  # type: ignore[import-not-found,unused-ignore]

    group = uuid.uuid4().hex
    consumer = confluent.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 5,
            "queued.max.messages.kbytes": 32_768,
        }
    )
    consumer.subscribe([f"{name}-in"])
    producers = [
        confluent.Producer(
            {
                "bootstrap.servers": bootstrap,
                "transactional.id": f"{group}-{place}",
                "linger.ms": 5,
                "batch.size": 262_144,
                "message.max.bytes": 16_777_216,
                "queue.buffering.max.kbytes": 65_536,
                "delivery.report.only.error": True,
            }
        )
        for place in range(PARTITIONS)
    ]
    for producer in producers:
        producer.init_transactions(20)
    done, first, started = 0, 0, 0.0
    while done < RECORDS:
        places: dict[int, list[Record]] = {}
        for one in consumer.consume(BATCH, 0.2):
            record = Record(
                one.topic(),
                one.partition(),
                one.offset(),
                one.key(),
                one.value(),
                one.headers(),
                one.timestamp()[1],
            )
            places.setdefault(record.partition, []).append(record)
        for place, records in places.items():
            producer = producers[place]
            producer.begin_transaction()
            for record in records:
                made = outgoing(name, record, headers)
                producer.produce(
                    made.topic, made.value, made.key, partition=made.partition, headers=made.headers
                )
            position = confluent.TopicPartition(f"{name}-in", place, records[-1].offset + 1)
            producer.send_offsets_to_transaction([position], consumer.consumer_group_metadata(), 15)
            producer.commit_transaction(15)
            done += len(records)
            if not started:
                first, started = done, time.process_time()
    cost = (time.process_time() - started) / (done - first) * 1e6
    consumer.close()
    return cost


def main() -> None:
    """Print one line for each number of headers."""
    import uvloop

    with broker() as bootstrap:
        name = f"clients-{uuid.uuid4().hex[:8]}"
        asyncio.run(prepare(bootstrap, name, same(RECORDS)))
        for headers in ([], HEADERS[:3], HEADERS):
            runs: dict[str, list[float]] = {"aiokafka": [], "confluent-kafka": []}
            for _ in range(ROUNDS):
                runs["aiokafka"].append(uvloop.run(with_aiokafka(bootstrap, name, headers)))
                runs["confluent-kafka"].append(with_confluent(bootstrap, name, headers))
            said = ", ".join(
                f"{client} {statistics.median(costs):.1f}" for client, costs in runs.items()
            )
            print(f"{len(headers)} headers written, 5 read: CPU-µs/record {said}", flush=True)


if __name__ == "__main__":
    main()
