"""No command and no log writes a character that a terminal acts on."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.errors import RetryLater, StreamHalted
from gateway.fetch.fault_text import quote_fault_code, without_sent_values
from gateway.fetch.http.body import ReplyBody
from gateway.fetch.http.request_reply import RegistryReply, classify_by_status
from gateway.kafka import topic_admin
from gateway.observability import logs
from gateway.settings import Settings
from tests.support.command_site import CommandSite, fetch, wait_for

NO_BODY = ReplyBody.from_bytes(b"")
HOSTILE = "a\x1b[31mRED\x9b31m\u202eevil\u2028worker w: forged\u200b\U000e0041\x07"
CONNECTOR = """language: 1
connector: NAME
country: FI
title: An office
owner: {name: Example office, contact: registry@office.example}
rest:
  url: {production: "URL"}
  limits: {attempts: 1, timeout: 20s}
  errors: by_status
streams:
  awards:
    emits: qualification
    every: 1s
    request: {get: /awards}
    MORE
    cursor: scan
    records: items
    id: id
    map:
      title.en: t
      awarding_body.name.en: {const: A school}
      awarding_body.country: {const: FI}
      isced_f: {const: "0712"}
      languages: {const: en}
      learning_outcomes: {each: "[t]", map: {title.en: "@"}}
    tests: [{name: shape, given: {id: "1", t: T}, expect_some: {title: {en: T}}}]
