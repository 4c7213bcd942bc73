"""Check the limit on deletions, and rules that read a refusal as an empty list."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.check import check
from gateway.config.deletions import DeletionLimit
from gateway.errors import Finding

CONNECTOR = """language: 1
connector: limits
country: FR
title: A registry with limits
owner: {name: Tests, contact: tests@example.org}
rest:
  url: {production: "https://registry.example"}
  errors: by_status
  replies:
    - RULE
streams:
  offers:
    emits: qualification
    request: {get: /offers}
    records: items
    cursor: CURSOR
    id: id
    deletions: DELETIONS
    map: {title.en: t}
    tests: [{name: shape, given: {id: "1", t: T}, expect_some: {id: "1"}}]
"""
OK_RULE = "{when: {status: 200}, then: ok}"


def findings_of(
    tmp_path: Path, *, deletions: str = "10%", rule: str = OK_RULE, cursor: str = "scan"
) -> list[Finding]:
    file = tmp_path / "limits.yaml"
    text = CONNECTOR.replace("DELETIONS", deletions).replace("RULE", rule)
    file.write_text(text.replace("CURSOR", cursor))
    return [finding for finding in check(file) if finding.code not in {"unpublished", "unmapped"}]


@pytest.mark.parametrize(
    "deletions",
    [
        "25%",
        "2.5 %",
        "0.25",
        "0%",
        "100%",
        "{share: 40%}",
        "{records: 0}",
        "{share: 1%, records: 500}",
        "{unlimited: The register starts again each August}",
    ],
)
def test_limit_is_accepted(tmp_path: Path, deletions: str) -> None:
    assert [str(one) for one in findings_of(tmp_path, deletions=deletions)] == []


@pytest.mark.parametrize(
    ("deletions", "expected"),
    [
        ("101%", "from 0% to 100%"),
        ("-5%", "from 0% to 100%"),
        ("a quarter", "such as 25%"),
        ("25", "such as 25%"),
        ("2.5", "such as 25%"),
        ("{share: 25}", "such as 25%"),
        ("{share: true}", "such as 25%"),
        ("{records: -1}", "0"),
        ("{records: many}", "number"),
        ('{unlimited: ""}', "needs the reason"),
        ("unlimited", "needs its reason"),
        ("off", "write {unlimited:"),
        ("false", "write {unlimited:"),
        ("{unlimited: each year, share: 5%}", "stands alone"),
        ("{shares: 5%}", "did you mean 'share'"),
    ],
)
def test_mistake_in_the_limit_is_explained(tmp_path: Path, deletions: str, expected: str) -> None:
    (finding,) = findings_of(tmp_path, deletions=deletions)
    assert expected in finding.message
    assert finding.line == CONNECTOR[: CONNECTOR.index("DELETIONS")].count("\n") + 1


@pytest.mark.parametrize(
    ("share", "records", "known", "allowed"),
    [(0.1, 10, 1000, 100), (0.1, 10, 50, 10), (0.29, 0, 100, 29), (0.07, 0, 100, 7), (0, 0, 9, 0)],
)
def test_limit_allows_up_to_the_larger_of_share_and_number(
    share: float, records: int, known: int, allowed: int
) -> None:
    limit = DeletionLimit(share=share, records=records)
    assert limit.allows(allowed, known)
    assert not limit.allows(allowed + 1, known)


@pytest.mark.parametrize(
    "when",
    ["{status: 404}", "{status: 410}", "{status: 4xx}", "{status: 5xx}", "{fault: '*None*'}"],
)
def test_refusal_that_is_read_as_empty_is_reported(tmp_path: Path, when: str) -> None:
    rule = f"{{when: {when}, then: empty}}"
    (finding,) = findings_of(tmp_path, rule=rule)
    assert (finding.code, finding.severity) == ("refusal-read-as-empty", "warning")
    assert "complete: true" in finding.message
    with_proof = f"{{when: {when}, then: empty, complete: true}}"
    assert findings_of(tmp_path, rule=with_proof) == []
    assert findings_of(tmp_path, rule=rule, cursor="{scan: true, complete: false}") == []


@pytest.mark.parametrize("when", ["{status: 204}", "{status: 2xx}", "{path: code, is: NONE}"])
def test_empty_list_in_an_ordinary_reply_is_not_reported(tmp_path: Path, when: str) -> None:
    assert findings_of(tmp_path, rule=f"{{when: {when}, then: empty}}") == []


def test_proof_belongs_to_empty(tmp_path: Path) -> None:
    (finding,) = findings_of(tmp_path, rule="{when: {status: 404}, then: stop, complete: true}")
    assert "complete belongs to then: empty; found then: stop" in finding.message
