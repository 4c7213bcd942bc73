"""Look up the EQF level of a national level by country, framework, level text and date.

A level is compared as text: the gateway never trims, rounds or guesses it. It also understands the
spellings that the tables declare (:mod:`gateway.harmonise.tables.level_names`). Look-alike letters
of another script are read as Latin, and the answer notes it. An answer names its table row. An
answer without a level also names the reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from functools import lru_cache

from msgspec import Struct, structs

from gateway.config.mapping_tables import FrameworkVersion, Mapping, NationalLevel
from gateway.harmonise.tables.level_answers import (
    LevelMatch,
    NoLevel,
    NoLevelReason,
    answer_of_row,
    of_the_day,
    one_of,
    version_label,
    without_level,
)
from gateway.harmonise.tables.level_names import HOMOGLYPHS, LevelNames
from gateway.harmonise.tables.table_periods import around, middles

__all__ = ["HOMOGLYPHS", "LevelMatch", "Levels", "NoLevel", "NoLevelReason", "version_label"]

APPROXIMATE_DATE_TOLERANCE = timedelta(days=365)
"""A person decides about dates that lie this close to an approximate date."""
_CACHE_SIZE = 50_000
_UNDECIDED = frozenset(
    {
        NoLevelReason.NO_CORRESPONDENCE,
        NoLevelReason.SOURCE_NOT_OFFICIAL,
        NoLevelReason.FIRST_DAY_UNKNOWN,
    }
)
"""Reasons for which a row neither supports nor contradicts a level that a record declares."""


class _Row(Struct, frozen=True):
    start: date
    end: date
    ended: bool
    start_unknown: bool
    start_approx: bool
    end_approx: bool
    answer: LevelMatch | NoLevel


class Levels:
    """The national levels of all systems, by country, framework and text. Immutable."""

    __slots__ = (
        "_aliases",
        "_frameworks",
        "_frameworks_by_level",
        "_levels_by_eqf",
        "_memo",
        "_names",
        "_rows",
        "_systems_with_ambiguous_numbers",
    )

    def __init__(self, mappings: Iterable[Mapping]) -> None:
        self._rows: dict[tuple[str, str, str], tuple[_Row, ...]] = {}
        self._frameworks_by_level: dict[tuple[str, str], tuple[str, ...]] = {}
        self._levels_by_eqf: dict[tuple[str, str, int], tuple[str, ...]] = {}
        self._frameworks: dict[str, frozenset[str]] = {}
        self._aliases: dict[str, str] = {}
        self._systems_with_ambiguous_numbers: set[str] = set()
        self._memo: dict[tuple[str, str | None, str, date | None], LevelMatch | NoLevel] = {}
        mappings = tuple(mappings)
        self._names = LevelNames(mappings)
        for mapping in mappings:
            self._add(mapping)

    def _add(self, mapping: Mapping) -> None:
        country = mapping.country
        self._frameworks[country] = frozenset(mapping.frameworks)
        self._aliases |= dict.fromkeys((country, *mapping.also), country)
        if mapping.bare_numbers:
            self._systems_with_ambiguous_numbers.add(country)
        for key, framework in mapping.frameworks.items():
            for version in framework.versions:
                for level in version.levels:
                    if level.eqf is not None:
                        place = (country, key, level.eqf)
                        self._levels_by_eqf[place] = (
                            *self._levels_by_eqf.get(place, ()),
                            level.level,
                        )
                    for text in (level.level, *level.also):
                        answer = answer_of_row(
                            mapping, f"{country}/{key}/{level.level}", framework, version, level
                        )
                        row = _row(
                            version,
                            level,
                            structs.replace(
                                answer,
                                framework=key,
                                level=text,
                                version=version_label(key, version),
                            ),
                        )
                        rows = (*self._rows.get((country, key, text), ()), row)
                        self._rows[country, key, text] = tuple(
                            sorted(rows, key=lambda row: (row.start, row.end))
                        )
                        self._frameworks_by_level[country, text] = tuple(
                            sorted({*self._frameworks_by_level.get((country, text), ()), key})
                        )

    def find(
        self, country: str, framework: str | None, level: str, reference_date: date | None
    ) -> LevelMatch | NoLevel:
        """Return the EQF level that a row states on this date, or why there is none."""
        cache_key = (country, framework, level, reference_date)
        answer = self._memo.get(cache_key)
        if answer is None:
            answer = self._find(country, framework or None, level, reference_date)
            if len(self._memo) >= _CACHE_SIZE:
                self._memo.clear()
            self._memo[cache_key] = answer
        return answer

    def _find(
        self, country: str, framework: str | None, level: str, reference_date: date | None
    ) -> LevelMatch | NoLevel:
        system = self._aliases.get(country)
        if system is None:
            return NoLevel(
                reason=NoLevelReason.COUNTRY_UNKNOWN, framework=framework or "", level=level
            )
        keys = self._framework_keys(system, framework)
        if len(keys) > 1:
            answers = [self.find(country, key, level, reference_date) for key in keys]
            return of_the_day(answers) or NoLevel(
                reason=NoLevelReason.FRAMEWORK_REQUIRED, level=level, frameworks=keys
            )
        framework = keys[0] if keys else None
        answer = self._under_any_name(system, framework, level, reference_date)
        if answer is not None:
            return answer
        latin = level.translate(HOMOGLYPHS)
        answer = self._under_any_name(system, framework, latin, reference_date)
        if answer is None:
            answer = self._in_system(system, framework, latin, reference_date)
        if latin == level or (system, level) in self._frameworks_by_level:
            return answer
        text = level if answer.level == latin else answer.level
        return structs.replace(answer, level=text, normalised=True)

    def _framework_keys(self, system: str, framework: str | None) -> tuple[str, ...]:
        """Return the key of a framework, or the keys of all frameworks with this name."""
        if not framework or framework in self._frameworks[system]:
            return (framework,) if framework else ()
        return self._names.frameworks(system, framework) or (framework,)

    def _under_any_name(
        self, system: str, framework: str | None, text: str, reference_date: date | None
    ) -> LevelMatch | NoLevel | None:
        """Return the answer for a text that is a level or means one, otherwise ``None``."""
        if (
            (system, text) in self._frameworks_by_level
            if framework is None
            else (system, framework, text) in self._rows
        ):
            return self._in_system(system, framework, text, reference_date)
        named = self._names.levels(system, framework, text)
        if not named:
            return None
        owners = {one.framework for one in named}
        plain = {one.plain for one in named if one.plain and framework is None}
        for level in plain:  # such words are as ambiguous as the level alone
            owners.update(self._frameworks_by_level[system, level])
        levels = dict.fromkeys((one.framework, one.level) for one in named)
        answers = [self._in_system(system, *level, reference_date) for level in levels]
        if len(owners) > 1 or (
            system in self._systems_with_ambiguous_numbers
            and any(level.isascii() and level.isdigit() for level in plain)
        ):
            if not plain and (held := of_the_day(answers)):
                return held
            return NoLevel(
                reason=NoLevelReason.FRAMEWORK_REQUIRED,
                level=text,
                frameworks=tuple(sorted(self._frameworks[system])),
            )
        return one_of(text, answers)

    def _in_system(
        self, system: str, framework: str | None, level: str, reference_date: date | None
    ) -> LevelMatch | NoLevel:
        if framework is None:
            owners = self._frameworks_by_level.get((system, level), ())
            if len(owners) > 1 or (
                system in self._systems_with_ambiguous_numbers
                and level.isascii()
                and level.isdigit()
            ):
                return NoLevel(
                    reason=NoLevelReason.FRAMEWORK_REQUIRED,
                    level=level,
                    frameworks=tuple(sorted(self._frameworks[system])),
                )
            if not owners:
                return NoLevel(reason=NoLevelReason.LEVEL_UNKNOWN, level=level)
            framework = owners[0]
        rows = self._rows.get((system, framework, level))
        if rows is None:
            reason = (
                NoLevelReason.LEVEL_UNKNOWN
                if framework in self._frameworks[system]
                else NoLevelReason.FRAMEWORK_UNKNOWN
            )
            return NoLevel(
                reason=reason,
                framework=framework,
                level=level,
                frameworks=tuple(sorted(self._frameworks[system])),
            )
        return (
            _answer_without_date(rows)
            if reference_date is None
            else _answer_on_date(rows, reference_date)
        )

    def find_declared(
        self, country: str, framework: str | None, eqf: int, reference_date: date | None
    ) -> tuple[LevelMatch, ...] | NoLevel:
        """Return the rows that state a declared EQF level, one for each framework, or why not.

        Each framework of the country that has a row for this EQF level and holds on the day must
        state it, unless ``framework`` names one. A framework whose row may not issue the level, or
        does not tie it to the EQF, neither supports nor contradicts.
        """
        system = self._aliases.get(country)
        if system is None:
            return NoLevel(reason=NoLevelReason.COUNTRY_UNKNOWN)
        answers = [
            answer
            for key in self._framework_keys(system, framework) or sorted(self._frameworks[system])
            if (answer := self._answer_for_eqf(system, key, eqf, reference_date)) is not None
        ]
        in_force = [
            answer
            for answer in answers
            if isinstance(answer, LevelMatch) or answer.reason is not NoLevelReason.NOT_IN_FORCE
        ]
        decisive = [
            answer
            for answer in in_force
            if isinstance(answer, LevelMatch) or answer.reason not in _UNDECIDED
        ]
        for answer in decisive or in_force or answers:
            if isinstance(answer, NoLevel):
                return answer
        matches = tuple(answer for answer in decisive if isinstance(answer, LevelMatch))
        return matches or NoLevel(reason=NoLevelReason.LEVEL_UNKNOWN)

    def _answer_for_eqf(
        self, system: str, framework: str, eqf: int, reference_date: date | None
    ) -> LevelMatch | NoLevel | None:
        """Return the answer of the framework's first level that states the EQF level.

        Without one, return the answer of the first level, or ``None`` if no level has a row for it.
        """
        levels = self._levels_by_eqf.get((system, framework, eqf), ())
        answers = [
            self.find(system, framework, level, reference_date)
            for level in sorted(levels, key=lambda level: level != str(eqf))
        ]
        stated = (
            answer for answer in answers if isinstance(answer, LevelMatch) and answer.eqf == eqf
        )
        return next(stated, next(iter(answers), None))

    def changing_days(self) -> dict[str, set[date]]:
        """Return the days on which an answer with a date may change, by country code."""
        by_system: dict[str, set[date]] = {}
        for (system, _, _), rows in self._rows.items():
            by_system.setdefault(system, set()).update(_changing_days(rows))
        return {country: by_system.get(system, set()) for country, system in self._aliases.items()}

    def has_framework(self, country: str, name: str) -> bool:
        """Return whether a country has a framework of this key or name."""
        system = self._aliases.get(country)
        return system is not None and not self._frameworks[system].isdisjoint(
            self._framework_keys(system, name)
        )

    def system(self, country: str) -> str | None:
        """Return the education system of a country code, or ``None`` if it has no tables."""
        return self._aliases.get(country)


def _row(version: FrameworkVersion, level: NationalLevel, answer: LevelMatch | NoLevel) -> _Row:
    first_day = level.from_ or version.from_
    start, end = first_day or version.safe_from, level.until or version.until
    approx = (level.dates or version.dates) == "approx"
    return _Row(
        start or date.min,
        end or date.max,
        end is not None,
        first_day is None and start is not None,
        approx and first_day is not None,
        approx and end is not None,
        answer,
    )


@lru_cache(maxsize=1024)
def _days_of_edges(edges: frozenset[tuple[date, bool]]) -> frozenset[date]:
    days = {edge for edge, _ in edges}
    near = {
        day
        for edge, approx in edges
        for day in around(edge, APPROXIMATE_DATE_TOLERANCE if approx else timedelta(0))
    }
    return frozenset(near | middles(days))


def _changing_days(rows: tuple[_Row, ...]) -> frozenset[date]:
    """Return the days on which :func:`_answer_on_date` may give another answer."""
    edges = {(row.start, row.start_approx) for row in rows}
    return _days_of_edges(frozenset(edges | {(row.end, row.end_approx) for row in rows}))


def _eqf(row: _Row) -> int | None:
    return row.answer.eqf if isinstance(row.answer, LevelMatch) else None


def _answer_without_date(rows: tuple[_Row, ...]) -> LevelMatch | NoLevel:
    """Return the last row if it is still in force and all rows state the same level.

    Otherwise the date is required.
    """
    last = rows[-1]
    if last.ended or len({_eqf(row) for row in rows}) > 1:
        return without_level(last.answer, NoLevelReason.DATE_REQUIRED)
    return last.answer


def _answer_on_date(rows: tuple[_Row, ...], reference_date: date) -> LevelMatch | NoLevel:
    inside = [row for row in rows if row.start <= reference_date <= row.end]
    near = [
        row for row in rows if row not in inside and _is_near_approximate_end(row, reference_date)
    ]
    if inside:
        current = inside[-1]
        needs_review = any(_eqf(row) != _eqf(current) for row in (*inside, *near)) or any(
            _is_near_uncertain_boundary(current, row, reference_date) for row in rows
        )
        if needs_review:
            return without_level(current.answer, NoLevelReason.REVIEW_DATES)
        return current.answer
    if near:
        return without_level(near[0].answer, NoLevelReason.REVIEW_DATES)
    for row in rows:
        if row.start_unknown and reference_date < row.start:
            return without_level(row.answer, NoLevelReason.FIRST_DAY_UNKNOWN)
    nearest = min(
        rows, key=lambda row: min(abs(row.start - reference_date), abs(row.end - reference_date))
    )
    return without_level(nearest.answer, NoLevelReason.NOT_IN_FORCE)


def _is_near_approximate_end(row: _Row, reference_date: date) -> bool:
    """Return whether the date is outside the row, but within a year of an approximate boundary."""
    before = (
        row.start_approx
        and reference_date < row.start
        and row.start - reference_date <= APPROXIMATE_DATE_TOLERANCE
    )
    after = (
        row.end_approx
        and reference_date > row.end
        and reference_date - row.end <= APPROXIMATE_DATE_TOLERANCE
    )
    return before or after


def _is_near_uncertain_boundary(current: _Row, other: _Row, reference_date: date) -> bool:
    """Return whether an approximate boundary between two rows lies within a year of the date.

    The two rows must state different levels.
    """
    if other is current or _eqf(other) == _eqf(current):
        return False
    start = (
        current.start_approx
        and other.end < current.start
        and reference_date - current.start <= APPROXIMATE_DATE_TOLERANCE
    )
    end = (
        current.end_approx
        and other.start > current.end
        and current.end - reference_date <= APPROXIMATE_DATE_TOLERANCE
    )
    return start or end
