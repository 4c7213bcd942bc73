"""Parse JSON, and refuse what Python's own parser would accept without an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal


class JsonRefused(Exception):
    """JSON that the gateway refuses, although Python's parser accepts it."""

    def __init__(self, problem: Literal["duplicate_key", "number"], detail: str) -> None:
        super().__init__(detail)
        self.problem = problem


MAX_DIGITS = 4_000


def load_json(text: str | bytes, parse_float: Callable[[str], Any]) -> Any:
    """Return the value of a JSON text. ``parse_float`` reads each number that has a fraction.

    Raise :class:`JsonRefused` for duplicate keys, ``NaN`` and ``Infinity``. The errors of
    ``json.loads`` pass through. A whole number with thousands of digits stays a text.
    """
    hooks: dict[str, Any] = {
        "object_pairs_hook": _reject_duplicate_keys,
        "parse_constant": _reject_constant,
        "parse_float": parse_float,
    }
    try:
        return json.loads(text, **hooks)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # Python converts no number of more than 4,300 digits.
        return json.loads(text, **hooks, parse_int=_parse_int)


def _parse_int(text: str) -> int | str:
    return int(text) if len(text) <= MAX_DIGITS else text


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JsonRefused("duplicate_key", "an object has the same key twice")
    return members


def _reject_constant(_: str) -> Any:
    raise JsonRefused("number", "NaN and Infinity are not JSON")
