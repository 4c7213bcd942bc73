"""Derive metric labels from the table look-ups of a record.

The number of labels is bounded, because the values of a registry never become labels. A label is
the version of a table row, or the kind of table if no table matched.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from gateway.records import Issue, Lookup, Rejected

UNKNOWN = frozenset(
    {"level_unknown", "framework_unknown", "unit_unknown", "code_unknown", "unmapped"}
)
"""Reasons that mean that no table contains the value. Other reasons mean that a table contains it
without an equivalent."""

_TABLE_KINDS = {
    "eqf_level": "levels",
    "nqf_level": "levels",
    "nqf_framework": "levels",
    "credit_points": "credits",
    "credit_unit": "credits",
}

UsedTable = tuple[str, str, str]
"""Country, table and version."""
UnmappedValue = tuple[str, str]
"""Country, and the table or the kind of table."""


@lru_cache(maxsize=4096)
def lookup_labels(
    country: str, lookups: tuple[Lookup, ...]
) -> tuple[tuple[UsedTable, ...], tuple[UnmappedValue, ...]]:
    """Return the results of :func:`used_tables` and :func:`unmapped_values`.

    The result is cached, because most records use the same tables.
    """
    return used_tables(country, lookups), unmapped_values(country, lookups)


def used_tables(country: str, lookups: Iterable[Lookup]) -> tuple[UsedTable, ...]:
    """Return the table versions that were read."""
    return tuple(
        (country, _table_name(lookup.table), lookup.version) for lookup in lookups if lookup.version
    )


def unmapped_values(
    country: str,
    lookups: Iterable[Lookup],
    issues: Iterable[Issue] = (),
    rejected: Rejected | None = None,
) -> tuple[UnmappedValue, ...]:
    """Return one entry for each value that no table contains."""
    return tuple((country, table) for table, _ in unmapped_fields(lookups, issues, rejected))


def unmapped_fields(
    lookups: Iterable[Lookup], issues: Iterable[Issue] = (), rejected: Rejected | None = None
) -> list[tuple[str, str]]:
    """Return the table and the field of each value that no table contains."""
    unmapped = [
        (_table_name(lookup.table) if lookup.version else lookup_kind(lookup.field), lookup.field)
        for lookup in lookups
        if lookup.reason in UNKNOWN
    ]
    unmapped += [
        (lookup_kind(issue.field), issue.field) for issue in issues if issue.code == "unmapped"
    ]
    if rejected and rejected.stage == "table" and rejected.reason in UNKNOWN:
        unmapped.append((lookup_kind(rejected.field), rejected.field))
    return unmapped


def lookup_kind(field: str) -> str:
    """Return the kind of table for a target field.

    It is the name of the field itself if the field has its own table.
    """
    name = field.rpartition(".")[2]
    return _TABLE_KINDS.get(name, name)


def _table_name(table: str) -> str:
    """Return the name of a table without the country."""
    return table.rpartition("/")[2] or table
