"""Keep the digests of a stream's records in little memory.

A million records take 50 to 80 MB instead of 250 MB. A dictionary needs most of its memory
for one string and one bytes object per record. Here, about :data:`BUCKET_SIZE` records share
a bucket. A bucket contains its ids in one byte array and its values in another, and
``bytes.find`` searches it. The table grows by one bucket at a time (linear hashing), so no
insertion rebuilds the whole table. See docs/decisions/0025.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

BUCKET_SIZE = 32
"""Average number of ids per bucket above which the next bucket is split."""
SEPARATOR = b"\xff"
"""Byte before and after every id. No UTF-8 text contains it."""


class DigestTable(MutableMapping[str, bytes]):
    """A mapping from native ids to values of ``width`` bytes.

    It behaves like a dictionary. Do not change it during iteration.
    """

    __slots__ = ("_buckets", "_count", "_level_size", "_split_buckets", "_width")

    def __init__(self, width: int = 24) -> None:
        self._width = width
        self._buckets: list[tuple[bytearray, bytearray]] = [(bytearray(SEPARATOR), bytearray())]
        self._level_size = 1
        """Number of buckets at the beginning of the present round of splits; a power of two."""
        self._split_buckets = 0
        """Number of buckets that were split in this round."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, native_id: str) -> bytes:
        value: bytes | None = self.get(native_id)
        if value is None:
            raise KeyError(native_id)
        return value

    def get(self, native_id: str, default: Any = None) -> Any:
        """Return the value of an id, or ``default``.

        This is faster than ``[]`` for a missing id, because no exception is raised. During
        the first read of a registry every id is missing.
        """
        ids, values = self._buckets[self._bucket_index(native_id)]
        index = ids.find(SEPARATOR + native_id.encode("utf-8", "surrogatepass") + SEPARATOR)
        if index < 0:
            return default
        start = ids.count(SEPARATOR, 0, index) * self._width
        return bytes(values[start : start + self._width])

    def __contains__(self, native_id: object) -> bool:
        return (
            isinstance(native_id, str)
            and SEPARATOR + native_id.encode("utf-8", "surrogatepass") + SEPARATOR
            in self._buckets[self._bucket_index(native_id)][0]
        )

    def __setitem__(self, native_id: str, value: bytes) -> None:
        ids, values = self._buckets[self._bucket_index(native_id)]
        encoded = native_id.encode("utf-8", "surrogatepass") + SEPARATOR
        index = ids.find(SEPARATOR + encoded)
        if index >= 0:
            if len(value) != self._width:
                raise ValueError(f"{len(value)} bytes; this table holds {self._width} for each id")
            start = ids.count(SEPARATOR, 0, index) * self._width
            values[start : start + self._width] = value
            return
        self._append(ids, values, encoded, value)

    def add_missing(self, native_id: str, value: bytes) -> bytes | None:
        """Return the value of an id. If there is none, store ``value`` and return ``None``.

        This searches the table once, where ``get`` and an assignment search it twice.
        """
        ids, values = self._buckets[self._bucket_index(native_id)]
        encoded = native_id.encode("utf-8", "surrogatepass") + SEPARATOR
        index = ids.find(SEPARATOR + encoded)
        if index < 0:
            self._append(ids, values, encoded, value)
            return None
        start = ids.count(SEPARATOR, 0, index) * self._width
        return bytes(values[start : start + self._width])

    def __delitem__(self, native_id: str) -> None:
        ids, values = self._buckets[self._bucket_index(native_id)]
        encoded = SEPARATOR + native_id.encode("utf-8", "surrogatepass")
        index = ids.find(encoded + SEPARATOR)
        if index < 0:
            raise KeyError(native_id)
        start = ids.count(SEPARATOR, 0, index) * self._width
        del ids[index : index + len(encoded)]
        del values[start : start + self._width]
        self._count -= 1

    def __iter__(self) -> Iterator[str]:
        for ids, _ in self._buckets:
            for encoded in ids[1:].split(SEPARATOR)[:-1]:
                yield encoded.decode(errors="surrogatepass")

    def __repr__(self) -> str:
        return f"<{self._count} ids>"

    def iter_items(self) -> Iterator[tuple[str, bytes]]:
        """Yield every id with its value, twice as fast as ``items``."""
        width = self._width
        for ids, values in self._buckets:
            for number, encoded in enumerate(ids[1:].split(SEPARATOR)[:-1]):
                yield (
                    encoded.decode(errors="surrogatepass"),
                    bytes(values[number * width : (number + 1) * width]),
                )

    def add_ids(self, native_ids: Iterable[str]) -> None:
        """Add ids without values. The table must have a width of 0."""
        for native_id in native_ids:
            self[native_id] = b""

    def _bucket_index(self, native_id: str) -> int:
        code = hash(native_id)
        index = code & (self._level_size - 1)
        if index < self._split_buckets:
            index = code & (2 * self._level_size - 1)
        return index

    def _append(self, ids: bytearray, values: bytearray, encoded: bytes, value: bytes) -> None:
        """Add an id, with the separator after it, to the bucket that has no value for it."""
        if len(value) != self._width:
            raise ValueError(f"{len(value)} bytes; this table holds {self._width} for each id")
        ids += encoded
        values += value
        self._count += 1
        if self._count > BUCKET_SIZE * len(self._buckets):
            self._split()

    def _split(self) -> None:
        """Divide the ids of the next bucket between this bucket and a new one."""
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
