"""Store the entries of a local registry, and describe the records that it served.

An entry holds only its number, its version, its time of change and whether it was deleted. The
registry creates the content for each reply, from the seed, the stream, the number and the version.
A registry of a million records therefore starts at once. Two registries with the same seed hold
the same records.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

FIRST_CHANGE = datetime(2024, 9, 1, tzinfo=UTC)
"""The time of change of the first entry in each store. The others follow at steps of 61 s."""
_STEP = timedelta(seconds=61)


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """The current version of one record."""

    number: int
    version: int
    changed_at: datetime
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class ServedRecord:
    """A record that the registry served in a well-formed reply.

    ``digest`` is empty for a deletion.
    """

    stream: str
    id: str
    version: int
    digest: str


@dataclass(slots=True)
class RecordStore:
    """The entries of one stream, in the order of their last change.

    ``name`` returns the stable identifier of an entry from its number. New entries that
    :meth:`fill` adds have times of change in the past. Entries that :meth:`add` adds have the
    present time, so that a client that has caught up receives them.
    """

    stream: str
    seed: int
    name: Callable[[int], str]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    revision: int = 0
    _entries: dict[int, StoredEntry] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _next: int = 0
    _latest: datetime = FIRST_CHANGE

    def fill(self, count: int) -> None:
        """Add ``count`` entries with times of change in the past."""
        self._add(count, lambda number: FIRST_CHANGE + _STEP * number)

    def add(self, count: int) -> list[str]:
        """Add ``count`` entries with the present time of change, and return their identifiers."""
        return self._add(count, lambda _: self._now())

    def change(self, *, id: str | None = None, count: int = 1) -> list[str]:  # noqa: A002
        """Create a new version of the named entry, and return its identifier in a list.

        Without ``id``, change the ``count`` entries whose last change is the oldest. Raise
        ``KeyError`` for an unknown identifier.
        """
        return self._add_versions(id, count, deleted=False)

    def delete(self, *, id: str | None = None, count: int = 1) -> list[str]:  # noqa: A002
        """Delete the named entry, and return its identifier in a list.

        Without ``id``, delete the ``count`` entries whose last change is the oldest. Raise
        ``KeyError`` for an unknown identifier.
        """
        return self._add_versions(id, count, deleted=True)

    def changed_between(self, since: datetime, until: datetime) -> Iterator[StoredEntry]:
        """Yield all entries last changed in ``[since, until)``, oldest first, with deleted ones."""
        return (entry for entry in self._entries.values() if since <= entry.changed_at < until)

    def alive(self) -> Iterator[StoredEntry]:
        """Yield the entries that are not deleted, in the order of their numbers."""
        return (entry for _, entry in sorted(self._entries.items()) if not entry.deleted)

    def __iter__(self) -> Iterator[StoredEntry]:
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return sum(not entry.deleted for entry in self._entries.values())

    def random_source(self, number: int, salt: str = "") -> random.Random:
        """Return a generator that gives the same sequence for the same entry each time."""
        return random.Random(f"{self.seed}:{self.stream}:{number}:{salt}")  # noqa: S311 - no secret

    def _add(self, count: int, when: Callable[[int], datetime]) -> list[str]:
        added = []
        for number in range(self._next, self._next + count):
            self._numbers[self.name(number)] = number
            added.append(self._put(StoredEntry(number=number, version=1, changed_at=when(number))))
        self._next += count
        return added

    def _add_versions(self, identifier: str | None, count: int, *, deleted: bool) -> list[str]:
        chosen = (
            [self._find(identifier)]
            if identifier is not None
            else self._least_recently_changed(count)
        )
        return [
            self._put(
                replace(entry, version=entry.version + 1, deleted=deleted, changed_at=self._now())
            )
            for entry in chosen
        ]

    def _put(self, entry: StoredEntry) -> str:
        # The entry moves to the end, because the dictionary is in the order of change.
        self._entries.pop(entry.number, None)
        self._entries[entry.number] = entry
        self._latest = max(self._latest, entry.changed_at)
        self.revision += 1
        return self.name(entry.number)

    def _find(self, identifier: str) -> StoredEntry:
        if identifier not in self._numbers:
            raise KeyError(f"{self.stream} contains no record {identifier!r}")
        return self._entries[self._numbers[identifier]]

    def _least_recently_changed(self, count: int) -> list[StoredEntry]:
        return [entry for entry in self._entries.values() if not entry.deleted][:count]

    def _now(self) -> datetime:
        """Return the present in whole milliseconds, later than all previous changes."""
        now = self.clock()
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        return max(now, self._latest + timedelta(milliseconds=1))


def digest(content: bytes) -> str:
    """Return the 16 hex digits that identify a content in the ledger."""
    return hashlib.sha256(content).hexdigest()[:16]
