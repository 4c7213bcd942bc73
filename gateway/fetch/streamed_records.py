"""Hold the records that were cut out of a large XML document, in memory or on disk."""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, cast

import msgspec
from lxml import etree

from gateway.config.expressions.compiler import CompiledExpression, text_of
from gateway.fetch.http.body import IN_MEMORY

_SIZES = struct.Struct(">II")
"""The sizes before each record: those of the record and of its values."""
_BLOCK = 65_536
_encode_values = msgspec.json.Encoder().encode
_decode_values = msgspec.json.Decoder(list[list[str]]).decode

Values = Mapping[str, list[str]]
"""The texts that an expression finds in a record, by the text of the expression."""


@dataclass(frozen=True, slots=True)
class RecordPath:
    """The path of records: their tag and the tags above it, in Clark notation, outermost first."""

    path: tuple[str, ...]
    depth: int | None = None
    """The depth of a record, where the root is 1; ``None`` means any depth."""
    expressions: tuple[CompiledExpression, ...] = ()
    """Plain paths inside a record. Their texts are read when the record is cut."""

    def matches(self, element: etree._Element) -> bool:
        """Return whether an element with the record's tag is a record."""
        if self.depth is not None and self.depth != 1 + sum(1 for _ in element.iterancestors()):
            return False
        above: Any = element
        for tag in self.path[-2::-1]:
            above = above.getparent()
            if above is None or above.tag != tag:
                return False
        return True

    def read_values(self, record: etree._Element) -> bytes:
        """Return the texts of all expressions in a record, encoded for its place in a store."""
        if not self.expressions:
            return b""
        return _encode_values(
            [
                [text_of(value) for value in expression.run(record, {})]
                for expression in self.expressions
            ]
        )


class StreamedRecords:
    """Serialised records of a complete document, in memory or on disk; readable once."""

    def __init__(self, place: RecordPath | None = None) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._names = tuple(
            expression.text for expression in (place.expressions if place is not None else ())
        )
        self.local_name = place.path[-1].rpartition("}")[2] if place is not None else ""
        """The name of each record's element without its namespace."""
        self.count = 0
        self.has_nested_records = False
        """Whether a record contains another record.

        The streamed records then differ from the result of ``//name``.
        """

    def add(self, record: bytes, values: bytes = b"") -> None:
        """Append one record."""
        self._file.write(_SIZES.pack(len(record), len(values)) + record + values)
        self.count += 1

    def add_encoded(self, records: bytes, count: int) -> None:
        """Append several records that the accelerator has encoded as :meth:`add` does."""
        self._file.write(records)
        self.count += count

    def digest(self) -> str:
        """Return a digest of all records; call it before you iterate over them."""
        self._file.seek(0)
        return hashlib.file_digest(cast("Any", self._file), "sha256").hexdigest()

    def first(self, number: int) -> list[bytes]:
        """Return the first records; call it before you iterate over all of them."""
        return [record for record, _ in islice(self._stored(), number)]

    def __iter__(self) -> Iterator[bytes]:
        return (record for record, _ in self.with_values())

    def with_values(self) -> Iterator[tuple[bytes, Values]]:
        """Yield each record with the texts that the expressions of its path find in it."""
        for record, values in self._stored():
            texts = _decode_values(values) if values else ()
            yield record, dict(zip(self._names, texts, strict=True))
        self._file.close()

    def _stored(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield each record and its values as they are stored, read in large blocks."""
        read, head = self._file.read, _SIZES.size
        self._file.seek(0)
        block, position = b"", 0
        for _ in range(self.count):
            if len(block) - position < head:
                block, position = block[position:] + read(_BLOCK), 0
            size, size_of_values = _SIZES.unpack_from(block, position)
            start = position + head
            middle, end = start + size, start + size + size_of_values
            if len(block) < end:
                block = block[position:] + read(max(_BLOCK, end - len(block)))
                start, middle, end = start - position, middle - position, end - position
            yield block[start:middle], block[middle:end]
            position = end

    def discard(self) -> None:
        """Release the records."""
        self._file.close()
