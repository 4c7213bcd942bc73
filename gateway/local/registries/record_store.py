"""What a stand-in registry holds: numbered entries that can be added, changed and deleted, and a ledger of all it served.

An entry is four numbers; its content is made from the seed, the stream, the number and the version whenever it is served. So a
registry of a million records starts at once, and two with the same seed hold the same records.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

FIRST_CHANGE = datetime(2024, 9, 1, tzinfo=UTC)
"""When the first entry of every stock was last changed; the others follow a minute and a second apart."""
_STEP = timedelta(seconds=61)


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One record of a registry as it stands now."""

    number: int
    version: int
    changed_at: datetime
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class ServedRecord:
    """One record in one well-formed reply: what the registry can prove it told. A deletion has no digest."""

    stream: str
    id: str
    version: int
    digest: str


@dataclass(slots=True)
class RecordStore:
    """The entries of one stream, in the order of their last change.

    ``name`` gives an entry's identifier, the same for ever. New entries take the past as their time of change while the
    registry is being filled, and the present afterwards, so that a reader that has caught up sees them.
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
        """Add ``count`` entries that were last changed in the past."""
        self._add(count, lambda number: FIRST_CHANGE + _STEP * number)

    def add(self, count: int) -> list[str]:
        """Add ``count`` entries now; returns their identifiers."""
        return self._add(count, lambda _: self._now())

    def change(self, *, id: str | None = None, count: int = 1) -> list[str]:  # noqa: A002
        """Give the named entry, or the ``count`` that were left alone longest, a new version."""
        chosen = [self._find(id)] if id is not None else self._least_recently_changed(count)
        return [
            self._put(
                replace(entry, version=entry.version + 1, deleted=False, changed_at=self._now())
            )
            for entry in chosen
        ]

    def delete(self, *, id: str | None = None, count: int = 1) -> list[str]:  # noqa: A002
        """Delete the named entry, or the ``count`` that were left alone longest."""
        chosen = [self._find(id)] if id is not None else self._least_recently_changed(count)
        return [
            self._put(
                replace(entry, version=entry.version + 1, deleted=True, changed_at=self._now())
            )
            for entry in chosen
        ]

    def changed_between(self, since: datetime, until: datetime) -> Iterator[StoredEntry]:
        """Entries last changed in ``[since, until)``, oldest change first, deleted ones too."""
        return (entry for entry in self._entries.values() if since <= entry.changed_at < until)

    def alive(self) -> Iterator[StoredEntry]:
        """Entries that are not deleted, in the order of their numbers."""
        return (entry for _, entry in sorted(self._entries.items()) if not entry.deleted)

    def __iter__(self) -> Iterator[StoredEntry]:
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return sum(not entry.deleted for entry in self._entries.values())

    def random_source(self, number: int, salt: str = "") -> random.Random:
        """Give the same sequence for the same entry, always."""
        return random.Random(f"{self.seed}:{self.stream}:{number}:{salt}")  # noqa: S311 - fictional data, not a secret

    def _add(self, count: int, when: Callable[[int], datetime]) -> list[str]:
        added = []
        for number in range(self._next, self._next + count):
            self._numbers[self.name(number)] = number
            added.append(self._put(StoredEntry(number=number, version=1, changed_at=when(number))))
        self._next += count
        return added

    def _put(self, entry: StoredEntry) -> str:
        self._entries.pop(
            entry.number, None
        )  # so that it goes to the end: the order of the dictionary is the order of change
        self._entries[entry.number] = entry
        self._latest = max(self._latest, entry.changed_at)
        self.revision += 1
        return self.name(entry.number)

    def _find(self, identifier: str) -> StoredEntry:
        if identifier not in self._numbers:
            raise KeyError(f"{self.stream} holds no {identifier!r}")
        return self._entries[self._numbers[identifier]]

    def _least_recently_changed(self, count: int) -> list[StoredEntry]:
        return [entry for entry in self._entries.values() if not entry.deleted][:count]

    def _now(self) -> datetime:
        """Give the present in whole milliseconds, strictly later than every change before."""
        now = self.clock()
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        return max(now, self._latest + timedelta(milliseconds=1))


def digest(content: bytes) -> str:
    """Give the sixteen hex digits by which the ledger knows a content."""
    return hashlib.sha256(content).hexdigest()[:16]
