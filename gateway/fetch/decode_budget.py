"""Limit the memory and the time that decoding one reply can take.

A small reply can become large in memory: an empty JSON list has 2 bytes, and Python needs 64 for
it. The budget therefore counts values and elements as well as bytes. It counts them in the bytes
of a document, before any of them is built. The counts are estimates, and rather too high.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from gateway.config.connection import Limits
from gateway.errors import StreamHalted

MEMORY_PER_BYTE = 12
"""The memory that each byte of the largest reply may take; ordinary replies take 4 to 10 bytes."""
SMALL_DOCUMENT_BYTES = 1_000_000
"""A smaller first document of a reply is not counted, because it never takes much memory."""
BODY_BYTES = 4_000
"""The memory for the bytes of one step, apart from these bytes."""

_JSON_CONTAINER, _JSON_OBJECT, _JSON_MEMBER, _JSON_ITEM, _JSON_TEXT = 80, 120, 40, 40, 56
_MOST_PER_BYTE = 124
"""The most that :func:`json_memory` counts for each byte, for ``{``, ``:`` and long characters."""
_XML_NODE, _XML_ATTRIBUTE = 128, 240
_NO_XML_MARKS = bytes(byte for byte in range(256) if byte not in b"<>=")
MOST_XML_PER_BYTE = 241
"""The most that :func:`xml_memory` counts for each byte, for an equals sign."""
_CSV_ROW, _CSV_CELL = 232, 90
_TWO_BYTES, _FOUR_BYTES = bytes(range(0xC4)), bytes(range(0xF0))
"""The bytes of UTF-8 that no character of two or of four bytes in memory begins with."""


@dataclass(slots=True)
class DecodeBudget:
    """What decoding one reply may still use.

    ``memory`` is the memory for documents in bytes, and ``records`` the largest number of records.
    """

    memory: int = 600_000_000
    records: int = 1_000_000
    is_untouched: bool = True
    _count: Callable[[], int] | None = None
    """The count of a document that certainly fits. It runs before anything else is subtracted."""

    @classmethod
    def from_limits(cls, limits: Limits) -> DecodeBudget:
        """Return the budget for one reply of a registry."""
        memory = max(limits.max_decoded, MEMORY_PER_BYTE * limits.max_response)
        return cls(memory, limits.max_records)

    def needs_count(self, size: int) -> bool:
        """Return whether a document of ``size`` bytes has to be counted before it is built."""
        self.settle()
        is_small = self.is_untouched and size <= SMALL_DOCUMENT_BYTES
        self.is_untouched = False
        return not is_small

    def spend(self, memory: int, where: str) -> None:
        """Subtract memory; raise ``LIMIT_DECODED`` when the reply needs too much of it."""
        self.settle()
        self.memory -= memory
        if self.memory < 0:
            raise too_large(where)

    def spend_json(self, data: bytes, where: str) -> None:
        """Subtract the memory of a JSON value; raise ``LIMIT_DECODED`` when it needs too much."""
        if self.needs_count(len(data)):
            self.spend_at_most(_MOST_PER_BYTE * len(data), partial(json_memory, data), where)

    def spend_at_most(self, most: int, count: Callable[[], int], where: str) -> None:
        """Subtract what ``count`` returns, which is not larger than ``most``.

        Counting takes as long as reading, and most replies are alone. So a document that certainly
        fits is counted only if there is another one.
        """
        self.settle()
        if most <= self.memory:
            self._count = count
        else:
            self.spend(count(), where)

    def settle(self) -> None:
        """Subtract a document whose count has waited, before its bytes are closed."""
        if self._count is not None:
            count, self._count = self._count, None
            self.memory -= count()


def too_large(where: str) -> StreamHalted:
    """Return the error about a reply that needs too much memory."""
    return StreamHalted(
        "LIMIT_DECODED",
        f"{where}: the reply has so many values that it would not fit into memory; "
        "request smaller pages, or raise limits.max_decoded",
    )


def json_memory(data: bytes) -> int:
    """Return an estimate of the memory that a JSON value takes."""
    members = data.count(b":")
    texts = max(data.count(b'"') // 2 - members, 0)
    return (
        _JSON_CONTAINER * (data.count(b"[") + data.count(b"{"))
        + (_JSON_OBJECT if b":" in data else 0) * min(data.count(b"{"), members)
        + _JSON_MEMBER * members
        + _JSON_ITEM * data.count(b",")
        + _JSON_TEXT * texts
        + len(data) * _character_size(data)
    )


class XmlMarks(NamedTuple):
    """How often the marks of XML occur in a part of a document."""

    starts: int
    ends: int
    equals: int


def count_xml_marks(data: bytes) -> XmlMarks:
    """Return how often ``<``, ``>`` and ``=`` occur. One pass through the data finds all three."""
    marks = data.translate(None, _NO_XML_MARKS)
    return XmlMarks(marks.count(b"<"), marks.count(b">"), marks.count(b"="))


def xml_memory(data: bytes, marks: XmlMarks | None = None) -> int:
    """Return an estimate of the memory that a part of an XML document takes as a tree.

    ``marks`` are those of the data, if the caller knows them.
    """
    marks = marks or count_xml_marks(data)
    elements = marks.starts - data.count(b"</")
    texts = marks.ends - data.count(b"><")
    return _XML_NODE * (elements + texts) + _XML_ATTRIBUTE * marks.equals + len(data)


def csv_memory(data: bytes, separator: bytes) -> int:
    """Return an estimate of the memory that a part of a table takes as rows."""
    rows = count_lines(data)
    return (
        _CSV_ROW * rows
        + _CSV_CELL * (rows + data.count(separator))
        + len(data) * _character_size(data)
    )


def count_lines(data: bytes) -> int:
    """Return the number of ends of lines, written as LF, CR LF or CR."""
    return max(data.count(b"\n"), data.count(b"\r"))


def _character_size(data: bytes) -> int:
    """Return the largest number of bytes that Python needs for one character of the data."""
    if data.isascii():
        return 1
    if data.translate(None, _FOUR_BYTES):
        return 4
    return 2 if data.translate(None, _TWO_BYTES) else 1
