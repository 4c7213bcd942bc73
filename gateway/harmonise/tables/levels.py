"""National level to EQF level: compiled once, then a lookup by country, framework, level text and day.

A level is text and is compared as it stands: nothing is trimmed, rounded or guessed. Only letters that look alike in another script are
read as Latin, and the answer says so. Every answer names its row; where there is no level, it names the reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct, structs

from gateway.config.mapping_tables import ISSUING, Framework, Level, Mapping, Version

NEAR = timedelta(days=365)
"""Around a day that is only about right, a year on each side is for a person to decide."""
_MEMO = 50_000


class NoLevelReason(StrEnum):
    """Why a lookup gives no EQF level. Values are metric labels: stable, and no others."""

    COUNTRY_UNKNOWN = "country_unknown"
    FRAMEWORK_REQUIRED = "framework_required"
    FRAMEWORK_UNKNOWN = "framework_unknown"
    LEVEL_UNKNOWN = "level_unknown"
    DATE_REQUIRED = "date_required"
    NOT_IN_FORCE = "not_in_force"
    REVIEW_DATES = "review_dates"
    BELOW_EQF = "below_eqf"
    UNUSED = "level_unused"
    SPLIT = "split_level"
    INDIRECT = "indirect_via_cycle"
    NOT_REFERENCED = "not_referenced"
    COMPARISON = "comparison_only"
    NO_CORRESPONDENCE = "no_correspondence"
    UNSURE = "unsure"


_BY_RELATION = {
    "below_eqf": NoLevelReason.BELOW_EQF,
    "unused": NoLevelReason.UNUSED,
    "split": NoLevelReason.SPLIT,
    "indirect": NoLevelReason.INDIRECT,
    "not_referenced": NoLevelReason.NOT_REFERENCED,
    "comparison": NoLevelReason.COMPARISON,
}


class LevelMatch(Struct, frozen=True, kw_only=True):
    """A row states an EQF level. ``level`` is the text that was asked for; ``normalised``: look-alike letters were read as Latin."""

    eqf: int
    framework: str
    level: str
    version: str
    row: str
    source: str
    confidence: str
    relation: str
    referenced_year: int | None = None
    uri: str | None = None
    framework_uri: str | None = None
    cycle: str | None = None
    note: str = ""
    normalised: bool = False


class NoLevel(Struct, frozen=True, kw_only=True):
    """No EQF level, and why. When a row was found, it is named, with the EU concept of the national level if there is one."""

    reason: NoLevelReason
    framework: str = ""
    level: str = ""
    version: str = ""
    row: str = ""
    source: str = ""
    confidence: str = ""
    relation: str = ""
    referenced_year: int | None = None
    uri: str | None = None
    framework_uri: str | None = None
    cycle: str | None = None
    note: str = ""
    hint: str = ""
    frameworks: tuple[str, ...] = ()
    normalised: bool = False


class _Row(Struct, frozen=True):
    start: date
    end: date
    ended: bool
    start_approx: bool
    end_approx: bool
    answer: LevelMatch | NoLevel


def _pairs(latin: str, other: str) -> dict[int, str]:
    return dict(zip(map(ord, other), latin, strict=True))


LOOK_ALIKES = {
    **_pairs("ABEKMHOPCTXISJ", "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0406\u0405\u0408"),  # Cyrillic capitals
    **_pairs("aeopcxisj", "\u0430\u0435\u043e\u0440\u0441\u0445\u0456\u0455\u0458"),  # Cyrillic small letters
    **_pairs("ABEZHIKMNOPTYX", "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7"),  # Greek capitals
}
"""Code point to the Latin letter it looks like."""


class Levels:
    """Every national level of every system, by country, framework and text. Does not change once made."""

    __slots__ = ("_aliases", "_bare", "_frameworks", "_memo", "_owners", "_rows")

    def __init__(self, mappings: Iterable[Mapping]) -> None:
        self._rows: dict[tuple[str, str, str], tuple[_Row, ...]] = {}
        self._owners: dict[tuple[str, str], tuple[str, ...]] = {}
        self._frameworks: dict[str, frozenset[str]] = {}
        self._aliases: dict[str, str] = {}
        self._bare: set[str] = set()
        self._memo: dict[tuple[str, str | None, str, date | None], LevelMatch | NoLevel] = {}
        for mapping in mappings:
            self._add(mapping)

    def _add(self, mapping: Mapping) -> None:
        country = mapping.country
        self._frameworks[country] = frozenset(mapping.frameworks)
        self._aliases |= dict.fromkeys((country, *mapping.also), country)
        if mapping.bare_numbers:
            self._bare.add(country)
        for key, framework in mapping.frameworks.items():
            for version in framework.versions:
                for level in version.levels:
                    for text in (level.level, *level.also):
                        answer = _answer(f"{country}/{key}/{level.level}", framework, version, level)
                        made = _row(version, level, structs.replace(answer, framework=key, level=text, version=version_label(key, version)))
                        rows = (*self._rows.get((country, key, text), ()), made)
                        self._rows[country, key, text] = tuple(sorted(rows, key=lambda row: (row.start, row.end)))
                        self._owners[country, text] = tuple(sorted({*self._owners.get((country, text), ()), key}))

    def find(self, country: str, framework: str | None, level: str, on: date | None) -> LevelMatch | NoLevel:
        """Return the EQF level a row states for this level on this day, or the reason there is none."""
        asked = (country, framework, level, on)
        found = self._memo.get(asked)
        if found is None:
            found = self._find(country, framework or None, level, on)
            if len(self._memo) >= _MEMO:
                self._memo.clear()
            self._memo[asked] = found
        return found

    def _find(self, country: str, framework: str | None, level: str, on: date | None) -> LevelMatch | NoLevel:
        system = self._aliases.get(country)
        if system is None:
            return NoLevel(reason=NoLevelReason.COUNTRY_UNKNOWN, framework=framework or "", level=level)
        text = level
        if (system, text) not in self._owners:
            text = level.translate(LOOK_ALIKES)
        found = self._in_system(system, framework, text, on)
        return found if text == level else structs.replace(found, level=level, normalised=True)

    def _in_system(self, system: str, framework: str | None, level: str, on: date | None) -> LevelMatch | NoLevel:
        if framework is None:
            owners = self._owners.get((system, level), ())
            if len(owners) > 1 or (system in self._bare and level.isascii() and level.isdigit()):
                return NoLevel(reason=NoLevelReason.FRAMEWORK_REQUIRED, level=level, frameworks=tuple(sorted(self._frameworks[system])))
            if not owners:
                return NoLevel(reason=NoLevelReason.LEVEL_UNKNOWN, level=level)
            framework = owners[0]
        rows = self._rows.get((system, framework, level))
        if rows is None:
            known = framework in self._frameworks[system]
            reason = NoLevelReason.LEVEL_UNKNOWN if known else NoLevelReason.FRAMEWORK_UNKNOWN
            return NoLevel(reason=reason, framework=framework, level=level, frameworks=tuple(sorted(self._frameworks[system])))
        return _undated(rows) if on is None else _on(rows, on)

    def system(self, country: str) -> str | None:
        """Return the system a country code means, or None when it has no tables."""
        return self._aliases.get(country)


def version_label(key: str, version: Version) -> str:
    """Return the label of a version: its own, or the framework and its first day."""
    return version.version or f"{key}@{version.from_ or 'undated'}"


def _row(version: Version, level: Level, answer: LevelMatch | NoLevel) -> _Row:
    start, end = level.from_ or version.from_, level.until or version.until
    approx = (level.dates or version.dates) == "approx"
    return _Row(start or date.min, end or date.max, end is not None, approx and start is not None, approx and end is not None, answer)


def _answer(row: str, framework: Framework, version: Version, level: Level) -> LevelMatch | NoLevel:
    relation = level.relation or version.relation
    confidence = level.confidence or version.confidence
    said: dict[str, Any] = {
        "framework": "",
        "level": level.level,
        "version": "",
        "row": row,
        "source": level.source or version.source or "",
        "confidence": confidence,
        "relation": relation,
        "referenced_year": level.referenced or version.referenced,
        "uri": level.uri,
        "framework_uri": framework.uri,
        "cycle": level.cycle,
        "note": level.note or framework.note or "",
    }
    if relation not in ISSUING:
        return NoLevel(reason=_BY_RELATION[relation], hint=level.hint or "", **said)
    if confidence == "unsure":
        return NoLevel(reason=NoLevelReason.UNSURE, hint=level.hint or "", **said)
    if level.eqf is None:
        return NoLevel(reason=NoLevelReason.NO_CORRESPONDENCE, hint=level.hint or "", **said)
    return LevelMatch(eqf=level.eqf, **said)


def _eqf(row: _Row) -> int | None:
    return row.answer.eqf if isinstance(row.answer, LevelMatch) else None


def _without(answer: LevelMatch | NoLevel, reason: NoLevelReason) -> NoLevel:
    said = {name: getattr(answer, name) for name in LevelMatch.__struct_fields__ if name != "eqf"}
    return NoLevel(reason=reason, **said)


def _undated(rows: tuple[_Row, ...]) -> LevelMatch | NoLevel:
    """Without a day only a row that still holds can answer, and only when no other row says otherwise."""
    last = rows[-1]
    if last.ended or len({_eqf(row) for row in rows}) > 1:
        return _without(last.answer, NoLevelReason.DATE_REQUIRED)
    return last.answer


def _on(rows: tuple[_Row, ...], on: date) -> LevelMatch | NoLevel:
    inside = [row for row in rows if row.start <= on <= row.end]
    near = [row for row in rows if row not in inside and _near(row, on)]
    if inside:
        found = inside[-1]
        other = any(_eqf(row) != _eqf(found) for row in (*inside, *near)) or any(_shaky(found, row, on) for row in rows)
        return _without(found.answer, NoLevelReason.REVIEW_DATES) if other else found.answer
    if near:
        return _without(near[0].answer, NoLevelReason.REVIEW_DATES)
    nearest = min(rows, key=lambda row: min(abs(row.start - on), abs(row.end - on)))
    return _without(nearest.answer, NoLevelReason.NOT_IN_FORCE)


def _near(row: _Row, on: date) -> bool:
    """Tell whether the day is outside the row, but within a year of an end of it that is only about right."""
    before = row.start_approx and on < row.start and row.start - on <= NEAR
    after = row.end_approx and on > row.end and on - row.end <= NEAR
    return before or after


def _shaky(found: _Row, other: _Row, on: date) -> bool:
    """Tell whether the day lies within a year of the seam between two rows that differ, where the seam is only about right."""
    if other is found or _eqf(other) == _eqf(found):
        return False
    start = found.start_approx and other.end < found.start and on - found.start <= NEAR
    end = found.end_approx and other.start > found.end and found.end - on <= NEAR
    return start or end
