"""Print values of topics that are not JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from gateway.cli.topics import _to_printable_json
from gateway.operations.readable_records import decode_headers, decode_value, matches


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (b'{"level": 6}', {"level": 6}),
        (b"<award>\xc3\x98</award>", "<award>Ø</award>"),
        (b"\xff\xfe", {"bytes": 2, "base64": "//4="}),
        (b"", ""),
        (b"NaN", "NaN"),
        (b"1" * 5000, "1" * 5000),
        (b"[" * 200_000, "[" * 200_000),
        (b'{"credits": 1e999}', '{"credits": 1e999}'),
        (None, None),
    ],
    ids=[
        "json",
        "xml",
        "not utf-8",
        "empty",
        "nan",
        "long number",
        "deep",
        "infinite",
        "tombstone",
    ],
)
def test_value_is_parsed_json_or_text(value: bytes | None, printed: Any):
    assert decode_value(value) == printed


@pytest.mark.parametrize(
    "text", ["\x1b]0;title\x07", "\x9b31m", "\u202eevil", "\u2028", "\ud800", "\x7f", "Ø 🎓"]
)
def test_line_has_no_character_that_a_terminal_obeys(text: str):
    line = _to_printable_json({"value": text})
    assert line.isprintable()
    assert json.loads(line) == {"value": text}


def record(key: bytes | None, **headers: bytes | None) -> ConsumerRecord:
    return ConsumerRecord("t", 0, 0, 0, 0, key, b"{}", 0, 0, 0, tuple(headers.items()))


@pytest.mark.parametrize(
    ("key", "header", "connector", "number"),
    [
        ("", [], "", 6),
        ("7", [], "", 2),
        ("demo|7", [], "", 1),
        ("", ["kind"], "", 1),
        ("", ["kind=award"], "", 1),
        ("", ["kind=other"], "", 0),
        ("", ["kind", "ce_source"], "", 1),
        ("", [], "demo", 3),
        ("", [], "demo-soap", 1),
        ("urn", [], "demo", 1),
        ("", [], "dem", 0),
    ],
)
def test_filters_select_records(key: str, header: list[str], connector: str, number: int):
    records = [
        record(b"demo|7", kind=b"award diploma", ce_source=b"/connectors/demo/awards"),
        record(b"demo-soap|7"),
        record(b"urn:1", ce_source=b"/connectors/demo/awards"),
        record(b"demo"),
        record(None, ce_source=None),
        record(b"\xff", other=b"\xff"),
    ]
    assert sum(matches(one, key, header, connector) for one in records) == number


def test_repeated_header_keeps_each_value():
    assert decode_headers([("a", b"1"), ("b", None), ("a", b"\xff")]) == {
        "a": ["1", {"bytes": 1, "base64": "/w=="}],
        "b": None,
    }
