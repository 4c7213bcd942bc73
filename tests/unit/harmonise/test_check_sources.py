"""Produce each finding about sources and first days from the smallest file that has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.check.mapping_tables import check_mappings
from gateway.errors import ConfigError
from gateway.harmonise.tables.compiled_tables import Tables

ACT = (
    "{kind: act, title: Act, article: section 2, gazette: OJ 1, read: 2026-01-02, "
    "address: 'https://example.org/1', states: [pairing, dates, unit]}"
)
FILE = f"""country: XX
name: X
sources:
  act: {ACT}
frameworks:
  A:
    name: A
    versions:
      - {{from: 2010-01-01, dates: verified, relation: law, confidence: verified, sources: [act], levels: [{{level: "1", eqf: 1}}]}}
credits:
  - {{unit: u, system: S, sector: HE, ects: 1, conversion: identity, from: 2010-01-01, confidence: verified, sources: [act]}}
"""
VERSION, UNIT, SOURCE = 9, 11, 4


def findings(folder: Path, text: str) -> list[tuple[str, int, str]]:
    (folder / "xx.yaml").write_text(text)
    return [(finding.code, finding.line, finding.severity) for finding in check_mappings(folder)]


def test_a_file_with_official_sources_and_days_has_no_finding(tmp_path: Path):
    assert findings(tmp_path, FILE) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("kind: act, ", "", [("missing-key", SOURCE, "error")]),
        ("kind: act", "kind: wiki", [("unknown-word", SOURCE, "error")]),
        ("2026-01-02", "2999-01-02", [("source-read-later", SOURCE, "error")]),
        ("article: section 2, ", "", [("act-without-article", SOURCE, "error")]),
        ("gazette: OJ 1, ", "", [("act-without-gazette", SOURCE, "error")]),
        ("https:", "http:", [("source-address", SOURCE, "error")]),
        (
            "sources: [act], levels",
            "sources: [akt], levels",
            [("source-unknown", VERSION, "error")],
        ),
        ("sources: [act]}", "source: a book}", [("source-not-official", UNIT, "note")]),
        (", sources: [act]}", "}", [("no-source", UNIT, "error")]),
        (", sources: [act], levels", ", levels", [("no-source", VERSION, "error")]),
        (
            "frameworks:",
            "  spare: {kind: other, title: T}\nframeworks:",
            [("source-unused", 5, "warning")],
        ),
        ("[pairing, dates, unit]", "[pairing, unit]", [("dates-not-stated", VERSION, "error")]),
        (
            "[pairing, dates, unit]",
            "[pairing, unit]",
            [("first-day-not-stated", VERSION, "note"), ("first-day-not-stated", UNIT, "note")],
        ),
        ("[pairing, dates, unit]", "[dates, unit]", [("source-not-official", VERSION, "note")]),
        ("[pairing, dates, unit]", "[pairing, dates]", [("source-not-official", UNIT, "note")]),
        ("{from: 2010-01-01, dates: verified, ", "{", [("no-first-day", VERSION, "error")]),
        ("identity, from: 2010-01-01", "identity", [("no-first-day", UNIT, "error")]),
        (
            "identity, from: 2010-01-01",
            "identity, undated: no law",
            [("no-first-day", UNIT, "error")],
        ),
        ("identity, from: 2010-01-01", "identity, undated: no law, safe_from: 2010-01-01", []),
        (
            "identity, from: 2010-01-01",
            "identity, from: 2010-01-01, safe_from: 2012-01-01",
            [("two-first-days", UNIT, "error")],
        ),
    ],
)
def test_each_fault_of_a_source_or_a_day_has_its_line(
    tmp_path: Path, old: str, new: str, expected: list[tuple[str, int, str]]
):
    assert old in FILE
    text = FILE.replace(old, new, 1)
    found = findings(tmp_path, text)
    assert set(expected) <= set(found) if expected else not found, found


def test_a_note_counts_the_rows_that_do_not_issue(tmp_path: Path):
    rows = '{level: "1", eqf: 1, sources: [act]}, {level: "2", eqf: 2}, {level: "3", eqf: 3}'
    text = FILE.replace('{level: "1", eqf: 1}', rows).replace(
        "sources: [act], levels", "source: a book, levels"
    )
    (tmp_path / "xx.yaml").write_text(text.replace("dates: verified, ", ""))
    (note,) = [one for one in check_mappings(tmp_path) if one.code == "source-not-official"]
    assert "2 of 3 rows that state an EQF level do not issue it (line 9)" in note.message


def test_tables_with_an_unknown_source_do_not_load(tmp_path: Path):
    (tmp_path / "xx.yaml").write_text(FILE.replace("sources: [act]}", "sources: [akt]}"))
    with pytest.raises(ConfigError, match="has no source akt; add it there, or write one of: act"):
        Tables.load(tmp_path)


def test_a_source_as_free_text_still_loads(tmp_path: Path):
    text = FILE.replace("sources: [act], levels", "source: a law, levels")
    (tmp_path / "xx.yaml").write_text(text.replace("sources: [act]}", "source: a book}"))
    assert Tables.load(tmp_path).level("XX", "A", "1", None).source == "a law"


def test_referencing_years_are_one_or_several(tmp_path: Path):
    years = FILE.replace("relation: law", "relation: law, referenced: [2011, 2023, 2014]")
    assert findings(tmp_path, years) == []
    assert Tables.load(tmp_path).level("XX", "A", "1", None).referenced_year == 2023
