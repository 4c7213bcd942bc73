"""Check that the mapping files lose no row of the fact tables and change no number."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

import pytest

from gateway.harmonise.tables.level_answers import LevelMatch

pytestmark = pytest.mark.reference


def rows_of_files(tables):
    for mapping in tables.mappings:
        for key, framework in mapping.frameworks.items():
            for version in framework.versions:
                for level in version.levels:
                    yield mapping, key, version, level


def test_every_level_of_the_facts_has_a_row_with_its_number(tables, facts):
    """The dates and sources of the rows are newer than the facts; the numbers are the same."""
    numbers = {}
    for mapping, key, _, level in rows_of_files(tables):
        known = numbers.setdefault((mapping.country, key, level.level), set())
        known.update({str(level.eqf or ""), *(level.hint or "").split("|")})
    expected = facts("nqf_eqf.csv")
    assert len(expected) >= 555
    for row in expected:
        key = (row["country"], row["framework"], row["nqf_level"])
        assert row["eqf_level"] in numbers[key], key


def test_every_row_names_a_source(tables):
    assert all(
        mapping.sources_of(level, version) for mapping, _, version, level in rows_of_files(tables)
    )
    assert all(mapping.sources_of(row) for mapping in tables.mappings for row in mapping.credits)
    assert all(mapping.sources_of(row) for mapping in tables.mappings for row in mapping.grading)


def test_no_level_differs_from_the_facts(tables, facts):
    for row in facts("nqf_eqf.csv"):
        if not row["eqf_level"]:
            continue  # an act may have paired the level since
        first = date.fromisoformat(row["valid_from"] or "1980-01-01")
        last = (
            date.fromisoformat(row["valid_to"]) if row["valid_to"] else max(first, date(2025, 6, 1))
        )
        for on in {first, first + (last - first) / 2, last}:
            found = tables.level(row["country"], row["framework"], row["nqf_level"], on)
            assert not isinstance(found, LevelMatch) or str(found.eqf) == row["eqf_level"], row


def test_every_unit_of_the_facts_has_a_row_with_its_value(tables, facts):
    values = {}
    for mapping in tables.mappings:
        for unit in mapping.credits:
            for name in (unit.unit, *unit.also):
                values.setdefault((mapping.country, name, unit.sector), set()).add(unit.ects)
    expected = facts("credit_systems.csv")
    assert len(expected) >= 81
    for row in expected:
        names = [row["unit"], row["unit"].removesuffix(" (ECTS)")]
        known = set().union(*(values.get((row["country"], n, row["sector"]), ()) for n in names))
        assert known, row
        if row["ects_per_unit"]:
            stated = Fraction(row["ects_per_unit"])
            assert any(value and abs(value - stated) < Fraction(1, 10_000) for value in known), row


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
