"""Check the sources of a mapping file, the first days of its rows, and which rows may not issue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from gateway.config.issuing_rows import (
    may_issue_credits,
    may_issue_level,
    states_credits,
    states_level,
)
from gateway.config.mapping_tables import (
    FrameworkVersion,
    InstitutionRow,
    Mapping,
    NationalLevel,
    StartedPeriod,
)
from gateway.config.table_sources import Source, official_source, walk_sourced
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import Finding

_MAX_LINES = 10
"""Most lines that a note names."""


def check_sources(mapping: Mapping, document: YamlDocument, today: date) -> Iterator[Finding]:
    """Yield a finding for each source, day or row that another person could not check."""
    for name, source in mapping.sources.items():
        yield from _source(source, document, ("sources", name), today)
    yield from _uses(mapping, document)
    yield from _days(mapping, document)
    yield from _rows_that_may_not_issue(mapping, document)


def _source(
    source: Source, document: YamlDocument, place: DocumentPath, today: date
) -> Iterator[Finding]:
    if source.read and source.read > today:
        yield document.make_finding(
            "source-read-later",
            (*place, "read"),
            f"{source.read} is in the future; write the day on which a person read the source",
        )
    if source.address and not source.address.startswith("https://"):
        yield document.make_finding(
            "source-address",
            (*place, "address"),
            f"expected an address that begins with https://, found {source.address[:80]}",
        )
    if source.kind != "act" or not source.read:
        return
    if not source.article:
        yield document.make_finding(
            "act-without-article",
            place,
            "is an act without article; add article: with the article, section, annex or page",
        )
    if not source.gazette:
        yield document.make_finding(
            "act-without-gazette",
            place,
            "is an act without gazette; add gazette: with its number and day, or with an ELI",
        )


def _uses(mapping: Mapping, document: YamlDocument) -> Iterator[Finding]:
    used: set[str] = set()
    for place, owner in walk_sourced(mapping):
        used.update(owner.sources)
        inherits = isinstance(owner, NationalLevel | FrameworkVersion | InstitutionRow)
        if not inherits and not owner.names_a_source:
            yield _without_source(document, place)
    for key, framework in mapping.frameworks.items():
        for number, version in enumerate(framework.versions):
            for index, level in enumerate(version.levels):
                if not (level.names_a_source or version.names_a_source):
                    place = ("frameworks", key, "versions", number, "levels", index)
                    yield _without_source(document, place)
    for name in mapping.sources:
        if name not in used:
            yield document.make_finding(
                "source-unused",
                ("sources", name),
                "no version and no row names this source; name it under sources, or remove it",
                severity="warning",
            )


def _without_source(document: YamlDocument, place: DocumentPath) -> Finding:
    return document.make_finding(
        "no-source",
        place,
        "has no source; add sources: with the name of a source from the block sources",
    )


def _days(mapping: Mapping, document: YamlDocument) -> Iterator[Finding]:
    for index, unit in enumerate(mapping.credits):
        yield from _first_day(unit, mapping.sources_of(unit), document, ("credits", index))
    for key, framework in mapping.frameworks.items():
        for number, version in enumerate(framework.versions):
            place = ("frameworks", key, "versions", number)
            sources = mapping.sources_of(version)
            yield from _first_day(version, sources, document, place)
            yield from _verified(version, sources, document, place)
            for index, level in enumerate(version.levels):
                sources = mapping.sources_of(level, version)
                yield from _verified(level, sources, document, (*place, "levels", index))


def _first_day(
    period: StartedPeriod,
    sources: Sequence[Source],
    document: YamlDocument,
    place: DocumentPath,
) -> Iterator[Finding]:
    if period.from_ and (period.undated or period.safe_from):
        yield document.make_finding(
            "two-first-days",
            place,
            "has from with undated or safe_from; keep from, or keep the other two",
        )
    elif not period.from_ and not (period.undated and period.safe_from):
        yield document.make_finding(
            "no-first-day",
            place,
            "has no first day; add from:, or undated: with the reason and safe_from: with a day",
        )
    elif period.from_ and sources and official_source(sources, "dates") is None:
        yield document.make_finding(
            "first-day-not-stated",
            (*place, "from"),
            f"no official source states the first day {period.from_}; add dates to the states of "
            "the source that gives it, or write undated: and safe_from: instead",
            severity="note",
        )


def _verified(
    row: FrameworkVersion | NationalLevel,
    sources: Sequence[Source],
    document: YamlDocument,
    place: DocumentPath,
) -> Iterator[Finding]:
    if row.dates == "verified" and sources and official_source(sources, "dates") is None:
        yield document.make_finding(
            "dates-not-stated",
            (*place, "dates"),
            "none of its official sources states dates; add dates to the states of the source "
            "that gives the day, or write dates: approx",
        )


def _rows_that_may_not_issue(mapping: Mapping, document: YamlDocument) -> Iterator[Finding]:
    for key, framework in mapping.frameworks.items():
        stated = [
            (version, level, ("frameworks", key, "versions", number, "levels", index))
            for number, version in enumerate(framework.versions)
            for index, level in enumerate(version.levels)
            if states_level(version, level)
        ]
        silent: list[DocumentPath] = [
            place
            for version, level, place in stated
            if not may_issue_level(mapping, version, level)
        ]
        yield from _note(document, silent, len(stated), "an EQF level", "pairing")
    units = [
        (unit, ("credits", index))
        for index, unit in enumerate(mapping.credits)
        if states_credits(unit)
    ]
    silent = [place for unit, place in units if not may_issue_credits(mapping, unit)]
    yield from _note(document, silent, len(units), "an ECTS value", "unit")


def _note(
    document: YamlDocument, places: Sequence[DocumentPath], stated: int, what: str, fact: str
) -> Iterator[Finding]:
    if not places:
        return
    numbers = sorted({document.position_of(place)[0] for place in places})
    lines = ", ".join(map(str, numbers[:_MAX_LINES])) + (" …" if numbers[_MAX_LINES:] else "")
    yield document.make_finding(
        "source-not-official",
        places[0],
        f"{len(places)} of {stated} rows that state {what} do not issue it (line {lines}): name "
        f"an act, an authority or a text of the EU with read: and states: [{fact}]",
        severity="note",
    )
