"""Check that one wrong reply takes no document off the topics, and how an operator decides."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.end_to_end.conftest import Site
from tests.support.operator_commands import answer, gateway, until

pytestmark = [pytest.mark.kafka, pytest.mark.parametrize("site", [1], indirect=True)]

CONNECTOR = """language: 1
connector: shrinking
country: FI
title: A register that shows much less
owner: {name: Example office, contact: registry@office.example}
rest:
  url: {production: "URL"}
  errors: by_status
streams:
  awards:
    emits: credential
    every: 1s
    request: {get: /awards}
    cursor: scan
    records: items
    id: id
    achieved: {always: "every record is an award"}
    map:
      title.en: name
      awarded_on: day
      awarding_body.name.en: {const: Example office}
      awarding_body.country: {const: FI}
    tests:
      - name: one award
        given: {id: "1", name: Statistics, day: "2024-01-01"}
        expect_some: {id: "1"}
"""
TOPIC = "europass.credentials.v1"


class Registry(ThreadingHTTPServer):
    """A registry whose list the test replaces."""

    shown = 30

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        items = [
            {"id": f"award-{number}", "name": f"Award {number}", "day": "2024-01-01"}
            for number in range(self.server.shown)
        ]
        body = json.dumps({"items": items}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep the output of the tests short."""


@pytest.fixture
def registry() -> Iterator[Registry]:
    server = Registry(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.mark.timeout(400)
def test_documents_stay_until_the_deletions_are_accepted(site: Site, registry: Registry) -> None:
    file = site.folder / "connectors" / "shrinking.yaml"
    file.write_text(CONNECTOR.replace("URL", registry.url))
    site.run("shrinking")

    def documents() -> int:
        latest = {record.key: record.value for record in site.read(TOPIC)}
        return sum(value is not None for value in latest.values())

    def stream() -> dict[str, Any]:
        (found,) = answer(site, "status", "shrinking")["streams"]
        return found

    until(lambda: documents() == 30)
    nothing = gateway(site, "resume", "shrinking", "awards", "--accept-deletions")
    assert "nothing to accept" in nothing.stdout
    registry.shown = 4
    until(lambda: stream()["state"] == "halted")
    assert stream()["deletions_withheld"] == 26
    said = gateway(site, "status", "shrinking").stdout
    assert "deletions withheld: 26 of 30 records" in said
    assert "`gateway resume shrinking awards --accept-deletions`" in said
    assert "award-1" not in said, "the ids of credentials may identify persons"
    assert documents() == 30
    notifications = [json.loads(one.value) for one in site.read("gateway.notifications.v1")]
    assert [one["reason"] for one in notifications if one["kind"] == "halted"] == [
        "DELETIONS_WITHHELD"
    ]
    registry.shown = 30
    assert gateway(site, "poll", "shrinking").returncode == 0
    until(lambda: stream()["state"] == "running")
    registry.shown = 4
    until(lambda: stream()["state"] == "halted")
    assert gateway(site, "resume", "shrinking", "awards").returncode == 0
    done = gateway(site, "resume", "shrinking", "awards", "--accept-deletions")
    assert "shrinking awards: accepts 26 deletions of 30 records" in done.stdout
    until(lambda: documents() == 4)
    until(lambda: stream()["state"] == "running")
    assert stream()["deletions_withheld"] == 0
