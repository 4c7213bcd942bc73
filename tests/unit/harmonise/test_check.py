"""Produce each finding of ``gateway check mappings/`` from the smallest file that has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.check.mapping_tables import check_mappings, is_mapping_folder

HEAD = "country: XX\nname: X\nframeworks:\n  A:\n    name: A\n    versions:\n"
VERSION = "      - {from: 2010-01-01, until: 2015-12-31, relation: referenced, confidence: verified, source: law, levels: [%s]}\n"


def findings(tmp_path, text, name="xx.yaml"):
    (tmp_path / name).write_text(text)
    found = check_mappings(tmp_path)
    return {(finding.code, finding.line) for finding in found if finding.severity != "note"}


def test_shipped_tables_have_no_findings():
    """Notes name the rows that do not issue, because no official source was read."""
    found = check_mappings(Path(__file__).parents[3] / "mappings")
    assert [finding for finding in found if finding.severity != "note"] == []
    assert {finding.code for finding in found} <= {"source-not-official", "first-day-not-stated"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + VERSION % '{level: "1", eqf: 1}, {level: "2", eqf: 2}', set()),
        (HEAD + VERSION % '{level: "1", eqf: 2}, {level: "2", eqf: 1}', {("falling-level", 7)}),
        (
            HEAD + VERSION % '{level: "1", eqf: 1}' * 1 + VERSION % '{level: "1", eqf: 2}',
            {("overlap", 8)},
        ),
        (HEAD + VERSION % '{level: "1", eqf: 1, relation: comparison}', {("eqf-not-allowed", 7)}),
        (HEAD + VERSION % '{level: "1", eqf: 1, confidence: unsure}', {("eqf-not-allowed", 7)}),
        (
            HEAD + (VERSION % '{level: "1", eqf: 1}').replace("source: law, ", ""),
            {("no-source", 7)},
        ),
        (
            HEAD
            + VERSION % '{level: "1", eqf: 1}'
            + (VERSION % '{level: "1", eqf: 1}').replace(
                "2010-01-01, until: 2015-12-31", "2017-01-01"
            ),
            {("gap", 8)},
        ),
        (
            HEAD
            + VERSION
            % '{level: "1", eqf: 1, uri: c_218a7e54}, {level: "2", eqf: 2, uri: c_218a7e54}',
            {("concept-twice", 7)},
        ),
        (
            HEAD
            + VERSION % '{level: "1", eqf: 1}'
            + "  B:\n    name: B\n    versions:\n"
            + VERSION % '{level: "1", eqf: 2}',
            {("bare-numbers", 3)},
        ),
        ("country: YY\nname: Y\n", {("file-name", 1)}),
        (
            HEAD + (VERSION % '{level: "1"}').replace("until: 2015-12-31", "until: 2009-12-31"),
            {("bad-value", 7)},
        ),
        (HEAD + VERSION % "{level: 1}", {("wrong-type", 7)}),
    ],
)
def test_table_findings_have_a_line(tmp_path, text, expected):
    assert findings(tmp_path, text) == expected


def test_duplicate_country_file_is_reported(tmp_path):
    findings(tmp_path, "country: XX\nname: X\n")
    assert findings(tmp_path, "country: YY\nname: Y\nalso: [XX]\n", "yy.yaml") == {
        ("country-twice", 1)
    }


def test_empty_mappings_folder_is_reported(tmp_path):
    assert [finding.code for finding in check_mappings(tmp_path)] == ["no-mappings"]


def test_check_detects_the_kind_of_folder(tmp_path):
    root = Path(__file__).parents[3]
    assert is_mapping_folder(root / "mappings")
    assert not is_mapping_folder(root / "connectors")
    assert not is_mapping_folder(root / "mappings" / "ie.yaml")
    assert not is_mapping_folder(tmp_path)


@pytest.mark.parametrize(
    ("act", "expected"), [("", {("act-missing", 4)}), ('act: "Act 1", eqf: [5], ', set())]
)
def test_ects_outside_higher_education_needs_an_act(tmp_path, act, expected):
    text = (
        "country: XX\nname: X\ncredits:\n  - {unit: point, system: VET, sector: VET, ects: 1, "
        f"conversion: identity, from: 2010-01-01, {act}confidence: verified, source: law}}\n"
    )
    assert findings(tmp_path, text) == expected
