"""Measure the time from a registry's reply to the published record, and the cost of idling.

A real ``gateway run`` polls a registry on loopback ten times a second, at 1,000 records a second.
Each record carries the time of its reply. The figure therefore includes decoding, the poller's
transaction, the raw topic and harmonising. It also includes the stage's transaction and the
subscriber's ``read_committed``.

The registry and the subscriber run in this process. The worker and the broker run in their own.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson
import psutil
from aiohttp import web
from aiokafka import AIOKafkaConsumer

from bench.peers.ours import KEY
from bench.peers.records import record
from bench.stage import broker
from gateway.kafka import topic_admin
from gateway.messages.cloudevents import to_rfc3339
from gateway.messages.topics import QUALIFICATIONS_TOPIC, RAW
from gateway.settings import Settings

RATE = int(os.environ.get("BENCH_RATE", "1000"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "20"))
WARM_SECONDS = 5.0
IDLE_SECONDS = 10.0
SHOWN = ("p50", "p90", "p99", "p999", "raw_p99")
JOB = Path(__file__).parent / "peers" / "job" / "bench-peers.yaml"


@dataclass(slots=True)
class Stand:
    """A registry that serves new records at a steady rate."""

    rate: int = 0
    begun: float = 0.0
    served: int = 0
    polls: int = 0
    port: int = 0

    def go(self, rate: int) -> None:
        """Serve ``rate`` records a second from now on, or none for 0."""
        self.rate, self.begun, self.served = rate, time.time(), 0

    async def answer(self, _: web.Request) -> web.Response:
        """Return the records that are due since the last poll."""
        now = time.time()
        due = int((now - self.begun) * self.rate) if self.rate else self.served
        items = [self._record(number, now) for number in range(self.served, due)]
        self.served, self.polls = max(due, self.served), self.polls + 1
        return web.Response(body=orjson.dumps({"items": items}), content_type="application/json")

    def _record(self, number: int, now: float) -> dict[str, object]:
        while number % 100 in {13, 57}:  # invalid records never reach the subscriber
            number += 1
        return {
            **record(number),
            "programmeId": f"P-{self.begun:.0f}-{number}-{now}",
            "code": f"{now:.6f}",
            "changed": to_rfc3339(datetime.fromtimestamp(now, UTC)),
        }


@dataclass(slots=True)
class Seen:
    """A subscriber's figures: the seconds between a reply and the reading of each record."""

    ages: list[float] = field(default_factory=list)
    raw: list[float] = field(default_factory=list)
    """The same for the raw topic, which shows the poller's part."""

    async def read(self, bootstrap: str, ready: asyncio.Event) -> None:
        """Read until cancelled."""
        consumer = AIOKafkaConsumer(
            QUALIFICATIONS_TOPIC,
            RAW.name,
            bootstrap_servers=bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="latest",
            group_id=None,
        )
        await consumer.start()
        await consumer.seek_to_end()
        ready.set()
        try:
            while True:
                for place, records in (await consumer.getmany(timeout_ms=1_000)).items():
                    now = time.time()
                    if place.topic == RAW.name:
                        self.raw += [
                            now - float(orjson.loads(one.value)["code"]) for one in records
                        ]
                    else:
                        self.ages += [
                            now - float(orjson.loads(one.value)["identifier"]["notation"])
                            for one in records
                        ]
        finally:
            await consumer.stop()


def connector(folder: Path, port: int) -> None:
    """Write the comparison's connector for the demo registry, with ten polls a second."""
    text = JOB.read_text()
    text = text.replace('https://registry.example"}}', f'http://127.0.0.1:{port}"}}}}', 1)
    text = text.replace(
        "    request: {get: /programmes}\n",
        "    every: 100ms\n    request: {get: /programmes}\n    cursor: {field: changed_at}\n",
    )
    text = text.replace("    id: programmeId\n", "    id: programmeId\n    changed_at: changed\n")
    text = text.replace("      changed_at: changed\n", "")
    text = (
        text[: text.index("    tests:")]
        + "    tests: [{name: t, given: {programmeId: a}, expect_rejected: {reason: missing}}]\n"
    )
    folder.mkdir()
    (folder / JOB.name).write_text(text)


def spent(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and its children."""
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))


async def run(bootstrap: str, folder: Path) -> dict[str, float]:
    """Return the percentiles in milliseconds, the rate, and the worker's CPU in cores.

    The CPU is measured under load and idle.
    """
    await topic_admin.create_missing(Settings(kafka_bootstrap=bootstrap))
    stand, seen = Stand(), Seen()
    application = web.Application()
    application.router.add_get("/programmes", stand.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    connector(folder / "connectors", runner.addresses[0][1])
    environment = os.environ | {
        "GATEWAY_KAFKA_BOOTSTRAP": bootstrap,
        "GATEWAY_CONNECTORS": str(folder / "connectors"),
        "GATEWAY_PSEUDONYM_KEY": KEY,
        "GATEWAY_METRICS_PORT": "0",
        "GATEWAY_LOG_LEVEL": "WARNING",
        "GATEWAY_SECRETS_DIR": str(folder),
    }
    command = [sys.executable, "-m", "gateway", "run"]
    process = subprocess.Popen(command, env=environment)  # noqa: ASYNC220
    ready = asyncio.Event()
    reading = asyncio.create_task(seen.read(bootstrap, ready))
    try:
        worker = psutil.Process(process.pid)
        await ready.wait()
        while stand.polls < 10:
            await asyncio.sleep(0.1)
        stand.go(RATE)
        await asyncio.sleep(WARM_SECONDS)
        seen.ages.clear()
        seen.raw.clear()
        cpu = spent(worker)
        await asyncio.sleep(SECONDS)
        busy = (spent(worker) - cpu) / SECONDS
        ages, raw = sorted(seen.ages), sorted(seen.raw)
        stand.go(0)
        await asyncio.sleep(2)
        polls, cpu = stand.polls, spent(worker)
        await asyncio.sleep(IDLE_SECONDS)
        idle, polls = (spent(worker) - cpu) / IDLE_SECONDS, stand.polls - polls
        rss = worker.memory_info().rss / 1e6
    finally:
        reading.cancel()
        process.terminate()
        process.wait(20)
        await runner.cleanup()
    at = {
        name: ages[int(len(ages) * share)] * 1e3
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999))
    }
    at["raw_p99"] = raw[int(len(raw) * 0.99)] * 1e3
    return at | {
        "per_second": len(ages) / SECONDS,
        "busy_cores": busy,
        "idle_cores": idle,
        "idle_polls": polls / IDLE_SECONDS,
        "rss_mb": rss,
    }


def main() -> dict[str, float]:
    """Print one row and return it."""
    with broker() as bootstrap, tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(run(bootstrap, Path(folder)))
    print(
        f"freshness at {found['per_second']:,.0f} records/s: "
        + ", ".join(f"{name} {found[name]:.0f} ms" for name in SHOWN)
    )
    print(
        f"worker {found['busy_cores']:.2f} cores, {found['rss_mb']:.0f} MB; "
        f"idle {found['idle_cores']:.3f} cores",
        end="",
    )
    print(f" with {found['idle_polls']:.0f} polls/s")
    return found


if __name__ == "__main__":
    main()
