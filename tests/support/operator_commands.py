"""Act as an operator does: a command, then look until it shows."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import structlog
from typer.testing import CliRunner

from gateway.cli import app
from gateway.errors import ConfigError, GatewayError
from tests.end_to_end.conftest import HARMONISED, Site

STILL_SECONDS = 2.0


class Command(NamedTuple):
    """What a command of the gateway answered."""

    returncode: int
    stdout: str
    stderr: str


def gateway(site: Site, *arguments: str, given: str = "") -> Command:
    """Run a command as `python -m gateway` does, in this process: a new one costs more than most commands do."""
    with pytest.MonkeyPatch.context() as patch, structlog.testing.capture_logs():
        patch.setattr("gateway.observability.logs.configure", lambda *_: None)
        done = CliRunner().invoke(app, arguments, env=site.environment, input=given)
    if isinstance(done.exception, ConfigError):
        return Command(
            done.exception.exit_code,
            done.stdout,
            done.stderr + "".join(f"{one}\n" for one in done.exception.findings),
        )
    if isinstance(done.exception, GatewayError):
        return Command(
            done.exception.exit_code, done.stdout, f"{done.stderr}gateway: {done.exception}\n"
        )
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Command(done.exit_code, done.stdout, done.stderr)


def answer(site: Site, *arguments: str) -> Any:
    """Give what a command says to programs."""
    done = gateway(site, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def until(
    done: Callable[[], object],
    seconds: float = 150,
    what: Callable[[], object] | str = "",
    pause: float = 0.3,
) -> None:
    """Look again and again until it is done; ``what`` says what was found instead. The time is a net, not a promise."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, (
            f"not within {seconds} s: {what() if callable(what) else what}"
        )
        time.sleep(pause)


def raw(site: Site, connector: str) -> int:
    """Count what a connector has on the raw topic."""
    return sum(
        record.key.startswith(f"{connector}|".encode()) for record in site.read("gateway.raw.v1")
    )


def ended(site: Site) -> list:
    """Give everything on the topics on which a record ends: documents, tombstones and rejections."""
    return site.read(*HARMONISED, "gateway.rejections.v1")


def held(site: Site, *connectors: str) -> int:
    """Return how many records the registries of these connectors hold; of all of them when none is named."""
    found = 0
    for connector in connectors or site.services:
        with urllib.request.urlopen(f"{site.services[connector]}/_control") as reply:
            found += sum(stream["records"] for stream in json.load(reply)["streams"].values())
    return found


def whole(site: Site, *connectors: str, seconds: float = 150) -> None:
    """Wait until everything the registries hold has ended on some topic: on a slow machine nothing may come for a while before that."""
    found = wanted = 0

    def arrived() -> bool:
        nonlocal found, wanted
        found, wanted = len({(one.topic, one.key) for one in ended(site)}), held(site, *connectors)
        return found >= wanted

    until(arrived, seconds, lambda: f"{found} of {wanted} records", pause=0.5)


def settled(site: Site, *connectors: str, seconds: float = 150) -> list:
    """Wait until everything has ended and nothing new has arrived for two seconds, then return what is on the output topics."""
    whole(site, *connectors, seconds=seconds)
    before: list = []
    since = time.monotonic()

    def still() -> bool:
        nonlocal before, since
        if len(records := ended(site)) != len(before):
            before, since = records, time.monotonic()
        return time.monotonic() - since >= STILL_SECONDS

    until(still, seconds, lambda: f"{len(before)} records, still moving", pause=0.5)
    return before
