"""Kill the whole gateway at random moments under load.

A ``read_committed`` reader must not see any difference.
"""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.end_to_end.conftest import HARMONISED, Site, versions
from tests.support.operator_commands import keys_without_agreement, until, wait_until_settled

pytestmark = pytest.mark.kafka
KILLS = 10
SEED = 20261124


@pytest.mark.parametrize("site", [3000], indirect=True)
@pytest.mark.timeout(400)
def test_ten_kills_lose_and_duplicate_nothing(site: Site):
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
    records = wait_until_settled(site)

    doubled = {event: count for event, count in versions(records).items() if count > 1}
    assert not doubled
    served = {f"{name}|{entry['id']}" for name in site.services for entry in site.ledger(name)}
    raw = {record.key.decode() for record in site.read("gateway.raw.v1")}
    assert raw == served

    accepted = [record for record in records if record.topic in HARMONISED]
    rejected = {
        record.key.decode() for record in records if record.topic == "gateway.rejections.v1"
    }
    assert len({(record.topic, record.key) for record in accepted}) == len(accepted)
    silent = keys_without_agreement(site) - rejected
    assert len(accepted) + len(rejected) + len(silent) == len(served)


@pytest.mark.slow  # test_takeover.py also takes over, and counts every record once
@pytest.mark.timeout(400)
def test_takeover_counts_known_content_as_unchanged(site: Site):
    """The first worker dies; the second owns its connectors within seconds, and what was read already is not written again."""
    first = site.run()
    before = wait_until_settled(site)
    second = site.run()
    until(lambda: '"started"' in site.log(1), what=lambda: site.log(1))
    first.send_signal(signal.SIGKILL)
    site.control("demo-rest", "add", stream="courses", count=25)
    after = wait_until_settled(site)
    assert len(after) == len(before) + 25
    assert all(count == 1 for count in versions(after).values())
    assert second.poll() is None


@pytest.mark.timeout(400)
def test_sigterm_drains_and_exits_cleanly(site: Site):
    """A stop in the middle of the work ends within ten seconds, and the exit code names the signal."""
    process = site.run()
    until(lambda: '"polled"' in site.log(), what=site.log, pause=0.1)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM, site.log()
    assert time.monotonic() - started < 20  # ten where nobody else works
