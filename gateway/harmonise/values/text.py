"""Read one selected value as text, strictly, and say why it cannot be read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from gateway.config.expressions.compiler import text_of

Convert = Callable[[Any], Any]

_FORBIDDEN_CHARACTERS = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
)
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


class CastError(ValueError):
    """A value that cannot be read. ``reason`` is a stable code; ``expected`` says what would have been right, never the value."""

    def __init__(self, reason: str, expected: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.expected = expected


def scalar_text(value: Any) -> str:
    """Return the trimmed text of a scalar or an element; an object or a list is not one value."""
    if type(value) is str:
        return value.strip()
    if isinstance(value, dict | list):
        raise CastError("not_one_value", "one value; this is an object or a list: select deeper")
    return text_of(value).strip()


def read_text(value: Any) -> str:
    """Read trimmed NFC text."""
    if isinstance(value, bool):
        raise CastError(
            "not_text", "a text or a number; this is true or false: use a table or a boolean target"
        )
    return clean_text(scalar_text(value))


def clean_text(found: str) -> str:
    """Return NFC text without characters nobody can see."""
    if found.isprintable():  # so nothing forbidden is in it
        return found if found.isascii() else unicodedata.normalize("NFC", found)
    if "\r" in found:
        found = found.replace("\r\n", "\n").replace("\r", "\n")
    if _FORBIDDEN_CHARACTERS.search(found):
        raise CastError("control_character", "text without control and bidirectional characters")
    return unicodedata.normalize("NFC", found)


def collapse_whitespace(value: Any) -> str:
    """Read text with every run of blanks and line breaks as one blank."""
    return " ".join(read_text(value).split())


def read_integer(value: Any) -> int:
    """Read a whole number."""
    if isinstance(value, bool):
        raise CastError("not_a_number", "a whole number")
    if isinstance(value, int):
        return value
    found = scalar_text(value)
    if isinstance(value, float | Decimal):
        found = found.removesuffix(".0")
    if not _INTEGER.fullmatch(found):
        raise CastError("not_a_number", "a whole number in digits 0-9")
    return int(found)
