"""Explain the table row behind a value: its standing, its source in full, and its remarks."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from gateway.config.mapping_tables import CreditUnit, Mapping, NationalLevel
from gateway.config.table_sources import Fact, Source, official_source
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.level_answers import outside_eqf, version_label
from gateway.records import Lookup


class TableRow(Struct, frozen=True):
    """The table row behind a value: version, who states it, how sure, or why it states nothing."""

    table: str
    row: str
    version: str
    source: str
    confidence: str = ""
    relation: str = ""
    referenced_year: int | None = None
    reason: str = ""
    note: str = ""
    address: str = ""


def explain_row(lookup: Lookup, tables: Tables | None) -> TableRow:
    """Return the row of a lookup, with the title, gazette, article and address of its source."""
    mapping, row, sources = next(_rows(lookup, tables), (None, None, ()))
    fact: Fact = "unit" if isinstance(row, CreditUnit) else "pairing"
    source = official_source(sources, fact) or next(iter(sources), None)
    citation = source.citation if source else lookup.source
    if isinstance(row, CreditUnit) and row.act:
        citation = f"{row.act} ({citation})"
    return TableRow(
        lookup.table,
        lookup.row,
        lookup.version,
        citation,
        lookup.confidence,
        lookup.relation,
        lookup.referenced_year,
        lookup.reason,
        _remark(mapping, row),
        (source.address if source else None) or "",
    )


Found = tuple[Mapping, NationalLevel | CreditUnit, tuple[Source, ...]]


def _rows(lookup: Lookup, tables: Tables | None) -> Iterator[Found]:
    """Yield the row of a lookup with its mapping file and its sources."""
    country, _, rest = lookup.row.partition("/")
    for mapping in tables.mappings if tables else ():
        if mapping.country != country:
            continue
        framework, _, text = rest.partition("/")
        found = mapping.frameworks.get(framework)
        for version in found.versions if found else ():
            if version_label(framework, version) == lookup.version:
                for level in version.levels:
                    if level.level == text:
                        yield mapping, level, mapping.sources_of(level, version)
        for unit in mapping.credits:
            if (
                unit.unit == rest
                and lookup.version == f"{unit.unit}@{unit.first_safe_day or 'undated'}"
            ):
                yield mapping, unit, mapping.sources_of(unit)


def _remark(mapping: Mapping | None, row: NationalLevel | CreditUnit | None) -> str:
    if mapping is None or not isinstance(row, NationalLevel):
        return ""
    since = mapping.outside_eqf_since
    return "; ".join(filter(None, (outside_eqf(since) if since else "", row.note)))
