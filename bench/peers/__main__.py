"""``python -m bench.peers`` compares the gateway with other engines.

It builds the engines and checks that they give the same result. It then runs them in turn on each
set of records, and prints tables and JSON.
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
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer

from bench.peers import meter, xml
from bench.peers.engines import BUILT, ENGINES, Engine, Run, build
from bench.peers.filling import fill
from bench.peers.meter import Cost
from bench.peers.records import RECORDS
from gateway.kafka import topic_admin
from gateway.local import broker as kafka
from gateway.settings import Settings

PARTITIONS = 4
PROPERTIES = "log.segment.delete.delay.ms=1000\nlog.retention.check.interval.ms=5000\n"
CHECKED = 20_000
ROUNDS = 3
COUNTS = {
    "ours": 500_000,
    "streams": 2_000_000,
    "streams-bare": 2_000_000,
    "pydantic": 200_000,
    "orjson": 500_000,
    "connect": 200_000,
    "connect-gc": 200_000,
}
Answers = dict[str, Any]


async def read_answers(bootstrap: str, engine: Engine) -> tuple[Answers, Answers]:
    """Return an engine's outputs by native id: what they say, and how they are written.

    The first is a digest of the document as JSON, or the field and the reason of a rejection. The
    second is a digest of the partition, the key, the value and the headers of a document.
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
    found: Answers = {}
    written: Answers = {}
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
                    if rejected:
                        found[key] = [document["field"], document["reason"]]
                        continue
                    found[key] = digest(orjson.dumps(document, option=orjson.OPT_SORT_KEYS))
                    row = place.partition, record.key, record.value, record.headers
                    written[key] = digest(repr(row).encode())
    finally:
        await consumer.stop()
    return found, written


def digest(data: bytes) -> bytes:
    """Return a digest, because all documents of an engine need a gigabyte."""
    return sha256(data).digest()


async def check(bootstrap: str, names: list[str], folder: Path, kind: str) -> None:
    """Check that every engine gives the same result for :data:`CHECKED` records.

    With the same outputs, partition, key, value and headers must be equal byte by byte.
    """
    topic = f"peers.check.{kind}"
    await fill(bootstrap, topic, CHECKED, kind=kind)
    answers: dict[str, Answers] = {}
    written: dict[str, Answers] = {}
    for name in names:
        engine = ENGINES[name]
        await meter.fresh(bootstrap, engine, PARTITIONS)
        await meter.run(engine, Run(bootstrap, topic, f"check-{uuid.uuid4().hex}", folder), CHECKED)
        answers[name], written[name] = await read_answers(bootstrap, engine)
        if len(answers[name]) != CHECKED:
            raise SystemExit(f"{engine.name} wrote {len(answers[name])} of {CHECKED} records")
        compare_answers(engine.name, answers[names[0]], answers[name])
        if engine.same_outputs:
            compare_answers(engine.name, written[names[0]], written[name])
    rejected = sum(isinstance(answer, list) for answer in answers[names[0]].values())
    print(
        f"{CHECKED:,} records of the set {kind!r}, {rejected} of them rejected: "
        f"the same documents and reasons from {', '.join(names)}",
        flush=True,
    )


def compare_answers(name: str, expected: Answers, answers: Answers) -> None:
    """End the run if an engine differs from the first one."""
    different = [key for key, answer in answers.items() if answer != expected[key]]
    if different:
        raise SystemExit(f"{name} differs in {len(different)} records, first in {different[0]}")


async def compare(
    bootstrap: str, names: list[str], scale: float, rounds: int, folder: Path, kind: str
) -> dict[str, list[Cost]]:
    """Run the engines in turn on one set of records, ``rounds`` times."""
    topic = f"peers.in.{kind}"
    wanted = {name: max(1, int(COUNTS[name] * scale)) for name in names}
    print(f"writing {max(wanted.values()):,} records of the set {kind!r}", flush=True)
    await fill(bootstrap, topic, max(wanted.values()), kind=kind)
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
                f"round {turn + 1}: {engine.name:<42} "
                f"{cost.cpu_seconds_per_million:8.1f} CPU-s/million",
                flush=True,
            )
            await meter.fresh(bootstrap, engine, PARTITIONS)
    await meter.drop_topics(bootstrap, [topic])
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
    names, kinds = given.engines.split(","), given.records.split(",")
    costs: dict[str, dict[str, list[Cost]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = kafka.start(folder / "kafka", detached=False, properties=PROPERTIES)
        try:
            await topic_admin.create_missing(Settings(kafka_bootstrap=broker.bootstrap))
            for kind in kinds:
                await check(broker.bootstrap, names, folder, kind)
            for kind in kinds:
                costs[kind] = await compare(
                    broker.bootstrap, names, given.scale, given.rounds, folder, kind
                )
        finally:
            kafka.stop(folder / "kafka")
        parsing = xml.measure(folder) if "connect" in names else {}
    for kind, measured in costs.items():
        print(f"\nRecords of the set {kind!r}\n\n{table(measured)}")
    if parsing:
        print(f"\n{xml.table(parsing)}")
    found = {
        "topic_to_topic": {
            kind: {name: [cost.as_dict() for cost in runs] for name, runs in measured.items()}
            for kind, measured in costs.items()
        },
        "xml": parsing,
    }
    path = BUILT / "results.json"
    path.write_text(json.dumps(found, indent=2))
    print(f"written to {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--engines", default=",".join(COUNTS), help="which, in which order")
    parser.add_argument(
        "--records", default=",".join(RECORDS), help=f"sets of records: {', '.join(RECORDS)}"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help=f"share of the full number of records: {COUNTS}"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asyncio.run(main(parser.parse_args()))
