"""Row 9 with three replicas, of which two must be in sync.

One broker's disk is full. The other two brokers continue, and no record is lost.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from test_fault_process import WORKING

from gateway.local import broker
from tests.support.broker_cluster import TELL_WHAT_IS_SKIPPED, Cluster, running
from tests.support.fault_figures import note
from tests.support.fault_site import FaultSite, until
from tests.support.oracle import assert_sound, caught_up, look, settle

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]
Build = Callable[..., FaultSite]
LAST_COMMIT = re.compile(
    r'^gateway_last_commit_timestamp_seconds\{role="(\w+)"\} (\S+)', re.MULTILINE
)
BLOCKED = re.compile(r'^gateway_publish_blocked_seconds\{role="\w+"\} (\S+)', re.MULTILINE)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(broker, "HEAP_OPTIONS", (*broker.HEAP_OPTIONS, TELL_WHAT_IS_SKIPPED))
    with running(tmp_path) as found:
        yield found


def test_one_full_disk_of_three(build: Build, cluster: Cluster) -> None:
    """The broker that leads most gives up; with room again it comes back, leads again, and what it serves is whole."""
    fault_site = build(300, bootstrap=cluster.bootstrap)
    process = fault_site.start()
    fault_site.said(process, WORKING, 60)
    until(lambda: caught_up_with(fault_site), 60)
    until(
        cluster.in_sync, 30, lambda: f"not every partition has its replicas: {cluster.partitions()}"
    )
    victim = cluster.leads_most()
    led = cluster.led_by(victim)
    work = Work(fault_site, fault_site.log(process).split('"url": "')[1].split('"')[0])
    work.go_on(2)
    victim.disk.fill()
    full = time.monotonic()
    gave_up = work.until(lambda: not victim.runs, 90)
    work.until(lambda: cluster.led_by(victim) == 0, 60)
    work.go_on(5)
    alone = until(lambda: caught_up_with(fault_site), 90)  # two of three are enough
    assert not cluster.in_sync(), "the broker that gave up is still counted"
    victim.disk.make_room()
    cluster.start_node(victim)
    work.until(lambda: cluster.in_sync() and cluster.led_by(victim) > 0, 120)
    work.go_on(2)
    fault_site.recoveries.append(until(lambda: caught_up_with(fault_site), 120))
    verdict = settle(fault_site, 120)
    if verdict.problems:
        cluster.keep()
    assert_sound(verdict, work.added)
    assert process.poll() is None, fault_site.log(process)
    said = f"led {led}; gave up after {gave_up:.1f} s; no commit for {work.silent:.1f} s, one waited {work.blocked:.1f} s; skipped: {', '.join(cluster.skipped()) or 'nothing'}"
    note("9", "three replicas, one disk full, then room", fault_site, verdict, remark=said)
    print(
        f"{said}; caught up after {alone:.1f} s; in all {time.monotonic() - full:.0f} s since the disk was full"
    )


class Work:
    """Keeps the registry changing, and notes for how long nothing came of it."""

    def __init__(self, fault_site: FaultSite, url: str) -> None:
        self.fault_site = fault_site
        self.url = url
        self.added = 300
        self.silent = 0.0
        """The longest time in which a role committed nothing, though there was work."""
        self.blocked = 0.0
        """The longest time that anybody waited for a commit: what the alert sees."""

    def go_on(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end, seconds + 30)

    def until(self, condition: Callable[[], bool], seconds: float) -> float:
        """Add records and watch until ``condition``; return how long it took."""

        def step() -> bool:
            self.fault_site.add(10, random.choice(("degrees", "credits", "enrolments")))
            self.added += 10
            for _ in range(5):
                self.watch()
                if condition():
                    return True
                time.sleep(0.1)
            return False

        return until(
            step, seconds, lambda: self.fault_site.log(self.fault_site.running[-1])[-3000:]
        )

    def watch(self) -> None:
        with urlopen(f"{self.url}/metrics", timeout=5) as reply:
            text = reply.read().decode()
        now = time.time()
        self.silent = max(
            [self.silent, *(now - float(moment) for _, moment in LAST_COMMIT.findall(text))]
        )
        self.blocked = max([self.blocked, *map(float, BLOCKED.findall(text))])


def caught_up_with(fault_site: FaultSite) -> bool:
    return caught_up(fault_site, asyncio.run(look(fault_site)))
