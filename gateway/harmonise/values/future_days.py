"""Tell whether a day is still in the future in a country."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from gateway.config.countries import state_of

_HOURS_AHEAD_OF_UTC = {"AU": 11, "HK": 8, "NZ": 14}
_HOURS_AHEAD_IN_EUROPE = 4
"""The most easterly clock of the other countries is that of Georgia."""


_begun = date.min
"""A day that has begun everywhere. It moves with the clock, and spares most calls the clock."""


def is_in_future(day: date, country: str) -> bool:
    """Return whether a day has not begun yet anywhere in a country."""
    global _begun  # noqa: PLW0603 - a day that has begun stays begun
    if day <= _begun:
        return False
    now = datetime.now(UTC)
    _begun = now.date()
    if day <= _begun:
        return False
    hours = _HOURS_AHEAD_OF_UTC.get(state_of(country), _HOURS_AHEAD_IN_EUROPE)
    return day > (now + timedelta(hours=hours)).date()
