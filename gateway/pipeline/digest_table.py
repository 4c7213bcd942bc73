"""What a stream knows of its records, packed: a registry of a million records takes 50 to 80 MB, not 250.

A dictionary spends most of its memory on one string and one bytes object per record. Here records share buckets: a bucket holds about
:data:`FULL` ids in one run of bytes and their values in another, and is searched by ``bytes.find``. Buckets are split one at a time as
the table grows (linear hashing), so that no insertion ever waits for the whole table to be moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

BUCKET_SIZE = 32
"""How many ids a bucket holds on average before the next one is split."""
SEPARATOR = b"\xff"
"""Stands before and after every id. No UTF-8 text contains it."""


class DigestTable(MutableMapping[str, bytes]):
    """Native id to ``width`` bytes. Behaves as a dictionary would; not to be changed while it is iterated over."""

    __slots__ = ("_buckets", "_count", "_level_size", "_split_buckets", "_width")

    def __init__(self, width: int = 24) -> None:
        self._width = width
        self._buckets: list[tuple[bytearray, bytearray]] = [(bytearray(SEPARATOR), bytearray())]
        self._level_size = 1
        """The number of buckets when the present round of splitting began: a power of two."""
        self._split_buckets = 0
        """How many of them were split in this round."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, native_id: str) -> bytes:
        found: bytes | None = self.get(native_id)
        if found is None:
            raise KeyError(native_id)
        return found

    def get(self, native_id: str, default: Any = None) -> Any:
        """Return the value of an id, or ``default``: what is not there is no exception while a registry is read for the first time."""
        ids, values = self._buckets[self._bucket_index(native_id)]
        at = ids.find(SEPARATOR + _encode_id(native_id) + SEPARATOR)
        if at < 0:
            return default
        start = ids.count(SEPARATOR, 0, at) * self._width
        return bytes(values[start : start + self._width])

    def __contains__(self, native_id: object) -> bool:
        return (
            isinstance(native_id, str)
            and SEPARATOR + _encode_id(native_id) + SEPARATOR
            in self._buckets[self._bucket_index(native_id)][0]
        )

    def __setitem__(self, native_id: str, value: bytes) -> None:
        if len(value) != self._width:
            raise ValueError(f"{len(value)} bytes; this table holds {self._width} for each id")
        ids, values = self._buckets[self._bucket_index(native_id)]
        encoded = _encode_id(native_id) + SEPARATOR
        at = ids.find(SEPARATOR + encoded)
        if at >= 0:
            start = ids.count(SEPARATOR, 0, at) * self._width
            values[start : start + self._width] = value
            return
        ids += encoded
        values += value
        self._count += 1
        if self._count > BUCKET_SIZE * len(self._buckets):
            self._split()

    def __delitem__(self, native_id: str) -> None:
        ids, values = self._buckets[self._bucket_index(native_id)]
        encoded = SEPARATOR + _encode_id(native_id)
        at = ids.find(encoded + SEPARATOR)
        if at < 0:
            raise KeyError(native_id)
        start = ids.count(SEPARATOR, 0, at) * self._width
        del ids[at : at + len(encoded)]
        del values[start : start + self._width]
        self._count -= 1

    def __iter__(self) -> Iterator[str]:
        for ids, _ in self._buckets:
            for encoded in ids[1:].split(SEPARATOR)[:-1]:
                yield encoded.decode(errors="surrogatepass")

    def __repr__(self) -> str:
        return f"<{self._count} ids>"

    def iter_items(self) -> Iterator[tuple[str, bytes]]:
        """Yield every id with its value; twice as fast as ``items``."""
        width = self._width
        for ids, values in self._buckets:
            for number, encoded in enumerate(ids[1:].split(SEPARATOR)[:-1]):
                yield (
                    encoded.decode(errors="surrogatepass"),
                    bytes(values[number * width : (number + 1) * width]),
                )

    def add_ids(self, native_ids: Iterable[str]) -> None:
        """Enter ids that have no value: for a table of width 0."""
        for native_id in native_ids:
            self[native_id] = b""

    def _bucket_index(self, native_id: str) -> int:
        code = hash(native_id)
        place = code & (self._level_size - 1)
        if place < self._split_buckets:
            place = code & (2 * self._level_size - 1)
        return place

    def _split(self) -> None:
        """Share the next bucket's ids between it and a new one."""
        ids, values = self._buckets[self._split_buckets]
        self._buckets[self._split_buckets] = bytearray(SEPARATOR), bytearray()
        self._buckets.append((bytearray(SEPARATOR), bytearray()))
        self._split_buckets += 1
        for number, encoded in enumerate(ids[1:].split(SEPARATOR)[:-1]):
            new_ids, new_values = self._buckets[
                self._bucket_index(encoded.decode(errors="surrogatepass"))
            ]
            new_ids += encoded + SEPARATOR
            new_values += values[number * self._width : (number + 1) * self._width]
        if self._split_buckets == self._level_size:
            self._level_size, self._split_buckets = 2 * self._level_size, 0


def _encode_id(native_id: str) -> bytes:
    return native_id.encode(errors="surrogatepass")
