"""Read the records of a list in JSON one by one.

The gateway writes each record again and releases its values before it reads the next one. The
values of one record fit into the caches of the processor, and those of a reply do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

WHOLE_RECORDS = 10
"""The first records stay whole, because the gateway describes the shape of a reply from them."""
_COLON, _ESCAPED, _ESCAPED_COLONS = b":", b"\\u003", (b"\\u003a", b"\\u003A")
_decode, _encode = msgspec.json.Decoder().decode, orjson.dumps
_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class RecordFields:
    """The names that lead to a stream's list, and the names that the stream reads in a record."""

    path: tuple[str, ...]
    names: tuple[str, ...]


def read_records(data: bytes, fields: RecordFields) -> tuple[Any, list[bytes]]:
    """Return the value of valid JSON, and the bytes of each record of its list.

    After the first :data:`WHOLE_RECORDS`, a record in the value has only the wanted names.
    Return no bytes, and no value, for a text that has no such list of objects or is not valid.
    """
    bodies: list[bytes] = []
    try:
        value, written = _read(data, fields.path, fields.names, bodies)
        if has_all_members(_encode(written), data):
            return value, bodies
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        pass  # Another reader finds the cause.
    return None, []


def has_all_members(written: bytes, data: bytes) -> bool:
    """Return whether a value lost no member of the JSON that it was read from.

    A decoded object keeps only one of two equal keys. ``written``, the value written again, then
    has fewer colons than the source. An escaped colon could hide the loss of another one.
    """
    if written == data:
        return True
    if _ESCAPED in data and any(colon in data for colon in _ESCAPED_COLONS):
        return False
    return written.count(_COLON) == data.count(_COLON)


def _read(
    data: bytes | msgspec.Raw, path: tuple[str, ...], names: tuple[str, ...], bodies: list[bytes]
) -> tuple[Any, Any]:
    """Return a value, and the same value with the bytes of its records in place of them."""
    if not path:
        nodes = _read_list(data, names, bodies)
        return nodes, orjson.Fragment(b"[" + b",".join(bodies) + b"]")
    value: dict[str, Any] = {}
    written: dict[str, Any] = {}
    for name, piece in _read_members(data).items():
        if name == path[0]:
            value[name], written[name] = _read(piece, path[1:], names, bodies)
        else:
            value[name] = written[name] = _decode(piece)
    if path[0] not in value:
        raise KeyError(path[0])
    return value, written


def _read_list(
    data: bytes | msgspec.Raw, names: tuple[str, ...], bodies: list[bytes]
) -> list[dict[str, Any]]:
    """Add the bytes of each record, and return the records or the parts of them that are read."""
    records: list[dict[str, Any]] = []
    for piece in _read_items(data):
        record = _decode(piece)
        if type(record) is not dict:
            raise TypeError(piece)
        # The copy has the right size. orjson shrinks a larger block, and the rest of it is lost.
        bodies.append(memoryview(_encode(record)).tobytes())
        if len(records) >= WHOLE_RECORDS:
            record = {name: record[name] for name in names if name in record}
        records.append(record)
    return records
