"""A code that is not in its closed list is never published, and never silently missing."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from gateway.config import code_lists
from gateway.config.loading import build_connector
from gateway.config.target_fields import find_target
from gateway.config.yaml.document import parse_yaml
from gateway.harmonise.harmoniser import Harmoniser
from gateway.messages.topics import CREDENTIALS_TOPIC, POINTERS_TOPIC
from gateway.records import Accepted, Credential, Rejected
from gateway.render import vocabularies
from gateway.render.json_schemas import schemas
from tests.support.one_stream import (
    KEY,
    TABLES,
    check_errors,
    connector_text,
    documents_of,
    issues_of,
    outcome_of,
    raw_record,
)

POINTED = """\
isced_f: field
holder_consent: {const: true}
holder.esi: {from: esi, basis: "The student agreed"}
awarding_body.identifiers.schac: schac
"""
ESI = "urn:schac:personalUniqueCode:int:esi:university.example:777"
STUDENT = {"esi": ESI, "schac": "university.example"}


@pytest.mark.parametrize(
    "field",
    ["731102", "0731 Building", "731", "07-31", "1234", "http://data.europa.eu/snb/isced-f/0731"],
)
def test_field_of_study_outside_isced_is_left_out(field: str) -> None:
    payload = STUDENT | {"field": field}
    outcome = outcome_of(POINTED, payload)
    assert issues_of(outcome) == [("isced_unknown", "isced_f")]
    documents = documents_of(outcome, raw_record(payload)).documents
    assert len(documents) == 2
    for document in documents:
        assert document.value is not None
        Draft202012Validator(schemas()[document.topic]).validate(json.loads(document.value))
        assert field.encode() not in document.value
        assert b"iscedF" not in document.value
        assert b"thematicArea" not in document.value


def test_field_of_study_keeps_the_known_codes_of_a_list() -> None:
    outcome = outcome_of(POINTED, STUDENT | {"field": ["0731", "731102", "07"]})
    assert issues_of(outcome) == [("isced_unknown", "isced_f")]
    assert isinstance(outcome, Accepted)
    assert outcome.record.isced_f == ("0731", "07")


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("mode: m", "mode_unknown"),
        ("setting: m", "setting_unknown"),
        ("cycle: m", "cycle_unknown"),
        ("assessment.kind: m", "assessment_kind_unknown"),
        ("assessment.supervision: m", "assessment_supervision_unknown"),
        ("accreditation: {each: list, map: {kind: m}}", "kind_unknown"),
    ],
)
def test_code_outside_its_list_is_left_out_with_an_issue(rule: str, code: str) -> None:
    outcome = outcome_of(rule, {"m": "sometimes", "list": [{"m": "sometimes"}]})
    assert [found for found, _ in issues_of(outcome)] == [code]
    assert isinstance(outcome, Accepted)
    assert "sometimes" not in repr(outcome.record)


def test_rule_may_reject_a_record_with_an_unknown_code() -> None:
    outcome = outcome_of("mode: {from: m, invalid: reject}", {"m": "sometimes"})
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.field) == ("mode_unknown", "mode")


def test_sector_that_is_unknown_gives_no_credits() -> None:
    """Without its sector, credits of vocational training could count as higher education."""
    rules = "credit_amount: {const: 5}\ncredit_unit: {const: op}\ncredit_sector: s"
    outcome = outcome_of(rules, {"s": "TRAINING"})
    assert issues_of(outcome) == [("credits_sector_mismatch", "credit_points")]


@pytest.mark.parametrize(
    ("rules", "tables", "place", "hint"),
    [
        ("mode: {const: onlin}", "", "map.mode.const", "did you mean 'online'?"),
        ("setting: {const: formel}", "", "map.setting.const", "did you mean 'formal'?"),
        ("cycle: {from: c, default: frist}", "", "map.cycle.default", "did you mean 'first'?"),
        ('isced_f: {const: ["0731", "7311"]}', "", "map.isced_f.const", "ISCED-F"),
        ("languages: {const: xx}", "", "map.languages.const", "ISO 639"),
        ("awarding_body.country: {const: FIN1}", "", "country.const", "ISO 3166-1"),
        ("kind: {const: certficate}", "", "map.kind.const", "did you mean 'certificate'?"),
        ("homepage: {const: www.office.example}", "", "map.homepage.const", "https"),
        ("credit_sector: {const: HEI}", "", "", ""),
        (
            "mode: {from: m, table: modes}",
            'tables: {modes: {map: {"301": blend}}}\n',
            "tables.modes.map.301",
            "did you mean 'blended'?",
        ),
        (
            "isced_f: {from: f, table: fields}",
            'tables: {fields: {map: {"14": "61x", "15": null}}}\n',
            "tables.fields.map.14",
            "ISCED-F",
        ),
        (
            "kind: {first_of: [k, l], table: kinds}",
            "tables: {kinds: {map: {B: batchelor}}}\n",
            "tables.kinds.map.B",
            "diploma",
        ),
        (
            "accreditation: {each: list, map: {kind: {from: k, table: kinds}}}",
            "tables: {kinds: {map: {P: program}}}\n",
            "tables.kinds.map.P",
            "did you mean 'programme'?",
        ),
        ("title.zz: name", "", "map.title.zz", "ISO 639"),
        ("title.swe: name", "", "map.title.swe", "write title.sv"),
        ("awarding_body.identifiers.shac: s", "", "identifiers.shac", "did you mean 'schac'?"),
    ],
)
def test_check_refuses_codes_of_the_file(rules: str, tables: str, place: str, hint: str) -> None:
    errors = check_errors(rules, tables=tables)
    if not place:  # a rule for records decides, because credits depend on the sector
        assert errors == []
        return
    (error,) = errors
    assert place in error.path
    assert hint in error.message
    assert error.line


def test_file_with_an_unknown_constant_still_runs_without_it() -> None:
    rules = 'mode: {const: onlin}\nisced_f: {const: ["0731", "73"]}\ntitle.swe: name'
    outcome = outcome_of(rules, {})
    assert issues_of(outcome) == [("mode_unknown", "mode"), ("isced_unknown", "isced_f")]
    assert isinstance(outcome, Accepted)
    assert (outcome.record.mode, outcome.record.isced_f) == (None, ("0731",))
    assert outcome.record.title == {"en": "Statistics", "sv": "Statistics"}


@pytest.mark.parametrize(
    "esi",
    [
        ESI,
        ESI.lower(),
        ESI.upper().replace("UNIVERSITY.EXAMPLE", "university.example"),
        "URN:schac:PersonalUniqueCode:int:ESI:university.example:777",
    ],
)
def test_student_identifier_is_known_in_any_case(esi: str) -> None:
    payload = STUDENT | {"esi": esi}
    outcome = outcome_of(POINTED, payload)
    assert issues_of(outcome) == []
    rendered = documents_of(outcome, raw_record(payload))
    (pointer,) = [document for document in rendered.documents if document.topic == POINTERS_TOPIC]
    assert pointer.value is not None
    value = json.loads(pointer.value)
    assert value["esi"] == esi
    Draft202012Validator(schemas()[POINTERS_TOPIC]).validate(value)


@pytest.mark.parametrize(
    ("payload", "codes"),
    [
        ({"esi": "777"}, [("pointer_missing", "holder.esi"), ("esi_invalid", "holder.esi")]),
        ({"esi": None}, [("pointer_missing", "holder.esi")]),
        ({"schac": "no domain"}, [("pointer_missing", "awarding_body.identifiers")]),
        ({"schac": None}, [("pointer_missing", "awarding_body.identifiers")]),
    ],
)
def test_credential_without_its_pointer_states_why(
    payload: dict[str, Any], codes: list[tuple[str, str]]
) -> None:
    body = STUDENT | payload
    rendered = documents_of(outcome_of(POINTED, body), raw_record(body))
    found = [(issue.code, issue.field) for issue in rendered.provenance.issues]
    assert [issue for issue in found if issue[0] != "sealing_required"] == codes
    values = {document.topic: document.value for document in rendered.documents}
    assert values[POINTERS_TOPIC] is None
    credential = values[CREDENTIALS_TOPIC]
    assert credential is not None
    assert (b"European Student Identifier" in credential) == (body["esi"] == ESI)


def test_pointer_assumes_no_kind() -> None:
    rules = POINTED + "kind: {from: k, table: kinds}"
    outcome = outcome_of(
        rules, STUDENT | {"k": "X"}, tables="tables: {kinds: {map: {B: diploma}, unmapped: flag}}\n"
    )
    rendered = documents_of(outcome, raw_record(STUDENT))
    values = {document.topic: document.value for document in rendered.documents}
    assert values[POINTERS_TOPIC] is None
    assert ("pointer_missing", "kind") in [
        (issue.code, issue.field) for issue in rendered.provenance.issues
    ]


STUDENT_RULES = """\
holder.esi: {from: esi, basis: "The student agreed"}
holder.full_name: {from: full, basis: "The student agreed"}
holder.given_name: {from: given, basis: "The student agreed"}
holder.family_name: {from: family, basis: "The student agreed"}
holder.email: {from: mail, basis: "The student agreed"}
institution.identifiers.pic: {const: "999999999"}
institution.identifiers.schac: schac
active: {const: true}
valid_until: {const: "2027-07-31"}
esc_agreement: {const: true}
"""


@pytest.mark.parametrize(
    ("payload", "codes"),
    [
        ({"mail": "none"}, [("email_invalid", "holder.email")]),
        ({"mail": "a b@office.example"}, [("email_invalid", "holder.email")]),
        ({"mail": f"{'a' * 250}@office.example"}, [("email_invalid", "holder.email")]),
        ({"full": "A" * 256}, [("text_too_long", "holder.full_name")]),
        (
            {"given": "A" * 200, "family": "B" * 200},
            [("text_too_long", "holder.full_name")],
        ),
        ({"schac": f"{'a.' * 130}example"}, []),
        ({"full": "A" * 255, "mail": "a@office.example"}, []),
    ],
)
def test_student_document_fits_its_schema(
    payload: dict[str, Any], codes: list[tuple[str, str]]
) -> None:
    body = STUDENT | payload
    text = connector_text(STUDENT_RULES, base="").replace("office\n", "the_office\n", 1)
    text = text.replace("emits: credential", "emits: student_status")
    text = "".join(line for line in text.splitlines(keepends=True) if "achieved" not in line)
    made, _ = build_connector(parse_yaml(text.encode(), "the_office.yaml"))
    assert made is not None
    raw = msgspec.structs.replace(raw_record(body), connector="the_office")
    outcome = Harmoniser(made, TABLES, pseudonym_key=KEY)(raw)
    rendered = documents_of(outcome, raw)
    assert [(issue.code, issue.field) for issue in rendered.provenance.issues] == codes
    (document,) = rendered.documents
    assert document.value is not None
    checker = Draft202012Validator.FORMAT_CHECKER
    validator = Draft202012Validator(schemas()[document.topic], format_checker=checker)
    validator.validate(json.loads(document.value))


def test_lists_of_codes_are_those_of_the_documents() -> None:
    choices = {
        "mode": vocabularies.MODES,
        "setting": vocabularies.SETTINGS,
        "assessment.kind": vocabularies.ASSESSMENTS,
    }
    for name, vocabulary in choices.items():
        assert set(find_target(Credential, name).choices) == set(vocabulary)
    assert len(code_lists.ISCED_F) == 220
    assert (
        vocabularies.education_fields(tuple(sorted(code_lists.ISCED_F))).count(b'"Concept"') == 220
    )


@pytest.mark.parametrize(
    ("rule", "tables", "codes"),
    [
        (
            "kind: {from: k, table: kinds}",
            "tables: {kinds: {map: {B: diploma}, unmapped: flag}}\n",
            [("unmapped", "kind")],
        ),
        (
            "kind: {from: k, table: kinds}",
            "tables: {kinds: {map: {B: diploma}, unmapped: null}}\n",
            [("kind_missing", "kind")],
        ),
        ("kind: nothing", "", [("kind_missing", "kind")]),
        ("kind: {from: k, invalid: drop}", "", [("invalid_value", "kind")]),
        ("kind: {const: diploma, when: {path: k, is: B}}", "", [("kind_missing", "kind")]),
    ],
)
def test_kind_is_never_assumed(rule: str, tables: str, codes: list[tuple[str, str]]) -> None:
    outcome = outcome_of(rule, {"k": "X"}, tables=tables)
    assert issues_of(outcome) == codes
    assert isinstance(outcome, Accepted)
    assert outcome.record.kind is None
