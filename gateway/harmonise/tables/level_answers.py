"""Define the answers of a level look-up, and read them from the rows of a mapping file."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any

from msgspec import Struct

from gateway.config.issuing_rows import may_issue_level
from gateway.config.mapping_tables import (
    RELATIONS_WITH_LEVEL,
    Framework,
    FrameworkVersion,
    Mapping,
    NationalLevel,
)
from gateway.config.table_sources import Source, short_source


class NoLevelReason(StrEnum):
    """The reasons why a lookup gives no EQF level. The values are metric labels and stay stable."""

    COUNTRY_UNKNOWN = "country_unknown"
    FRAMEWORK_REQUIRED = "framework_required"
    FRAMEWORK_UNKNOWN = "framework_unknown"
    LEVEL_UNKNOWN = "level_unknown"
    LEVEL_AMBIGUOUS = "level_ambiguous"
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
    SOURCE_NOT_OFFICIAL = "source_not_official"
    FIRST_DAY_UNKNOWN = "first_day_unknown"
    DAY_IN_FUTURE = "day_in_future"


_BY_RELATION = {
    "below_eqf": NoLevelReason.BELOW_EQF,
    "unused": NoLevelReason.UNUSED,
    "split": NoLevelReason.SPLIT,
    "indirect": NoLevelReason.INDIRECT,
    "not_referenced": NoLevelReason.NOT_REFERENCED,
    "comparison": NoLevelReason.COMPARISON,
}


class LevelMatch(Struct, frozen=True, kw_only=True):
    """The EQF level that a table row states.

    ``level`` is the text of the question, or the level that a label, a URI or words mean.
    ``normalised`` is true when look-alike letters were read as Latin. ``source`` is the short name
    of the source that states the level, and ``sources`` are all sources of the row.
    """

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
    sources: tuple[Source, ...] = ()
    referenced_years: tuple[int, ...] = ()
    outside_eqf_since: date | None = None
    undated: str = ""


class NoLevel(Struct, frozen=True, kw_only=True):
    """The reason why there is no EQF level.

    If a row exists, the fields name it, with the EU concept of the national level if there is one.
    """

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
    sources: tuple[Source, ...] = ()
    referenced_years: tuple[int, ...] = ()
    outside_eqf_since: date | None = None
    undated: str = ""


def version_label(key: str, version: FrameworkVersion) -> str:
    """Return the label of a version: its own label, or the framework with its first day."""
    return version.version or f"{key}@{version.first_safe_day or 'undated'}"


def answer_of_row(
    mapping: Mapping,
    row: str,
    framework: Framework,
    version: FrameworkVersion,
    level: NationalLevel,
) -> LevelMatch | NoLevel:
    """Return the answer that a row gives on the days on which it holds."""
    sources = mapping.sources_of(level, version)
    years = level.referenced or version.referenced or ()
    relation = level.relation or version.relation
    confidence = level.confidence or version.confidence
    shared_fields: dict[str, Any] = {
        "framework": "",
        "level": level.level,
        "version": "",
        "row": row,
        "source": short_source(sources, "pairing"),
        "confidence": confidence,
        "relation": relation,
        "referenced_year": max(years, default=None),
        "uri": level.uri,
        "framework_uri": framework.uri,
        "cycle": level.cycle,
        "note": level.note or framework.note or "",
        "sources": sources,
        "referenced_years": years,
        "outside_eqf_since": mapping.outside_eqf_since,
        "undated": "" if level.from_ else version.undated_remark,
    }
    if relation not in RELATIONS_WITH_LEVEL:
        return NoLevel(reason=_BY_RELATION[relation], hint=level.hint or "", **shared_fields)
    if confidence == "unsure":
        return NoLevel(reason=NoLevelReason.UNSURE, hint=level.hint or "", **shared_fields)
    if level.eqf is None:
        return NoLevel(
            reason=NoLevelReason.NO_CORRESPONDENCE, hint=level.hint or "", **shared_fields
        )
    if not may_issue_level(mapping, version, level):
        return NoLevel(
            reason=NoLevelReason.SOURCE_NOT_OFFICIAL, hint=str(level.eqf), **shared_fields
        )
    return LevelMatch(eqf=level.eqf, **shared_fields)


def outside_eqf(since: date) -> str:
    """Return the remark about a country that takes no part in the EQF any more."""
    return f"outside the EQF since {since.day} {since:%B %Y}"


def of_the_day(answers: list[LevelMatch | NoLevel]) -> LevelMatch | NoLevel | None:
    """Return the answer of the one framework that has the level on the day, if there is one.

    Frameworks that follow one another may share a name. A day near an uncertain change of
    frameworks gives several answers, so it decides nothing.
    """
    absent = {NoLevelReason.NOT_IN_FORCE, NoLevelReason.LEVEL_UNKNOWN}
    held = [
        answer
        for answer in answers
        if isinstance(answer, LevelMatch) or answer.reason not in absent
    ]
    return held[0] if len(held) == 1 else None


def one_of(text: str, answers: list[LevelMatch | NoLevel]) -> LevelMatch | NoLevel:
    """Return the one answer that holds on the day, or say that the text may mean several levels.

    If all levels are refused for the same reason, the answer gives that reason.
    """
    held = [
        answer
        for answer in answers
        if isinstance(answer, LevelMatch) or answer.reason is not NoLevelReason.NOT_IN_FORCE
    ]
    held = held or answers
    if len(held) == 1:
        return held[0]
    reasons = {answer.reason if isinstance(answer, NoLevel) else None for answer in held}
    reason = reasons.pop()
    return NoLevel(
        reason=reason if reason and not reasons else NoLevelReason.LEVEL_AMBIGUOUS,
        framework=held[0].framework,
        level=text,
        version=held[0].version,
        source=held[0].source,
        note=f"It may mean the levels {', '.join(answer.level for answer in held)}.",
    )


def without_level(answer: LevelMatch | NoLevel, reason: NoLevelReason) -> NoLevel:
    """Return the row of an answer with a reason in place of its level."""
    shared_fields = {
        name: getattr(answer, name) for name in LevelMatch.__struct_fields__ if name != "eqf"
    }
    return NoLevel(reason=reason, **shared_fields)
