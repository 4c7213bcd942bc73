"""``python -m bench.peers`` compares the gateway with other engines.

It builds the engines and checks that they give the same result. It then runs them in turn and
prints a table and JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import uuid
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer

from bench.peers import meter, xml
from bench.peers.engines import BUILT, ENGINES, Engine, Run, build
from bench.peers.filling import fill
from bench.peers.meter import Cost
from gateway.local import broker as kafka

PARTITIONS = 4
PROPERTIES = "log.segment.delete.delay.ms=1000\nlog.retention.check.interval.ms=5000\n"
CHECKED = 20_000
ROUNDS = 3
RECORDS = {"ours": 500_000, "streams": 2_000_000, "connect": 200_000, "connect-gc": 200_000}


async def said(bootstrap: str, engine: Engine) -> dict[str, Any]:
    """Return an engine's output by native id.

    The value is a document, or the field and the reason of a rejection.
    """
    consumer = AIOKafkaConsumer(
        engine.output,
        engine.rejects,
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    found: dict[str, Any] = {}
    try:
        while batches := await consumer.getmany(timeout_ms=3_000, max_records=5_000):
            for place, records in batches.items():
                for record in records:
                    document = orjson.loads(record.value)
                    rejected = place.topic == engine.rejects
                    key = (
                        record.key.decode().rpartition("|")[2] if rejected else document["id"]
                    ).rpartition("/")[2]
                    if key in found:
                        raise SystemExit(f"{engine.name} wrote {key} twice")
                    found[key] = [document["field"], document["reason"]] if rejected else document
    finally:
        await consumer.stop()
    return found


async def check(bootstrap: str, names: list[str], folder: Path) -> None:
    """Check that every engine gives the same result for :data:`CHECKED` records."""
    topic = "peers.check"
    await fill(bootstrap, topic, CHECKED)
    answers: dict[str, dict[str, Any]] = {}
    for name in names:
        engine = ENGINES[name]
        await meter.fresh(bootstrap, engine, PARTITIONS)
        await meter.run(engine, Run(bootstrap, topic, f"check-{uuid.uuid4().hex}", folder), CHECKED)
        answers[name] = await said(bootstrap, engine)
        if len(answers[name]) != CHECKED:
            raise SystemExit(f"{engine.name} wrote {len(answers[name])} of {CHECKED} records")
        different = [
            key for key, answer in answers[name].items() if answer != answers[names[0]][key]
        ]
        if different:
            raise SystemExit(
                f"{engine.name} differs in {len(different)} records, first in {different[0]}"
            )
    rejected = sum(isinstance(answer, list) for answer in answers[names[0]].values())
    print(
        f"{CHECKED:,} records, {rejected} of them rejected: "
        f"the same documents and reasons from {', '.join(names)}",
        flush=True,
    )


async def compare(
    bootstrap: str, names: list[str], scale: float, rounds: int, folder: Path
) -> dict[str, list[Cost]]:
    """Run the engines in turn, ``rounds`` times."""
    topic = "peers.in"
    wanted = {name: max(1, int(RECORDS[name] * scale)) for name in names}
    print(f"writing {max(wanted.values()):,} records", flush=True)
    await fill(bootstrap, topic, max(wanted.values()))
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names:
            engine = ENGINES[name]
            await meter.fresh(bootstrap, engine, PARTITIONS)
            cost = await meter.run(
                engine, Run(bootstrap, topic, f"run-{uuid.uuid4().hex}", folder), wanted[name]
            )
            costs[name].append(cost)
            print(
                f"round {turn + 1}: {engine.name:<26} "
                f"{cost.cpu_seconds_per_million:8.1f} CPU-s/million",
                flush=True,
            )
            await meter.fresh(bootstrap, engine, PARTITIONS)
    return costs


def table(costs: dict[str, list[Cost]]) -> str:
    """Return the medians as a Markdown table."""
    lines = [
        (
            "| engine | guarantee | CPU-µs/record (runs) | records/s/core | records/s "
            "| peak RSS MB | ours / it |"
        ),
        "|---|---|---|---:|---:|---:|---:|",
    ]
    own = (
        statistics.median(cost.records_per_second_and_core for cost in costs["ours"])
        if "ours" in costs
        else None
    )
    for name, runs in costs.items():
        engine = ENGINES[name]
        core = statistics.median(cost.records_per_second_and_core for cost in runs)
        each = "/".join(f"{cost.cpu_seconds_per_million:.1f}" for cost in runs)
        wall = statistics.median(cost.records_per_second for cost in runs)
        rss = max(cost.rss_mb for cost in runs)
        ratio = f"{own / core:.2f}" if own else ""
        lines.append(
            f"| {engine.name} | {engine.guarantee} | {each} | {core:,.0f} | {wall:,.0f} "
            f"| {rss:.0f} | {ratio} |"
        )
    return "\n".join(lines)


async def main(given: argparse.Namespace) -> None:
    """Build, check, compare and print."""
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    build()
    names = given.engines.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = kafka.start(folder / "kafka", detached=False, properties=PROPERTIES)
        try:
            await check(broker.bootstrap, names, folder)
            costs = await compare(broker.bootstrap, names, given.scale, given.rounds, folder)
        finally:
            kafka.stop(folder / "kafka")
        parsing = xml.measure(folder)
    print(table(costs))
    print(xml.table(parsing))
    found = {
        "topic_to_topic": {name: [cost.as_dict() for cost in runs] for name, runs in costs.items()},
        "xml": parsing,
    }
    path = BUILT / "results.json"
    path.write_text(json.dumps(found, indent=2))
    print(f"written to {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument(
        "--engines", default="ours,streams,connect,connect-gc", help="which, in which order"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help=f"share of the full number of records: {RECORDS}"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asyncio.run(main(parser.parse_args()))
