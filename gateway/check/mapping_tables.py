"""Check a directory of mapping files.

The data model validates each row on its own. This module compares several rows or several files.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from gateway.check.crosswalks import check_crosswalks
from gateway.check.institution_lists import check_institutions
from gateway.check.table_sources import check_sources
from gateway.config.eu_levels import EU_LEVELS_BASE_URI, EU_LEVELS_DAY, LEVEL_LABELS
from gateway.config.mapping_tables import (
    RELATIONS_WITH_LEVEL,
    CreditUnit,
    Framework,
    FrameworkVersion,
    Mapping,
    NationalLevel,
    StartedPeriod,
    ValidityPeriod,
    mapping_files,
    read_mapping,
)
from gateway.config.yaml.document import DocumentPath, YamlDocument, read_yaml
from gateway.errors import Finding


def check_mappings(directory: Path | str) -> list[Finding]:
    """Return all findings about the mapping files of a directory, sorted by file and line."""
    findings: list[Finding] = []
    systems: dict[str, str] = {}
    paths = list(mapping_files(directory))
    if not paths:
        return [
            Finding(
                str(directory),
                0,
                0,
                "no-mappings",
                "",
                "holds no *.yaml; name the directory of the mapping tables",
            )
        ]
    for path in paths:
        mapping, document, file_findings = read_mapping(path)
        findings += file_findings
        if mapping is not None:
            findings += _file(path, mapping, document, systems)
    return sorted(findings, key=lambda finding: (finding.file, finding.line, finding.column))


def _file(
    path: Path, mapping: Mapping, document: YamlDocument, systems: dict[str, str]
) -> Iterator[Finding]:
    if path.stem != mapping.country.lower():
        yield document.make_finding(
            "file-name",
            ("country",),
            f"the file of {mapping.country} is called {mapping.country.lower()}.yaml; rename it",
        )
    for code in (mapping.country, *mapping.also):
        if code in systems:
            yield document.make_finding(
                "country-twice", ("country",), f"{systems[code]} already maps {code}; keep one"
            )
        systems.setdefault(code, path.name)
    for key, framework in mapping.frameworks.items():
        yield from _framework(framework, document, ("frameworks", key))
    yield from _check_ambiguous_numbers(mapping, document)
    yield from _credits(mapping.credits, document)
    yield from check_crosswalks(mapping, document)
    yield from check_institutions(mapping, document)
    yield from check_sources(mapping, document, datetime.now(UTC).date())


def _framework(
    framework: Framework, document: YamlDocument, place: DocumentPath
) -> Iterator[Finding]:
    for number, version in enumerate(framework.versions):
        version_place = (*place, "versions", number)
        yield from _check_levels_ascend(version, document, version_place)
        for index, level in enumerate(version.levels):
            yield from _row(version, level, document, (*version_place, "levels", index))
    yield from _overlaps(framework, document, place)
    yield from _gaps(framework, document, place)
    yield from _concepts(framework, document, place)


def _row(
    version: FrameworkVersion, level: NationalLevel, document: YamlDocument, place: DocumentPath
) -> Iterator[Finding]:
    relation, confidence = (
        level.relation or version.relation,
        level.confidence or version.confidence,
    )
    if level.eqf is None:
        return
    if relation not in {
        *RELATIONS_WITH_LEVEL,
        "indirect",
        "unused",
    }:  # rows of these two relations may state an EQF level, but the gateway never publishes it
        yield document.make_finding(
            "eqf-not-allowed",
            (*place, "eqf"),
            f"a row of relation {relation} states no EQF level; use hint for people",
        )
    if confidence == "unsure":
        yield document.make_finding(
            "eqf-not-allowed",
            (*place, "eqf"),
            "an unsure row states no EQF level; check the source, or use hint",
        )


def _check_levels_ascend(
    version: FrameworkVersion, document: YamlDocument, place: DocumentPath
) -> Iterator[Finding]:
    highest, highest_level = 0, ""
    for index, level in enumerate(version.levels):
        if level.eqf is None:
            continue
        if level.eqf < highest:
            text = (
                f"level {level.level} states EQF {level.eqf} after level {highest_level} "
                f"stated EQF {highest}; sort the rows from low to high"
            )
            yield document.make_finding("falling-level", (*place, "levels", index), text)
        else:
            highest, highest_level = level.eqf, level.level


def _validity(row: ValidityPeriod, version: ValidityPeriod | None = None) -> tuple[date, date]:
    period = version or row
    safe_from = period.safe_from if isinstance(period, StartedPeriod) else None
    start = row.from_ or period.from_ or safe_from
    end = row.until or (version.until if version else None)
    return start or date.min, end or date.max


def _overlaps(
    framework: Framework, document: YamlDocument, place: DocumentPath
) -> Iterator[Finding]:
    periods: dict[str, list[tuple[date, date, DocumentPath]]] = {}
    for number, version in enumerate(framework.versions):
        for index, level in enumerate(version.levels):
            row_place = (*place, "versions", number, "levels", index)
            start, end = _validity(level, version)
            for text in (level.level, *level.also):
                for other_start, other_end, other_place in periods.get(text, []):
                    if start <= other_end and other_start <= end:
                        line = document.position_of(other_place)[0]
                        yield document.make_finding(
                            "overlap",
                            row_place,
                            f"level {text} is already valid on these days in line {line}; "
                            "make the periods disjoint",
                        )
                periods.setdefault(text, []).append((start, end, row_place))


def _gaps(framework: Framework, document: YamlDocument, place: DocumentPath) -> Iterator[Finding]:
    spans = sorted(
        (*_validity(version), number) for number, version in enumerate(framework.versions)
    )
    for (_, end, _), (start, _, number) in pairwise(spans):
        if end < date.max and start > end + timedelta(days=1):
            text = (
                f"no version is valid from {end + timedelta(days=1)} to "
                f"{start - timedelta(days=1)}; close the gap, or explain it in a note"
            )
            yield document.make_finding(
                "gap", (*place, "versions", number), text, severity="warning"
            )


def _concepts(
    framework: Framework, document: YamlDocument, place: DocumentPath
) -> Iterator[Finding]:
    concepts: dict[str, tuple[int | None, str]] = {}
    for number, version in enumerate(framework.versions):
        for index, level in enumerate(version.levels):
            if level.uri is None:
                continue
            if level.uri.startswith(EU_LEVELS_BASE_URI) and level.uri not in LEVEL_LABELS:
                yield document.make_finding(
                    "concept-unknown",
                    (*place, "versions", number, "levels", index, "uri"),
                    f"the EU's list of national levels of {EU_LEVELS_DAY} has no such concept; "
                    "correct it, or its label is not understood",
                    severity="warning",
                )
            eqf, text = concepts.setdefault(level.uri, (level.eqf, level.level))
            if None not in {eqf, level.eqf} and eqf != level.eqf:
                concept_place = (*place, "versions", number, "levels", index, "uri")
                yield document.make_finding(
                    "concept-twice",
                    concept_place,
                    f"level {text} has the same EU concept at another EQF level; check both",
                )


def _check_ambiguous_numbers(mapping: Mapping, document: YamlDocument) -> Iterator[Finding]:
    if mapping.bare_numbers:
        return
    owners: dict[str, set[str]] = {}
    for key, framework in mapping.frameworks.items():
        for version in framework.versions:
            for level in version.levels:
                if level.level.isdigit():
                    owners.setdefault(level.level, set()).add(key)
    shared = sorted(text for text, keys in owners.items() if len(keys) > 1)
    if shared:
        text = (
            f"several frameworks have level {shared[0]}; add bare_numbers: framework_required, "
            "so that the gateway rejects a number without a framework"
        )
        yield document.make_finding("bare-numbers", ("frameworks",), text)


def _credits(units: tuple[CreditUnit, ...], document: YamlDocument) -> Iterator[Finding]:
    for index, unit in enumerate(units):
        start, end = _validity(unit)
        if unit.ects and unit.sector in {"VET", "GEN"} and not unit.act:
            yield document.make_finding(
                "act-missing",
                ("credits", index, "ects"),
                f"gives no ECTS value, because no act is named for the sector {unit.sector}; "
                "add act: with the act that grants ECTS credits, or leave ects out",
                severity="warning",
            )
        for number, other in enumerate(units[:index]):
            other_start, other_end = _validity(other)
            apart = start > other_end or other_start > end or unit.sector != other.sector
            if unit.unit == other.unit and not apart:
                yield document.make_finding(
                    "unit-twice",
                    ("credits", index, "unit"),
                    f"row {number + 1} already has the unit {unit.unit}; keep one",
                )
            elif (
                not apart
                and unit.per_year == other.per_year
                and {unit.unit, *unit.also} & {other.unit, *other.also}
            ):
                text = (
                    f"shares a name with {other.unit} on the same days in the same sector; "
                    "make the names differ"
                )
                yield document.make_finding(
                    "units-alike", ("credits", index, "unit"), text, severity="warning"
                )


def is_mapping_folder(path: Path) -> bool:
    """Return whether a directory holds mapping files rather than connector files.

    ``gateway check`` uses the answer because it accepts both kinds of directory.
    """
    first = next(mapping_files(path), None) if path.is_dir() else None
    value = read_yaml(first).value if first else None
    return isinstance(value, dict) and "connector" not in value and "country" in value
