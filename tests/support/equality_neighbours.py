"""Change a payload at one place, so that a memory with a wrong key would show."""

from __future__ import annotations

import copy
import itertools
import unicodedata
from collections.abc import Iterator
from typing import Any

Place = tuple[str | int, ...]

LONG = "x" * 10_000
ODD_VALUES: tuple[Any, ...] = (
    None, "", " ", "\u00a0", "0", 0, 1, True, 1.0, "1", False, "true", "True", -1, 0.5, "1.0", "1,5",
    "01", "+1", "-0", "1e2", 10**20, "\u0661", "\uff11", [], {}, [""], [None], {"en": "x"}, "-",
    "null", "NaN", "x", "X", LONG, "8", "6", 8, "VI", "4+", "ECTS", "ects", "HE", "VET", "he",
    "2020-02-30", "2020-02-03", "2020-2-3", "03.02.2020", "2019-08-31", "2999-01-01", "1700-01-01",
    "2020-02-03T00:00:00Z", "2020-02-03T23:30:00-02:00", "en", "EN", "eng", "lav", "IE", "IRL", "ie",
    "https://other.example/", "http://user@other.example", "<b>bold</b>", "a\u0301", "\u00e1",
    "J\u00c5\u00abras", "a\u200bb", "a\u202eb", "\u2028", "\x01", "tab\there", "line\nfeed",
    "\\u0061", '"', "\U0001f393", "\ufffd", "0712", "0999", "071", "999990002", "900000001",
)  # fmt: skip
"""Values that a registry may send in place of any other."""


def places(payload: Any, place: Place = ()) -> Iterator[Place]:
    """Yield the place of every value inside a payload, whole objects and lists included."""
    if isinstance(payload, dict):
        children = [(key, payload[key]) for key in payload]
    elif isinstance(payload, list):
        children = list(enumerate(payload))
    else:
        return
    for key, child in children:
        yield (*place, key)
        yield from places(child, (*place, key))


def value_at(payload: Any, place: Place) -> Any:
    """Return the value at a place."""
    for key in place:
        payload = payload[key]
    return payload


def with_value(payload: Any, place: Place, value: Any) -> Any:
    """Return a copy of a payload with another value at a place."""
    changed = copy.deepcopy(payload)
    parent = value_at(changed, place[:-1])
    parent[place[-1]] = value
    return changed


def without(payload: Any, place: Place) -> Any:
    """Return a copy of a payload without the value at a place."""
    changed = copy.deepcopy(payload)
    del value_at(changed, place[:-1])[place[-1]]
    return changed


def relatives(value: Any) -> list[Any]:
    """Return values that are nearly the same as a value."""
    if isinstance(value, bool):
        return [not value, str(value).lower(), int(value), float(value), [value]]
    if isinstance(value, int | float):
        return [
            str(value), float(value), f"{value}.0", f" {value}", value + 1, value - 1, value + 0.5,
            value * 1_000, -value, [value], f"{value},0", f"{value}.00", value / 3, value * 10**6,
        ]  # fmt: skip
    if isinstance(value, str):
        return [
            value.upper(), value.lower(), value.swapcase(), unicodedata.normalize("NFD", value),
            unicodedata.normalize("NFKD", value), f"{value} ", f" {value}", f"{value}\u00a0",
            value.replace(" ", "\u00a0"), value.replace(" ", "  "), f"{value}\u200b", f"\ufeff{value}",
            f"{value}\u00ad", value.encode().decode("latin-1"), value[:-1], value[1:], value[::-1],
            value * 2, f"{value}!", [value], [value, value], [[value]], {"en": value}, {"value": value},
            f"<i>{value}</i>", value.replace("a", "\u0430"), value.replace("-", "\u2013"), f"{value}\n",
        ]  # fmt: skip
    if isinstance(value, list):
        return [
            value[::-1], value * 2, [*value, None], [None, *value], value[:1], value[1:], [value],
            [*value, *value[:1]], {"en": value}, value[0] if value else None, value * 30,
        ]  # fmt: skip
    if isinstance(value, dict):
        items = list(value.items())
        return [
            dict(reversed(items)), [value], [value, value], {"inner": value}, dict(items[:1]),
            dict(items[1:]), {**value, "further": "x"}, {key.upper(): item for key, item in items},
            {key: None for key, _ in items}, {key: "" for key, _ in items},
        ]  # fmt: skip
    return []


def neighbours(payload: Any) -> Iterator[tuple[Place, Any]]:
    """Yield copies of a payload that differ in one value, each with the place of the change."""
    for place in list(places(payload)):
        yield place, without(payload, place)
        for value in (*relatives(value_at(payload, place)), *ODD_VALUES):
            yield place, with_value(payload, place, value)
    found = [place for place in places(payload) if isinstance(place[-1], str)]
    for one, other in itertools.pairwise(found):
        if other[: len(one)] != one:
            swapped = with_value(payload, one, value_at(payload, other))
            yield one, with_value(swapped, other, value_at(payload, one))
