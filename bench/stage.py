"""Measure the harmonise stage from topic to topic, exactly once, on a real broker.

``copying`` measures the engine alone: each record of 1.2 KB is copied with its headers.
``harmonising`` processes records of the two demo registries. The CPU seconds are those of the
stage's process with its client library. The broker runs on the same machine.
"""

from __future__ import annotations

import asyncio
import os
import resource
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.harmonise import gather
from gateway.kafka import topic_admin
from gateway.local import broker as kafka
from gateway.messages.cloudevents import encode_raw_headers
from gateway.messages.outgoing import OutgoingRecord
from gateway.pipeline.harmonise_stage import HarmoniseStage
from gateway.pipeline.processed_record import ProcessedRecord, ProcessRecord
from gateway.records import RawRecord
from gateway.settings import Settings

RECORDS = int(os.environ.get("BENCH_RECORDS", "100000"))
RUNS = 2
PARTITIONS = 4
MOST_MB = 200
BODY = (
    b'{"primaryCode":"%d","name":[{"language":"en","value":"'
    + b"A programme of study, described at length. " * 26
    + b'"}]}'
)


@dataclass(frozen=True, slots=True)
class Measured:
    """The cost of one run."""

    name: str
    records: int
    seconds: float
    cpu_seconds: float
    rss_mb: float = 0.0

    def __str__(self) -> str:
        million = 1_000_000 / self.records
        return (
            f"{self.name:<62} {self.records / self.seconds:>9,.0f} records/s "
            f"{self.cpu_seconds * million:>8.1f} CPU-s/million {self.rss_mb:>5.0f} MB"
        )


@contextmanager
def broker() -> Iterator[str]:
    """Yield the broker of ``GATEWAY_TEST_KAFKA``, or start one for the benchmark."""
    given = os.environ.get("GATEWAY_TEST_KAFKA")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder, kafka.running(Path(folder) / "kafka") as started:
        yield started.bootstrap


class Copying:
    """The cheapest possible processor, which copies the value, the key and six headers."""

    def __init__(self, topic: str) -> None:
        self.topic = topic

    def __call__(self, record: ConsumerRecord) -> ProcessedRecord:
        """Return one document."""
        return ProcessedRecord(
            [OutgoingRecord(self.topic, record.key, record.value, list(record.headers))],
            "bench",
            "programmes",
            "accepted",
        )


async def prepare(bootstrap: str, name: str, raws: Iterable[RawRecord]) -> None:
    """Create two topics and fill the first."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    await client.create_topics(
        [NewTopic(f"{name}-in", PARTITIONS, 1), NewTopic(f"{name}-out", PARTITIONS, 1)]
    )
    await client.close()
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, max_batch_size=262_144
    )
    await producer.start()
    batches = [producer.create_batch() for _ in range(PARTITIONS)]
    for number, raw in enumerate(raws):
        place = number % PARTITIONS
        while (
            batches[place].append(
                key=raw.key.encode(),
                value=raw.body,
                timestamp=None,
                headers=encode_raw_headers(raw),
            )
            is None
        ):
            await producer.send_batch(batches[place], f"{name}-in", partition=place)
            batches[place] = producer.create_batch()
    for place, batch in enumerate(batches):
        await producer.send_batch(batch, f"{name}-in", partition=place)
    await producer.stop()


def same(count: int) -> Iterator[RawRecord]:
    """Yield ``count`` records of 1.2 KB."""
    for number in range(count):
        yield RawRecord(
            connector="bench",
            stream="programmes",
            native_id=str(number),
            body=BODY % number,
            version="1",
            kind="programme",
        )


async def measure(
    settings: Settings, topic: str, process: ProcessRecord, count: int, title: str
) -> Measured:
    """Run a stage until it has committed ``count`` records.

    The measurement starts at the first commit.
    """
    stage = HarmoniseStage(settings, process, process, topic=topic, group=uuid.uuid4().hex)
    running = asyncio.create_task(stage.run())
    while not stage.committed:
        await asyncio.sleep(0.01)
    first, started, cpu = stage.committed, time.perf_counter(), time.process_time()
    while stage.committed < count:
        await asyncio.sleep(0.02)
    measured = Measured(
        title,
        stage.committed - first,
        time.perf_counter() - started,
        time.process_time() - cpu,
        peak_rss(),
    )
    stage.stop()
    await running
    return measured


def peak_rss() -> float:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000


async def _run(bootstrap: str) -> list[Measured]:
    settings = Settings(kafka_bootstrap=bootstrap, registry_environment="acceptance")
    name = f"bench-{uuid.uuid4().hex[:8]}"
    await prepare(bootstrap, name, same(RECORDS))
    found: list[Measured] = []

    async def row(topic: str, process: ProcessRecord, count: int, title: str) -> None:
        found.append(await measure(settings, topic, process, count, title))
        print(found[-1], flush=True)

    for turn in range(RUNS):
        await row(f"{name}-in", Copying(f"{name}-out"), RECORDS, f"stage, copying, run {turn + 1}")
    await topic_admin.create_missing(settings)
    deliver, raws = await gather()
    count = RECORDS // 5
    await prepare(bootstrap, f"{name}-real", islice(cycle(raws), count))
    for turn in range(RUNS):
        await row(
            f"{name}-real-in", deliver, count, f"stage, harmonising two registries, run {turn + 1}"
        )
    return found


def main() -> list[dict[str, Any]]:
    """Print one line for each run. Exit with an error above 200 MB of memory."""
    import uvloop

    with broker() as bootstrap:
        found = uvloop.run(_run(bootstrap))
    if (most := max(one.rss_mb for one in found)) > MOST_MB:
        raise SystemExit(f"the stage took {most:.0f} MB; expected at most {MOST_MB}")
    return [asdict(one) for one in found]


if __name__ == "__main__":
    main()
