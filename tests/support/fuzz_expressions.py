"""Fuzz targets: conditions and templates, and the regular expressions of the gateway.

The target ``select`` in ``fuzz_targets`` covers JMESPath and XPath, and ``casts`` the casts.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from gateway.config.connection import Condition
from gateway.config.expressions.compiler import EvaluationError, ExpressionError
from gateway.config.expressions.conditions import (
    compile_deletion_condition,
    compile_record_condition,
)
from gateway.config.expressions.template import MissingValue, parse_template
from gateway.errors import StreamError
from gateway.harmonise.values.payload import PayloadError, json_value, xml_element
from tests.support.fuzz_budget import within_budget
from tests.support.regular_expressions import Expression, expressions

VALUES: dict[str, object] = {
    "since": datetime(2026, 1, 1, 12, 30, 5, 123_456, UTC),
    "until": date(9999, 12, 31),
    "page": 3,
    "size": Decimal("1E+3"),
    "cursor": "a\u202e&b='\"<",
    "uuid": UUID(int=1),
    "id": "",
    "none": None,
}
TEXT_LIMIT = 1_000_000
"""A template of a few kilobytes becomes no text larger than this."""


@within_budget
def conditions(data: bytes) -> None:
    """Apply a condition, written as JSON, to a payload. A zero byte separates the two."""
    kind: Any = "xml" if data[:1] == b"\1" else "json"
    written, _, payload = data[1:].partition(b"\0")
    with contextlib.suppress(ValidationError, ExpressionError, EvaluationError, PayloadError):
        condition = TypeAdapter(Condition).validate_json(written)
        node = xml_element(payload) if kind == "xml" else json_value(payload)
        for compiled in (compile_record_condition, compile_deletion_condition):
            fits = compiled(condition, kind, {"x": "urn:x"})
            assert fits(node, {"root": node}) is fits(node, {"root": node})


@within_budget
def templates(data: bytes) -> None:
    """Fill a template. Text in double braces, and any other text, stays as it is."""
    template = parse_template(data.decode("utf-8", "replace"))
    with contextlib.suppress(MissingValue, StreamError):
        made = template.fill(VALUES, lambda value: f"[{value}]")
        assert len(made) < TEXT_LIMIT
        assert made == template.fill(VALUES, lambda value: f"[{value}]")


@within_budget
def patterns(data: bytes) -> None:
    """Apply one regular expression of the gateway, which the first byte chooses, to a text."""
    if not data:
        return
    chosen = _all_patterns()[data[0] % len(_all_patterns())]
    text: Any = data[1:]
    if isinstance(chosen.pattern.pattern, str):
        text = data[1:].decode("utf-8", "replace")
    text = text * 8  # A repeated text makes quadratic time visible.
    for method in chosen.methods:
        if method == "sub":
            chosen.pattern.sub(text[:0], text)
        elif method == "finditer":
            assert all(found.end() <= len(text) for found in chosen.pattern.finditer(text))
        elif method != "compile":
            getattr(chosen.pattern, method)(text)


@cache
def _all_patterns() -> tuple[Expression, ...]:
    return tuple(expressions())


def _condition(kind: int, written: str, payload: str) -> bytes:
    return bytes([kind]) + written.encode() + b"\0" + payload.encode()


_JSON = '{"state": "deleted", "n": 7.5, "day": "2026-02-28", "tags": ["a", {"b": null}], "e": ""}'
_XML = '<x:r xmlns:x="urn:x" state="deleted"><x:d>2026-02-28</x:d><x:n>7</x:n><!-- c --></x:r>'
CONDITION_SEEDS = [
    _condition(0, '{"path": "state", "is": ["del*", "NONE"]}', _JSON),
    _condition(0, '{"path": "n", "over": 5}', _JSON),
    _condition(0, '{"path": "day", "since": "2026-01-01"}', _JSON),
    _condition(0, '{"path": "tags[?b].b | [0]", "exists": false}', _JSON),
    _condition(0, '{"path": "contains(tags, \'a\') && !e"}', _JSON),
    _condition(0, '{"path": "state", "not": ["*a*b*c*"]}', _JSON),
    _condition(1, '{"path": "@state", "is": "deleted"}', _XML),
    _condition(1, '{"path": "x:n", "over": 5}', _XML),
    _condition(1, '{"path": "../x:d[last()] | x:d", "exists": true}', _XML),
    _condition(1, '{"path": "$root/x:d", "since": "2026-01-01"}', _XML),
]
TEMPLATE_SEEDS = [
    text.encode()
    for text in (
        *(
            "{since:iso}",
            "{since:%Y-%m-%d %H:%M}",
            "/a/{page:03}/{page:999}?s={size}",
            "{{id}} {id}",
        ),
        *(
            "{until:%s}",
            "{cursor}{uuid}",
            "{since:epoch_ms}{since:date}",
            "{none}",
            "{ {page} }}{",
            "{page:d}",
        ),
    )
]
PATTERN_SEEDS = [
    bytes([number]) + text
    for number, text in enumerate(
        (
            *(
                b"2026-02-28T12:00:00+02:00",
                b"text/xml; charset=utf-8",
                b'<https://a/>; rel="next"',
                b"a.b-c",
            ),
            *(
                b"<?xml version='1.0' encoding='utf-8'?>",
                b"--b\r\n",
                b"1234.5",
                b"/* a */ // b\n",
                b"\\u00e9 {id}",
            ),
        )
        * 12
    )
]
CONDITION_WORDS = [
    '\\"is\\"',
    '\\"not\\"',
    '\\"over\\"',
    '\\"since\\"',
    '\\"exists\\"',
    "*",
    "[?",
    "$root",
    "//",
    "not(",
]
TEMPLATE_WORDS = [
    "{since:",
    "{page:",
    "iso",
    "epoch",
    "%Y",
    "%%",
    "%-d",
    "{{",
    "}}",
    "999",
    "#x",
    "n",
]
PATTERN_WORDS = [
    "; ",
    "=",
    "\\x0d\\x0a",
    "--",
    "/*",
    "*/",
    "//",
    "<?",
    "?>",
    "00",
    "T",
    "+",
    "..",
    '\\"',
]
