"""Check that the mapping files hold every row of the fact tables and no other rows."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from gateway.harmonise.tables.credits import CreditMatch
from gateway.harmonise.tables.levels import LevelMatch

pytestmark = pytest.mark.reference
ISSUING = {"referenced", "referenced_sublevel", "law", "historic", "legacy"}


def day(value):
    return value.isoformat() if value else ""


def rows_of_files(tables):
    for mapping in tables.mappings:
        for key, framework in mapping.frameworks.items():
            for version in framework.versions:
                for level in version.levels:
                    yield mapping, key, version, level


def test_level_rows_equal_the_facts(tables, facts):
    files = {
        (mapping.country, key, level.level): (
            str(level.eqf or ""), level.hint or "", level.relation or version.relation, " ".join(map(str, level.referenced or version.referenced or ())),
            day(level.from_ or version.from_), day(level.until or version.until), level.dates or version.dates or "",
            level.cycle or "", level.confidence or version.confidence,
        )
        for mapping, key, version, level in rows_of_files(tables)
    }  # fmt: skip
    columns = (
        "eqf_level", "eqf_hint", "relation", "referenced_year", "valid_from", "valid_to", "dates_confidence", "qf_ehea_cycle", "confidence",
    )  # fmt: skip
    expected = {
        (row["country"], row["framework"], row["nqf_level"]): tuple(row[name] for name in columns)
        for row in facts("nqf_eqf.csv")
    }
    assert len(expected) >= 555
    assert files == expected


def test_every_row_names_a_source(tables):
    assert all(level.source or version.source for _, _, version, level in rows_of_files(tables))


def test_level_rows_issue_what_the_facts_allow(tables, facts):
    wrong = []
    for row in facts("nqf_eqf.csv"):
        first = date.fromisoformat(row["valid_from"] or "1980-01-01")
        last = (
            date.fromisoformat(row["valid_to"]) if row["valid_to"] else max(first, date(2025, 6, 1))
        )
        allowed = row["relation"] in ISSUING and row["confidence"] != "unsure" and row["eqf_level"]
        for on in {first, first + (last - first) / 2, last}:
            found = tables.level(row["country"], row["framework"], row["nqf_level"], on)
            given = str(found.eqf) if isinstance(found, LevelMatch) else ""
            if given != (row["eqf_level"] if allowed else ""):
                wrong.append((row["country"], row["framework"], row["nqf_level"], on, given))
        outside = [first - timedelta(days=1)] if row["valid_from"] else []
        outside += [last + timedelta(days=1)] if row["valid_to"] else []
        wrong += [
            (row["country"], row["framework"], row["nqf_level"], on)
            for on in outside
            if isinstance(
                tables.level(row["country"], row["framework"], row["nqf_level"], on), LevelMatch
            )
        ]
    assert wrong == []


def granted(tables):
    """The rows outside higher education that name their act; the facts are older."""
    return {(m.country, unit.unit) for m in tables.mappings for unit in m.credits if unit.act}


def test_credit_rows_equal_the_facts(tables, facts):
    def number(text):
        return {"1.428571": Fraction(10, 7), "0.0357142857": Fraction(1, 28)}.get(text) or (
            Fraction(text) if text else None
        )

    files = {
        (mapping.country, unit.unit, unit.sector, day(unit.from_)): (
            unit.system, unit.ects, unit.conversion, *(unit.hours or (None, None)), unit.per_year or "", day(unit.until), unit.confidence,
        )
        for mapping in tables.mappings
        for unit in mapping.credits
        if not unit.act
    }  # fmt: skip
    expected = {
        (row["country"], row["unit"], row["sector"], row["valid_from"]): (
            row["system"], number(row["ects_per_unit"]), row["conversion"], number(row["workload_hours_min"]),
            number(row["workload_hours_max"]), row["credits_per_year"], row["valid_to"], row["confidence"],
        )
        for row in facts("credit_systems.csv")
        if (row["country"], row["unit"]) not in granted(tables)
    }  # fmt: skip
    assert len(expected) >= 81
    assert {country for country, _ in granted(tables)} == {"ES", "FR", "MT"}
    assert files == expected


def test_credit_rows_issue_exactly_what_the_facts_allow(tables, facts):
    for row in facts("credit_systems.csv"):
        if (row["country"], row["unit"]) in granted(tables):
            continue
        on = date.fromisoformat(row["valid_from"] or row["valid_to"] or "2020-06-01")
        sector = "HE" if row["sector"] == "ALL" else row["sector"]
        found = tables.credits(row["country"], row["unit"], Decimal(7), sector, on)
        allowed = (
            row["sector"] in {"HE", "ALL"}
            and row["confidence"] != "unsure"
            and row["ects_per_unit"]
        )
        assert isinstance(found, CreditMatch) == bool(allowed), row
        if isinstance(found, CreditMatch):
            assert abs(found.exact - 7 * Fraction(row["ects_per_unit"])) < Fraction(1, 10_000), row


def test_eu_concepts_are_on_their_level(tables, facts):
    files = {
        (mapping.country, key, level.level): level.uri
        for mapping, key, _, level in rows_of_files(tables)
    }
    concepts = [row for row in facts("nqf_vocab.csv") if row["kind"] == "nqf_level"]
    assert len(concepts) == 381
    for row in concepts:
        for level in row["nqf_level"].split("|"):
            assert files[row["country"], row["framework"], level] == row["uri"]
    known = {row["uri"] for row in concepts}
    assert {uri for uri in files.values() if uri} <= known


def test_grading_scales_are_complete(tables, facts):
    files = {
        (m.country, g.scale, g.sector, g.best or "", g.worst or "", g.passes or "", g.direction)
        for m in tables.mappings
        for g in m.grading
    }
    names = ("country", "scale", "sector", "best", "worst", "pass", "direction")
    assert files == {tuple(row[name] for name in names) for row in facts("grading_scales.csv")}


def test_eu_code_lists_are_complete(tables, facts):
    isced = [row for row in facts("nqf_vocab.csv") if row["kind"] == "isced_f_2013"]
    assert len(isced) == 220
    assert all(tables.code("FI", "isced_f", row["code"]).value == row["uri"] for row in isced)
    assert tables.code("FI", "country", "XK").value.endswith("/1A0")
    assert tables.code("FI", "eqf", "9").reason == "code_unknown"
    assert tables.code("FI", "nothing", "9").reason == "table_unknown"