"""


def dangerous(text: str) -> set[str]:
    """Return the invisible and controlling characters of an output."""
    return {
        hex(ord(character))
        for character in text
        if character not in "\n\t"
        and unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    }


@pytest.fixture
def site(tmp_path: Path) -> Iterator[CommandSite]:
    opened = CommandSite(tmp_path)
    yield opened
    opened.close()


def serve(site: CommandSite, title: str, **more: Any) -> None:
    body = json.dumps({"items": [{"id": "1", "t": title}], **more}).encode()
    site.respond = lambda _target, _headers: (200, {}, body)


@pytest.mark.parametrize("title", [HOSTILE, "two\nlines: accepted\n2: accepted", "\r1: gone"])
def test_preview_shows_a_title_with_terminal_sequences_as_letters(site, title) -> None:
    serve(site, title)
    file = site.write_connector("office", CONNECTOR.replace("NAME", "office").replace("MORE", ""))
    for options in ((), ("--raw",)):
        done = site.command("preview", *options, str(file))
        assert not dangerous(done.stdout + done.stderr)
        assert not re.search(r"^(2|1): (accepted|gone)$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("link", "location"),
    [
        ("http://\x1bc\x9b31mhost/x", ""),
        ("http://a\u202eb/x", ""),
        ("http://xn--a\nworker:1/x", ""),
        ("", "http://\xc2\x9b31mhost/x"),
    ],
)
def test_error_that_names_a_strange_host_is_printable(site, link, location) -> None:
    body = json.dumps({"items": [], "next": link}).encode()
    status = 302 if location else 200
    site.respond = lambda *_: (status, {"Location": location} if location else {}, body)
    paging = "paging: {next_url: next}"
    text = CONNECTOR.replace("NAME", "office").replace("MORE", paging)
    done = site.command("preview", str(site.write_connector("office", text)))
    assert done.returncode
    assert not dangerous(done.stdout + done.stderr)
    assert done.stderr.count("gateway: ") == 1


@pytest.mark.parametrize(
    "arguments", [("explain", "office", HOSTILE), (HOSTILE,), ("check", HOSTILE)]
)
def test_error_that_quotes_an_argument_is_printable(site, arguments) -> None:
    site.write_connector("office", CONNECTOR.replace("NAME", "office").replace("MORE", ""))
    done = site.command(*arguments)
    assert done.returncode
    assert done.stderr + done.stdout
    assert not dangerous(done.stdout + done.stderr)


@pytest.mark.parametrize("form", ["text", "json", "sarif", "github"])
def test_check_of_a_hostile_file_is_printable(site, form) -> None:
    text = CONNECTOR.replace("NAME", "office").replace("MORE", "")
    text = text.replace("An office", json.dumps(HOSTILE)).replace(
        "get: /awards", '"g\\u202eet": /a'
    )
    done = site.command("check", "--format", form, str(site.write_connector("office", text)))
    assert not dangerous(done.stdout + done.stderr)
    if form in {"json", "sarif"} and done.returncode == 1:
        json.loads(done.stdout)


def test_explanation_of_a_sample_is_printable(site) -> None:
    site.write_connector("office", CONNECTOR.replace("NAME", "office").replace("MORE", ""))
    sample = site.folder / "sample.json"
    sample.write_text(json.dumps({"id": "1", "t": HOSTILE}))
    for options in ((), ("--json",)):
        done = site.command("explain", "office", "--sample", str(sample), *options)
        assert done.stdout, done.stderr
        assert not dangerous(done.stdout + done.stderr)
    json.loads(done.stdout)


@pytest.mark.parametrize("kind", [RetryLater, StreamHalted])
def test_text_of_a_stream_error_is_one_printable_line(kind) -> None:
    text = str(kind("REASON", f"office: {HOSTILE}\nnext"))
    assert not dangerous(text)
    assert "\n" not in text


def test_statuses_and_fault_codes_give_few_labels_and_name_nobody() -> None:
    verdicts = [
        classify_by_status(RegistryReply(status, {}, NO_BODY, "")) for status in range(200, 1000)
    ]
    reasons = {verdict.reason for verdict in verdicts}
    assert len(reasons) < 220
    assert all(re.fullmatch(r"[A-Z_]*|HTTP_[3-5]\d\d|HTTP_[6-9]XX", reason) for reason in reasons)


@pytest.mark.parametrize(
    ("codes", "shown"),
    [
        (("soap:Client",), "'soap:Client'"),
        (("env:Sender", "m:QUOTA_1234"), "'env:Sender m:QUOTA_1234'"),
        (("Client.010190-123A",), "with a code that is not shown"),
        (("Client.19900101",), "with a code that is not shown"),
        (("Client\x1b[2J",), "with a code that is not shown"),
        (("Client \u202e",), "with a code that is not shown"),
        (("anna@example.org",), "with a code that is not shown"),
        (("Järvinen",), "with a code that is not shown"),
    ],
)
def test_fault_code_that_may_hold_a_value_is_not_quoted(codes, shown) -> None:
    assert quote_fault_code(codes) == shown


def test_words_of_a_registry_never_repeat_a_value_of_the_request() -> None:
    text = without_sent_values("no learner anna-lena or ben in xx", ["anna-lena", ("ben", "xx"), 7])
    assert text == "no learner … or … in xx"


@pytest.mark.parametrize("form", ["json", "console"])
def test_log_line_of_a_hostile_value_is_one_printable_line(form) -> None:
    out = io.StringIO()
    before = logging.getLogger().handlers[:]
    try:
        logs.configure(Settings(log_format=form), out)
        structlog.get_logger().warning(
            f"poll {HOSTILE}\n[critical] forged", host=f"{HOSTILE}\n[critical] forged"
        )
        logging.getLogger(f"library.{form}").error("%s\n[critical] forged", HOSTILE)
    finally:
        logging.getLogger().handlers[:] = before
        structlog.reset_defaults()
    lines = out.getvalue().splitlines()
    assert len(lines) == 2, lines
    assert not dangerous(out.getvalue())


def connector_events(log: Path) -> set[tuple[str, str]]:
    """Return the connectors that a log names, each with the events of its lines."""
    lines = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
    return {(line.get("connector", ""), line["event"]) for line in lines}


@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_every_command_shows_a_hostile_registry_without_its_sequences(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    """A worker polls three hostile registries; then an operator looks at them."""
    asyncio.run(topic_admin.create_missing(Settings(kafka_bootstrap=kafka_bootstrap)))
    site = CommandSite(tmp_path, kafka_bootstrap)
    names = {"title": "tst-title", "link": "tst-link", "location": "tst-location"}
    replies = {
        "/title": (200, {}, {"items": [{"id": "1", "t": HOSTILE}, {"id": HOSTILE, "t": "T"}]}),
        "/link": (200, {}, {"items": [], "next": "http://\x1bc\x9b31mho\u202est/x"}),
        "/location": (302, {"Location": "http://\xc2\x9b31mhost/x"}, {}),
    }

    def respond(target: str, _headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        status, headers, content = replies[target.partition("?")[0].rpartition("/awards")[0]]
        return status, headers, json.dumps(content).encode()

    site.respond = respond
    for path, name in names.items():
        more = "paging: {next_url: next}" if path == "link" else ""
        text = CONNECTOR.replace("NAME", name).replace("MORE", more)
        site.write_connector(name, text.replace('"URL"', f'"URL/{path}"'))
    try:
        log = site.work(*names.values())
        wait_for(
            lambda: (
                {
                    (names["title"], "polled"),
                    (names["link"], "poll failed"),
                    (names["location"], "poll failed"),
                }
                <= connector_events(log)
            ),
            what=log.read_text,
        )
        wait_for(lambda: '"1"' in site.command("rejections", "list", "--records", "--json").stdout
                 or "tst-title" in site.command("rejections", "list", "--json").stdout,
                 what=log.read_text)  # fmt: skip
        commands = [
            ("status",), ("status", "--json"), ("status", names["link"]),
            ("rejections", "list"), ("rejections", "list", "--json"),
            ("rejections", "list", "--records"),
            ("rejections", "show", names["title"], "1"),
            ("rejections", "show", names["title"], "1", "--payload"),
            ("rejections", "show", names["title"], "1", "--payload", "--json"),
            ("rejections", "replay", "--all", "--dry-run"),
            ("explain", names["title"], "1"), ("explain", names["title"], "1", "--json"),
            ("topics", "read", "gateway.raw.v1", "--headers"),
            ("topics", "read", "gateway.rejections.v1", "--headers"),
            ("topics", "read", "gateway.status.v1", "--headers"),
            ("verify", names["title"]), ("verify", names["title"], "--json"),
            ("verify", names["link"]),
            ("erase", "--connector", names["title"], "--record", HOSTILE),
            ("renormalise", names["title"], "--dry-run"),
        ]  # fmt: skip
        for command in commands:
            done = site.command(*command)
            assert not dangerous(done.stdout + done.stderr), command
            assert "Traceback" not in done.stderr, (command, done.stderr)
            if "--json" in command and done.stdout:
                json.loads(done.stdout)
            if command[:2] == ("topics", "read"):
                assert all(map(json.loads, done.stdout.splitlines())), command
        assert not dangerous(log.read_text())
        url = re.findall(r'"url": "(http://[^"]+)", "event": "health port open"', log.read_text())
        assert not dangerous(fetch(url[-1] + "/metrics"))
        assert "evil" not in fetch(url[-1] + "/metrics")
        assert "\x1b" not in fetch(url[-1] + "/")
    finally:
        site.close()
