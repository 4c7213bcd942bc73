"""Find institutions by their national numbers, in the lists of the mapping files."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from collections.abc import Mapping as ReadOnly
from datetime import date
from typing import Final, NamedTuple

from msgspec.structs import replace

from gateway.config.countries import state_of
from gateway.config.mapping_tables import InstitutionList, InstitutionRow, Mapping
from gateway.config.table_sources import short_source
from gateway.harmonise.tables.table_periods import day_after
from gateway.identifiers import is_national_scheme, normalise_identifier
from gateway.records import (
    Card,
    Credential,
    LearningOpportunity,
    Lookup,
    Organisation,
    Qualification,
    Record,
    StudentStatus,
)

_MAX_CACHED: Final = 10_000

BODY_FIELDS: Final[ReadOnly[type, str]] = {
    Credential: "awarding_body",
    Qualification: "awarding_body",
    LearningOpportunity: "provider",
    StudentStatus: "institution",
    Card: "issuer",
}
"""The field of each type of record that holds its institution."""


def complete_country(record: Record, country: str) -> Record:
    """Return the record with its institution in a country, if no rule says where it is."""
    field = BODY_FIELDS.get(type(record), "")
    body: Organisation | None = getattr(record, field) if field else None
    if body is None or body.country:
        return record
    return replace(record, **{field: replace(body, country=country.partition("-")[0])})


class _Listed(NamedTuple):
    """The rows of one number, in the list that states them."""

    country: str
    rows: list[InstitutionRow]
    source: InstitutionList
    mapping: Mapping


class Institutions:
    """An immutable view of the lists of institutions of all mapping files."""

    __slots__ = ("_cache", "_changing_days", "_listed", "schemes")

    def __init__(self, mappings: Iterable[Mapping]) -> None:
        self._listed: dict[tuple[str, str], _Listed] = {}
        self._cache: dict[object, tuple[Organisation, Lookup | None]] = {}
        for mapping in mappings:
            for names in mapping.institutions:
                country = mapping.country.partition("-")[0]
                for row in names.rows:
                    key = (names.scheme, normalise_identifier(names.scheme, row.number))
                    listed = self._listed.setdefault(key, _Listed(country, [], names, mapping))
                    listed.rows.append(row)
        self.schemes = frozenset(scheme for scheme, _ in self._listed)
        """The national schemes of the lists."""
        self._changing_days = sorted(
            {
                day
                for listed in self._listed.values()
                for row in listed.rows
                for day in (row.from_, row.until and day_after(row.until))
                if day
            }
        )

    def period(self, day: date) -> int:
        """Return the number of the period of a day. On two days of one, the lists are the same."""
        return bisect_right(self._changing_days, day)

    def complete_record(self, record: Record) -> tuple[Record, tuple[Lookup, ...]]:
        """Return the record with the name and identifiers that its institution had on the day.

        The day is that of the award, if the record is one. Return also the row that states them.
        """
        field = BODY_FIELDS.get(type(record), "")
        body: Organisation | None = getattr(record, field) if field else None
        if body is None or self.schemes.isdisjoint(body.identifiers):
            return record, ()
        completed, lookup = self.complete(body, getattr(record, "awarded_on", None), field)
        if lookup is None:
            return record, ()
        return replace(record, **{field: completed}), (lookup,)

    def complete(
        self, body: Organisation, on: date | None, field: str
    ) -> tuple[Organisation, Lookup | None]:
        """Return the body with the name and the identifiers that its number had on a day.

        Return also the row that states them, or ``None`` when no list has the number. A value
        that the body already has stays. Without a day, the row that holds today counts.
        """
        cache_key = (body.country, on, field, *body.name.items(), *body.identifiers.items())
        found = self._cache.get(cache_key)
        if found is None:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            found = self._cache[cache_key] = self._complete(body, on, field)
        return found

    def _complete(
        self, body: Organisation, on: date | None, field: str
    ) -> tuple[Organisation, Lookup | None]:
        for scheme, value in body.identifiers.items():
            if not is_national_scheme(scheme):
                continue
            listed = self._listed.get((scheme, normalise_identifier(scheme, value)))
            if listed is None or state_of(body.country) not in {"", state_of(listed.country)}:
                continue
            row = _row_on(listed.rows, on)
            if row is not None:
                return _with_row(body, listed, row), _lookup(listed, row, field)
        return body, None


def _row_on(rows: Sequence[InstitutionRow], on: date | None) -> InstitutionRow | None:
    if on is None:
        return next((row for row in rows if row.until is None), None)
    return next((row for row in rows if row.covers(on)), None)


def _with_row(body: Organisation, listed: _Listed, row: InstitutionRow) -> Organisation:
    return Organisation(
        name=body.name or row.name,
        country=body.country or listed.country,
        identifiers={**row.identifiers, **body.identifiers},
        homepage=body.homepage,
    )


def _lookup(listed: _Listed, row: InstitutionRow, field: str) -> Lookup:
    source = listed.source
    return Lookup(
        field=field,
        table=f"{listed.country}:institutions:{source.scheme}",
        version=f"{source.as_of}",
        row=row.number,
        source=short_source(listed.mapping.sources_of(row, source), "institutions"),
    )
