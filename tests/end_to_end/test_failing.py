"""Check readiness and shutdown while a registry or a broker fails.

A failing registry never makes a worker unready. A failing broker does so within one scrape. A
worker drains within ten seconds.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time

import pytest

from gateway.local import broker as kafka
from tests.end_to_end.conftest import HARMONISED, Site, versions
from tests.end_to_end.test_processes import get
from tests.support.operator_commands import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
DRAIN_SECONDS = 10
EVERYTHING = 6_000
SCRAPE_SECONDS = 15
"""As in ``deploy/prometheus/prometheus.yml``."""


def started(site: Site, number: int) -> str:
    until(lambda: '"metrics": "http' in site.log(number), 60, lambda: site.log(number))
    return re.search(r'"metrics": "(http[^"]+)"', site.log(number))[1]


def published(site: Site) -> list:
    return site.read(*HARMONISED, "gateway.rejections.v1")


def stop(process: subprocess.Popen) -> float:
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    return time.monotonic() - asked


@pytest.mark.parametrize("site", [EVERYTHING // 2], indirect=True)  # in each of two registries
@pytest.mark.timeout(200)
def test_stop_under_load_drains_within_ten_seconds(site: Site):
    site.run()
    started(site, 0)
    until(lambda: len(published(site)) > 100, 90, lambda: "nothing is published")
    seconds = stop(site.running[0])
    stopped_at = len(published(site))
    assert 100 < stopped_at < EVERYTHING, "stopped in the middle of the work"
    site.run()
    until(
        lambda: len(published(site)) >= EVERYTHING,
        120,
        lambda: f"{len(published(site))} of {EVERYTHING}",
        pause=1,
    )
    records = published(site)
    assert len(records) == EVERYTHING
    assert all(count == 1 for count in versions(records).values())
    print(f"SIGTERM at {stopped_at} of {EVERYTHING} records: ended after {seconds:.1f} s")
    assert seconds < DRAIN_SECONDS


@pytest.mark.parametrize("site", [200], indirect=True)
@pytest.mark.timeout(200)
def test_failing_registry_is_shown_and_failing_broker_is_unready(site: Site, broker: kafka.Broker):
    worker = site.run()
    url = started(site, 0)
    until(
        lambda: get(f"{url}/readyz") == (200, "harmonise: ok\npoll: ok\n"),
        60,
        lambda: str(get(f"{url}/readyz")),
    )
    until(lambda: len(published(site)) >= 400, 60, lambda: "400 records", pause=1)

    site.control("demo-rest", "misbehave", kind="error", times=None, status=500)
    until(
        lambda: re.search("failing: demo-rest|registry not answering", get(url)[1]),
        60,
        lambda: "shown on the page",
    )
    assert get(f"{url}/readyz")[0] == 200, "a registry never makes a worker unready"
    assert 'gateway_publish_blocked_seconds{role="poll"} 0.0' in get(f"{url}/metrics")[1]
    site.control("demo-rest", "behave")

    os.kill(broker.pid, signal.SIGSTOP)
    frozen = time.monotonic()
    try:
        for connector, stream in (("demo-rest", "courses"), ("demo-soap", "credits")):
            site.control(connector, "add", stream=stream, count=50)
        for seen in (
            lambda: (
                not re.search(
                    r'gateway_publish_blocked_seconds\{role="poll"\} 0.0', get(f"{url}/metrics")[1]
                )
            ),
            lambda: (
                not re.search(
                    r'gateway_publish_blocked_seconds\{role="harmonise"\} 0.0',
                    get(f"{url}/metrics")[1],
                )
            ),
            lambda: (
                get(f"{url}/readyz")[0] == 503
                and get(f"{url}/readyz")[1].count("Kafka has taken nothing") == 2
            ),
            lambda: "Kafka has taken nothing" in get(url)[1],
        ):
            until(
                seen,
                max(1.0, frozen + SCRAPE_SECONDS - time.monotonic()),
                lambda: get(f"{url}/readyz")[1],
            )
        seen_after = time.monotonic() - frozen
        assert get(f"{url}/livez")[0] == 200
        time.sleep(10)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    until(lambda: get(f"{url}/readyz")[0] == 200, 90, lambda: get(f"{url}/readyz")[1])
    until(
        lambda: len(published(site)) >= 500, 90, lambda: f"{len(published(site))} of 500", pause=1
    )
    assert len(published(site)) == 500
    assert all(count == 1 for count in versions(published(site)).values())
    assert worker.poll() is None, "the same process, all along"

    os.kill(broker.pid, signal.SIGSTOP)
    try:
        time.sleep(1)
        seconds = stop(worker)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    print(
        f"a frozen broker was visible everywhere after {seen_after:.1f} s; SIGTERM beside one: ended after {seconds:.1f} s"
    )
    assert seconds < DRAIN_SECONDS
