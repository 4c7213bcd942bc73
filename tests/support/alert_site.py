"""A gateway with a fault, a Prometheus that starts empty, and a person who follows a runbook."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import free_port
from tests.support import alert_table
from tests.support.command_site import ROOT, CommandSite, wait_for
from tests.support.prometheus_server import Prometheus, get, quick_rules
from tests.support.runbooks import EVERY_CAUSE, read_runbook, run_line

CONNECTOR = """language: 1
connector: NAME
country: FI
title: A register for drills
owner: {name: Example office, contact: registry@office.example}
rest:
  url: {production: "URL"}
  errors: by_status
streams:
  courses:
    emits: learning_opportunity
    every: 1s
    request: {get: /courses}
    cursor: scan
    records: items
    id: id
    map:
      title.en: name
      provider.name.en: {const: Example office}
      provider.country: {const: FI}
      nqf_framework: {const: FiNQF}
      nqf_level: level
      languages: language
    tests:
      - name: one course
        given: {id: "1", name: Statistics, level: "6", language: eng}
        expect_some: {id: "1"}
"""
Handler = Callable[[str, dict[str, str]], tuple[int, dict[str, str], bytes]]
HOLD_SECONDS = 5.0
"""An alert has ended if it does not fire for this time."""
PATIENCE = 2.0
"""The factor on every time limit, because a loaded machine is slow."""


class AlertSite(CommandSite):
    """One registry, one connector, workers, and the measured times."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        super().__init__(folder, bootstrap)
        self.name = f"drill-{uuid.uuid4().hex[:6]}"
        """A name of its own, because the sites of one file share a broker."""
        self.tables = folder / "mappings"
        shutil.copytree(ROOT / "mappings", self.tables)
        editor = folder / "edited"
        self.environment |= {
            "GATEWAY_MAPPINGS": str(self.tables),
            "GATEWAY_STAGE": "production",
            "EDITOR": f"cp {editor}",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.items = courses(30)
        self.status = 200
        self.routes: dict[str, Handler] = {}
        self.platform: dict[str, Callable[[], object]] = {}
        self.respond = self._respond
        self.ports: list[int] = []
        self.prometheus: Prometheus | None = None
        self.factor = 1
        self.fired: dict[str, float] = {}

    def _respond(self, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        path = target.partition("?")[0]
        if action := self.platform.get(path):
            action()
            return 200, {}, b""
        if route := self.routes.get(path):
            return route(target, headers)
        if self.status != 200:
            return self.status, {}, b"{}"
        if path == "/courses":
            return 200, {}, json.dumps({"items": self.items}).encode()
        return 404, {}, b"{}"

    def on_platform(self, path: str, action: Callable[[], object]) -> str:
        """Return a command that stands for one of the platform, such as Kubernetes."""
        self.platform[path] = action
        return f"curl -fsS {self.url}{path}"

    def start_worker(self, *arguments: str, port: int = 0, **environment: str) -> Path:
        """Start a worker with a health port that Prometheus scrapes."""
        if not port:
            self.ports.append(port := free_port())
        return self.work(
            *(arguments or (self.name,)), GATEWAY_METRICS_PORT=str(port), **environment
        )

    def stop_worker(self, number: int = -1) -> None:
        """Stop a worker, and wait until it has ended."""
        worker = self.workers[number]
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)

    def restart_worker(self, number: int, *arguments: str, **environment: str) -> None:
        """Restart a worker on its port."""
        self.stop_worker(number)
        port = self.ports[number % len(self.ports)]
        self.start_worker(*arguments, port=port, **environment)

    def ready(self, port: int) -> bool:
        """Return whether a worker is ready."""
        return ": ok" in get(f"http://127.0.0.1:{port}/readyz")

    def start_prometheus(self, factor: int = 1) -> Prometheus:
        """Start an empty Prometheus, whose rules have ranges divided by ``factor``."""
        self.factor = factor
        self.prometheus = Prometheus.start(
            self.folder / "prometheus", free_port(), self.ports, quick_rules(factor), "1s"
        )
        self.prometheus.wait_until_up(60 * PATIENCE)
        return self.prometheus

    def number(self, expression: str) -> float:
        """Return the value of an expression."""
        assert self.prometheus
        return self.prometheus.number(expression)

    def is_firing(self, alert: str) -> bool:
        """Return whether an alert fires."""
        assert self.prometheus
        return alert in self.prometheus.firing()

    def log(self, number: int = 0) -> str:
        """Return the log of a worker."""
        return (self.folder / f"worker-{number}.log").read_text()

    def state(self) -> str:
        """Return the firing alerts and the logs, for the message of a failed test."""
        assert self.prometheus
        logs = "\n".join(self.log(number)[-2500:] for number in range(len(self.workers)))
        return f"firing: {sorted(self.prometheus.firing())}\n{logs}"

    def wait_until_fires(self, alert: str, since: float, seconds: float = 90) -> None:
        """Wait until an alert fires, and note the time since the fault."""
        wait_for(lambda: self.is_firing(alert), seconds * PATIENCE, self.state)
        self.fired[alert] = time.monotonic() - since

    def cure(
        self, alert: str, fault: str, cause: str = EVERY_CAUSE, seconds: float = 90, **values: str
    ) -> str:
        """Follow the runbook of an alert, and note the time until the alert clears.

        Return the output of all commands.
        """
        runbook = read_runbook(alert)
        values = {"CONNECTOR": self.name, "STREAM": "courses"} | values
        said = [run_line(line, values, self.environment, self.folder) for line in runbook.look]
        assert self.is_firing(alert), f"{alert} cleared before its cure"
        since = time.monotonic()
        for line in runbook.cures[cause]:
            said.append(run_line(line, values, self.environment, self.folder))
        cleared = self.wait_until_clear(alert, seconds)
        alert_table.record(alert, fault, self.factor, self.fired.pop(alert), cleared - since)
        return "\n".join(said)

    def wait_until_clear(self, alert: str, seconds: float) -> float:
        """Wait until an alert has ended and does not return, and return the time of its end.

        A worker that is not scraped has no alerts, so it does not count.
        """
        cleared = 0.0

        def has_ended() -> bool:
            nonlocal cleared
            if self.is_firing(alert) or self.number('min(up{job="gateway"})') != 1:
                cleared = 0.0
                return False
            cleared = cleared or time.monotonic()
            return time.monotonic() - cleared > HOLD_SECONDS

        wait_for(has_ended, seconds * PATIENCE, self.state)
        return cleared

    def edit_next(self, text: str) -> None:
        """Let the editor replace the next file by this text."""
        (self.folder / "edited").write_text(text)

    @property
    def file(self) -> Path:
        """The connector file."""
        return self.connectors / f"{self.name}.yaml"

    def replace(self, *pairs: str) -> str:
        """Return the connector file with each first text of a pair replaced by its second."""
        text = self.file.read_text()
        for old, new in zip(pairs[::2], pairs[1::2], strict=True):
            assert old in text, old
            text = text.replace(old, new)
        return text

    def wait_until_read(self) -> None:
        """Wait until a poll has succeeded and no record waits."""
        polls = f'sum(gateway_polls_total{{connector="{self.name}",outcome="ok"}})'
        wait_for(
            lambda: self.number(polls) > 0 and self.number("gateway:consumer_lag:records") == 0,
            90 * PATIENCE,
            self.state,
        )

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
        super().close()
        if self.prometheus:
            self.prometheus.stop()


def courses(count: int, **more: Any) -> list[dict[str, Any]]:
    """Return records of the register."""
    return [
        {"id": f"c{number}", "name": f"Course {number}", "level": "6", "language": "eng", **more}
        for number in range(count)
    ]


@contextmanager
def prepare_alert_site(folder: Path, bootstrap: str) -> Iterator[AlertSite]:
    """Prepare a site with the connector of the drills, and end all its processes."""
    site = AlertSite(folder, bootstrap)
    site.write_connector(site.name, CONNECTOR.replace("NAME", site.name))
    try:
        yield site
    finally:
        site.close()
