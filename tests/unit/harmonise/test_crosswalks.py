"""Check crosswalks: the ISCED-F field that a publisher states for a national code."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.check import check_document
from gateway.check.mapping_tables import check_mappings
from gateway.cli import app
from gateway.config.loading import build_connector
from gateway.config.yaml.document import parse_yaml
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import FieldMatch, NoField, Tables
from gateway.records import Accepted, LearningOpportunity, RawRecord

HEAD = """country: IE
name: Ireland
fields:
  exa:
    name: National classification of examples
    versions:
"""
OLD = """\
      - version: "1990"
        from: 1990-01-01
        until: 2009-12-31
        source: Example Institute, the old key, example.example/1990
        as_of: 2026-11-30
        rows: {"1": "07"}
"""
NEW = """\
      - version: "2010"
        from: 2010-01-01
        source: Example Institute, the new key, example.example/2010
        as_of: 2026-11-30
        rows:
          "1": "0715"
          "2": ["0211", "0414"]
          "3": ["0610"]
"""
CONNECTOR = """language: 1
connector: ie-exa
country: IE
title: Examples
owner: {name: Office, contact: office@example.org}
rest: {url: {production: "https://registry.example"}, errors: by_status}
streams:
  courses:
    emits: learning_opportunity
    every: 1h
    request: {get: /courses}
    cursor: scan
    records: items
    id: id
    map:
      title.en: title
      valid_from: since
      TARGET: RULE
    tests:
      - {name: a course, given: {id: a, title: A}, expect_some: {id: a}}
