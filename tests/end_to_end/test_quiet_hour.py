"""Check that a normal start, a rolling restart and a planned pause raise no alert.

The rules are those of ``deploy/``, unchanged. ``GATEWAY_TEST_QUIET_MINUTES`` is the length of the
run; ``make quiet-hour`` runs it for 60 minutes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import free_port
from tests.end_to_end.conftest import Site
from tests.support.operator_commands import gateway, until
from tests.support.prometheus_server import RULES, Prometheus, get

MINUTES = float(os.environ.get("GATEWAY_TEST_QUIET_MINUTES", "4"))
pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.timeout(MINUTES * 60 + 600),
    pytest.mark.parametrize("site", [100], indirect=True),  # these show no unknown level
    pytest.mark.skipif(
        not shutil.which("prometheus"),
        reason="prometheus is not on PATH (Debian package prometheus): nothing was scraped",
    ),
]


class QuietRun:
    """Two workers and a Prometheus. ``pending`` counts the seconds that each alert was pending."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.began = time.monotonic()
        self.ports = [free_port(), free_port()]
        self.workers: list[subprocess.Popen[bytes]] = []
        self.pending: Counter[str] = Counter()
        for port in self.ports:
            self.workers.append(self.start(port))
        self.prometheus = Prometheus.start(folder, free_port(), self.ports, RULES, "5s")

    def start(self, port: int) -> subprocess.Popen[bytes]:
        return self.site.run(GATEWAY_METRICS_PORT=str(port))

    def ready(self, port: int) -> bool:
        return "poll: ok" in get(f"http://127.0.0.1:{port}/readyz")

    def watch_until(self, share: float) -> None:
        """Watch until this share of the run is over."""
        while time.monotonic() < self.began + share * MINUTES * 60:
            firing = self.prometheus.alerts()
            assert not firing, (firing, self.site.log()[-3000:])
            self.pending.update({one["alertname"] for one in self.prometheus.alerts("pending")})
            time.sleep(1)

    def restart(self, number: int) -> None:
        """Restart a worker, as a rollout does, and wait until it is ready."""
        worker, port = self.workers[number], self.ports[number]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 143, "a clean stop"
        self.workers[number] = self.start(port)
        until(lambda: self.ready(port), 120, self.site.log)


@pytest.fixture
def quiet_run(site: Site, tmp_path: Path) -> Iterator[QuietRun]:
    for file in (site.folder / "connectors").glob("*.yaml"):
        file.write_text(file.read_text().replace("every: 1s", "every: 10s"))
    run = QuietRun(site, tmp_path / "prometheus")
    yield run
    run.prometheus.stop()


def test_nothing_pages_without_a_fault(quiet_run: QuietRun):
    site, prometheus = quiet_run.site, quiet_run.prometheus
    prometheus.wait_until_up()
    until(lambda: all(map(quiet_run.ready, quiet_run.ports)), 120, site.log)
    quiet_run.watch_until(0.25)
    assert prometheus.number('sum(gateway_records_total{outcome="accepted"})') > 150
    for number in range(len(quiet_run.workers)):
        quiet_run.restart(number)
    quiet_run.watch_until(0.5)
    assert gateway(site, "pause", "demo-rest", "--reason", "planned work").returncode == 0
    until(lambda: prometheus.number("count(gateway:stream_paused:state)") == 2)
    quiet_run.watch_until(0.75)
    lag = 'min(gateway:stream_lag:seconds{connector="demo-rest"})'
    assert prometheus.number(lag) > MINUTES * 12, "the pause lasted"
    assert gateway(site, "resume", "demo-rest").returncode == 0
    quiet_run.watch_until(1)
    assert prometheus.number(lag) < 60
    assert prometheus.number("sum(gateway:records_unbalanced:records)") == 0
    print(f"{MINUTES:.0f} minutes: 0 alerts fired; seconds pending: {dict(quiet_run.pending)}")
