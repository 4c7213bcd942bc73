"""``make growth`` measures how the cost of a record grows with the size of the deployment.

It varies the size of the registry and the number of connectors, partitions and processes. Each
figure comes from its own process. A registry of ten million records is simulated without network or
broker, but with the same digests in the same table. ``--small`` stops at 100,000 records.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from bench import poll
from bench.peers import meter
from bench.peers.engines import Engine, Run
from bench.peers.filling import fill
from bench.peers.ours import JOB, KEY
from bench.shares import available, cores
from bench.stage import broker, measure, peak_rss
from gateway.kafka import topic_admin
from gateway.local import broker as kafka
from gateway.messages.topics import QUALIFICATIONS_TOPIC, REJECTIONS, TOPICS
from gateway.pipeline.digest_table import DigestTable
from gateway.pipeline.garbage_collector import tune_garbage_collector
from gateway.pipeline.harmonise_stage import CONSUMER_GROUP
from gateway.pipeline.loaded_config import load_config
from gateway.pipeline.page_writer import select_changes
from gateway.pipeline.record_processor import RecordProcessor
from gateway.records import RawRecord
from gateway.settings import Settings

RESULTS = Path(__file__).parents[1] / ".gateway" / "growth.json"
COUNT = 60_000
SHARE = 40
"""Per cent of a core. With this share, two processes and the broker fit on two cores."""
PAGE = 1_000
RAW = next(topic for topic in TOPICS if topic.name == "gateway.raw.v1")
Row = dict[str, Any]


async def polled(size: int) -> Row:
    """Poll an empty stream of ``size`` records, poll it again, and take it over."""
    found = await poll.measure(os.environ["GATEWAY_TEST_KAFKA"], size, f"growth-{size}")
    return asdict(found)


async def simulated(size: int) -> Row:
    """Add ``size`` records page by page as a poller does, then compare them again unchanged."""
    tune_garbage_collector()  # as a worker does
    known, empty = DigestTable(), peak_rss()
    costs: list[float] = []
    for _ in range(2):
        started = time.process_time()
        for raws in _pages(size):
            for entry in select_changes(raws, known)[0]:
                known[entry.raw.native_id] = entry.value
        costs.append((time.process_time() - started) / size * 1e6)
    return {
        "records": size,
        "new": costs[0],
        "unchanged": costs[1],
        "bytes_per_record": 1e6 * (peak_rss() - empty) / size,
        "rss_mb": peak_rss(),
    }


def _pages(size: int) -> Iterator[list[RawRecord]]:
    for start in range(0, size, PAGE):
        yield [
            RawRecord(
                connector="growth",
                stream="programmes",
                native_id=f"P-{number:09d}",
                body=b'{"programmeId":"P-%09d"}' % number,
            )
            for number in range(start, start + PAGE)
        ]


async def staged(count: int, connectors: int, partitions: int) -> Row:
    """Harmonise ``count`` records of several connectors from several partitions."""
    bootstrap = os.environ["GATEWAY_TEST_KAFKA"]
    names = [f"growth-{number:02d}" for number in range(connectors)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in names:
            poll.scanning(folder, 1, name)
        settings = Settings(
            kafka_bootstrap=bootstrap,
            connectors=folder,
            pseudonym_key=SecretStr(KEY),
            registry_environment="acceptance",
        )
        fleet = load_config(settings)
        await topic_admin.create_missing(settings)
        topic = f"growth-{uuid.uuid4().hex[:8]}"
        await fill(bootstrap, topic, count, partitions, names)
        found = await measure(
            settings, topic, RecordProcessor(fleet.harmonisers.get, KEY.encode()), count, topic
        )
    cost = found.cpu_seconds / found.records * 1e6
    return {
        "records": count,
        "connectors": connectors,
        "partitions": partitions,
        "harmonise": cost,
        "rss_mb": found.rss_mb,
    }


async def parallel(processes: int, percent: int, count: int) -> Row:
    """Harmonise ``count`` records with ``gateway run --processes`` on a new broker.

    Each process has at most ``percent`` of a core. 0 sets no limit.
    """
    share: AbstractContextManager[list[str]] = (
        cores(processes * percent / 100) if percent else nullcontext([])
    )
    with tempfile.TemporaryDirectory() as place, share as limited:
        folder = Path(place)
        started = kafka.start(folder / "kafka", detached=False)
        try:
            await topic_admin.create_missing(Settings(kafka_bootstrap=started.bootstrap))
            await fill(started.bootstrap, RAW.name, count)
            environment = {
                "GATEWAY_KAFKA_BOOTSTRAP": started.bootstrap,
                "GATEWAY_CONNECTORS": str(JOB),
                "GATEWAY_PSEUDONYM_KEY": KEY,
                "GATEWAY_METRICS_PORT": "0",
                "GATEWAY_LOG_LEVEL": "ERROR",
            }
            command = [
                sys.executable,
                "-m",
                "gateway",
                "run",
                "--roles",
                "harmonise",
                "--processes",
                str(processes),
            ]
            engine = Engine(
                "gateway run",
                "exactly once",
                lambda _: [*limited, *command],
                QUALIFICATIONS_TOPIC,
                REJECTIONS.name,
                environment,
            )
            cost = await meter.run(
                engine, Run(started.bootstrap, RAW.name, CONSUMER_GROUP, folder), count
            )
        finally:
            kafka.stop(folder / "kafka")
    return {
        "processes": processes,
        "percent_of_a_core": percent,
        "records_per_second": cost.records_per_second,
        "per_core": cost.records_per_second_and_core,
        "cores_had": cost.records_per_second / cost.records_per_second_and_core,
        "harmonise": cost.cpu_seconds_per_million,
        "rss_mb": cost.rss_mb,
    }


PARTS: dict[str, Callable[..., Coroutine[Any, Any, Row]]] = {
    "polled": polled,
    "simulated": simulated,
    "staged": staged,
    "parallel": parallel,
}


def rows(part: str, given: Iterable[tuple[int, ...]]) -> list[Row]:
    """Run a part for each set of numbers, each time in a new process."""
    found: list[Row] = []
    for numbers in given:
        command = [sys.executable, "-m", "bench.growth", "--part", part, *map(str, numbers)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found.append(json.loads(said.splitlines()[-1]))
    print(table(found), end="\n\n", flush=True)
    return found


def table(found: list[Row]) -> str:
    """Return rows as a Markdown table."""
    names = list(found[0])
    lines = [
        "| " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|" + "---:|" * len(names),
    ]
    return "\n".join(
        lines + ["| " + " | ".join(_figure(row[name]) for name in names) + " |" for row in found]
    )


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def gained(one: Row, two: Row) -> str:
    """Return a sentence about the gain of a second process, by the clock and for each core.

    The figure for each core counts only the cores that the broker left to the gateway.
    """
    clock, core = (two[name] / one[name] for name in ("records_per_second", "per_core"))
    return (
        f"Two processes harmonise {clock:.2f} times as many records a second as one process. "
        f"They had {two['cores_had'] / one['cores_had']:.2f} times the cores "
        f"({two['cores_had']:.2f} of {os.cpu_count()}). "
        "The broker and other processes used the rest, or it was idle. "
        f"For each core, the rate is {core:.2f} times that of one process."
    )


def main(small: bool) -> None:
    """Print every table and write the figures as JSON."""
    sizes = [10_000, 100_000] if small else [10_000, 100_000, 1_000_000]
    found: dict[str, list[Row]] = {}
    with broker() as bootstrap:
        os.environ["GATEWAY_TEST_KAFKA"] = bootstrap
        print("Registry size: polling, CPU-µs a record, by records\n")
        found["polled"] = rows("polled", [(size,) for size in sizes])
        print("Registry size: the digest table alone, without network and broker\n")
        found["simulated"] = rows(
            "simulated", [(size,) for size in (*sizes, *(() if small else (10_000_000,)))]
        )
        print("Registry size, connectors, partitions: harmonising, CPU-µs a record\n")
        by_size = [(size, 1, 4) for size in sizes]
        found["staged"] = rows(
            "staged",
            [
                *by_size,
                *((COUNT, number, 4) for number in (10, 50)),
                *((COUNT, 1, number) for number in (1, 12, 48)),
            ],
        )
    print("Processes on this machine, with the broker on the same machine\n")
    found["parallel"] = rows(
        "parallel", [(number, 0, 60_000 if small else 200_000) for number in (1, 2)]
    )
    print(gained(*found["parallel"]))
    if available():
        print(f"Processes with {SHARE} % of a core each, so that the broker has its own share\n")
        found["shared"] = rows(
            "parallel", [(number, SHARE, 40_000 if small else 100_000) for number in (1, 2)]
        )
        print(gained(*found["shared"]))
    else:
        print(
            "Processes with a share of a core each are not measured, "
            "because control groups need root on Linux"
        )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2))
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--part", choices=sorted(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("numbers", type=int, nargs="*", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        import uvloop

        print(json.dumps(uvloop.run(PARTS[asked.part](*asked.numbers))))
    else:
        main(asked.small)
