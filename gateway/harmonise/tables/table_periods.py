"""Tell between which days every answer of a country's tables stays the same.

Two days of one period have the same answers. Therefore a memory of answers needs only the first day
of the period, and holds few entries for records of any day.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from itertools import combinations

_FIRST, _LAST = date.min.toordinal(), date.max.toordinal()


class TablePeriods:
    """The first day of each period, by country."""

    __slots__ = ("_first_days",)

    def __init__(self, changing_days: Mapping[str, Iterable[date]]) -> None:
        """Take the days on which an answer may change, by country code."""
        self._first_days = {
            country: sorted({date.min, *days}) for country, days in changing_days.items()
        }

    def first_day(self, country: str, day: date) -> date:
        """Return the first day of the period of a day. It has the same answers as the day."""
        days = self._first_days.get(country)
        return days[bisect_right(days, day) - 1] if days else date.min

    def first_days(self, country: str) -> tuple[date, ...]:
        """Return the first day of each period of a country."""
        return tuple(self._first_days.get(country, (date.min,)))


def day_after(day: date, days: int = 1) -> date:
    """Return a day some days later or earlier, at most the first or the last of the calendar."""
    return date.fromordinal(min(max(day.toordinal() + days, _FIRST), _LAST))


def around(day: date, tolerance: timedelta) -> tuple[date, ...]:
    """Return the first days of the periods that a tolerance around a day opens and closes."""
    reach = tolerance.days
    return (
        day_after(day, -reach),
        day,
        day_after(day),
        day_after(day, reach),
        day_after(day, reach + 1),
    )


def middles(days: Iterable[date]) -> set[date]:
    """Return the days on which another one of the given days becomes the nearest."""
    found = set()
    for one, other in combinations(sorted(set(days)), 2):
        middle = date.fromordinal((one.toordinal() + other.toordinal()) // 2)
        found |= {middle, day_after(middle)}
    return found
