"""Break a real registry and a real worker, and read what ``gateway why`` says."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_site import CommandSite, fetch, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]
NAME = "why-courses"
CONNECTOR = """language: 1
connector: why-courses
country: NL
title: Courses
owner: {name: Fictional Agency, contact: "mailto:registry@agency.example"}
rest:
  url: {production: "URL", acceptance: "URL"}
  limits: {attempts: 2, patience: 2s}
streams:
  courses:
    emits: learning_opportunity
    every: 2s
    request: {get: /r}
    cursor: scan
    records: items
    id: id
    map:
      title.en: title_en
      homepage: {const: "https://a.example/"}
      isced_f: isced
      provider.name.en: {const: Agency}
      provider.country: {const: NL}
      provider.homepage: {const: "https://a.example/"}
      learning_outcomes: {each: outcomes, map: {title.en: "@"}}
    tests: [{name: shape, given: {id: "1", title_en: T}, expect_some: {}}]
"""
PERSON = "Aino Virtanen"


def rows(title: str) -> list[dict[str, Any]]:
    return [
        {"id": str(number), title: "T", "isced": "0712", "outcomes": ["x"], "teacher": PERSON}
        for number in range(120)
    ]


def reply(body: Any, status: int = 200):
    return lambda _target, _headers: (status, {}, json.dumps(body).encode())


GOOD = reply({"items": rows("title_en")})


@pytest.fixture
def site(tmp_path: Path, kafka_bootstrap: str) -> Iterator[CommandSite]:
    opened = CommandSite(tmp_path, kafka_bootstrap)
    opened.environment["GATEWAY_STAGE"] = "acceptance"
    opened.write_connector(NAME, CONNECTOR)
    opened.respond = GOOD
    opened.command("topics", "apply")
    yield opened
    opened.close()


def why(site: CommandSite, *more: str) -> dict[str, Any]:
    done = site.command("why", NAME, "--json", *more)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["streams"]
    return found


def wait_for_code(site: CommandSite, code: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        found[:] = [why(site)]
        return found[0]["code"] == code

    wait_for(is_there, 60, lambda: found)
    return found[0]


@pytest.mark.slow
def test_each_cause_is_named_while_a_registry_and_a_worker_break(site: CommandSite):
    assert why(site)["code"] == "NO_WORKER"
    log = site.work(NAME)
    wait_for_code(site, "HEALTHY")
    screen = site.command("why", NAME).stdout
    assert screen.count("\n") == 1
    assert f"{NAME}: courses is well" in screen

    site.respond = reply({"items": rows("label_en")})
    found = wait_for_code(site, "all_rejected")
    assert found["fields_gone"] == ["items[].title_en"]
    assert found["fields_new"] == ["items[].label_en"]
    assert found["owner"] == "Fictional Agency, mailto:registry@agency.example"
    assert found["since_seconds_ago"] < 60
    first_since = found["since"]
    screen = site.command("why", f"{NAME}/courses").stdout
    assert PERSON not in screen
    assert len(screen.splitlines()) <= 24
    assert all(len(line) <= 80 for line in screen.splitlines())

    url = next(
        line["metrics"]
        for line in map(json.loads, log.read_text().splitlines())
        if "metrics" in line
    )
    page = fetch(f"{url}/why?connector={NAME}")
    assert "items[].label_en" in page
    assert PERSON not in page

    site.respond = reply({"error": "no"}, 401)
    site.command("poll", NAME, "--wait")
    found = wait_for_code(site, "DENIED")
    assert not found["reply_compared"]
    assert found["since"] == first_since

    # Another worker continues the time of the first failure.
    site.workers[0].send_signal(signal.SIGKILL)
    site.workers[0].wait()
    wait_for_code(site, "NO_WORKER")
    site.work(NAME)
    assert wait_for_code(site, "DENIED")["since"] == first_since

    site.respond = GOOD
    site.command("poll", NAME, "--wait")
    wait_for_code(site, "HEALTHY")
    site.command("pause", NAME, "--reason", "maintenance")
    found = wait_for_code(site, "PAUSED")
    assert (found["details"], found["needs_attention"]) == ("maintenance", False)
    site.command("resume", NAME)
    wait_for_code(site, "HEALTHY")
    site.write_connector(NAME, CONNECTOR.replace("every: 2s", "evry: 2s"))
    found = wait_for_code(site, "CONFIG_REFUSED")
    assert "did you mean 'every'" in found["details"]


def test_unknown_names_and_a_silent_kafka_have_an_answer(site: CommandSite):
    unknown = site.command("why", "why-course")
    assert unknown.returncode == 2
    assert "did you mean why-courses?" in unknown.stderr
    stream = site.command("why", f"{NAME}/course")
    assert stream.returncode == 2
    assert "did you mean courses?" in stream.stderr
    down = site.command("why", NAME, GATEWAY_KAFKA_BOOTSTRAP="127.0.0.1:1")
    assert down.returncode == 4
    assert "KAFKA_DOWN" in down.stdout
    assert "Nothing is lost" in down.stdout
    site.write_connector(NAME, CONNECTOR.replace("every: 2s", "evry: 2s"))
    assert why(site)["code"] == "NOT_LOADED"
