"""Check that no log line shows a payload, a secret or a person, including those of libraries."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest
import stamina
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RetryLater
from gateway.observability import logs
from gateway.settings import Settings

CANARY = "CANARY-Maija-Meikäläinen-010190"


@pytest.fixture
def lines(monkeypatch):
    """The log as parsed lines; everything is put back afterwards."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    out = io.StringIO()

    def read() -> list[dict]:
        return [json.loads(line) for line in out.getvalue().splitlines()]

    read.text = out.getvalue
    logs.configure(
        Settings(log_format="json", log_level="DEBUG", kafka_password="hunter2-hunter2"), out
    )
    yield read
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logs._secrets.clear()


@pytest.mark.parametrize(
    "name",
    [
        "body",
        "payload",
        "native_id",
        "raw",
        "holder",
        "esi",
        "given_name",
        "birth_date",
        "api_key",
        "client_secret",
        "password",
        "Authorization",
        "headers",
    ],
)
def test_fields_are_masked_by_name(lines, name):
    structlog.get_logger("t").info("read", **{name: CANARY})
    assert CANARY not in lines.text()
    assert lines()[0][name] == "***"


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("Authorization: Bearer abcdef.ghijkl", "abcdef.ghijkl"),
        ("GET https://registry.example/people?personId=010190-123A", "010190-123A"),
        ("https://user:pa55word@registry.example/", "pa55word"),
        ("urn:schac:personalUniqueCode:int:esi:fi:1234567", "1234567"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "MIIE"),
        ("the password is hunter2-hunter2, really", "hunter2-hunter2"),
    ],
)
def test_texts_are_masked_by_shape(lines, text, gone):
    structlog.get_logger("t").info(text, error=text, inner={"note": [text]})
    assert gone not in lines.text()


def test_numbers_and_codes_stay(lines):
    structlog.get_logger("t").info(
        "polled",
        records=12,
        reason="level_unknown",
        field="eqf_level",
        url="https://registry.example/v5/programs",
    )
    line = lines()[0]
    assert (line["records"], line["reason"], line["field"]) == (12, "level_unknown", "eqf_level")
    assert line["url"] == "https://registry.example/v5/programs"


def test_log_lines_share_context_and_format(lines):
    with structlog.contextvars.bound_contextvars(
        connector="xx-demo", stream="awards", poll_id="p1"
    ):
        structlog.get_logger("gateway.pipeline.poll").info("polled")
        logging.getLogger("aiokafka.producer").info("joined %s", "group")
    for line in lines():
        assert (line["connector"], line["stream"], line["poll_id"]) == ("xx-demo", "awards", "p1")
        assert {"event", "level", "logger", "timestamp"} <= line.keys()


def test_reader_logs_are_quiet_at_start(lines):
    logging.getLogger("aiokafka.consumer.subscription_state").info("updating")
    assert not lines()
    logging.getLogger("aiokafka.consumer.group_coordinator").info("joined")
    assert len(lines()) == 1


@pytest.mark.parametrize(
    ("name", "quiet", "heard"),
    [
        ("zeep.transports", "info", "warning"),
        ("httpx2", "info", "warning"),
        ("aiokafka.conn", "debug", "info"),
        ("faust.app", "info", "warning"),
    ],
)
def test_payload_logging_libraries_stay_quiet(lines, name, quiet, heard):
    library = logging.getLogger(name)
    library.setLevel(logging.DEBUG)
    getattr(library, quiet)(CANARY)
    assert not lines()
    getattr(library, heard)("connection lost")
    assert lines()[0]["event"] == "connection lost"
    library.setLevel(logging.NOTSET)


def test_logged_exception_hides_quoted_values(lines):
    try:
        try:
            int(CANARY)
        except ValueError as error:
            raise RetryLater("timeout", "no answer within 30 s") from error
    except RetryLater:
        structlog.get_logger("t").exception("poll failed")
    text = lines.text()
    assert CANARY not in text
    assert "RetryLater: no answer within 30 s" in text
    assert "builtins.ValueError: (text withheld" in text
    assert "test_logs.py" in text


def test_logged_exception_group_shows_its_members(lines):
    try:
        raise ExceptionGroup("two", [OSError("disk full"), ValueError(CANARY)])  # noqa: TRY301
    except ExceptionGroup:
        logging.getLogger("t").exception("stopped")
    assert "disk full" in lines.text()
    assert CANARY not in lines.text()


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(min_size=1), _anything, max_size=5))
def test_redaction_handles_any_value(event):
    json.dumps(logs.redact(None, "info", dict(event)), default=str)


def test_console_format_is_for_terminals():
    out = io.StringIO()
    logs.configure(Settings(log_format="console"), out)
    structlog.get_logger("t").info("hello", connector="xx-demo")
    structlog.reset_defaults()
    assert "hello" in out.getvalue()
    assert not out.getvalue().startswith("{")


def test_retried_request_is_logged_in_words(lines):
    tries = 0

    async def ask() -> None:
        nonlocal tries
        async for attempt in stamina.retry_context(
            on=RetryLater, attempts=2, wait_initial=0.001, wait_jitter=0
        ):
            with attempt:
                tries += 1
                if tries == 1:
                    raise RetryLater("CONNECT_FAILED", "a registry: no connection")

    asyncio.run(ask())
    (line,) = [one for one in lines() if one["logger"] == "stamina"]
    assert (line["event"], line["retry"], line["level"]) == ("request tried again", 1, "warning")
    assert line["next_try_seconds"] < 1
    assert "no connection" in line["error"]
    assert not {"callable", "args", "kwargs", "caused_by"} & line.keys()
