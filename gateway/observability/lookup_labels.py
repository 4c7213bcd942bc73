"""Which mapping tables a record used and which of its values none of them knows, as labels whose number is bounded.

A registry's own words never become a label: a table is named by its row's version, or, where no table answered, by what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from gateway.records import Issue, Lookup, Rejected

UNKNOWN = frozenset(
    {"level_unknown", "framework_unknown", "unit_unknown", "code_unknown", "unmapped"}
)
"""Reasons that mean: the value is in no table. Other reasons mean that a table answers, and says there is no equivalent."""

_ASKED_FOR = {
    "eqf_level": "levels",
    "nqf_level": "levels",
    "nqf_framework": "levels",
    "credit_points": "credits",
    "credit_unit": "credits",
}

UsedTable = tuple[str, str, str]
"""Country, table, version."""
UnmappedValue = tuple[str, str]
"""Country, table or what was asked for."""


@lru_cache(maxsize=4096)
def lookup_labels(
    country: str, lookups: tuple[Lookup, ...]
) -> tuple[tuple[UsedTable, ...], tuple[UnmappedValue, ...]]:
    """Return what :func:`used` and :func:`missing` say of look-ups. Most records ask the same of the same tables, so it is remembered."""
    return used_tables(country, lookups), unmapped_values(country, lookups)


def used_tables(country: str, lookups: Iterable[Lookup]) -> tuple[UsedTable, ...]:
    """Return the table versions that were read."""
    return tuple((country, _table_name(one.table), one.version) for one in lookups if one.version)


def unmapped_values(
    country: str,
    lookups: Iterable[Lookup],
    issues: Iterable[Issue] = (),
    rejected: Rejected | None = None,
) -> tuple[UnmappedValue, ...]:
    """Return the places where a value was in no table, one for each value."""
    found = [
        (country, _table_name(one.table) if one.version else lookup_kind(one.field))
        for one in lookups
        if one.reason in UNKNOWN
    ]
    found += [(country, lookup_kind(issue.field)) for issue in issues if issue.code == "unmapped"]
    if rejected and rejected.stage == "table" and rejected.reason in UNKNOWN:
        found.append((country, lookup_kind(rejected.field)))
    return tuple(found)


def lookup_kind(field: str) -> str:
    """Return the kind of table that a target field is looked up in; the field itself when it has one of its own."""
    name = field.rpartition(".")[2]
    return _ASKED_FOR.get(name, name)


def _table_name(table: str) -> str:
    """Return a table's name without the country in front."""
    return table.rpartition("/")[2] or table
