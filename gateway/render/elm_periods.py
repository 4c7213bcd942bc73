r"""Periods and places of the European Learning Model.

Ids of nodes begin with ``\0``, as in :mod:`gateway.render.elm_common`.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache

from orjson import dumps

from gateway.render import vocabularies


def date_as_datetime(value: date) -> bytes:
    """Return midnight UTC of a date as JSON, because ELM requires a date with a time."""
    return dumps(value)[:-1] + b'T00:00:00Z"'


@lru_cache(maxsize=4096)
def period(start: date | None, end: date | None, place: bytes) -> bytes | None:
    """Return a period of time, or ``None`` without a first and a last day."""
    if start is None and end is None:
        return None
    json_text = b'{"id":"\0%b","type":"PeriodOfTime"' % place
    if start is not None:
        json_text += b',"startDate":%b' % date_as_datetime(start)
    if end is not None:
        json_text += b',"endDate":%b' % date_as_datetime(end)
    return json_text + b"}"


def validity_text(start: date | None, end: date | None) -> str | None:
    """Return the days on which an entry is valid as text, for entries without an awarding body."""
    if start is None and end is None:
        return None
    return "Valid" + (f" from {start}" if start else "") + (f" until {end}" if end else "")


@lru_cache(maxsize=4096)
def place(name: str, tag: str, country: str | None) -> bytes | None:
    """Return a place by name in a country, or ``None`` if the country is unknown."""
    concept = vocabularies.country(country)
    if concept is None:
        return None
    return (
        b'{"id":"\0place","type":"Location","geographicName":{%b:%b},"address":'
        b'{"id":"\0place/address","type":"Address","countryCode":%b}}'
        % (dumps(tag), dumps(name), concept)
    )
