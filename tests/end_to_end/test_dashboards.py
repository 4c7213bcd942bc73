"""Draw the dashboards from a real Prometheus that scrapes a working gateway.

``make dashboards`` does this for five minutes and writes ``docs/dashboards/``. The drawings use the
expressions of the dashboard files. Grafana itself does not run here, and each drawing says so.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from gateway.local import broker as kafka
from tests.conftest import free_port
from tests.end_to_end.conftest import ROOT
from tests.end_to_end.test_processes import children, parent_url
from tests.end_to_end.test_takeover import Fleet, fleet  # noqa: F401 - a fixture
from tests.support import dashboard_drawing as drawing
from tests.support.operator_commands import until
from tests.support.prometheus_server import Prometheus, get

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("prometheus"),
        reason="prometheus is not on PATH (Debian package prometheus): nothing was scraped",
    ),
]
SECONDS = int(os.environ.get("GATEWAY_DASHBOARD_SECONDS", "300"))
ABOUT = "Drawn from the dashboard file and a real Prometheus's answers to its expressions, without Grafana (tests/support/dashboard_drawing.py)."
EMPTY = {
    "Gateway: one connector / Certificate expires in": "the demo registries speak plain HTTP",
    "Gateway: one connector / Rejections, last hour": "where all its rejections were counted before the first scrape, none is an increase",
    "Gateway: fleet / Configuration reloads": "no file was changed while it ran",
    "Gateway: mapping quality / Tables that end": "no table version of these two countries has a last day to come",
    "Gateway: mapping quality / Next table to end": "as above",
}
"""Panels that stay empty in this run, and why."""


@pytest.fixture
def prometheus(fleet: Fleet, tmp_path: Path):  # noqa: F811 - the fixture
    port, web = free_port(), free_port()
    folder = tmp_path / "prometheus"
    folder.mkdir()
    shutil.copy(ROOT / "deploy/prometheus/rules.yml", folder / "rules.yml")
    config = {
        "global": {"scrape_interval": "5s", "scrape_timeout": "4s", "evaluation_interval": "5s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {"job_name": "gateway", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    process = subprocess.Popen(
        [
            "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{web}", "--log.level=error",
        ]
    )  # fmt: skip
    try:
        yield Prometheus(f"http://127.0.0.1:{web}"), port
    finally:
        process.terminate()
        process.wait(20)


def live(fleet: Fleet, broker: kafka.Broker, parent: subprocess.Popen) -> None:  # noqa: F811 - the fixture
    """Let the fleet live through a working day in minutes: changes all the time, a registry that fails, a backfill, a death, a frozen broker."""
    began = time.monotonic()
    todo = {
        0.15: lambda: fleet.control("soap-0", "misbehave", kind="error", times=None, status=500),
        0.35: lambda: fleet.control("soap-0", "behave"),
        0.50: lambda: fleet.command(
            "backfill", "soap-0", "--from", "2024-09-01", "--to", "2026-09-01"
        ),
        0.65: lambda: children(parent)["1"].kill(),
        0.85: lambda: freeze(broker, 8),
    }
    turn = 0
    while (passed := (time.monotonic() - began) / SECONDS) < 1:
        for when in [when for when in todo if when <= passed]:
            todo.pop(when)()
        for number, name in enumerate(fleet.services):
            if (turn + number) % 3 == 0:
                stream = (
                    ("courses", "programmes")[turn % 2]
                    if name.startswith("rest")
                    else ("credits", "degrees", "enrolments")[turn % 3]
                )
                fleet.control(name, "add", stream=stream, count=3 + number)
                fleet.control(name, "change", stream=stream, count=2)
        turn += 1
        time.sleep(2)


def freeze(broker: kafka.Broker, seconds: float) -> None:
    os.kill(broker.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(broker.pid, signal.SIGCONT)


def screenshot(page: Path, height: int, picture: Path) -> None:
    width = 24 * drawing.COLUMN + 40
    subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},{height}",
            f"--screenshot={picture}", page.as_uri(),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("fleet", [(400, "10s")], indirect=True)
@pytest.mark.timeout(SECONDS + 500)
def test_every_dashboard_panel_shows_data(
    fleet: Fleet,  # noqa: F811 - the fixture
    prometheus: tuple[Prometheus, int],
    broker: kafka.Broker,
    tmp_path: Path,
):
    server, port = prometheus
    parent = fleet.run("--processes", "2", GATEWAY_METRICS_PORT=str(port))
    url = parent_url(fleet)
    until(
        lambda: get(f"{url}/readyz") == "process 1: ok\nprocess 2: ok\n",
        120,
        lambda: get(f"{url}/readyz"),
    )
    live(fleet, broker, parent)
    end = time.time()
    received = server.number("sum(gateway_records_received_total)")
    out = Path(os.environ.get("GATEWAY_DASHBOARDS_OUT", tmp_path / "out"))
    out.mkdir(parents=True, exist_ok=True)
    empty = []
    for name, variables in {
        "fleet": {},
        "connector": {"connector": "soap-0", "stream": ".*"},
        "mapping": {"connector": ".*", "stream": ".*", "country": ".*"},
    }.items():
        board = json.loads((ROOT / f"deploy/grafana/{name}.json").read_text())
        text, without, height = drawing.page(
            board, drawing.Prometheus(server.base, end, SECONDS, variables=variables), ABOUT
        )
        empty += without
        page = tmp_path / f"{name}.html"
        page.write_text(text)
        if shutil.which("chromium"):
            screenshot(page, height, out / f"{name}.png")
    print("\n".join(f"empty: {one} ({EMPTY.get(one, 'NO REASON KNOWN')})" for one in empty))
    assert set(empty) <= EMPTY.keys()
    assert received > 2000
