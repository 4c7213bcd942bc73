"""The job as a loop of confluent-kafka, exactly once, with one transaction for each batch.

Arguments: broker, input, output, rejects, group, facts, and the mode. ``orjson`` reads and writes
dictionaries. ``pydantic`` checks record and document with models.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition
from models import Programme, Qualification
from normalise import Normaliser, RejectedError
from pydantic import ValidationError

BATCH = 2_000
TIMEOUT_SECONDS = 15


def with_orjson(normalise: Normaliser, value: bytes) -> bytes:
    """Return the document of a record."""
    return orjson.dumps(normalise(orjson.loads(value)))


def with_pydantic(normalise: Normaliser, value: bytes) -> bytes:
    """Return the document of a record, both checked by their models."""
    try:
        record = Programme.model_validate_json(value).model_dump(by_alias=True)
    except ValidationError as error:
        raise RejectedError(str(error.errors()[0]["loc"][0]), "invalid") from None
    record["changed"] = record["changed"].isoformat()
    document = Qualification.model_validate(normalise(record))
    return document.model_dump_json(by_alias=True, exclude_none=True).encode()


MODES: dict[str, Callable[[Normaliser, bytes], bytes]] = {
    "orjson": with_orjson,
    "pydantic": with_pydantic,
}


def main(
    bootstrap: str, topic: str, output: str, rejects: str, group: str, facts: str, mode: str
) -> None:
    """Run until stopped."""
    normalise, convert = Normaliser(Path(facts)), MODES[mode]
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": group,
            "linger.ms": 5,
            "batch.size": 262_144,
        }
    )
    running = True

    def stop(*_: object) -> None:
        nonlocal running
        running = False

    signal.signal(signal.SIGTERM, stop)
    producer.init_transactions(TIMEOUT_SECONDS)
    consumer.subscribe([topic])
    while running:
        messages = [message for message in consumer.consume(BATCH, 0.2) if not message.error()]
        if not messages:
            continue
        positions: dict[int, int] = {}
        producer.begin_transaction()
        for message in messages:
            try:
                target, value = output, convert(normalise, message.value())
            except RejectedError as error:
                reason = {"field": error.field, "reason": error.reason}
                target, value = rejects, orjson.dumps(reason)
            produce(producer, target, message.key(), value)
            positions[message.partition()] = message.offset() + 1
        producer.send_offsets_to_transaction(
            [TopicPartition(topic, partition, offset) for partition, offset in positions.items()],
            consumer.consumer_group_metadata(),
            TIMEOUT_SECONDS,
        )
        producer.commit_transaction(TIMEOUT_SECONDS)
    consumer.close()


def produce(producer: Producer, topic: str, key: bytes, value: bytes) -> None:
    """Queue a record, and wait while the queue is full."""
    while True:
        try:
            producer.produce(topic, value, key)
        except BufferError:
            producer.poll(0.1)
        else:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
