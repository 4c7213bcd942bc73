"""Bring together all that one mapping file states, so that a ministry can review and sign it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from msgspec import Struct

from gateway.check.table_coverage import (
    RowCoverage,
    cover_level,
    cover_unit,
    meaning_of,
)
from gateway.config.eu_levels import LEVEL_LABELS
from gateway.config.mapping_tables import (
    CreditUnit,
    Framework,
    FrameworkVersion,
    Mapping,
    NationalLevel,
    ValidityPeriod,
    mapping_files,
    read_mapping,
)
from gateway.config.table_sources import Source
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.levels import version_label

KIND_NAMES = {
    "act": "act",
    "authority": "authority",
    "eu": "EU",
    "other": "not official",
}
"""The kind of a source in words for people."""
STATEMENT = (
    "I have compared this table with the acts and decisions of my country. The rows are right, "
    "except where I have written a remark."
)


class ReviewTable(Struct, frozen=True):
    """A table of the review: a title, an introduction, the heads of the columns and the rows."""

    title: str
    about: tuple[str, ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class ReviewSource(Struct, frozen=True):
    """One source under the number by which the tables name it."""

    number: int
    kind: str
    title: str
    publisher: str
    article: str
    gazette: str
    read: str
    address: str
    states: str
    note: str


class CountryReview(Struct, frozen=True):
    """All that one mapping file states. ``digest`` changes with every change of the file."""

    country: str
    name: str
    digest: str
    file: str
    tables_digest: str
    printed: date
    summary: tuple[str, ...]
    tables: tuple[ReviewTable, ...]
    sources: tuple[ReviewSource, ...]


class _Numbers:
    """The numbers of the sources of a file, in the order in which the tables name them."""

    def __init__(self) -> None:
        self.sources: list[Source] = []

    def of(self, sources: Sequence[Source]) -> str:
        """Return the numbers of sources, as the tables print them."""
        for source in sources:
            if source not in self.sources:
                self.sources.append(source)
        return " ".join(f"[{self.sources.index(source) + 1}]" for source in sources)


def build_review(mapping: Mapping, folder: Path, tables: Tables, today: date) -> CountryReview:
    """Return the review of one file of a folder of mapping tables."""
    path = _file_of(mapping, folder)
    numbers, covered_levels = _Numbers(), list[RowCoverage]()
    parts: list[ReviewTable] = []
    for key, framework in mapping.frameworks.items():
        for version in framework.versions:
            covered = [
                cover_level(mapping, key, version, level, tables, today) for level in version.levels
            ]
            covered_levels += covered
            parts.append(_levels(mapping, key, framework, version, covered, numbers))
    covered_units = [cover_unit(mapping, unit) for unit in mapping.credits]
    if mapping.credits:
        parts.append(_credits(mapping.credits, covered_units, numbers))
    if mapping.grading:
        parts.append(_grading(mapping, numbers))
    if mapping.fields or mapping.institutions or mapping.codes:
        parts.append(_lists(mapping, numbers))
    return CountryReview(
        country=mapping.country,
        name=mapping.name,
        digest=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        file=path.name,
        tables_digest=tables.digest,
        printed=today,
        summary=(
            _summary("level rows", "an EQF level", covered_levels),
            _summary("units of credit", "an ECTS value", covered_units),
            *((mapping.note,) if mapping.note else ()),
            *(
                (f"Outside the EQF since {mapping.outside_eqf_since}.",)
                if mapping.outside_eqf_since
                else ()
            ),
        ),
        tables=tuple(parts),
        sources=tuple(
            _source(number, source) for number, source in enumerate(numbers.sources, start=1)
        ),
    )


def _file_of(mapping: Mapping, folder: Path) -> Path:
    usual = folder / f"{mapping.country.lower()}.yaml"
    if usual.is_file():
        return usual
    return next(
        path
        for path in mapping_files(folder)
        if (read := read_mapping(path)[0]) and read.country == mapping.country
    )


def _summary(what: str, value: str, rows: Sequence[RowCoverage]) -> str:
    issuing = [row for row in rows if row.issues]
    shares = ", ".join(
        f"{count} on {'an ' if kind in {'act', 'authority', 'eu'} else ''}{words} "
        f"{'source' if kind in {'eu', 'other'} else ''}".rstrip()
        for kind, words in KIND_NAMES.items()
        if (count := sum(1 for row in issuing if row.kind == kind))
    )
    return f"{len(issuing)} of {len(rows)} {what} issue {value}{f': {shares}' if shares else ''}."


def _levels(
    mapping: Mapping,
    key: str,
    framework: Framework,
    version: FrameworkVersion,
    covered: Sequence[RowCoverage],
    numbers: _Numbers,
) -> ReviewTable:
    about = [
        f"Relation to the EQF: {_words(version.relation)}.",
        _period(version, version.undated or "", version.safe_from, version.dates == "approx"),
    ]
    if version.referenced:
        about.append(f"Referenced in {', '.join(map(str, version.referenced))}.")
    if framework.also:
        about.append(f"Other names: {', '.join(framework.also)}.")
    if framework.around:
        shown = ", ".join(words.replace("{level}", "…") for words in framework.around)
        about.append(f"Words that may stand around a level: {shown}.")
    about += [note for note in (framework.note,) if note]
    if own := numbers.of(mapping.sources_of(version)):
        about.append(f"Sources: {own}.")
    rows = tuple(
        _level(version, level, one, numbers)
        for level, one in zip(version.levels, covered, strict=True)
    )
    heads = ("Level", "EQF", "Awards", "EU label", "Days", "Source", "Kind", "Note")
    title = f"{framework.name} ({key})"
    if len(framework.versions) > 1:
        title += f", version {version_label(key, version)}"
    return _table(title, tuple(about), heads, rows)


def _level(
    version: FrameworkVersion, level: NationalLevel, one: RowCoverage, numbers: _Numbers
) -> tuple[str, ...]:
    label = LEVEL_LABELS.get(level.uri or "", "")
    relation = level.relation if level.relation and level.relation != version.relation else None
    notes = (
        f"also written {', '.join(level.also)}" if level.also else "",
        _words(relation) if relation else "",
        f"{level.cycle} cycle" if level.cycle else "",
        level.note or "",
    )
    return (
        level.level,
        _value(one, "level", level.hint or ""),
        level.awards or "",
        label or (level.uri or ""),
        _own_days(level, version),
        numbers.of(one.sources),
        _kind(one),
        "; ".join(filter(None, notes)),
    )


def _own_days(level: NationalLevel, version: FrameworkVersion) -> str:
    """Return the days of a row, if they are not those of its version."""
    if not (level.from_ or level.until):
        return ""
    approx = (level.dates or version.dates) == "approx"
    period = ValidityPeriod(from_=level.from_ or version.from_, until=level.until or version.until)
    return _period(period, version.undated or "", version.safe_from, approx).rstrip(".")


def _table(
    title: str, about: tuple[str, ...], heads: tuple[str, ...], rows: tuple[tuple[str, ...], ...]
) -> ReviewTable:
    """Return a table without the columns that no row fills."""
    filled = [index for index in range(len(heads)) if any(row[index] for row in rows)]
    return ReviewTable(
        title,
        about,
        tuple(heads[index] for index in filled),
        tuple(tuple(row[index] for index in filled) for row in rows),
    )


def _kind(one: RowCoverage) -> str:
    """Return the kind of the source of a value, or nothing if the row states no value."""
    return KIND_NAMES[one.kind] if one.value is not None else ""


def _value(one: RowCoverage, what: str, hint: str = "") -> str:
    if one.issues:
        return str(one.value)
    meaning = meaning_of(one.reason, "level" if what == "level" else "credits")
    would = f"; would be {one.value}" if one.value is not None else ""
    possible = f"; possibly {hint.replace('|', ' or ')}" if hint and not would else ""
    return f"none: {meaning}{would}{possible}"


def _credits(
    units: Sequence[CreditUnit], covered: Sequence[RowCoverage], numbers: _Numbers
) -> ReviewTable:
    rows = tuple(
        (
            unit.unit,
            ", ".join(unit.also),
            unit.sector,
            _value(one, "credits"),
            _period(unit, unit.undated or "", unit.safe_from, approx=False).rstrip("."),
            _hours(unit),
            unit.per_year or "",
            numbers.of(one.sources),
            _kind(one),
            "; ".join(filter(None, (unit.act or "", unit.note or ""))),
        )
        for unit, one in zip(units, covered, strict=True)
    )
    heads = (
        "Unit",
        "Also printed as",
        "Sector",
        "ECTS for one",
        "Days",
        "Hours for one",
        "A year",
        "Source",
        "Kind",
        "Note",
    )
    return _table("Units of credit", (), heads, rows)


def _hours(unit: CreditUnit) -> str:
    if not unit.hours:
        return ""
    least, most = (f"{float(value):.4g}" for value in unit.hours)
    return least if least == most else f"{least} to {most}"


def _grading(mapping: Mapping, numbers: _Numbers) -> ReviewTable:
    rows = tuple(
        (
            scale.scale,
            scale.sector,
            scale.best or "",
            scale.worst or "",
            scale.passes or "",
            ", ".join(scale.values),
            numbers.of(mapping.sources_of(scale)),
            scale.note or "",
        )
        for scale in mapping.grading
    )
    heads = ("Scale", "Sector", "Best", "Worst", "Pass", "Values", "Source", "Note")
    about = ("The gateway checks and shows grades by these scales. It never converts a grade.",)
    return _table("Grading scales", about, heads, rows)


def _lists(mapping: Mapping, numbers: _Numbers) -> ReviewTable:
    rows = [
        (
            f"{crosswalk.name} ({key}), edition {version.version}",
            f"{len(version.rows)} codes with an ISCED-F field",
            _period(version, "", None, approx=False).rstrip("."),
            numbers.of(mapping.sources_of(version)),
        )
        for key, crosswalk in mapping.fields.items()
        for version in crosswalk.versions
    ]
    rows += [
        (
            f"{table.name} ({key})",
            f"{len(version.map)} codes",
            _period(version, "", None, approx=False).rstrip("."),
            numbers.of(mapping.sources_of(version)),
        )
        for key, table in mapping.codes.items()
        for version in table.versions
    ]
    rows += [
        (
            f"{one.name} ({one.scheme})",
            f"{len(one.rows)} institutions",
            f"as of {one.as_of}",
            numbers.of(mapping.sources_of(one)),
        )
        for one in mapping.institutions
    ]
    about = (f"The rows of these lists are in the file {mapping.country.lower()}.yaml.",)
    return ReviewTable("Lists of codes", about, ("List", "Size", "Days", "Source"), tuple(rows))


def _period(period: ValidityPeriod, undated: str, safe_from: date | None, approx: bool) -> str:
    about = "about " if approx else ""
    until = f" until {about}{period.until}" if period.until else ""
    if period.from_:
        return f"From {about}{period.from_}{until or ', still in force'}."
    if undated:
        return f"First day unknown ({undated}); used from {safe_from}{until}."
    return f"No first day stated{until}."


def _words(code: str) -> str:
    return code.replace("_", " ")


def _source(number: int, source: Source) -> ReviewSource:
    return ReviewSource(
        number,
        KIND_NAMES[source.kind],
        source.title,
        source.publisher or "",
        source.article or "",
        source.gazette or "",
        str(source.read) if source.read else "",
        source.address or "",
        ", ".join(source.states),
        source.note or "",
    )
