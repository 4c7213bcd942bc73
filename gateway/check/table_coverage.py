"""Say of each row of the mapping tables whether it issues a value, on which source, and why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from fractions import Fraction
from typing import Literal

from msgspec import Struct

from gateway.config.issuing_rows import (
    may_issue_credits,
    may_issue_level,
    states_credits,
    states_level,
)
from gateway.config.mapping_tables import CreditUnit, FrameworkVersion, Mapping, NationalLevel
from gateway.config.table_sources import SOURCE_KINDS, Source, SourceKind, best_kind
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.levels import NoLevel, version_label
from gateway.harmonise.tables.rule_codes import RULES

_USUAL_PERIOD = timedelta(days=3650)
_NOT_OFFICIAL = "source_not_official"
_BY_CONVERSION = {
    "by_hours_only": "by_hours_only",
    "institutional": "institutional_table",
    "not_convertible": "not_convertible",
}


class RowCoverage(Struct, frozen=True, kw_only=True):
    """One row: the value that it states, whether it issues it, or the reason why not.

    ``kind`` is the kind of the strongest source that may be used for the value.
    """

    row: str
    version: str
    value: int | Fraction | None
    issues: bool
    reason: str
    kind: SourceKind
    first_day: date | None
    last_day: date | None
    undated: str
    safe_from: date | None
    sources: tuple[Source, ...]

    @property
    def has_first_day(self) -> bool:
        """Whether the row says from which day it may be used."""
        return self.first_day is not None or self.safe_from is not None


def cover_levels(mapping: Mapping, tables: Tables, today: date) -> list[RowCoverage]:
    """Return the coverage of each level row of a file."""
    return [
        cover_level(mapping, key, version, level, tables, today)
        for key, framework in mapping.frameworks.items()
        for version in framework.versions
        for level in version.levels
    ]


def cover_level(
    mapping: Mapping,
    framework: str,
    version: FrameworkVersion,
    level: NationalLevel,
    tables: Tables,
    today: date,
) -> RowCoverage:
    """Return the coverage of one level row."""
    sources = mapping.sources_of(level, version)
    first, last = level.from_ or version.from_, level.until or version.until
    stated = states_level(version, level)
    issues = stated and may_issue_level(mapping, version, level)
    reason = ""
    if stated and not issues:
        reason = _NOT_OFFICIAL
    elif not stated:
        day = _day_inside(first or version.safe_from, last, today)
        answer = tables.level(mapping.country, framework, level.level, day)
        reason = str(answer.reason) if isinstance(answer, NoLevel) else ""
    return RowCoverage(
        row=f"{mapping.country}/{framework}/{level.level}",
        version=version_label(framework, version),
        value=level.eqf if stated else None,
        issues=issues,
        reason=reason,
        kind=best_kind(sources, "pairing"),
        first_day=first,
        last_day=last,
        undated=version.undated or "",
        safe_from=version.safe_from,
        sources=sources,
    )


def _day_inside(first: date | None, last: date | None, today: date) -> date:
    """Return a day far from both ends of a period, because an end may be approximate."""
    end = min(last or today, today)
    start = first or end - _USUAL_PERIOD
    return start + (end - start) / 2 if start < end else start


def cover_credits(mapping: Mapping) -> list[RowCoverage]:
    """Return the coverage of each row of a file that describes a unit of credit."""
    return [cover_unit(mapping, unit) for unit in mapping.credits]


def cover_unit(mapping: Mapping, unit: CreditUnit) -> RowCoverage:
    """Return the coverage of one unit of credit."""
    sources = mapping.sources_of(unit)
    stated = states_credits(unit)
    issues = stated and may_issue_credits(mapping, unit)
    return RowCoverage(
        row=f"{mapping.country}/{unit.unit}",
        version=f"{unit.unit}@{unit.from_ or 'undated'}",
        value=unit.ects if stated else None,
        issues=issues,
        reason="" if issues else _credit_reason(unit, stated=stated),
        kind=best_kind(sources, "unit"),
        first_day=unit.from_,
        last_day=unit.until,
        undated=unit.undated or "",
        safe_from=unit.safe_from,
        sources=sources,
    )


def _credit_reason(unit: CreditUnit, *, stated: bool) -> str:
    if stated:
        return _NOT_OFFICIAL
    if unit.ects is None:
        return _BY_CONVERSION[unit.conversion]
    return "unsure" if unit.confidence == "unsure" else "not_higher_education"


def count_kinds(rows: Iterable[RowCoverage]) -> dict[SourceKind, int]:
    """Return how many issuing rows rest on each kind of source."""
    counts = Counter(row.kind for row in rows if row.issues)
    return {kind: counts[kind] for kind in SOURCE_KINDS}


def meaning_of(reason: str, what: Literal["level", "credits"]) -> str:
    """Return what a reason means, without what the gateway does then."""
    rule = RULES.get(reason if what == "level" else f"credits_{reason}")
    return rule.meaning.rpartition(": ")[0] if rule else reason


def reviewable(mappings: Iterable[Mapping]) -> Iterator[Mapping]:
    """Yield the files that have levels or units of credit, in the order of their codes."""
    for mapping in sorted(mappings, key=lambda one: one.country):
        if mapping.frameworks or mapping.credits:
            yield mapping
