"""A preview of saved replies needs no credentials of the institutions of a connector."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app

CONNECTOR = """language: 1
connector: edge
country: FI
title: A registry with an address for each institution
owner: {name: An authority, contact: registry@authority.example}
rest: {url: {production: "https://registry.example"}, errors: by_status}
streams:
  courses:
    emits: learning_opportunity
    cursor: scan
    for_each: {institution: {in: {parties: {example: PARTY}}}}
    request: {get: "/courses"}
    records: items
    id: [$institution, id]
    map: {title.en: name}
    tests: [{name: shape, given: {id: "1", name: A}, expect_some: {title: {en: A}}}]
"""


@pytest.mark.parametrize(
    "party",
    [
        "{tls: {pkcs12: {secret: edge.p12}, password: {secret: edge.password}}}",
        "{tls: {certificate: {secret: edge.pem}, key: {secret: edge.key}}}",
        "{auth: {bearer: {token: {secret: edge.token}}}}",
        '{url: {production: "https://one.example"}, tls: {pkcs12: {secret: edge.p12}}}',
        "{}",
    ],
)
def test_preview_of_a_saved_reply_needs_no_certificate(tmp_path: Path, party: str) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(CONNECTOR.replace("PARTY", party))
    sample = tmp_path / "reply.json"
    sample.write_text('{"items": [{"id": "c-1", "name": "Weaving"}]}')
    result = CliRunner().invoke(app, ["preview", str(file), "--sample", str(sample)])
    assert result.exit_code == 0, result.output
    assert "Weaving" in result.output


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        ("326", "isced_ambiguous", "nsf states several fields"),
        ("998", "isced_not_stated", "no row of nsf"),
        ("x", "invalid_value", "the rule gives no value"),
    ],
)
def test_preview_says_why_a_rule_gave_a_required_target_no_value(
    tmp_path: Path, code: str, reason: str, words: str
) -> None:
    file = tmp_path / "edge.yaml"
    text = CONNECTOR.replace("PARTY", "{}").replace("country: FI", "country: FR")
    rule = "isced_f: {from: f, as: {match: '([0-9]+)'}, table: nsf, invalid: drop}"
    file.write_text(text.replace("title.en: name", f"title.en: name, {rule}"))
    sample = tmp_path / "reply.json"
    sample.write_text(json.dumps({"items": [{"id": "c-1", "name": "Weaving", "f": code}]}))
    result = CliRunner().invoke(app, ["preview", str(file), "--sample", str(sample)])
    line = next(line for line in result.output.splitlines() if "isced_f: required" in line)
    assert words in line
    assert reason in line
    assert "add `isced_f:`" not in line
