"""Keep many hashes in memory, in a sixth of the memory of a set."""

from __future__ import annotations

from array import array

BUCKET_SIZE = 32


class PackedHashes:
    """A set of hashes of 64 bits, at about 12 bytes each.

    The table grows by one bucket at a time, so no operation pauses.
    """

    def __init__(self) -> None:
        self._buckets = [array("q")]
        self._level_size = 1
        """The number of buckets at the start of this round of splits: a power of two."""
        self._split_buckets = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, code: int) -> bool:
        return code in self._bucket(code)

    def add(self, code: int) -> None:
        """Add a hash, unless it is there."""
        bucket = self._bucket(code)
        if code in bucket:
            return
        bucket.append(code)
        self._count += 1
        if self._count > BUCKET_SIZE * len(self._buckets):
            self._split()

    def discard(self, code: int) -> None:
        """Remove a hash, if it is there."""
        bucket = self._bucket(code)
        if code in bucket:
            bucket.remove(code)
            self._count -= 1

    def _bucket(self, code: int) -> array[int]:
        index = code & (self._level_size - 1)
        if index < self._split_buckets:
            index = code & (2 * self._level_size - 1)
        return self._buckets[index]

    def _split(self) -> None:
        """Divide the hashes of the next bucket between this bucket and a new one."""
        codes = self._buckets[self._split_buckets]
        self._buckets[self._split_buckets] = array("q")
        self._buckets.append(array("q"))
        self._split_buckets += 1
        for code in codes:
            self._bucket(code).append(code)
        if self._split_buckets == self._level_size:
            self._level_size, self._split_buckets = 2 * self._level_size, 0
