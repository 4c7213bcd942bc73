"""``gateway check`` names everything that a stream must fill before it can publish a record."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.check import check
from gateway.check.publishing import UNPUBLISHED
from gateway.errors import Finding

HEAD = """language: 1
connector: xx-courses
country: IE
title: A register of courses
owner: {name: Tests, contact: tests@register.example}
rest: {url: {production: "https://register.example"}, errors: by_status}
streams:
  courses:
    request: {get: /courses}
    records: courses
    id: id
"""
TESTS = """
    tests: [{name: one, given: {id: "1", name: Statistics, type: C}EXPECTED}]
"""


def unpublished(folder: Path, stream: str) -> list[Finding]:
    file = folder / "xx-courses.yaml"
    outcome = (
        "expect_rejected: {reason: kind_skipped}" if "kinds" in stream else 'expect_some: {id: "1"}'
    )
    file.write_text(HEAD + stream + TESTS.replace("EXPECTED", f", {outcome}"))
    findings = check(file)
    assert not [finding for finding in findings if finding.severity == "error"], findings
    return [finding for finding in findings if finding.code == UNPUBLISHED]


def test_all_missing_values_are_named_at_once_with_their_line(tmp_path: Path) -> None:
    found = unpublished(
        tmp_path, "    emits: learning_opportunity\n    map:\n      title.en: name\n"
    )
    assert [finding.message.partition("; ")[0] for finding in found] == [
        "a learning opportunity needs a field of education as an ISCED-F 2013 code to fulfil LOQ",
        "a learning opportunity needs at least one learning outcome with a title to fulfil LOQ",
        "a learning opportunity needs a web page, with an http or https address to fulfil LOQ",
        "a learning opportunity needs a provider with its name and country",
    ]
    assert {(finding.severity, finding.line) for finding in found} == {("warning", 13)}
    assert "add `homepage:` to `map`" in found[2].message
    on_another_topic = "publishes every such record on catalogue.incomplete-entries.v1 alone"
    assert [on_another_topic in finding.message for finding in found] == [True, True, True, False]
    assert "the gateway rejects every such record" in found[3].message


def test_stream_that_rejects_incomplete_entries_is_told_so(tmp_path: Path) -> None:
    found = unpublished(
        tmp_path,
        "    emits: qualification\n    incomplete_entries: reject\n    map:\n      title.en: name\n",
    )
    assert len(found) == 3
    assert all("the gateway rejects every such record" in finding.message for finding in found)


def test_each_kind_is_judged_by_its_own_type_at_its_own_line(tmp_path: Path) -> None:
    found = unpublished(
        tmp_path,
        """    emits: qualification
    kind: type
    kinds:
      A:
        emits: card
        map: {card_number: {from: number, basis: agreement}}
      B: {map: {languages: language}}
      C: {skip: not a qualification}
""",
    )
    by_line: dict[int, list[str]] = {}
    for finding in found:
        by_line.setdefault(finding.line, []).append(finding.message)
    assert sorted(by_line) == [15, 18]
    assert len(by_line[15]) == 6, "all needs of a card but its number"
    assert len(by_line[18]) == 3, "title, field and outcomes of a qualification"


def test_value_of_a_register_of_providers_is_only_noted(tmp_path: Path) -> None:
    (found,) = unpublished(
        tmp_path,
        """    emits: credential
    achieved: {always: the register lists awards alone}
    map:
      title.en: name
      awarded_on: day
      awarding_body.identifiers.schac: school
""",
    )
    assert found.severity == "note"
    assert "unless a register of providers knows its identifiers" in found.message


@pytest.mark.parametrize(
    "rules",
    [
        "awarding_body.name: {languages: {en: school}}\n      awarding_body.country: {const: IE}",
        "awarding_body.name.ga: school\n      awarding_body.country: {first_of: [land, country]}",
    ],
)
def test_other_ways_to_fill_a_value_count(tmp_path: Path, rules: str) -> None:
    stream = f"""    emits: credential
    achieved: {{always: the register lists awards alone}}
    map:
      title: {{languages: {{en: name}}}}
      awarded_on: {{first_of: [day, {{from: date}}]}}
      {rules}
"""
    (found,) = unpublished(tmp_path, stream)
    assert (found.severity, found.path) == ("note", "streams.courses.tests")
    assert "the first one has no value for awarding_body, awarded_on" in found.message


def test_outcomes_without_a_title_are_not_enough(tmp_path: Path) -> None:
    stream = """    emits: qualification
    map:
      title.en: name
      isced_f: field
      languages: language
      learning_outcomes: {each: outcomes, map: {kind: {const: skill}}}
"""
    (found,) = unpublished(tmp_path, stream)
    assert "at least one learning outcome with a title" in found.message
