"""Preview, explain and diff say what a run would do with a record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app

HEAD = """language: 1
connector: unfinished
country: IE
title: A register
owner: {{name: Tests, contact: tests@example.org}}
rest: {{url: {{production: "https://registry.example"}}}}
streams:
  records:
    emits: {emits}
    request: {{get: /r}}
    records: items
    id: id
    map: {{{rules}}}
    tests: [{{name: shape, given: {{id: "1"}}, expect_rejected: {{reason: missing}}}}]
"""
CASES = {
    "a credential without its day of award": (
        "credential",
        (
            "title.en: name, kind: {const: diploma}, awarding_body.name.en: {const: Office},"
            " awarding_body.country: {const: IE}, awarded_on: day"
        ),
        {"id": "7", "name": "Statistics", "day": None},
        "missing at awarded_on",
    ),
    "a learning opportunity without a provider": (
        "learning_opportunity",
        (
            "title.en: name, homepage: {const: 'https://office.example'}, isced_f: {const: '0521'},"
            " learning_outcomes: {each: '@', map: {title.en: name}}, languages: {const: en}"
        ),
        {"id": "7", "name": "Statistics"},
        "missing at provider",
    ),
    "a student status without the PIC of its institution": (
        "student_status",
        (
            "institution.name.en: {const: College}, institution.country: {const: IE}, active:"
            " {const: 'true', as: boolean}, esc_agreement: {const: 'true', as: boolean},"
            " valid_from: {const: 2025-09-01}, valid_until: {const: 2026-08-31},"
            " holder.esi: {const: 'urn:schac:personalUniqueCode:int:esi:college.example:1', basis: agreement}"
        ),
        {"id": "7"},
        "missing at institution",
    ),
}


@pytest.fixture(params=CASES)
def unfinished(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path, str]:
    emits, rules, record, rejection = CASES[request.param]
    connector, sample = tmp_path / "unfinished.yaml", tmp_path / "reply.json"
    connector.write_text(HEAD.format(emits=emits, rules=rules))
    sample.write_text(json.dumps({"items": [record]}))
    return connector, sample, rejection


def run(*arguments: object) -> str:
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], catch_exceptions=False
    )
    return result.output


def test_preview_shows_the_rejection_of_a_run(unfinished: tuple[Path, Path, str]) -> None:
    connector, sample, rejection = unfinished
    output = run("preview", connector, "--sample", sample)
    assert f"7: rejected: {rejection}" in output
    assert "accepted" not in output


def test_explain_shows_the_rejection_of_a_run(
    unfinished: tuple[Path, Path, str], tmp_path: Path
) -> None:
    connector, sample, rejection = unfinished
    record = tmp_path / "record.json"
    record.write_text(json.dumps(json.loads(sample.read_text())["items"][0]))
    assert f"rejected ({rejection}" in run("explain", connector, "--sample", record)


def test_diff_shows_that_a_run_would_now_reject(tmp_path: Path) -> None:
    emits, rules, record, _ = CASES["a credential without its day of award"]
    old, new, sample = tmp_path / "old.yaml", tmp_path / "new.yaml", tmp_path / "reply.json"
    old.write_text(HEAD.format(emits=emits, rules=rules))
    new.write_text(HEAD.format(emits=emits, rules=rules.replace(", awarded_on: day", "")))
    sample.write_text(json.dumps({"items": [{**record, "day": "2024-01-31"}]}))
    output = run("diff", old, new, "--sample", sample)
    assert "outcome: accepted → rejected: missing at awarded_on" in output


def test_preview_names_the_topics_of_a_record(tmp_path: Path) -> None:
    emits, rules, record, _ = CASES["a credential without its day of award"]
    connector, sample = tmp_path / "unfinished.yaml", tmp_path / "reply.json"
    connector.write_text(HEAD.format(emits=emits, rules=rules))
    sample.write_text(json.dumps({"items": [{**record, "day": "2024-01-31"}]}))
    output = run("preview", connector, "--sample", sample)
    assert "7: accepted, published on europass.credentials.v1" in output
    body = tmp_path / "record.json"
    body.write_text(json.dumps({**record, "day": "2024-01-31"}))
    page = run("explain", connector, "--sample", body)
    assert "accepted as credential, published on europass.credentials.v1" in page


@pytest.mark.parametrize("missing", ["isced_f: {const: '0521'}", "learning_outcomes"])
def test_entry_without_a_field_is_published_as_incomplete(tmp_path: Path, missing: str) -> None:
    rules = (
        "title.en: name, awarding_body.name.en: {const: Office}, awarding_body.country: {const: IE},"
        " homepage: {const: 'https://office.example'}, languages: {const: en}"
    )
    if missing != "learning_outcomes":
        rules += ", learning_outcomes: {each: '@', map: {title.en: name}}"
    else:
        rules += ", isced_f: {const: '0521'}"
    connector, sample = tmp_path / "unfinished.yaml", tmp_path / "reply.json"
    connector.write_text(HEAD.format(emits="qualification", rules=rules))
    sample.write_text(json.dumps({"items": [{"id": "7", "name": "Statistics"}]}))
    output = run("preview", connector, "--sample", sample)
    assert "catalogue.incomplete-entries.v1" in output
    assert "rejected" not in output
