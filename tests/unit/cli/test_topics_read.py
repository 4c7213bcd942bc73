"""Print values of topics that are not JSON."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli.topics import decode_value


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (b'{"level": 6}', {"level": 6}),
        (b"<award>\xc3\x98</award>", "<award>Ø</award>"),
        (b"\xff\xfe", "2 bytes that are not text"),
        (None, None),
    ],
    ids=["json", "xml", "not utf-8", "tombstone"],
)
def test_value_is_parsed_json_or_text(value: bytes | None, printed: Any):
    assert decode_value(value) == printed
