"""Restore a backup, and move to another cluster, as the guides for operators say."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from gateway.kafka import topic_admin
from gateway.local import broker as kafka
from gateway.messages.topics import TOPICS
from gateway.settings import Settings
from tests.end_to_end.conftest import HARMONISED, Site
from tests.support.operator_commands import gateway, until, wait_until_settled

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.parametrize("site", [40], indirect=True),
]
GROUP = "harmonise"
OTHER_CLUSTER = "YW5vdGhlci1jbHVzdGVyMQ"
"""An id in the form of Kafka. All brokers of `gateway kafka start` have one id."""


@pytest.fixture
def other(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[kafka.Broker]:
    """Start a second cluster with another id and empty topics."""
    monkeypatch.setattr(kafka, "CLUSTER_ID", OTHER_CLUSTER)
    with kafka.running(tmp_path / "other") as broker:
        asyncio.run(topic_admin.create_missing(Settings(kafka_bootstrap=broker.bootstrap)))
        yield broker


def wait_until_polled(site: Site) -> None:
    log = site.folder / f"worker-{len(site.running) - 1}.log"
    until(lambda: '"polled"' in log.read_text(), what=lambda: log.read_text()[-3000:])


def stop_worker(site: Site) -> None:
    site.running[-1].send_signal(signal.SIGTERM)
    assert site.running[-1].wait(60) == 128 + signal.SIGTERM


def run_until_complete(site: Site, *arguments: str) -> None:
    """Run a worker until it has published everything, and stop it."""
    site.run(*arguments)
    wait_until_polled(site)
    wait_until_settled(site)
    stop_worker(site)


def check_complete(site: Site) -> None:
    for connector in site.services:
        done = gateway(site, "verify", connector)
        assert done.returncode == 0, done.stdout + done.stderr


def check_complete_but_rejections(site: Site) -> None:
    """Accept that rejections name offsets of another cluster, and nothing else."""
    for connector in site.services:
        done = gateway(site, "verify", connector)
        listed = [line for line in done.stdout.splitlines() if "(gateway." in line]
        assert all("gateway.rejections.v1: is on the raw topic" in line for line in listed), (
            done.stdout
        )
        assert bool(listed) == (done.returncode == 1), done.stdout + done.stderr
        assert done.returncode in {0, 1}, done.stdout + done.stderr


def current(site: Site) -> dict[tuple[str, bytes], dict]:
    """Return the published documents by topic and key, without the ids of their events."""
    state: dict[tuple[str, bytes], dict] = {}
    for record in site.read(*HARMONISED):
        if record.value is None:
            state.pop((record.topic, record.key), None)
        else:
            document = json.loads(record.value)
            document.pop("eventId", None)
            state[record.topic, record.key] = document
    return state


def test_restored_backup_continues_where_it_was_made(site: Site, tmp_path: Path):
    data, backup = tmp_path / "kafka", tmp_path / "backup"
    run_until_complete(site)
    kafka.stop(data)
    shutil.copytree(data, backup)

    kafka.start(data, detached=False)
    site.control("demo-soap", "add", stream="degrees", count=5)
    site.control("demo-rest", "change", stream="courses", count=3)
    run_until_complete(site)
    newest = current(site)
    kafka.stop(data)

    shutil.rmtree(data)  # the disk is lost
    shutil.copytree(backup, data)
    kafka.start(data, detached=False)
    assert current(site) != newest
    site.run()  # the same cluster, so no option is needed
    until(lambda: current(site) == newest, what=lambda: site.log(2)[-3000:])
    stop_worker(site)
    check_complete(site)


async def copy_topics(source: str, target: str, names: list[str]) -> None:
    """Copy topics as MirrorMaker 2 does: same partitions, other offsets, committed records only."""
    consumer = AIOKafkaConsumer(
        *names,
        bootstrap_servers=source,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        group_id=None,
        max_partition_fetch_bytes=8_000_000,
    )
    producer = AIOKafkaProducer(bootstrap_servers=target, max_request_size=8_000_000)
    await consumer.start()
    await producer.start()
    try:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for place, records in (await consumer.getmany(timeout_ms=300)).items():
                for record in records:
                    await producer.send(
                        place.topic,
                        record.value,
                        key=record.key,
                        partition=place.partition,
                        timestamp_ms=record.timestamp,
                        headers=list(record.headers),
                    )
        await producer.flush()
    finally:
        await consumer.stop()
        await producer.stop()


async def commit_ends(bootstrap: str) -> None:
    """Commit the end of each partition of the raw topic for the group of the workers."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=GROUP, enable_auto_commit=False
    )
    await consumer.start()
    try:
        places = [TopicPartition("gateway.raw.v1", number) for number in range(4)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        await consumer.commit({place: OffsetAndMetadata(end, "") for place, end in ends.items()})
    finally:
        await consumer.stop()


def moved(site: Site, bootstrap: str) -> Site:
    folder = site.folder / "there"
    folder.mkdir()
    return replace(
        site,
        folder=folder,
        bootstrap=bootstrap,
        environment=site.environment | {"GATEWAY_KAFKA_BOOTSTRAP": bootstrap},
        running=[],
    )


def test_copied_topics_are_refused_until_the_cluster_is_accepted(site: Site, other: kafka.Broker):
    run_until_complete(site)
    before = current(site)
    asyncio.run(copy_topics(site.bootstrap, other.bootstrap, [topic.name for topic in TOPICS]))
    asyncio.run(commit_ends(other.bootstrap))
    there = moved(site, other.bootstrap)

    refused = there.run()
    assert refused.wait(100) == 7
    assert "--accept-new-cluster" in there.log()

    run_until_complete(there, "--accept-new-cluster")
    assert current(there) == before
    site.control("demo-soap", "add", stream="degrees", count=5)
    there.run()
    until(lambda: len(current(there)) > len(before), what=lambda: there.log(2)[-3000:])
    wait_until_settled(there)
    stop_worker(there)
    check_complete_but_rejections(there)


def test_empty_cluster_needs_the_suppressions_of_the_old_one(site: Site, other: kafka.Broker):
    run_until_complete(site)
    native_id = next(
        record.key.decode()
        for record in site.read("gateway.raw.v1")
        if record.key.startswith(b"demo-soap|")
    ).partition("|")[2]
    site.run()
    done = gateway(site, "erase", "demo-soap", "-", "--yes", "--reason", "move", given=native_id)
    assert done.returncode == 0, done.stdout + done.stderr
    stop_worker(site)
    before = current(site)

    kept = ["gateway.suppressions.v1", "gateway.audit.v1"]
    asyncio.run(copy_topics(site.bootstrap, other.bootstrap, kept))
    there = moved(site, other.bootstrap)
    there.run()
    until(lambda: current(there).keys() >= before.keys(), what=lambda: there.log()[-3000:])
    wait_until_polled(there)
    stop_worker(there)
    assert current(there) == before  # also without what was erased

    check_complete(there)
    asked = gateway(there, "erase", "demo-soap", "-", "--verify", given=native_id)
    assert asked.returncode == 0, asked.stdout + asked.stderr
