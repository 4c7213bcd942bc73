"""Registries that answer 304 when a list has not changed since the last request."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.fetch.http import revalidation
from tests.support.wire import Sent, poll

STREAM = "request: {get: /awards}\nrecords: items\nid: id\n"
FIRST = b'{"items": [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}]}'
SECOND = b'{"items": [{"id": "1", "name": "a"}]}'
NONE = Sent(status=304)
DATES = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "Date": "Thu, 01 Jan 2026 00:10:00 GMT"}


def listed(body: bytes, **headers: str) -> Sent:
    return Sent(body, "application/json", headers=headers)


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"ETag": '"v1"'}, "if-none-match"),
        ({"ETag": 'W/"v1"', **DATES}, "if-none-match"),
        (DATES, "if-modified-since"),
    ],
)
def test_list_that_is_not_modified_is_read_as_before(tmp_path, headers, name):
    first, second, third = poll(tmp_path, [listed(FIRST, **headers), NONE, NONE], STREAM, polls=3)
    assert name not in first.asked[0].headers
    for again in (second, third):
        assert again.asked[0].headers[name] in headers.values()
        assert again.complete
        assert [raw.body for raw in again.records] == [raw.body for raw in first.records]


def test_list_that_is_modified_is_read_anew(tmp_path):
    replies = [listed(FIRST, ETag='"1"'), NONE, listed(SECOND, ETag='"2"'), NONE]
    reads = poll(tmp_path, replies, STREAM, polls=4)
    assert [len(read.records) for read in reads] == [2, 2, 1, 1]
    assert reads[3].asked[0].headers["if-none-match"] == '"2"'


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ETag": '"1"', "Cache-Control": "private, no-store"},
        {"ETag": '"1"', "Vary": "*"},
        {"Last-Modified": DATES["Date"], "Date": DATES["Date"]},
        {"Last-Modified": "yesterday", "Date": DATES["Date"]},
        {"Last-Modified": DATES["Last-Modified"]},
    ],
)
def test_reply_that_cannot_be_recognised_is_not_kept(tmp_path, headers):
    _, second = poll(tmp_path, [listed(FIRST, **headers), NONE], STREAM, polls=2)
    assert not {"if-none-match", "if-modified-since"} & set(second.asked[0].headers)
    assert (second.reason, second.records, second.complete) == ("HTTP_304", [], False)


def test_reply_that_was_refused_is_not_kept(tmp_path):
    broken = listed(b'{"items": [', ETag='"1"')
    reads = poll(tmp_path, [broken, listed(FIRST, ETag='"2"'), NONE], STREAM, polls=3)
    assert reads[0].reason == "JSON_MALFORMED"
    assert "if-none-match" not in reads[1].asked[0].headers
    assert len(reads[2].records) == 2


def test_condition_of_the_connector_is_left_alone(tmp_path):
    stream = STREAM.replace("/awards}", "/awards, headers: {Cache-Control: no-cache}}")
    _, second = poll(tmp_path, listed(FIRST, ETag='"1"'), stream, polls=2)
    assert "if-none-match" not in second.asked[0].headers


@pytest.mark.parametrize(
    "stream",
    [
        STREAM.replace("{get: /awards}", '{get: /awards, query: {p: "{page}"}}')
        + "paging: {page_number: {start: 1, pages: '`1`'}}\n",
        "for_each: {who: {in: {values: [a]}}}\n" + STREAM.replace("/awards", '"/awards/{who}"'),
        STREAM.replace("get: /awards", "post: /awards"),
        STREAM.replace("/awards}", '/awards, query: {at: "{uuid}"}}'),
    ],
)
def test_only_one_and_the_same_list_is_asked_for_again(tmp_path, stream):
    _, second = poll(tmp_path, listed(FIRST, ETag='"1"'), stream, polls=2)
    assert "if-none-match" not in second.asked[0].headers


def test_list_is_requested_in_full_after_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(revalidation, "MAX_AGE", timedelta(0) - timedelta(seconds=1))
    _, second = poll(tmp_path, listed(FIRST, ETag='"1"'), STREAM, polls=2)
    assert "if-none-match" not in second.asked[0].headers


def test_large_reply_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(revalidation, "MAX_KEPT_BYTES", len(FIRST) - 1)
    _, second = poll(tmp_path, listed(FIRST, ETag='"1"'), STREAM, polls=2)
    assert "if-none-match" not in second.asked[0].headers


def test_rule_of_the_connector_for_304_still_applies(tmp_path):
    block = "replies: [{when: {status: 304}, then: retry}]"
    reads = poll(tmp_path, [replace(NONE), NONE], STREAM, block, polls=1)
    assert reads[0].kind == "RetryLater"
