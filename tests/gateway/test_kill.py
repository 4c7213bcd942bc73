"""Kill the whole gateway at random moments under load; a read_committed reader must not be able to tell."""

from __future__ import annotations

import json
import random
import signal
import time
import urllib.request

import pytest

from tests.gateway.conftest import HARMONISED, Site, versions

pytestmark = pytest.mark.kafka
KILLS = 10
SEED = 20261124


def whole(site: Site, seconds: float = 150) -> None:
    """Wait until everything the registries hold has ended on some topic: on a slow machine nothing may come for a while before that."""
    deadline = time.monotonic() + seconds
    while (found := len({(one.topic, one.key) for one in site.read(*HARMONISED, "gateway.rejections.v1")})) < (wanted := held(site)):
        assert time.monotonic() < deadline, f"{found} of {wanted} records after {seconds} s"
        time.sleep(1)


def held(site: Site) -> int:
    """Return how many records the registries hold."""
    found = 0
    for url in site.services.values():
        with urllib.request.urlopen(f"{url}/_control") as reply:
            found += sum(stream["records"] for stream in json.load(reply)["streams"].values())
    return found


def settled(site: Site, seconds: float = 60) -> list:
    """Wait until nothing new has arrived for two seconds, then return everything on the output topics."""
    deadline, before, still = time.monotonic() + seconds, -1, 0
    while time.monotonic() < deadline:
        records = site.read(*HARMONISED, "gateway.rejections.v1")
        still = still + 1 if len(records) == before and records else 0
        if still >= 3:
            return records
        before = len(records)
        time.sleep(1)
    raise AssertionError(f"still moving after {seconds} s: {before} records")


@pytest.mark.parametrize("site", [3000], indirect=True)
@pytest.mark.timeout(300)
def test_ten_kills_lose_and_double_nothing(site: Site):
    """Every id the registries served stands exactly once, accepted or rejected, in key order."""
    dice = random.Random(SEED)
    for number in range(KILLS):
        process = site.run()
        time.sleep(dice.uniform(1.2, 3.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if number == KILLS // 2:
            site.control("demo-soap", "add", stream="degrees", count=500)
    site.run()
    whole(site)
    records = settled(site)

    doubled = {event: count for event, count in versions(records).items() if count > 1}
    assert not doubled
    served = {f"{name}|{entry['id']}" for name in site.services for entry in site.ledger(name)}
    raw = {record.key.decode() for record in site.read("gateway.raw.v1")}
    assert raw == served

    accepted = [record for record in records if record.topic in HARMONISED]
    rejected = {record.key.decode() for record in records if record.topic == "gateway.rejections.v1"}
    assert len({(record.topic, record.key) for record in accepted}) == len(accepted)
    assert len(accepted) + len(rejected) == len(served)


@pytest.mark.timeout(240)
def test_a_second_worker_takes_over_and_the_same_content_is_unchanged(site: Site):
    """The first worker dies; the second owns its connectors within seconds, and what was read already is not written again."""
    first = site.run()
    whole(site)
    before = settled(site)
    second = site.run()
    time.sleep(3)
    first.send_signal(signal.SIGKILL)
    site.control("demo-rest", "add", stream="courses", count=25)
    whole(site)
    after = settled(site)
    assert len(after) == len(before) + 25
    assert all(count == 1 for count in versions(after).values())
    assert second.poll() is None


@pytest.mark.timeout(120)
def test_sigterm_drains_and_ends_well(site: Site):
    """A stop in the middle of the work ends within ten seconds, and the exit code names the signal."""
    process = site.run()
    while '"started"' not in site.log():
        time.sleep(0.1)
    time.sleep(1.5)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM, site.log()
    assert time.monotonic() - started < 20  # ten where nobody else works
