"""Provoke alerts with a real gateway and a real Prometheus that starts from nothing.

The rules are those of ``deploy/``. Only ``for`` and the intervals are shortened, so each figure is
the time until the expression of the rule is true. ``ALERTS_TABLE=write`` writes the figures into
``deploy/README.md``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from gateway.local import broker as kafka
from tests.conftest import free_port
from tests.deploy.test_prometheus import ALERTS
from tests.end_to_end.conftest import ROOT, Site
from tests.end_to_end.test_watched import Prometheus, get
from tests.support.operator_commands import gateway, until

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.parametrize("site", [60], indirect=True),
    pytest.mark.skipif(
        not shutil.which("prometheus"),
        reason="prometheus is not on PATH (Debian package prometheus): nothing was scraped",
    ),
]
README = ROOT / "deploy/README.md"
BEGIN, END = "<!-- alerts -->\n", "<!-- end of alerts -->\n"
PAGES = {alert["alert"] for alert in ALERTS if alert["labels"]["severity"] == "page"}


class Watch:
    """A gateway, a Prometheus that may start later, and what was measured."""

    def __init__(self, site: Site, folder: Path, broker: kafka.Broker) -> None:
        self.site, self.broker = site, broker
        self.port, self.web = free_port(), free_port()
        self.folder = folder
        self.prometheus = Prometheus(f"http://127.0.0.1:{self.web}")
        self.process: subprocess.Popen | None = None
        self.measured: dict[str, tuple[str, float, float]] = {}
        self._fired: dict[str, tuple[str, float]] = {}

    def run(self) -> subprocess.Popen:
        return self.site.run(GATEWAY_METRICS_PORT=str(self.port))

    def start_prometheus(self) -> None:
        rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
        for group in rules["groups"]:
            group["interval"] = "1s"
            for rule in group["rules"]:
                if "alert" in rule:
                    rule["for"] = "0s"
        (self.folder / "rules.yml").write_text(yaml.safe_dump(rules))
        config = {
            "global": {
                "scrape_interval": "1s",
                "scrape_timeout": "1s",
                "evaluation_interval": "1s",
            },
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": "gateway", "static_configs": [{"targets": [f"127.0.0.1:{self.port}"]}]}
            ],
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.process = subprocess.Popen(
            [
                "prometheus", f"--config.file={self.folder}/prometheus.yml",
                f"--storage.tsdb.path={self.folder}/data",
                f"--web.listen-address=127.0.0.1:{self.web}", "--log.level=error",
            ]
        )  # fmt: skip

    def fires(self, alert: str, fault: str, since: float, seconds: float = 90) -> None:
        until(lambda: alert in self.prometheus.firing(), seconds, self.state)
        self._fired[alert] = fault, time.monotonic() - since

    def clears(self, alert: str, since: float, seconds: float = 90) -> None:
        until(lambda: alert not in self.prometheus.firing(), seconds, self.state)
        self.measured[alert] = (*self._fired.pop(alert), time.monotonic() - since)

    def state(self) -> str:
        return f"firing: {sorted(self.prometheus.firing())}\n{self.site.log()[-3000:]}"

    def quiet(self, alerts: set[str], seconds: float) -> None:
        """Check that none of these alerts fires for a time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert not self.prometheus.firing() & alerts
            time.sleep(0.5)

    def balance(self) -> float:
        return self.prometheus.number("sum(gateway:records_unbalanced:records)")


@pytest.fixture
def watch(site: Site, broker: kafka.Broker, tmp_path: Path) -> Iterator[Watch]:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    found = Watch(site, folder, broker)
    yield found
    if found.process:
        found.process.terminate()
        found.process.wait(20)


def command(site: Site, *words: str) -> None:
    done = gateway(site, *words)
    assert done.returncode == 0, done.stderr


def first_events(watch: Watch) -> None:
    """Both registries fail at the first poll, before Prometheus exists."""
    site = watch.site
    site.control("demo-rest", "misbehave", kind="error", times=None, status=401)
    site.control("demo-soap", "misbehave", kind="error", times=None, status=503)
    watch.run()
    until(lambda: '"outcome": "halt"' in site.log(), 90, site.log)
    began = time.monotonic()
    watch.start_prometheus()
    watch.fires("ConnectorHalted", "the registry refuses the credentials at the first poll", began)
    watch.fires("BreakerOpen", "the registry answers 503 from the first poll on", began)
    watch.fires("ConnectorFailing", "the registry answers 503 from the first poll on", began)
    failing = watch.prometheus.query('ALERTS{alertname="ConnectorFailing",alertstate="firing"}')
    assert {one["metric"]["connector"] for one in failing} == {"demo-soap"}, "one cause, one page"
    fixed = time.monotonic()
    for name in site.services:
        site.control(name, "behave")
        command(site, "poll", name)
    watch.clears("ConnectorHalted", fixed)
    watch.clears("BreakerOpen", fixed, 150)
    watch.clears("ConnectorFailing", fixed, 150)


