"""Run an engine as a process and measure its commits and its cost from outside.

The measurement is the same for all engines.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from dataclasses import asdict, dataclass
from typing import Any

import psutil
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.peers.engines import ROOT, Engine, Run

STEADY_FROM = 0.3
"""The share of the run before the measurement, in which every engine warms up."""
SAMPLE_SECONDS = 0.2
STALLED_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of a running engine."""

    seconds: float
    committed: int
    cpu: float
    rss: int


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a run in its steady state: the engine's process tree without the broker."""

    records: int
    cpu_seconds_per_million: float
    records_per_second_and_core: float
    records_per_second: float
    rss_mb: float

    def as_dict(self) -> dict[str, Any]:
        """Return the cost for JSON."""
        return asdict(self)


async def run(engine: Engine, given: Run, records: int) -> Cost:
    """Start the engine, wait until it has committed ``records``, stop it and return the cost."""
    process = _start(engine, given)
    admin = AIOKafkaAdminClient(bootstrap_servers=given.bootstrap)
    await admin.start()
    samples: list[Sample] = []
    try:
        watched = psutil.Process(process.pid)
        moved = time.monotonic()
        while not samples or samples[-1].committed < records:
            await asyncio.sleep(SAMPLE_SECONDS)
            if process.poll() is not None:
                raise SystemExit(f"{engine.name} ended with code {process.returncode}")
            sample = Sample(time.monotonic(), await _committed(admin, given), *_spent(watched))
            if not samples or sample.committed > samples[-1].committed:
                moved = sample.seconds
            elif sample.seconds - moved > STALLED_SECONDS:
                raise SystemExit(f"{engine.name} has committed nothing for {STALLED_SECONDS:.0f} s")
            samples.append(sample)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        await admin.close()
    return _cost(samples, records)


def _start(engine: Engine, given: Run) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        engine.command(given), cwd=ROOT, env={**os.environ, **engine.environment}
    )


def _cost(samples: list[Sample], records: int) -> Cost:
    first = next(sample for sample in samples if sample.committed >= STEADY_FROM * records)
    last = samples[-1]
    if last is first:
        raise SystemExit(f"{records} records were over before they could be measured; give more")
    count, cpu = last.committed - first.committed, last.cpu - first.cpu
    return Cost(
        records=count,
        cpu_seconds_per_million=cpu / count * 1e6,
        records_per_second_and_core=count / cpu,
        records_per_second=count / (last.seconds - first.seconds),
        rss_mb=max(sample.rss for sample in samples) / 1e6,
    )


async def _committed(admin: AIOKafkaAdminClient, given: Run) -> int:
    try:
        found = await admin.list_consumer_group_offsets(given.group)
    except Exception:  # noqa: BLE001 - the group does not exist yet
        return 0
    return sum(
        max(0, one.offset)
        for place, one in found.items()
        if isinstance(place, TopicPartition) and place.topic == given.topic
    )


def _spent(process: psutil.Process) -> tuple[float, int]:
    cpu, rss = 0.0, 0
    for one in (process, *process.children(recursive=True)):
        times = one.cpu_times()
        cpu += times.user + times.system
        rss += one.memory_info().rss
    return cpu, rss


async def fresh(bootstrap: str, engine: Engine, partitions: int) -> None:
    """Create empty output topics for an engine."""
    names = [engine.output, engine.rejects]
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await drop(admin, names)
        await admin.create_topics([NewTopic(name, partitions, 1) for name in names])
    finally:
        await admin.close()


async def drop_topics(bootstrap: str, names: list[str]) -> None:
    """Delete topics and wait until they are gone."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await drop(admin, names)
    finally:
        await admin.close()


async def drop(admin: AIOKafkaAdminClient, names: list[str]) -> None:
    """Delete the existing topics and wait until they are gone."""
    present = [name for name in names if name in await admin.list_topics()]
    if present:
        await admin.delete_topics(present)
        while set(present) & set(await admin.list_topics()):
            await asyncio.sleep(0.1)
