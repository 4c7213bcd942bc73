"""Decide which loop values are stored with a record.

A loop may read a list of persons or of access tokens. A value that no rule reads must not be stored
next to the record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from pydantic import BaseModel

from gateway.config.connector import Stream
from gateway.records import RawRecord

_READ_DURING_FETCH = frozenset(
    {"for_each", "request", "paging", "export", "tests", "cursor", "every", "schema_"}
)
"""The fields of a stream that read loop values before a record is stored, or never."""


def unread_loop_names(stream: Stream) -> frozenset[str]:
    """Return the loops whose values the stream does not read after the fetch.

    Values that the connector file itself contains do not count, because they are not personal.
    """
    names = {
        name
        for name, loop in stream.for_each.items()
        if loop.in_.secret or loop.in_.stream or loop.in_.request
    }
    return _unread(stream, names)


def equal_loop_names(stream: Stream) -> frozenset[str]:
    """Return the loops whose values do not make a record another one, as no rule reads them."""
    return _unread(stream, set(stream.for_each))


def _unread(stream: Stream, names: set[str]) -> frozenset[str]:
    if not names:
        return frozenset()
    text = "\n".join(_texts(stream))
    return frozenset(name for name in names if not re.search(rf"[${{]\s*{re.escape(name)}\b", text))


def without_values(records: Iterable[RawRecord], names: frozenset[str]) -> tuple[RawRecord, ...]:
    """Return records without the values of these loops."""
    return tuple(
        msgspec.structs.replace(
            raw,
            context={name: value for name, value in raw.context.items() if name not in names},
        )
        for raw in records
    )


def _texts(value: Any) -> Iterator[str]:
    """Yield each text of a model that may read a value around the record."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            if name not in _READ_DURING_FETCH:
                yield from _texts(getattr(value, name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