def normal_start(watch: Watch) -> None:
    until(lambda: watch.prometheus.number("sum(gateway_raw_records_harmonised_total)") > 60)
    until(lambda: watch.prometheus.number("gateway:consumer_lag:records") == 0)
    until(lambda: not watch.prometheus.firing() & PAGES, 60, watch.state)
    assert watch.balance() == 0
    watch.quiet(PAGES, 10)


def refused_files(watch: Watch) -> None:
    file = watch.site.folder / "connectors/demo-rest.yaml"
    text = file.read_text()
    began = time.monotonic()
    file.write_text(text.replace("every:", "evry:"))
    watch.fires("ConfigRefused", "a connector file gets a typing error", began)
    fixed = time.monotonic()
    file.write_text(text)
    watch.clears("ConfigRefused", fixed)
    broken = file.with_name("broken.yaml")
    began = time.monotonic()
    broken.write_text("connector: broken\n")
    watch.fires("ConnectorNotLoaded", "a new connector file is not valid", began)
    fixed = time.monotonic()
    broken.unlink()
    watch.clears("ConnectorNotLoaded", fixed)


def paused_and_stale(watch: Watch) -> None:
    """One connector is paused and the other one is down: only the second one pages."""
    site = watch.site
    command(site, "pause", "demo-rest", "--reason", "planned work")
    until(lambda: watch.prometheus.number("count(gateway:stream_paused:state)") == 2)
    began = time.monotonic()
    site.control("demo-soap", "misbehave", kind="error", times=None, status=503)
    watch.fires("ConnectorStale", "the registry answers 503 for a minute", began, 150)
    until(
        lambda: (
            watch.prometheus.number('min(gateway:stream_lag:seconds{connector="demo-rest"})') > 65
        )
    )
    pages = watch.prometheus.query('ALERTS{alertstate="firing",severity="page"}')
    assert {one["metric"]["connector"] for one in pages} == {"demo-soap"}
    fixed = time.monotonic()
    site.control("demo-soap", "behave")
    command(site, "poll", "demo-soap")
    command(site, "resume", "demo-rest")
    watch.clears("ConnectorStale", fixed, 150)


def frozen_broker(watch: Watch) -> None:
    began = time.monotonic()
    os.kill(watch.broker.pid, signal.SIGSTOP)
    try:
        watch.fires("PublishBlocked", "the broker answers nothing", began, 180)
    finally:
        os.kill(watch.broker.pid, signal.SIGCONT)
    watch.clears("PublishBlocked", time.monotonic(), 120)


def restart(watch: Watch) -> None:
    stopped = watch.site.running[-1]
    began = time.monotonic()
    stopped.send_signal(signal.SIGTERM)
    stopped.wait(60)
    watch.fires("WorkerDown", "the only worker stops", began)
    watch.fires("GatewayDown", "the only worker stops", began)
    started = time.monotonic()
    watch.run()
    watch.clears("WorkerDown", started)
    watch.clears("GatewayDown", started)
    until(lambda: "poll: ok" in get(f"http://127.0.0.1:{watch.port}/readyz"), 90)
    until(lambda: not watch.prometheus.firing() & PAGES, 90, watch.state)
    assert watch.balance() == 0
    watch.quiet(PAGES, 10)


def table(measured: dict[str, tuple[str, float, float]]) -> str:
    """Return the table of all alerts, those without a measurement last."""
    lines = [
        "| alert | fault | true after | `for` | clears after |",
        "|---|---|---|---|---|",
    ]
    for alert in ALERTS:
        if found := measured.get(alert["alert"]):
            fault, fires, clears = found
            lines.append(
                f"| `{alert['alert']}` | {fault} | {fires:.0f} s | {alert.get('for', '0s')} "
                f"| {clears:.0f} s |"
            )
    others = ", ".join(f"`{one['alert']}`" for one in ALERTS if one["alert"] not in measured)
    text = f"Only the rule tests of `promtool` prove these alerts: {others}."
    return "\n".join([*lines, "", textwrap.fill(text, 119), ""])


@pytest.mark.timeout(900)
def test_alerts_fire_on_the_first_event_and_clear(watch: Watch):
    steps: list[Callable[[Watch], None]] = [
        first_events,
        normal_start,
        refused_files,
        paused_and_stale,
        restart,
        frozen_broker,
    ]
    for step in steps:
        step(watch)
    assert watch.balance() == 0
    if os.environ.get("ALERTS_TABLE") == "write":
        text = README.read_text()
        before, _, rest = text.partition(BEGIN)
        README.write_text(before + BEGIN + table(watch.measured) + END + rest.partition(END)[2])
    stated = README.read_text().partition(BEGIN)[2].partition(END)[0]
    measured = set(re.findall(r"^\| `(\w+)`", stated, re.MULTILINE))
    assert measured == watch.measured.keys(), "run with ALERTS_TABLE=write"
