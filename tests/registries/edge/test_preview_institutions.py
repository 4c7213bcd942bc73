"""A preview of saved replies needs no credentials of the institutions of a connector."""

from __future__ import annotations

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


def test_preview_says_why_a_rule_gave_a_required_target_no_value(tmp_path: Path) -> None:
    file = tmp_path / "edge.yaml"
    text = CONNECTOR.replace("PARTY", "{}").replace("country: FI", "country: FR")
    file.write_text(
        text.replace("title.en: name", "title.en: name, isced_f: {from: f, table: nsf}")
    )
    sample = tmp_path / "reply.json"
    sample.write_text('{"items": [{"id": "c-1", "name": "Weaving", "f": "326"}]}')
    result = CliRunner().invoke(app, ["preview", str(file), "--sample", str(sample)])
    line = next(line for line in result.output.splitlines() if "isced_f: required" in line)
    assert "nsf states several fields" in line
    assert "isced_ambiguous" in line
    assert "add `isced_f:`" not in line
