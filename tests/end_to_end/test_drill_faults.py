"""Each fault of ``gateway drill`` shows in ``gateway status --json``, and vanishes after the drill."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.demo_faults import FAULTS

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
GATEWAY = [sys.executable, "-m", "gateway"]
DEMO_SECONDS, SHOW_SECONDS, RECOVER_SECONDS = 180, 150, 240


class Demo:
    """A demo that keeps running, and the environment of a second terminal."""

    def __init__(self, process: subprocess.Popen, environment: dict[str, str]) -> None:
        self.process, self.environment = process, environment

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [*GATEWAY, "status", "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return {"error": done.stderr, "streams": [], "workers": [], "not_loaded": []}
        return json.loads(done.stdout)

    def wait_for(self, holds: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while True:
            found = self.status()
            if holds(found):
                return found
            assert time.monotonic() < end, json.dumps(found, indent=1)[:4000]
            time.sleep(0.5)


def is_whole(found: dict[str, Any]) -> bool:
    states = [one["state"] for one in found["streams"]]
    return len(states) == 7 and set(states) == {"running"} and not found["not_loaded"]


def total(found: dict[str, Any], name: str) -> int:
    return sum(one["counts"][name] for one in found["streams"])


def stream_reasons(state: str, words: str) -> Callable[[dict, dict], bool]:
    def shows(found: dict, _before: dict) -> bool:
        return any(
            one["state"] == state and re.search(words, one["reason"]) for one in found["streams"]
        )

    return shows


def future_changes(found: dict, before: dict) -> bool:
    def number(one: dict) -> int:
        return sum(stream["issues"].get("changed_at_in_future", 0) for stream in one["streams"])

    return number(found) > number(before)


SIGNS: dict[str, Callable[[dict, dict], bool]] = {
    "registry-down": stream_reasons("retrying", "CONNECT_FAILED|cannot be reached|refused"),
    "registry-slow": stream_reasons("retrying", "no complete reply within 10 s|TIMEOUT"),
    "registry-busy": stream_reasons("retrying", "BUSY|503"),
    "credentials-refused": stream_reasons("halted", "answered 401"),
    "list-renamed": stream_reasons("halted", "has no list where `items`"),
    "list-empty": stream_reasons("halted", "deletions withheld: (\\d+) of \\1 "),
    "list-shrunk": stream_reasons("halted", "deletions withheld"),
    "page-cut": stream_reasons("retrying", "INCOMPLETE_BODY|ended"),
    "maintenance-page": stream_reasons("retrying", "a web page instead of data|HTML"),
    "clock-wrong": future_changes,
    "level-unknown": lambda found, before: total(found, "rejected") > total(before, "rejected"),
    "broker-stopped": lambda found, _: "no Kafka answers" in found.get("error", ""),
    "worker-killed": lambda found, _: any(
        one["state"] == "unowned" and "no poll worker reports" in one["reason"]
        for one in found["streams"]
    ),
    "connector-mistyped": lambda found, _: any(
        one["connector"] == "demo-rest" and "evry" in one["finding"] for one in found["not_loaded"]
    ),
    "secret-missing": stream_reasons("halted", "secret 'demo-rest/token' is missing"),
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    log = tmp_path_factory.mktemp("demo") / "demo.log"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    clean |= {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    with log.open("w") as file:
        process = subprocess.Popen(
            [*GATEWAY, "demo", "--keep", "--records", "300"], stdout=file, stderr=file, env=clean
        )
    try:
        file_name = wait_for_demo(process, log)
        lines = re.findall(r"export (\w+)='?([^'\n]*)'?", file_name.read_text())
        found = Demo(process, clean | dict(lines))
        found.wait_for(is_whole, RECOVER_SECONDS)
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(90)
    assert (code, file_name.exists()) == (0, False), "the demo has left its folder"


def wait_for_demo(process: subprocess.Popen, log: Path) -> Path:
    """Return the file with the environment, when the demo has printed its name."""
    end = time.monotonic() + DEMO_SECONDS
    while "gateway drill" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.5)
    [name] = re.findall(r"^  source (\S+)$", log.read_text(), re.MULTILINE)
    return Path(name)


def practise(demo: Demo, name: str) -> None:
    before = demo.status()
    drill = subprocess.Popen(
        [*GATEWAY, "drill", name],
        env=demo.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        demo.wait_for(lambda found: SIGNS[name](found, before), SHOW_SECONDS)
    finally:
        drill.send_signal(signal.SIGINT)
        text = drill.communicate(timeout=120)[0]
    assert drill.returncode == 130
    assert f"It was {name}: {FAULTS[name].what}." in text
    assert "The demo is whole again." in text
    demo.wait_for(is_whole, RECOVER_SECONDS)


def test_every_fault_has_a_sign():
    assert SIGNS.keys() == FAULTS.keys()


@pytest.mark.slow
def test_missing_secret_shows_and_vanishes(demo: Demo):
    practise(demo, "secret-missing")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FAULTS if name != "secret-missing"])
def test_fault_shows_and_vanishes(demo: Demo, name: str):
    practise(demo, name)
