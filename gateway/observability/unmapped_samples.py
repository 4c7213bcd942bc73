"""Remember values that no table contains, for the status page: few, for some time, in memory only.

The metrics count all of them, see ``gateway_unmapped_values_total``. Here at most some records a
second are looked at, so a table that is missing as a whole slows nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import msgspec

MAX_PLACES = 200
MAX_VALUES = 20
"""The values of one field of one stream that are remembered."""
MAX_LOOKS_PER_SECOND = 20
MAX_AGE_SECONDS = 86_400.0
"""A value that has not occurred for a day is forgotten."""


class UnmappedPlace(msgspec.Struct, frozen=True):
    """A field of a stream, and the table or the kind of table that has no row for its value."""

    connector: str
    stream: str
    country: str
    table: str
    field: str


class UnmappedSample(msgspec.Struct, frozen=True):
    """One value at one place.

    ``value`` is never personal. ``is_about_person`` says that the record is about a person, so
    that only holders of the token may read the value.
    """

    place: UnmappedPlace
    value: str
    is_about_person: bool
    count: int
    """The number of records with this value that were looked at."""
    last_seen: float


@dataclass(slots=True)
class UnmappedSamples:
    """The values of one process."""

    _values: dict[UnmappedPlace, dict[str, UnmappedSample]] = field(default_factory=dict)
    _looks: dict[UnmappedPlace, tuple[int, int]] = field(default_factory=dict)

    def wants(self, place: UnmappedPlace, now: float | None = None) -> bool:
        """Return whether a record should be looked at."""
        second = int(time.time() if now is None else now)
        last, looks = self._looks.get(place, (0, 0))
        looks = looks + 1 if last == second else 1
        if place not in self._values and len(self._values) >= MAX_PLACES:
            return False
        self._looks[place] = (second, looks)
        return looks <= MAX_LOOKS_PER_SECOND

    def add(
        self, place: UnmappedPlace, value: str, *, is_about_person: bool, now: float | None = None
    ) -> None:
        """Remember a value. When there are too many, the one that is seen least gives way."""
        moment = time.time() if now is None else now
        values = self._values.setdefault(place, {})
        known = values.get(value)
        if known is None and len(values) >= MAX_VALUES:
            del values[min(values, key=lambda one: (values[one].count, values[one].last_seen))]
        count = known.count + 1 if known else 1
        values[value] = UnmappedSample(place, value, is_about_person, count, moment)

    def recent(self, now: float | None = None) -> list[UnmappedSample]:
        """Return the values of the last day, the most frequent first."""
        oldest = (time.time() if now is None else now) - MAX_AGE_SECONDS
        found = [
            sample
            for values in list(self._values.values())
            for sample in list(values.values())
            if sample.last_seen > oldest
        ]
        return sorted(found, key=lambda one: (-one.count, one.place.connector, one.value))

    def clear(self) -> None:
        """Forget all values, because the tables changed."""
        self._values.clear()
        self._looks.clear()


SAMPLES = UnmappedSamples()
"""The values of this process."""
