"""A connector with one stream, for tests that only differ in the rules of its map."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.check import check_document
from gateway.config.connector import Connector
from gateway.config.loading import build_connector
from gateway.config.yaml.document import parse_yaml
from gateway.errors import Finding
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.records import Accepted, Outcome, RawRecord
from gateway.render.render import Rendered, TopicKeys, render

KEY = b"a key of thirty-two bytes or more, for tests only"
TABLES = Tables.load(Path(__file__).parents[2] / "mappings")
RULES = """\
title.en: name
kind: {const: certificate}
awarded_on: day
awarding_body.name.en: {const: Example office}
awarding_body.country: {const: FI}
"""
TEST = """\
    tests:
      - name: one award
        given: {id: "1", name: Statistics, day: "2024-01-01"}
        expect_some: {id: "1"}
"""


def connector_text(
    rules: str, *, tables: str = "", stream: str = "", base: str = RULES, tests: str = TEST
) -> str:
    """Return a connector file. ``rules`` replace those of ``base`` for the same target."""
    targets = {line.partition(":")[0] for line in rules.splitlines()}
    kept = [line for line in base.splitlines() if line.partition(":")[0] not in targets]
    lines = "".join(f"      {line}\n" for line in (*kept, *rules.splitlines()))
    return (
        "language: 1\nconnector: office\ncountry: FI\ntitle: An office\n"
        "owner: {name: Example office, contact: registry@office.example}\n"
        f'rest: {{url: {{production: "https://office.example"}}, errors: by_status}}\n{tables}'
        "streams:\n  awards:\n    emits: credential\n    request: {get: /awards}\n"
        f'    cursor: scan\n    achieved: {{always: "The office lists awards only"}}\n'
        f"    records: items\n    id: id\n{stream}    map:\n{lines}{tests}"
    )


def connector(rules: str, **parts: str) -> Connector:
    """Return the loaded connector of :func:`connector_text`."""
    document = parse_yaml(connector_text(rules, **parts).encode(), "office.yaml")
    made, findings = build_connector(document)
    assert made is not None, [str(finding) for finding in findings]
    return made


def check_errors(rules: str, **parts: str) -> list[Finding]:
    """Return the errors that ``gateway check`` finds."""
    document = parse_yaml(connector_text(rules, **parts).encode(), "office.yaml")
    return [finding for finding in check_document(document, TABLES) if finding.severity == "error"]


def raw_record(payload: dict[str, Any]) -> RawRecord:
    """Return a record with the usual fields and those of ``payload``."""
    body = {"id": "1", "name": "Statistics", "day": "2024-01-01"} | payload
    return RawRecord(
        connector="office", stream="awards", native_id="1", body=json.dumps(body).encode()
    )


def outcome_of(rules: str, payload: dict[str, Any], **parts: str) -> Outcome:
    """Return the outcome of a record, which the rules give in both of their forms."""
    harmonise = Harmoniser(connector(rules, **parts), TABLES, pseudonym_key=KEY)
    raw = raw_record(payload)
    outcome = harmonise(raw)
    assert harmonise.harmonise_with_rules(raw) == outcome
    return outcome


def issues_of(outcome: Outcome) -> list[tuple[str, str]]:
    """Return the code and the field of each issue of an accepted record."""
    assert isinstance(outcome, Accepted), outcome
    return [(issue.code, issue.field) for issue in outcome.provenance.issues]


def documents_of(outcome: Outcome, raw: RawRecord) -> Rendered:
    """Return the documents of an accepted record."""
    assert isinstance(outcome, Accepted), outcome
    rendered = render(
        outcome, TopicKeys(raw, None, KEY), country="FI", at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert isinstance(rendered, Rendered), rendered
    return rendered
