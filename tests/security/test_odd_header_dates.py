"""Read replies whose headers state impossible times; none of them halts a stream."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.fetch.http.request_reply import clock_ahead_of, http_moment, retry_after
from tests.support.polled_reply import poll

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BODY = b'{"items":[{"id":"1","title":"T"}]}'
ODD = [
    "Mon, 01 Jan 2024 00:00:00 +99999999999999",
    "Mon, 01 Jan 2024 00:00:00 -2400",
    "Fri, 31 Dec 9999 23:59:59 -1400",
    "Mon, 99 Jan 2024 99:99:99 GMT",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2024-01-01T00:00:00+99:99",
    "9" * 5_000,
    "-1",
    "1e400",
    "nan",
    "inf",
    "Mon, 01 Jan " + "9" * 5_000 + " 00:00:00 GMT",
    ",",
    "; ; ;",
    '"',
    "(" * 3_000,
    "\N{ARABIC-INDIC DIGIT ONE}\N{ARABIC-INDIC DIGIT TWO}",
]


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_moment_is_left_unread(text: str):
    assert http_moment(text) is None
    assert clock_ahead_of({"date": text}, NOW) == timedelta(0)
    waited = retry_after({"retry-after": text, "date": text}, NOW)
    assert waited is None or 0 <= waited <= 3_600
    assert retry_after({"retry-after": "5", "date": text}, NOW) == 5
    assert retry_after({"retry-after": "Sun, 01 Mar 2026 12:00:07 GMT", "date": text}, NOW) == 7


@pytest.mark.parametrize(
    "headers",
    [
        {"date": "Mon, 01 Jan 2024 00:00:00 +99999999999999"},
        {"date": "Fri, 31 Dec 9999 23:59:59 -1400", "last_modified": "0001-01-01T00:00:00+14:00"},
        {"last_modified": "9" * 4_000, "date": "9" * 4_000, "age": "-9" * 1_000},
        {"retry_after": "1e400", "expires": "nan", "age": "9" * 1_000},
        {"link": "<" * 8_000, "etag": '"' + "a" * 8_000 + '"'},
        {"content_type": "application/json; charset=" + '"' + ";" * 8_000},
        {"content_type": "application/json" + "; a=b" * 2_000},
    ],
    ids=range(7),
)
def test_reply_is_read_beside_odd_headers(headers: dict[str, str], tmp_path: Path):
    outcome = poll(tmp_path, "json", BODY, **headers)
    assert (outcome.records, outcome.reason) == (1, "")
    assert outcome.cpu_seconds < 3
