"""Convert one selected value to text or to a whole number, or raise the reason."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from gateway.combining_marks import MAX_MARKS, has_too_many_marks
from gateway.config.expressions.compiler import text_of

Convert = Callable[[Any], Any]

_FORBIDDEN_CHARACTERS = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
)
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


class CastError(ValueError):
    """A value that a cast cannot convert.

    ``reason`` is a stable code. ``expected`` describes a correct value and never holds the value.
    With ``leave_out``, the record does without the value and gets an issue with the code
    ``reason``. Otherwise the record is rejected.
    """

    def __init__(self, reason: str, expected: str, *, leave_out: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.expected = expected
        self.leave_out = leave_out


def scalar_text(value: Any) -> str:
    """Return the trimmed text of a scalar or an element.

    An object or a list raises :class:`CastError`.
    """
    if type(value) is str:
        return value.strip()
    if isinstance(value, dict | list):
        raise CastError("not_one_value", "one value; this is an object or a list: select deeper")
    return text_of(value).strip()


def read_text(value: Any) -> str:
    """Return the trimmed NFC text of a value. A boolean raises :class:`CastError`."""
    if isinstance(value, bool):
        raise CastError(
            "not_text", "a text or a number; this is true or false: use a table or a boolean target"
        )
    return clean_text(scalar_text(value))


def clean_text(text: str) -> str:
    """Return the text in NFC, with line feeds as its line breaks.

    A control or bidirectional character raises :class:`CastError`.
    """
    if text.isprintable():  # so it holds no forbidden character
        return text if text.isascii() else _composed(text)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _FORBIDDEN_CHARACTERS.search(text):
        raise CastError("control_character", "text without control and bidirectional characters")
    return _composed(text)


def _composed(text: str) -> str:
    if len(text) > MAX_MARKS and has_too_many_marks(text):
        raise CastError("not_text", f"text with at most {MAX_MARKS} combining marks in a row")
    return unicodedata.normalize("NFC", text)


def collapse_whitespace(value: Any) -> str:
    """Return the text with each run of white space replaced by one space."""
    return " ".join(read_text(value).split())


def read_integer(value: Any) -> int:
    """Return a whole number. ``7.0`` counts as one if it is a float or a decimal."""
    if isinstance(value, bool):
        raise CastError("not_a_number", "a whole number")
    if isinstance(value, int):
        return value
    text = scalar_text(value)
    if isinstance(value, float | Decimal):
        text = text.removesuffix(".0")
    if not _INTEGER.fullmatch(text):
        raise CastError("not_a_number", "a whole number of at most 18 digits 0-9")
    return int(text)
