"""Check the notifications topic.

Each event appears once and as its schema declares. A registry's owner is notified only when the
owner has to act.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import jsonschema
import pytest

from gateway.config.loading import load_connector
from gateway.kafka.send import send_command
from gateway.messages import commands
from gateway.operations.notifier import FAILURES_BEFORE_NOTIFICATION, FailureStreak, Notifier
from gateway.settings import Settings
from tests.end_to_end.conftest import ROOT, Site
from tests.support.operator_commands import until


class Listening:
    """Takes what is said instead of a broker."""

    def __init__(self) -> None:
        self.said: list[dict] = []

    def enqueue(self, record) -> None:
        self.said.append(json.loads(record.value))


def test_failure_streak_notifies_once_and_once_at_its_end():
    listening = Listening()
    connector = load_connector(ROOT / "connectors" / "demo-rest.yaml")
    troubles = FailureStreak(Notifier("w", listening), connector, "courses")
    for _ in range(FAILURES_BEFORE_NOTIFICATION - 1):
        troubles.poll_failed("retry", "timeout", "no answer")
        troubles.poll_failed("fenced", "fenced", "another worker took over")
    assert not listening.said
    troubles.poll_succeeded()
    assert not listening.said, "what mended itself is no news"
    for _ in range(3 * FAILURES_BEFORE_NOTIFICATION):
        troubles.poll_failed("retry", "timeout", "no answer")
    troubles.poll_failed("halt", "denied", "credentials refused")
    troubles.poll_failed("halt", "denied", "credentials refused")
    troubles.poll_succeeded()
    troubles.poll_succeeded()
    assert [one["kind"] for one in listening.said] == ["failing", "halted", "recovered"]
    assert all(
        one["owner"] == {"name": "Demonstration", "contact": "https://catalogue.example/contact"}
        for one in listening.said
    )


@pytest.mark.kafka
@pytest.mark.timeout(400)
@pytest.mark.parametrize("site", [40], indirect=True)
def test_halt_and_recovery_notify_the_owner(site: Site):
    token: Path = site.folder / "secrets" / "demo-rest" / "token"
    good = token.read_text()
    token.write_text("expired")
    site.run()

    def news() -> list[dict]:
        return [json.loads(record.value) for record in site.read("gateway.notifications.v1")]

    until(
        lambda: (
            {one["stream"] for one in news() if one["kind"] == "halted"}
            == {"courses", "programmes"}
        )
    )
    token.write_text(good)
    settings = Settings(kafka_bootstrap=site.bootstrap)
    asyncio.run(
        send_command(settings, "demo-rest", commands.encode(commands.Poll(connector="demo-rest")))
    )  # not at the next try, a minute later
    until(
        lambda: (
            {one["stream"] for one in news() if one["kind"] == "recovered"}
            == {"courses", "programmes"}
        )
    )
    pause = commands.Pause(connector="demo-rest", stream="courses", reason="moving house")
    asyncio.run(send_command(settings, "demo-rest", commands.encode(pause)))
    until(lambda: [one["text"] for one in news() if one["kind"] == "paused"] == ["moving house"])

    schema = json.loads((ROOT / "schemas" / "gateway.notifications.v1.schema.json").read_text())
    for record in site.read("gateway.notifications.v1"):
        headers = dict(record.headers)
        said = json.loads(record.value)
        jsonschema.validate(said, schema)
        assert record.key == b"demo-rest"
        assert headers["ce_type"].decode() == f"eu.qualification-gateway.{said['kind']}.v1"
        assert headers["ce_dataschema"].decode() == schema["$id"]
        assert (said["owner"] is not None) == (said["kind"] in {"halted", "failing", "recovered"})
        assert "expired" not in said["text"]
        assert good not in said["text"]
    ids = [dict(record.headers)["ce_id"] for record in site.read("gateway.notifications.v1")]
    assert len(ids) == len(set(ids))
