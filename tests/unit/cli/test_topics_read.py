"""Print values of topics that are not JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.cli.topics import _to_printable_json, decode_value


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
        (None, None),
    ],
    ids=["json", "xml", "not utf-8", "empty", "nan", "long number", "deep", "tombstone"],
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
