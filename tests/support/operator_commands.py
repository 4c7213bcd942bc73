"""Act as an operator: run a command, then wait until its effect is visible."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import structlog
from typer.testing import CliRunner

from gateway.cli import app
from gateway.errors import ConfigError, GatewayError, RetryLater
from gateway.pipeline.catch_up import wait_until_harmonised
from gateway.settings import Settings
from tests.end_to_end.conftest import HARMONISED, Site

STILL_SECONDS = 2.0


class Command(NamedTuple):
    """The result of a command of the gateway."""

    returncode: int
    stdout: str
    stderr: str


def gateway(site: Site, *arguments: str, given: str = "") -> Command:
    """Run a command as ``python -m gateway`` does, but in this process.

    A new process would take longer than most commands.
    """
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
    """Return the JSON output of a command."""
    done = gateway(site, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def until(
    done: Callable[[], object],
    seconds: float = 150,
    what: Callable[[], object] | str = "",
    pause: float = 0.3,
) -> None:
    """Check repeatedly until ``done`` is true.

    ``what`` describes the current state for the error message. ``seconds`` is a safety limit and no
    guarantee.
    """
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, (
            f"not within {seconds} s: {what() if callable(what) else what}"
        )
        time.sleep(pause)


def raw(site: Site, connector: str) -> int:
    """Return the number of records of a connector on the raw topic."""
    return sum(
        record.key.startswith(f"{connector}|".encode()) for record in site.read("gateway.raw.v1")
    )


def ended(site: Site) -> list:
    """Return all documents, tombstones and rejections."""
    return site.read(*HARMONISED, "gateway.rejections.v1")


def count_registry_records(site: Site, *connectors: str) -> int:
    """Return the number of records in the registries of these connectors.

    Without names, the function counts all registries.
    """
    found = 0
    for connector in connectors or site.services:
        with urllib.request.urlopen(f"{site.services[connector]}/_control") as reply:
            found += sum(stream["records"] for stream in json.load(reply)["streams"].values())
    return found


def processed(site: Site) -> int:
    """Return the number of records that the stage has processed, once it is not behind.

    A record of a holder who did not agree leaves nothing on an output topic.
    """
    keys = {record.key for record in site.read("gateway.raw.v1", "gateway.rejections.v1")}
    try:
        asyncio.run(wait_until_harmonised(Settings(kafka_bootstrap=site.bootstrap), 30))
    except RetryLater:
        return 0
    return len(keys)


def keys_without_agreement(site: Site) -> set[str]:
    """Return the keys of the enrolments whose student did not agree.

    Such a record leaves nothing on an output topic, unless it is rejected.
    """
    return {
        record.key.decode()
        for record in site.read("gateway.raw.v1")
        if b"enrolment" in (record.value or b"")[:200] and b"consent>false<" in record.value
    }


def wait_for_all_records(site: Site, *connectors: str, seconds: float = 150) -> None:
    """Wait until every record of the registries is processed."""
    found = wanted = 0

    def arrived() -> bool:
        nonlocal found, wanted
        found, wanted = processed(site), count_registry_records(site, *connectors)
        return found >= wanted

    until(arrived, seconds, lambda: f"{found} of {wanted} records", pause=0.5)


def wait_until_settled(site: Site, *connectors: str, seconds: float = 150) -> list:
    """Wait until the output topics are complete and quiet for two seconds, and return their
    records.
    """
    wait_for_all_records(site, *connectors, seconds=seconds)
    before: list = []
    since = time.monotonic()

    def still() -> bool:
        nonlocal before, since
        if len(records := ended(site)) != len(before):
            before, since = records, time.monotonic()
        return time.monotonic() - since >= STILL_SECONDS

    until(still, seconds, lambda: f"{len(before)} records, still moving", pause=0.5)
    return before
