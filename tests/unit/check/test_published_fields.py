"""A preview marks what is required, filled and not published, and shows the document."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from gateway.cli import app
from gateway.config.omissions import omission
from tests.unit.check.test_publishing import HEAD, TESTS

RECORD = {
    "id": "1",
    "name": "Statistics",
    "day": "2024-01-31",
    "office": "Office",
    "person": {"given": "Áine", "family": "Ó Broin", "born": "1999-12-24"},
    "grade": "71",
    "skill": "reads tables",
}
CREDENTIAL = """    emits: credential
    achieved: {always: the register lists awards alone}
    map:
      title.en: name
      kind: {const: diploma}
      partial: {const: true}
      awarded_on: day
      awarding_body.name.en: office
      awarding_body.country: {const: IE}
      holder.pseudonym: {from: id, pseudonym: number}
      holder.given_name: {from: person.given, basis: award}
      holder.family_name: {from: person.family, basis: award}
      holder.birth_date: {from: person.born, basis: award}
      assessment.grade: {from: grade, basis: award}
      assessment.grading_scale: {const: of 100}
      learning_outcomes: {each: "[skill]", map: {title.en: "@"}}
"""


def preview(folder: Path, stream: str, *options: str) -> list[str]:
    connector, sample = folder / "xx-courses.yaml", folder / "reply.json"
    connector.write_text(HEAD + stream + TESTS.replace("EXPECTED", ', expect_some: {id: "1"}'))
    sample.write_text(json.dumps({"courses": [RECORD]}))
    result = CliRunner().invoke(
        app, ["preview", str(connector), "--sample", str(sample), *options], catch_exceptions=False
    )
    assert result.exit_code == 0
    return result.output.splitlines()


def test_preview_marks_what_is_required_and_what_is_not_published(tmp_path: Path) -> None:
    lines = preview(tmp_path, CREDENTIAL)
    assert lines[0] == "1: accepted, published on europass.credentials.v1"
    assert "    title.en = Statistics   (required)" in lines
    assert "    awarding_body.country = IE   (required)" in lines
    assert "    awarded_on = 2024-01-31   (required)" in lines
    assert "    learning_outcomes.0.title.en = reads tables" in lines
    (pseudonym,) = [line for line in lines if "holder.pseudonym" in line]
    assert pseudonym.endswith("(not published: " + omission("credential", "holder.pseudonym") + ")")
    assert "    partial = True   (not published: only for a credential with a level)" in lines
    assert "    kind = diploma   (not published)" in lines, "without consent there is no pointer"
    assert "    holder.given_name = (personal)" in lines


def test_preview_of_a_rejected_record_names_each_missing_value(tmp_path: Path) -> None:
    stream = (
        "    emits: learning_opportunity\n    map: {title.en: name, provider.name.en: office}\n"
    )
    lines = preview(tmp_path, stream)
    assert lines[0].startswith("1: rejected: missing at provider; a learning opportunity needs")
    assert "    title.en = Statistics   (required)" in lines
    assert "    provider.name.en = Office" in lines
    missing = [line.split(": ")[0].strip() for line in lines if "required, not filled" in line]
    assert missing == ["isced_f", "learning_outcomes", "homepage", "provider"]


def test_preview_of_an_incomplete_entry_names_its_topic_and_what_it_lacks(tmp_path: Path) -> None:
    stream = "    emits: qualification\n    map: {title.en: name, languages: {const: en}}\n"
    lines = preview(tmp_path, stream, "--document")
    assert lines[0] == "1: accepted, published on catalogue.incomplete-entries.v1"
    missing = [line.split(": ")[0].strip() for line in lines if "required, not filled" in line]
    assert missing == ["isced_f", "learning_outcomes"]
    assert "    issue loq_field_missing at isced_f" in lines
    assert "    issue loq_field_missing at learning_outcomes" in lines
    assert "    document on catalogue.incomplete-entries.v1:" in lines


def test_preview_shows_the_document_without_personal_values(tmp_path: Path) -> None:
    lines = preview(tmp_path, CREDENTIAL, "--document")
    text = "\n".join(lines)
    start, end = lines.index("    document on europass.credentials.v1:"), text.rindex("}")
    document = json.loads("\n".join(lines[start + 1 :]).rpartition("}")[0] + "}")
    assert end > 0
    assert document["type"] == ["VerifiableCredential", "EuropeanDigitalCredential"]
    assert document["displayParameter"]["title"] == {"en": "Statistics"}
    assert document["credentialSubject"]["fullName"] == {"en": "(personal)"}
    for private in ("Áine", "Broin", "1999-12-24", "71"):
        assert private not in text
    assert "document on" not in "\n".join(preview(tmp_path, CREDENTIAL))
