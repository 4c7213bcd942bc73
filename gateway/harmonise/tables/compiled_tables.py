"""Compile the mapping tables to dictionaries, once at load.

A changed file gives a new :class:`Tables` with another ``digest``. After loading, nothing in this
module reads a file or the environment. ``level`` and ``credits`` read the clock, because they
refuse a day in the future.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path

from msgspec import Struct

from gateway.config.mapping_tables import (
    CodeVersion,
    Crosswalk,
    GradingScale,
    Mapping,
    load_mappings,
)
from gateway.config.table_sources import short_source
from gateway.harmonise.tables.credits import CreditMatch, Credits, NoCredits, NoCreditsReason
from gateway.harmonise.tables.crosswalks import Crosswalks, FieldMatch, NoField
from gateway.harmonise.tables.institutions import Institutions
from gateway.harmonise.tables.level_answers import LevelMatch, NoLevel, NoLevelReason
from gateway.harmonise.tables.levels import Levels
from gateway.harmonise.tables.rule_outcome_cache import RuleOutcomeCache
from gateway.harmonise.values.future_days import is_in_future

__all__ = [
    "CodeMatch",
    "CreditMatch",
    "FieldMatch",
    "LevelMatch",
    "NoCodeMatch",
    "NoCredits",
    "NoField",
    "NoLevel",
    "Tables",
]


class CodeMatch(Struct, frozen=True, kw_only=True):
    """The value of a code in a code table, with the row that states it."""

    value: str | int | bool | None
    table: str
    version: str
    row: str
    source: str


class NoCodeMatch(Struct, frozen=True, kw_only=True):
    """The reason why a code table gives no value.

    ``reason`` is table_unknown, code_unknown, date_required or not_in_force.
    """

    reason: str
    table: str = ""


class Tables:
    """The levels, credits, grading scales and code tables of all education systems.

    The object is immutable, so threads may share it.
    """

    __slots__ = (
        "_codes",
        "_credits",
        "_crosswalks",
        "_grading",
        "_levels",
        "digest",
        "institutions",
        "judgements",
        "mappings",
    )

    def __init__(self, mappings: Iterable[Mapping], digest: str) -> None:
        self.mappings = tuple(mappings)
        self.digest = digest
        self._levels = Levels(self.mappings)
        self._credits = Credits(self.mappings)
        self.judgements = RuleOutcomeCache(self._levels, self._credits)
        """The cached outcomes of the level and credit rules with these tables."""
        self._grading = {
            (mapping.country, scale.scale): scale
            for mapping in self.mappings
            for scale in mapping.grading
        }
        self.institutions = Institutions(self.mappings)
        """The institutions by national number."""
        self._crosswalks = Crosswalks(self.mappings)
        self._codes = {
            (mapping.country, name): (mapping, table.versions)
            for mapping in self.mappings
            for name, table in mapping.codes.items()
        }

    @classmethod
    def load(cls, directory: Path | str) -> Tables:
        """Read and compile a directory of mapping files.

        It raises :class:`~gateway.errors.ConfigError` with all findings.
        """
        mappings = load_mappings(directory)
        digest = hashlib.sha256()
        for path in sorted(mappings):
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return cls(mappings.values(), digest.hexdigest()[:16])

    def level(
        self, country: str, framework: str | None, level: str, on: date | None
    ) -> LevelMatch | NoLevel:
        """Return the EQF level that a dated, sourced row states, or the reason why there is none.

        ``level`` is compared without any change to its text. The day of an award is not in the
        future.
        """
        if on is not None and is_in_future(on, country):
            return NoLevel(
                reason=NoLevelReason.DAY_IN_FUTURE, framework=framework or "", level=level
            )
        return self._levels.find(country, framework, level, on)

    def credits(
        self,
        country: str,
        unit: str,
        amount: Decimal,
        sector: str | None = None,
        on: date | None = None,
        *,
        per_year: int | None = None,
    ) -> CreditMatch | NoCredits:
        """Return the ECTS value of an amount, exact and rounded once, or why there is none."""
        if on is not None and is_in_future(on, country):
            return NoCredits(reason=NoCreditsReason.DAY_IN_FUTURE, unit=unit)
        return self._credits.find(country, unit, amount, sector, on, per_year)

    def code(
        self, country: str, name: str, value: str, on: date | None = None
    ) -> CodeMatch | NoCodeMatch:
        """Return the value of a code in the table of the country, or else of the EU."""
        system = self._levels.system(country)
        for owner in (system or "", "EU"):
            if found := self._codes.get((owner, name)):
                return _code(*found, name, value, on)
        return NoCodeMatch(reason="table_unknown", table=name)

    def has_tables(self, country: str) -> bool:
        """Return whether a mapping file describes the education system of a country."""
        return self._levels.system(country) is not None

    def has_framework(self, country: str, name: str) -> bool:
        """Return whether the tables of a country have a framework of this key or name."""
        return self._levels.has_framework(country, name)

    def has_code_table(self, name: str) -> bool:
        """Return whether any country has a code table of this name."""
        return any(name == other for _, other in self._codes)

    def code_rows(self, country: str, name: str) -> dict[str, str | int | bool | None]:
        """Return the rows of all versions of a code table, or nothing if there is no table."""
        for owner in (self._levels.system(country) or "", "EU"):
            if found := self._codes.get((owner, name)):
                return {code: value for version in found[1] for code, value in version.map.items()}
        return {}

    def crosswalk(self, country: str, name: str) -> Crosswalk | None:
        """Return the crosswalk of the country, or else of the EU, for a classification."""
        return self._crosswalks.get(self._owner_of_crosswalk(country, name), name)

    def has_crosswalk(self, name: str) -> bool:
        """Return whether any country has a crosswalk for a classification."""
        return any(self.crosswalk(mapping.country, name) for mapping in self.mappings)

    def crosswalk_names(self, country: str) -> tuple[str, ...]:
        """Return the classifications of fields that the tables of a country relate to ISCED-F."""
        return self._crosswalks.names(self._levels.system(country) or "")

    def field(
        self, country: str, classification: str, code: str, on: date | None = None
    ) -> FieldMatch | NoField:
        """Return the ISCED-F field of a national code, or the reason why there is none."""
        owner = self._owner_of_crosswalk(country, classification)
        return self._crosswalks.find(owner, classification, code, on)

    def _owner_of_crosswalk(self, country: str, name: str) -> str:
        system = self._levels.system(country) or ""
        return system if self._crosswalks.get(system, name) else "EU"

    def grading_scale(self, country: str, scale: str) -> GradingScale | None:
        """Return a grading scale of the country, to check or show a grade.

        The gateway never converts a grade.
        """
        return self._grading.get((self._levels.system(country) or country, scale))


def _code(
    mapping: Mapping, versions: tuple[CodeVersion, ...], name: str, value: str, on: date | None
) -> CodeMatch | NoCodeMatch:
    if on is None and len(versions) > 1:
        return NoCodeMatch(reason="date_required", table=name)
    for version in versions:
        if on is None or ((version.from_ or date.min) <= on <= (version.until or date.max)):
            if value not in version.map:
                return NoCodeMatch(reason="code_unknown", table=name)
            label = f"{name}@{version.from_ or 'undated'}"
            return CodeMatch(
                value=version.map[value],
                table=name,
                version=label,
                row=f"{mapping.country}/{name}/{value}",
                source=short_source(mapping.sources_of(version), "fields"),
            )
    return NoCodeMatch(reason="not_in_force", table=name)
