"""Provoke the alerts about Kafka with a real broker, and follow their runbooks."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.local import broker as kafka
from tests.conftest import free_port
from tests.end_to_end.conftest import live_alert
from tests.support.alert_site import AlertSite, courses, prepare_alert_site
from tests.support.command_site import wait_for
from tests.support.fault_site import Loop, create_topics
from tests.support.kafka_proxy import CUT, Proxy
from tests.support.kafka_tools import open_transaction, transactions_command

pytestmark = live_alert
ALTERED = Path(__file__).parents[1] / "support/altered_gateway.py"
RAW = "gateway.raw.v1"
OPEN = "A transaction of another program is open"
STREAM = """  courses:
    emits: learning_opportunity
    every: 1s
    request: {get: /courses}
"""


def test_broker_is_frozen(alert_site: AlertSite, shared_broker: kafka.Broker):
    site = alert_site
    site.start_worker()
    site.start_prometheus()
    site.wait_until_read()
    os.kill(shared_broker.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        site.wait_until_fires("PublishBlocked", began, 180)
        site.cure(
            "PublishBlocked",
            "the only broker answers nothing",
            "No broker answers, or the brokers accept no writes",
            START_BROKERS=f"kill -CONT {shared_broker.pid}",
        )
    finally:
        os.kill(shared_broker.pid, signal.SIGCONT)


def in_partition(site: AlertSite, count: int, partition: int = 0) -> list[dict]:
    """Return records whose raw records belong to one of the four partitions."""
    found = (
        one
        for one in courses(count * 6)
        if zlib.crc32(f"{site.name}|{one['id']}".encode()) % 4 == partition
    )
    return list(itertools.islice(found, count))


def start_offset(tool: str) -> str:
    """Return where the open transaction begins, as the first command of the runbook shows it."""
    done = subprocess.run(
        ["bash", "-c", f"{tool} describe-producers --topic {RAW} --partition 0"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    column = lines[0].index("CurrentTransactionStartOffset")
    (offset,) = {line[column] for line in lines[1:]} - {"None"}
    return offset


def test_transaction_of_another_program_is_open(alert_site: AlertSite):
    site = alert_site
    site.start_worker()
    site.start_prometheus(30)
    site.wait_until_read()
    tool = transactions_command(site.environment["GATEWAY_KAFKA_BOOTSTRAP"])
    with open_transaction(site.environment["GATEWAY_KAFKA_BOOTSTRAP"], RAW, 0):
        began = time.monotonic()
        site.items = courses(60)
        site.wait_until_fires("CommitsStopped", began)
        site.cure(
            "CommitsStopped",
            "another program leaves a transaction open on a partition",
            OPEN,
            KAFKA_TRANSACTIONS=tool,
            PARTITION="0",
            START_OFFSET=start_offset(tool),
        )


def test_many_records_wait(alert_site: AlertSite):
    site = alert_site
    site.items = []
    site.start_worker()
    site.start_prometheus(30)
    site.wait_until_read()
    tool = transactions_command(site.environment["GATEWAY_KAFKA_BOOTSTRAP"])
    with open_transaction(site.environment["GATEWAY_KAFKA_BOOTSTRAP"], RAW, 0):
        began = time.monotonic()
        site.items = in_partition(site, 11_000)
        assert len(site.items) == 11_000
        site.wait_until_fires("ConsumerLag", began, 180)
        site.cure(
            "ConsumerLag",
            "11,000 records arrive behind an open transaction of another program",
            "Only one partition waits",
            KAFKA_TRANSACTIONS=tool,
            PARTITION="0",
            START_OFFSET=start_offset(tool),
        )


def test_counters_are_not_balanced(alert_site: AlertSite):
    """No known fault unbalances the counters, so a planted defect does."""
    site = alert_site
    site.program = (str(ALTERED), "lost-outcome")
    site.start_worker()
    began = time.monotonic()
    site.start_prometheus()
    site.wait_until_fires("RecordsUnbalanced", began)
    restart = site.on_platform("/restart", lambda: site.restart_worker(0))
    said = site.cure(
        "RecordsUnbalanced",
        "a planted defect loses the outcome of a record in the counters",
        "The topics are complete",
        RESTART_WORKER=restart,
    )
    assert "complete" in said


def test_two_installations_do_the_same_work(alert_site: AlertSite):
    site = alert_site
    versions = itertools.count()
    site.routes["/courses"] = lambda *_: (
        200,
        {},
        json.dumps({"items": courses(3, version=str(next(versions)))}).encode(),
    )
    site.start_worker()
    site.start_prometheus(30)
    site.wait_until_read()
    site.program = (str(ALTERED), "other-group")
    began = time.monotonic()
    site.work("--roles", "poll", site.name)
    site.wait_until_fires("OwnershipContested", began, 180)
    stop = site.on_platform("/stop", lambda: site.stop_worker(1))
    site.cure(
        "OwnershipContested",
        "a second installation polls the same connector",
        "Two deployments do the same work",
        STOP_DEPLOYMENT=stop,
    )


@pytest.fixture
def proxied_site(tmp_path: Path) -> Iterator[tuple[AlertSite, Proxy]]:
    """A site whose broker is behind a proxy that can end connections."""
    loop, proxy = Loop(), Proxy(free_port())
    data = tmp_path / "kafka"
    broker = kafka.start(
        data,
        detached=False,
        properties=f"advertised.listeners=PLAINTEXT://127.0.0.1:{proxy.port}\n",
    )
    loop.run(proxy.start(broker.port))
    create_topics(proxy.address)
    with prepare_alert_site(tmp_path, proxy.address) as site:
        yield site, proxy
    loop.run(proxy.close())
    kafka.stop(data)
    loop.close()


def test_connections_end_during_commits(proxied_site: tuple[AlertSite, Proxy]):
    site, proxy = proxied_site
    before, head, rest = site.file.read_text().partition(STREAM)
    versions = itertools.count()
    streams = [f"courses{number}" for number in range(8)]
    blocks = [
        head.replace("  courses:", f"  {name}:").replace("/courses", f"/{name}") + rest
        for name in streams
    ]
    site.file.write_text(before + "".join(blocks))
    for name in streams:
        site.routes[f"/{name}"] = lambda *_, name=name: (
            200,
            {},
            json.dumps(
                {"items": [{**courses(1)[0], "id": name, "version": next(versions)}]}
            ).encode(),
        )
    site.start_worker()
    site.start_prometheus(5)  # the workers retry ever more slowly, in real time
    site.wait_until_read()
    began = time.monotonic()
    proxy.harm(CUT, times=1_000_000)
    site.wait_until_fires("ProducersUnstable", began, 180)
    mend = site.on_platform("/mend", lambda: proxy.harm(""))
    site.cure(
        "ProducersUnstable",
        "a proxy ends each connection that commits",
        "Timeouts and lost connections",
        seconds=240,
        FIX_NETWORK=mend,
    )
    wait_for(lambda: not site.is_firing("RecordsUnbalanced"), 60, site.state)