"""
Harmonise = Callable[[dict[str, object], str], Accepted]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mappings"
    made.mkdir()
    (made / "ie.yaml").write_text(HEAD + OLD + NEW)
    return made


@pytest.fixture
def harmonise(folder: Path) -> Harmonise:
    def run(item: dict[str, object], rule: str) -> Accepted:
        text = CONNECTOR.replace("TARGET", "isced_f").replace("RULE", rule)
        connector, findings = build_connector(parse_yaml(text.encode(), "ie-exa.yaml"))
        assert connector is not None, findings
        harmoniser = Harmoniser(connector, Tables.load(folder), pseudonym_key=b"k" * 32)
        body = json.dumps({"id": "a", "title": "A", **item}).encode()
        raw = RawRecord(connector="ie-exa", stream="courses", native_id="a", body=body)
        outcome = harmoniser(raw)
        assert isinstance(outcome, Accepted), outcome
        return outcome

    return run


def fields_of(outcome: Accepted) -> tuple[str, ...]:
    assert isinstance(outcome.record, LearningOpportunity)
    return outcome.record.isced_f


@pytest.mark.parametrize(
    ("code", "on", "field"),
    [
        ("1", None, "0715"),
        ("3", None, "0610"),
        ("1", date(2010, 1, 1), "0715"),
        ("1", date(2009, 12, 31), "07"),
        ("1", date(1990, 1, 1), "07"),
    ],
)
def test_code_gives_the_field_of_its_edition(folder: Path, code: str, on: date | None, field: str):
    found = Tables.load(folder).field("IE", "exa", code, on)
    assert isinstance(found, FieldMatch)
    assert (found.isced_f, found.row, found.table) == (field, code, "IE:fields:exa")
    assert found.version == ("2010" if field != "07" else "1990")
    assert found.source.startswith("Example Institute")


@pytest.mark.parametrize(
    ("classification", "code", "on", "reason"),
    [
        ("exa", "2", None, "ambiguous"),
        ("exa", "4", None, "code_unknown"),
        ("exa", " 1", None, "code_unknown"),
        ("exa", "1", date(1989, 12, 31), "not_in_force"),
        ("exb", "1", None, "table_unknown"),
    ],
)
def test_code_without_one_field_gives_none(
    folder: Path, classification: str, code: str, on: date | None, reason: str
):
    found = Tables.load(folder).field("IE", classification, code, on)
    assert isinstance(found, NoField)
    assert found.reason == reason
    assert found.candidates == (("0211", "0414") if reason == "ambiguous" else ())


def test_record_has_the_field_and_the_row_that_states_it(harmonise: Harmonise):
    outcome = harmonise({"code": "1", "since": "2001-01-01"}, "{from: code, table: exa}")
    assert fields_of(outcome) == ("0715",)
    (lookup,) = outcome.provenance.lookups
    assert (lookup.field, lookup.table, lookup.row) == ("isced_f", "IE:fields:exa", "1")
    assert lookup.version == "2010"
    assert "example.example/2010" in lookup.source


def test_rule_can_ask_for_the_edition_of_a_day(harmonise: Harmonise):
    rule = "{from: code, table: exa, at: valid_from}"
    assert fields_of(harmonise({"code": "1", "since": "2001-01-01"}, rule)) == ("07",)
    assert fields_of(harmonise({"code": "1"}, rule)) == ("0715",)


@pytest.mark.parametrize("since", [None, "2001-01-01"])
def test_ambiguous_code_is_reported_and_never_guessed(harmonise: Harmonise, since: str | None):
    outcome = harmonise({"code": "2", "since": since}, "{from: code, table: exa}")
    assert fields_of(outcome) == ()
    (issue,) = outcome.provenance.issues
    assert (issue.code, issue.field) == ("isced_ambiguous", "isced_f")
    assert "0211, 0414" in issue.message


def test_unknown_code_is_reported(harmonise: Harmonise):
    outcome = harmonise({"code": "9"}, "{from: code, table: exa}")
    assert fields_of(outcome) == ()
    (issue,) = outcome.provenance.issues
    assert (issue.code, issue.field) == ("isced_not_stated", "isced_f")
    assert "exa" in issue.message


def test_several_codes_give_each_field_once(harmonise: Harmonise):
    outcome = harmonise({"codes": ["1", "2", "3", "1"]}, "{from: codes, table: exa}")
    assert fields_of(outcome) == ("0715", "0610")
    assert [issue.code for issue in outcome.provenance.issues] == ["isced_ambiguous"]


def test_list_that_does_not_name_every_code_is_silent(folder: Path, harmonise: Harmonise):
    partial = HEAD.replace("examples\n", "examples\n    unmapped: null\n") + NEW
    (folder / "ie.yaml").write_text(partial)
    assert harmonise({"code": "9"}, "{from: code, table: exa}").provenance.issues == ()
    ambiguous = harmonise({"code": "2"}, "{from: code, table: exa}")
    assert [issue.code for issue in ambiguous.provenance.issues] == ["isced_ambiguous"]


def test_table_of_the_connector_comes_first(folder: Path):
    text = CONNECTOR.replace("TARGET", "isced_f").replace("RULE", "{from: code, table: exa}")
    text = text.replace("streams:", 'tables: {exa: {map: {"1": "0111"}}}\nstreams:')
    connector, _ = build_connector(parse_yaml(text.encode(), "ie-exa.yaml"))
    assert connector is not None
    harmoniser = Harmoniser(connector, Tables.load(folder), pseudonym_key=b"k" * 32)
    body = b'{"id": "a", "title": "A", "code": "1"}'
    raw = RawRecord(connector="ie-exa", stream="courses", native_id="a", body=body)
    outcome = harmoniser(raw)
    assert isinstance(outcome, Accepted)
    assert fields_of(outcome) == ("0111",)


def test_classification_of_the_eu_serves_a_country_without_its_own(folder: Path):
    text = (HEAD + OLD + NEW).replace("country: IE", "country: EU").replace("0715", "0111")
    (folder / "eu.yaml").write_text(text.replace("  exa:", "  exb:"))
    tables = Tables.load(folder)
    for classification, field in (("exa", "0715"), ("exb", "0111")):
        found = tables.field("IE", classification, "1")
        assert isinstance(found, FieldMatch)
        assert found.isced_f == field
    (folder / "eu.yaml").write_text(text)
    found = Tables.load(folder).field("IE", "exa", "1")
    assert isinstance(found, FieldMatch)
    assert found.table == "IE:fields:exa"


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ('"1": "0715"', '"1": "1199"', "isced-unknown", "1199 is no field of ISCED-F 2013"),
        ('["0610"]', '["0610", "0610"]', "field-twice", "states a field twice"),
        ('"1": "0715"', '" 1": "0715"', "code-blank", "remove it"),
        ("        from: 2010-01-01\n", "", "no-first-day", "add from:"),
        ("from: 2010-01-01", "from: 2009-12-31", "overlap", "hold"),
        (
            "from: 2010-01-01",
            "from: 2010-01-01\n        until: 2020-12-31",
            "not-in-force",
            "until",
        ),
    ],
)
def test_check_finds_rows_that_mean_something_else(
    folder: Path, old: str, new: str, code: str, words: str
):
    (folder / "ie.yaml").write_text(HEAD + OLD + NEW.replace(old, new))
    found = [finding for finding in check_mappings(folder) if finding.code == code]
    assert len(found) == 1, check_mappings(folder)
    assert words in found[0].message
    assert found[0].line > 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"1": "0715"', '"1": "715x"', "in quotes"),
        ('"1": "0715"', '"1": []', "rows"),
        ("        source: Example Institute, the new key, example.example/2010\n", "", "source"),
        ("        as_of: 2026-11-30\n        rows:\n", "        rows:\n", "as_of"),
        ('version: "2010"', 'edition: "2010"', "version"),
    ],
)
def test_check_finds_missing_and_misspelt_facts(folder: Path, old: str, new: str, words: str):
    (folder / "ie.yaml").write_text(HEAD + OLD + NEW.replace(old, new))
    errors = [finding for finding in check_mappings(folder) if finding.severity == "error"]
    assert errors
    assert any(words in str(finding) for finding in errors), errors


@pytest.mark.parametrize(("target", "errors"), [("isced_f", 0), ("mode", 1), ("title.sv", 1)])
def test_crosswalk_fills_only_fields_of_education(folder: Path, target: str, errors: int):
    text = CONNECTOR.replace("TARGET", target).replace("RULE", "{from: code, table: exa}")
    found = check_document(parse_yaml(text.encode(), "ie-exa.yaml"), Tables.load(folder))
    wrong = [finding for finding in found if finding.code == "wrong-table"]
    assert len(wrong) == errors
    assert all("isced_f" in finding.message for finding in wrong)


def test_unknown_classification_is_an_error_of_the_connector(folder: Path):
    text = CONNECTOR.replace("TARGET", "isced_f").replace("RULE", "{from: code, table: exb}")
    found = check_document(parse_yaml(text.encode(), "ie-exa.yaml"), Tables.load(folder))
    assert "unknown-table" in {finding.code for finding in found}


def ask(folder: Path, *words: str) -> str:
    result = CliRunner().invoke(app, ["field", *words, "--mappings", str(folder)])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_command_shows_the_field_and_its_source(folder: Path):
    said = ask(folder, "IE", "exa", "1")
    assert said.startswith("IE exa 1: ISCED-F 0715")
    assert "Example Institute, the new key" in said
    assert ask(folder, "IE", "exa", "1", "--on", "2000-01-01").startswith(
        "IE exa 1 on 2000-01-01: ISCED-F 07 "
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("IE", "exa", "2"), "ambiguous (the publisher states several fields"),
        (("IE", "exa", "2"), "0211, 0414"),
        (("IE", "exa", "9"), "code_unknown"),
        (("IE", "exa", "1", "--on", "1980-01-01"), "not_in_force"),
        (("IE", "exb", "1"), "known exa"),
        (("FR", "exa", "1"), "table_unknown"),
    ],
)
def test_command_says_why_there_is_no_field(folder: Path, words: tuple[str, ...], said: str):
    answer = ask(folder, *words)
    assert "no ISCED-F field" in answer
    assert said in answer


def test_command_prints_json(folder: Path):
    facts = json.loads(ask(folder, "IE", "exa", "2", "--json"))
    assert (facts["isced_f"], facts["reason"]) == (None, "ambiguous")
    assert facts["candidates"] == ["0211", "0414"]
    assert json.loads(ask(folder, "IE", "exa", "1", "--json"))["isced_f"] == "0715"
