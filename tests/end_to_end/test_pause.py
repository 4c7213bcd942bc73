"""Check commands.

A pause outlives the worker that received it. Commands are idempotent, and a refused command gives
its reason.
"""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from gateway.kafka.send import send_command
from gateway.messages import commands
from gateway.settings import Settings
from tests.end_to_end.conftest import Site
from tests.support.operator_commands import gateway, raw, until, wait_until_settled

pytestmark = [pytest.mark.kafka, pytest.mark.parametrize("site", [60], indirect=True)]


@pytest.mark.timeout(400)
def test_pause_survives_restart_and_rebalance_until_resumed(site: Site):
    first = site.run()
    wait_until_settled(site)
    for _ in range(2):  # the second changes nothing
        assert gateway(site, "pause", "demo-rest").returncode == 0
    until(lambda: site.log().count('"event": "command",') == 2)
    before = raw(site, "demo-rest")
    second = site.run()
    until(lambda: '"started"' in site.log(1))
    first.send_signal(signal.SIGKILL)
    first.wait()
    site.control("demo-rest", "add", stream="courses", count=5)
    soap = raw(site, "demo-soap")
    site.control("demo-soap", "add", stream="degrees", count=5)
    until(lambda: raw(site, "demo-soap") >= soap + 5)  # the second worker has taken both over
    second.send_signal(signal.SIGTERM)
    second.wait(60)
    site.run()
    site.control("demo-soap", "add", stream="degrees", count=5)
    until(lambda: raw(site, "demo-soap") >= soap + 10)
    assert raw(site, "demo-rest") == before
    assert gateway(site, "resume", "demo-rest").returncode == 0
    until(lambda: raw(site, "demo-rest") == before + 5)


@pytest.mark.timeout(400)
def test_impossible_command_is_answered_and_the_next_one_runs(site: Site):
    site.run()
    until(lambda: '"polled"' in site.log())
    settings = Settings(kafka_bootstrap=site.bootstrap)
    for connector, value in (
        ("demo-rest", b"\xff not a command"),
        ("demo-rest", json.dumps({"command": "dance", "connector": "demo-rest"}).encode()),
        ("demo-rest", commands.encode(commands.Pause(connector="demo-rest", stream="nope"))),
        ("demo-rest", commands.encode(commands.Pause(connector="nobody"))),
        ("demo-rest", commands.encode(commands.Pause(connector="demo-rest", stream="courses"))),
    ):
        asyncio.run(send_command(settings, connector, value))
    until(lambda: '"event": "command",' in site.log())
    answers = [
        json.loads(line)
        for line in site.log().splitlines()
        if "bad command" in line or "command refused" in line
    ]
    assert [one["event"] for one in answers] == ["bad command"] * 2 + ["command refused"] * 2
    assert "demo-rest has no stream nope; it has programmes, courses" in answers[2]["reason"]
    assert "no connector nobody; this worker knows demo-rest, demo-soap" in answers[3]["reason"]

    said = gateway(site, "pause", "nobody")
    assert (said.returncode, said.stderr.count("\n")) == (2, 1)
    assert "unknown connector nobody" in said.stderr
    said = gateway(site, "poll", "demo-rest", "nope")
    assert said.returncode == 2
    assert "it has programmes, courses" in said.stderr
