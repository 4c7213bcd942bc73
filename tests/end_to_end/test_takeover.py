"""Share ten connectors between three workers and kill, freeze or stop one of them.

Its connectors move to the other workers, no record is lost or duplicated, and no rate limit is
exceeded. The tests compare the registries' own ledgers and request times with the topics.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.local import broker as kafka
from tests.end_to_end.conftest import HARMONISED, ROOT, Site, furnished, versions
from tests.support.operator_commands import keys_without_agreement, until

pytestmark = pytest.mark.kafka
RATE = 2
"""Requests a second that each of the ten registries allows."""
MOVED_SECONDS = 10


def limit() -> float:
    """Ten seconds; twice that where more than four programs wait for each processor, as on a machine shared by many: it says so."""
    if os.getloadavg()[0] <= 4 * (os.cpu_count() or 1):
        return MOVED_SECONDS
    print(
        f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} processors: twice the time is allowed"
    )
    return 2 * MOVED_SECONDS


def rejected_keys(records: list) -> set[str]:
    return {record.key.decode() for record in records if record.topic == "gateway.rejections.v1"}


class Fleet(Site):
    """Ten registries and the workers that share them."""

    def url(self, number: int) -> str:
        found = re.search(r'"metrics": "(http[^"]+)"', self.log(number))
        return found[1] if found else ""

    def owned(self, number: int) -> set[str]:
        """The connectors that a worker polls, as it says itself."""
        try:
            with urllib.request.urlopen(f"{self.url(number)}/metrics", timeout=5) as reply:
                return set(
                    re.findall(
                        r'^gateway_poll_interval_seconds\{connector="([^"]+)"',
                        reply.read().decode(),
                        re.MULTILINE,
                    )
                )
        except (OSError, ValueError):
            return set()

    def command(self, *words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *words],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def shares(self) -> dict[int, set[str]]:
        return {
            number: self.owned(number)
            for number, process in enumerate(self.running)
            if process.poll() is None
        }

    def arrivals(self, connector: str) -> list[float]:
        with urllib.request.urlopen(f"{self.services[connector]}/_control/arrivals") as reply:
            return json.load(reply)

    def settled_shares(self, workers: int, seconds: float = 150) -> dict[int, set[str]]:
        """Return who has what once every connector has exactly one owner and every worker has some."""
        found: dict[int, set[str]] = {}

        def shared() -> bool:
            nonlocal found
            found = self.shares()
            owned = [name for names in found.values() for name in names]
            return (
                len(found) == workers
                and all(found.values())
                and sorted(owned) == sorted(self.services)
            )

        until(shared, seconds, lambda: f"ten connectors on {workers} workers: {found}")
        return found

    def moved(self, connectors: set[str], since: float) -> dict[str, float]:
        """Return after how many seconds each connector was polled again; what was on its way at ``since`` does not count."""
        found: dict[str, float] = {}

        def seen() -> bool:
            for connector in connectors - found.keys():
                if later := [one for one in self.arrivals(connector) if one > since + 1]:
                    found[connector] = min(later) - since
            return found.keys() == connectors

        until(seen, 150, lambda: f"moved: {found}, not: {connectors - found.keys()}")
        return found

    def add(self, count: int) -> None:
        for connector in self.services:
            self.control(
                connector,
                "add",
                stream="courses" if connector.startswith("rest") else "credits",
                count=count,
            )

    def check_records(self) -> int:
        """Wait until every record served stands exactly once, harmonised or rejected, for a read_committed reader; return how many."""
        served: set[str] = set()
        records: list = []

        def whole() -> bool:
            nonlocal served, records
            served = {
                f"{name}|{entry['id']}" for name in self.services for entry in self.ledger(name)
            }
            records = self.read(*HARMONISED, "gateway.rejections.v1")
            silent = keys_without_agreement(self) - rejected_keys(records)
            is_read = len(served) == sum(self.held(name) for name in self.services)
            return is_read and len(records) + len(silent) >= len(served)

        until(whole, 150, lambda: f"{len(served)} served, {len(records)} published", pause=1)
        assert {record.key.decode() for record in self.read("gateway.raw.v1")} == served
        assert not {event: count for event, count in versions(records).items() if count > 1}
        accepted = {(record.topic, record.key) for record in records if record.topic in HARMONISED}
        rejected = rejected_keys(records)
        silent = keys_without_agreement(self) - rejected
        assert len(accepted) + len(rejected) == len(records) == len(served) - len(silent)
        return len(served)

    def held(self, connector: str) -> int:
        with urllib.request.urlopen(f"{self.services[connector]}/_control") as reply:
            return sum(stream["records"] for stream in json.load(reply)["streams"].values())

    def check_rates(self) -> None:
        """No registry saw more than its limit in any half-open second."""
        for connector in self.services:
            arrivals = sorted(self.arrivals(connector))
            crowds = {
                first: bisect_left(arrivals, first + 1.0) - number
                for number, first in enumerate(arrivals)
            }
            over = [
                [round(one - first, 3) for one in arrivals if abs(one - first) < 5]
                for first, count in crowds.items()
                if count > RATE
            ]
            assert not over, (connector, over)
            assert len(arrivals) > 10, f"{connector} was hardly polled"


@pytest.fixture
def fleet(broker: kafka.Broker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    records, every = getattr(request, "param", (50, "1s"))
    registries = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/support/ten_registries.py"), str(records)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert registries.stdout
    services = json.loads(registries.stdout.readline())
    connectors = tmp_path / "connectors"
    connectors.mkdir()
    for name, url in services.items():
        demo = "demo-" + name[:4]
        text = (ROOT / "connectors" / f"{demo}.yaml").read_text()
        text = (
            re.sub(r"http://127\.0\.0\.1:\d+", url, text)
            .replace("every: 10s", f"every: {every}")
            .replace(f"connector: {demo}", f"connector: {name}")
        )
        (connectors / f"{name}.yaml").write_text(
            text.replace("limits: {", f"limits: {{rate: {RATE}/s, ")
        )
    (connectors / "demo-soap.wsdl").write_bytes(
        (ROOT / "connectors" / "demo-soap.wsdl").read_bytes()
    )
    found = Fleet(tmp_path, broker.bootstrap, services, furnished(tmp_path, broker.bootstrap))
    yield found
    for process in found.running:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
    registries.terminate()
    registries.wait()


@pytest.mark.timeout(300)
def test_killed_worker_is_replaced_within_rate_limits(fleet: Fleet):
    """Within ten seconds, which is measured where nothing else runs: by the test below, and ``make scale``."""
    for _ in range(3):
        fleet.run()
    shares = fleet.settled_shares(3)
    until(
        lambda: all(len(fleet.arrivals(name)) > 5 for name in fleet.services),
        what="all registries polled",
    )
    fleet.add(5)
    victim = max(shares, key=lambda number: len(shares[number]))
    time.sleep(0.5)
    killed = time.monotonic()
    fleet.running[victim].kill()
    moved = fleet.moved(shares[victim], killed)
    fleet.add(5)
    count = fleet.check_records()
    fleet.check_rates()
    print(
        f"{len(moved)} connectors moved in {min(moved.values()):.1f} to {max(moved.values()):.1f} s; {count} records"
    )


def strike(fleet: Fleet, number: int, how: str) -> tuple[float, set[str]]:
    """Take a worker away and return when, and what it had."""
    had, since = fleet.owned(number), time.monotonic()
    fleet.running[number].send_signal(
        {"killed": signal.SIGKILL, "frozen": signal.SIGSTOP, "stopped": signal.SIGTERM}[how]
    )
    return since, had


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fleet", [(300, "1s")], indirect=True)
def test_rate_limits_hold_through_kills_freezes_and_backfills(
    fleet: Fleet,
):
    """A frozen worker is let go on after its connectors have moved: it must not ask once more, nor fence who has them now."""
    for _ in range(3):
        fleet.run()
    fleet.settled_shares(3)
    until(
        lambda: all(len(fleet.arrivals(name)) > 5 for name in fleet.services),
        what="all registries polled",
    )
    for name in fleet.services:
        if name.startswith("soap"):
            fleet.command("backfill", name, "--from", "2024-09-01", "--to", "2026-09-01")
    for how in ("killed", "frozen", "stopped", "killed", "frozen"):
        shares = fleet.settled_shares(3)
        victim = max(shares, key=lambda number: len(shares[number]))
        fleet.add(20)
        time.sleep(1)
        since, had = strike(fleet, victim, how)
        moved = fleet.moved(had, since)
        print(
            f"{how}: {len(moved)} connectors moved in {min(moved.values()):.1f} to {max(moved.values()):.1f} s"
        )
        assert max(moved.values()) < limit(), (how, moved)
        if how == "frozen":
            time.sleep(max(0.0, since + 12 - time.monotonic()))
            fleet.running[victim].send_signal(signal.SIGCONT)
        else:
            assert (
                fleet.running[victim].wait(15)
                == {"killed": -signal.SIGKILL, "stopped": 128 + signal.SIGTERM}[how]
            )
            fleet.run()
    fleet.settled_shares(3)
    count = fleet.check_records()
    fleet.check_rates()
    print(
        f"{count} records, each once; {sum(len(fleet.arrivals(name)) for name in fleet.services)} requests, none too early"
    )
