"""Compare the explanation of a record with golden pages.

Run with ``GATEWAY_WRITE_GOLDEN=1`` to write the pages again, and read them before you commit.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config.loading import load_connector
from gateway.harmonise.explanation import HIDDEN, explain
from gateway.harmonise.harmoniser import Harmoniser
from gateway.records import Accepted, RawRecord, Rejected

GOLDEN = Path(__file__).parent / "golden"
CONNECTOR = """\
language: 1
connector: {country}-diplomas
country: {code}
title: Register of diplomas
owner: {{name: Ministry, contact: "mailto:registry@ministry.example"}}
rest:
  url: {{production: "https://registry.example", acceptance: "https://registry.test.example"}}
  auth: {{bearer: {{token: {{secret: registry/token}}}}}}
streams:
  awards:
    emits: credential
    every: 1d
    request: {{get: /awards}}
    records: items
    id: number
    cursor: scan
    map:
      kind: {{const: diploma}}
      title.en: name
      nqf_framework: scale
      nqf_level: level
      eqf_declared: eqf
      cycle: cycle
      credit_amount: credits
      credit_unit: unit
      credit_sector: {{const: HE}}
      awarded_on: day
      holder.full_name: {{from: person.name, basis: A diploma names its holder}}
      holder.pseudonym: {{from: person.number, pseudonym: national-number}}
    tests:
      - name: a name is enough
        given: {{number: A-1, name: Diploma}}
        expect_some: {{id: A-1}}
"""
PERSON = {"name": "Aoife Sampleton", "number": "010190-901A"}
RECORDS = {
    "irish-honours-bachelor": (
        "IE",
        {
            "name": "Bachelor of Science (Honours)",
            "scale": "NFQ",
            "level": "8",
            "eqf": 6,
            "cycle": "first",
            "credits": 240,
            "unit": "ECTS",
            "day": "2020-06-30",
        },
    ),
    "french-bts-2018": (
        "FR",
        {
            "name": "BTS",
            "scale": "RNCP-1969",
            "level": "III",
            "credits": 120,
            "unit": "ECTS",
            "day": "2018-07-02",
        },
    ),
    "french-bts-2020": (
        "FR",
        {
            "name": "BTS",
            "scale": "CNCP",
            "level": "5",
            "credits": 120,
            "unit": "ECTS",
            "day": "2020-07-02",
        },
    ),
    "latvian-third-level-2021": (
        "LV",
        {"name": "Cook", "scale": "PKL-OLD", "level": "3", "day": "2021-06-15"},
    ),
    "latvian-third-level-2023": (
        "LV",
        {"name": "Cook", "scale": "PKL", "level": "3", "day": "2023-06-15"},
    ),
    "norwegian-6.1": (
        "NO",
        {
            "name": "University college graduate",
            "scale": "NKR",
            "level": "6.1",
            "cycle": "short",
            "credits": 120,
            "unit": "studiepoeng",
            "day": "2019-06-14",
        },
    ),
    "irish-conflict": (
        "IE",
        {
            "name": "Bachelor of Science",
            "scale": "NFQ",
            "level": "7",
            "eqf": 7,
            "day": "2020-06-30",
        },
    ),
    "french-bare-number": ("FR", {"name": "BTS", "level": "3", "day": "2018-07-02"}),
}


@pytest.fixture
def page(tmp_path, tables):
    def make(name):
        code, record = RECORDS[name]
        path = tmp_path / "connector.yaml"
        path.write_text(CONNECTOR.format(country=code.lower(), code=code))
        connector = load_connector(path)
        body = json.dumps({"number": "A-1", "person": PERSON, **record}).encode()
        raw = RawRecord(connector=connector.connector, stream="awards", native_id="A-1", body=body)
        outcome = Harmoniser(connector, tables, pseudonym_key=b"k" * 32)(raw)
        return outcome, explain(
            connector,
            raw,
            outcome,
            tables=tables,
            position="gateway.raw.v1, partition 2, offset 1041",
        )

    return make


@pytest.mark.parametrize("name", RECORDS)
def test_explanation_equals_the_golden_page(page, name):
    _, made = page(name)
    text = re.sub(r"digest [0-9a-f]{16}", "digest ················", made.to_text())
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("GATEWAY_WRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", RECORDS)
def test_explanation_hides_persons(page, name):
    _, made = page(name)
    for whole in (made.to_text(), json.dumps(made.to_dict())):
        assert "Sampleton" not in whole
        assert "010190" not in whole
    assert {
        field.value for field in made.fields if field.field.startswith("holder") and field.value
    } <= {HIDDEN}


@pytest.mark.parametrize(
    ("name", "eqf"),
    [
        ("irish-honours-bachelor", "6"),
        ("french-bts-2018", "5"),
        ("french-bts-2020", "5"),
        ("latvian-third-level-2021", "4"),
        ("latvian-third-level-2023", "3"),
        ("norwegian-6.1", "6"),
    ],
)
def test_derived_value_names_its_table_row(page, name, eqf):
    outcome, made = page(name)
    assert isinstance(outcome, Accepted)
    field = next(field for field in made.to_dict()["fields"] if field["field"] == "eqf_level")
    assert field["value"] == eqf
    assert field["rows"][0]["source"]
    assert field["rows"][0]["version"]
    assert made.config_digest
    assert made.tables_digest
    assert made.position.endswith("1041")


def test_explained_rejection_names_values_and_rule(page):
    outcome, made = page("irish-conflict")
    assert isinstance(outcome, Rejected)
    assert (made.notes[0].code, made.notes[0].rule) == ("eqf_conflict", "R4")
    assert "EQF 7" in made.to_text()
    assert "EQF 6" in made.to_text()


def test_explain_command_reads_a_sample(tmp_path):
    connector, sample = tmp_path / "c.yaml", tmp_path / "s.json"
    connector.write_text(CONNECTOR.format(country="ie", code="IE"))
    sample.write_text(json.dumps({"person": PERSON, **RECORDS["irish-honours-bachelor"][1]}))
    mappings = str(Path(__file__).parents[3] / "mappings")
    said = (
        CliRunner()
        .invoke(
            app,
            ["explain", str(connector), "--sample", str(sample), "--mappings", mappings],
            catch_exceptions=False,
        )
        .output
    )
    assert "eqf_level: 6" in said
    assert "Sampleton" not in said


def test_explain_command_shows_generated_code(tmp_path):
    connector = tmp_path / "c.yaml"
    connector.write_text(CONNECTOR.format(country="ie", code="IE"))
    said = (
        CliRunner()
        .invoke(app, ["explain", str(connector), "--code"], catch_exceptions=False)
        .output
    )
    compile(said, "shown", "exec")
    assert "# holder.pseudonym" in said


def test_explain_command_shows_the_code_of_the_fast_path():
    root = Path(__file__).parents[3]
    connector = str(root / "bench/peers/job/bench-peers.yaml")
    arguments = ["explain", connector, "--code", "--mappings", str(root / "mappings")]
    said = CliRunner().invoke(app, arguments, catch_exceptions=False).output
    compile(said, "shown", "exec")
    assert said.index("# The rules for a qualification.") < said.index("# The fast path for")
    assert "level_key = (nqf_framework_found, nqf_level_found, level_period)" in said
