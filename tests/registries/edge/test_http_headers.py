"""Replies whose HTTP headers are unusual: content codings, ``Retry-After`` and status 304."""

from __future__ import annotations

import gzip
import zlib
from datetime import UTC, datetime

import pytest

from gateway.fetch.http.body import _note_ignored_coding
from gateway.fetch.http.request_reply import retry_after
from tests.support.wire import Sent, poll_once

STREAM = "request: {get: /awards}\nrecords: items\nid: id\n"
BODY = '{"items": [{"id": "1", "name": "Sähköasentaja"}]}'.encode()


def read(tmp_path, coding: str, body: bytes = BODY):
    sent = Sent(body, "application/json", headers={"Content-Encoding": coding})
    return poll_once(tmp_path, sent, STREAM)


@pytest.mark.parametrize(
    "coding",
    [
        "UTF-8",
        "utf8",
        "none",
        "binary",
        "",
        "identity",
        "ISO-8859-1",
        "windows-1250",
        "8bit",
        "null",
        "application/json",
        "identity, utf-8",
        "chunked",
        "text",
        "utf-16",
        "utf-7",
        "utf8mb4",
        "*",
    ],
)
def test_coding_that_is_none_is_ignored(tmp_path, coding):
    found = read(tmp_path, coding)
    assert found.texts("name") == ["Sähköasentaja"], found.message


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("x-gzip", gzip.compress),
        ('"gzip"', gzip.compress),
        ("gzip, utf-8", gzip.compress),
        ("identity, gzip", gzip.compress),
        ("gzip;q=1.0", gzip.compress),
        ("deflate", zlib.compress),
    ],
)
def test_coding_next_to_a_word_that_is_none_is_undone(tmp_path, coding, pack):
    found = read(tmp_path, coding, pack(BODY))
    assert found.texts("name") == ["Sähköasentaja"], found.message


@pytest.mark.parametrize(
    "coding", ["br", "zstd", "compress", "x-compress", "dcb", "aes128gcm", "gzip, br", "gzip, gzip"]
)
def test_coding_that_was_not_requested_stops_the_stream(tmp_path, coding):
    found = read(tmp_path, coding)
    assert (found.kind, found.reason) == ("StreamHalted", "ENCODING")
    assert "gzip" in found.message


def test_ignored_coding_is_noted_once(tmp_path, capsys):
    _note_ignored_coding.cache_clear()
    for _ in range(3):
        read(tmp_path, "UTF-8")
    assert capsys.readouterr().out.count("content coding that is none") == 1


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("7.5", "", 7.5),
        ("120.0", "", 120),
        (".5", "", 0.5),
        ("0", "", 0),
        (" 5 ", "", 5),
        ("5, 5", "", 5),
        ("9" * 30, "", 3600),
        ("9" * 400, "", 3600),
        ("000000000000000000005", "", 5),
        ("Thu, 01 Jan 2026 00:10:00 GMT", "", 600),
        ("Thursday, 01-Jan-26 00:00:30 GMT", "", 30),
        ("Thu Jan  1 00:00:30 2026", "", 30),
        ("2026-01-01T00:00:30Z", "", 30),
        ("Thu, 01 Jan 2026 00:10:00 GMT", "Thu, 01 Jan 2026 00:09:00 GMT", 60),
        ("Thu, 01 Jan 2026 00:10:00 GMT", "no date", 600),
        ("Fri, 01 Jan 2100 00:00:00 GMT", "", 3600),
        ("Thu, 01 Jan 2015 00:10:00 GMT", "", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", "", None),
        ("-3", "", None),
        ("1e3", "", None),
        ("nan", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_retry_after_is_read_in_each_form(value, date, seconds):
    assert retry_after({"retry-after": value, "date": date}, NOW) == seconds


def test_status_304_is_no_redirect(tmp_path):
    found = poll_once(tmp_path, Sent(status=304, headers={"Location": "/elsewhere"}), STREAM)
    assert (found.kind, found.reason) == ("StreamHalted", "HTTP_304")
    assert "not modified" in found.message
    assert "then: empty" in found.message
