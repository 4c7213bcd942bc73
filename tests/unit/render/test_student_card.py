"""Check student-card documents.

The tests cover the instances of the proposed contract, the rules across fields, and the documents
that must never pass.
"""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.records import Assessment, Card, Holder, Organisation, Rejected, StudentStatus
from gateway.render.json_schemas import schemas
from gateway.render.render import Rendered, render, tombstones
from tests.support import samples

SCHEMAS = schemas()
NAMES = {
    "esc.student.status.v1": "esc.student-status.v1",
    "esc.card.lifecycle.v1": "esc.cards.v1",
    "esc.credential.pointer.v1": "esc.credential-pointers.v1",
}
FORBIDDEN_FIELDS = {
    "grade",
    "birthdate",
    "dateofbirth",
    "nationalnumber",
    "nationalid",
    "gender",
    "nationality",
    "reason",
    "transcript",
    "photo",
    "gradingscale",
}

INCOMPLETE = "catalogue.incomplete-entries.v1"


def rendered(record: Any, name: str = "status") -> Rendered | Rejected:
    return render(
        samples.accepted(record),
        samples.keys(name),
        country="IE",
        at=samples.AT,
    )


def documents(record: Any, name: str = "status") -> dict[str, Any]:
    found = rendered(record, name)
    assert isinstance(found, Rendered), found
    return {
        document.topic: json.loads(document.value) if document.value else None
        for document in found.documents
    }


def changed(name: str, **fields: Any) -> Any:
    return msgspec.structs.replace(samples.RECORDS[name], **fields)


@pytest.mark.reference
def test_card_schema_accepts_and_rejects_samples(reference: Path):
    examples = json.loads((reference / "student-card" / "proposed" / "examples.json").read_text())
    assert (len(examples["valid"]), len(examples["invalid"])) == (5, 9)
    for verdict in ("valid", "invalid"):
        for example in examples[verdict]:
            schema = Draft202012Validator(
                SCHEMAS[NAMES[example["schema"]]],
                format_checker=Draft202012Validator.FORMAT_CHECKER,
            )
            assert schema.is_valid(example["instance"]) == (verdict == "valid"), example.get("why")


@pytest.mark.reference
def test_rendered_cards_fit_the_proposed_contract(reference: Path):
    for name in ("status", "status-ended", "card", "diploma", "micro"):
        for topic, document in documents(samples.RECORDS[name], name).items():
            proposed = {ours: theirs for theirs, ours in NAMES.items()}.get(topic)
            if proposed:
                schema = json.loads(
                    (
                        reference / "student-card" / "proposed" / f"{proposed}.schema.json"
                    ).read_text()
                )
                Draft202012Validator(schema).validate(document)


# --- rules across fields
def reason(record: Any, name: str = "card") -> str:
    found = rendered(record, name)
    return found.reason if isinstance(found, Rejected) else ""


def test_card_issuer_matches_its_number():
    assert (
        reason(changed("card", issuer=Organisation(identifiers={"pic": "900000002"})))
        == "pic_conflict"
    )
    assert reason(changed("card", issuer=None)) == "missing"


def test_card_dates_are_in_order():
    assert reason(changed("card", expires_on=date(2024, 12, 31))) == "dates_out_of_order"
    assert (
        reason(changed("status", valid_until=date(2026, 8, 31)), "status") == "dates_out_of_order"
    )


@pytest.mark.parametrize(
    ("eqf", "academic"),
    [(5, None), (6, "BACHELOR"), (7, "MASTER"), (8, "DOCTORATE"), (4, None), (None, None)],
)
def test_student_card_levels_agree(eqf: int | None, academic: str | None):
    found = documents(changed("status", eqf_level=eqf))["esc.student-status.v1"]
    assert found.get("academicLevel") == academic
    assert found.get("eqfLevel") == (eqf if eqf and eqf >= 5 else None)


def test_learners_outside_degree_programmes_have_no_academic_level():
    assert (
        "academicLevel"
        not in documents(changed("status", degree_programme=False))["esc.student-status.v1"]
    )


def test_large_micro_credential_is_another_provision():
    for points, kind in ((59, "MICRO_CREDENTIAL"), (60, "OTHER_PROVISION")):
        found = documents(changed("micro", credit_points=Decimal(points)), "micro")[
            "esc.credential-pointers.v1"
        ]
        assert found["credential"]["kind"] == kind


def test_card_numbers_are_lowercased_and_esi_is_not():
    record = changed(
        "card",
        card_number="4B171400-B51E-103D-8ABC-001900000001",
        holder=Holder(esi=samples.ESI.replace("university", "University")),
    )
    found = documents(record, "card")["esc.cards.v1"]
    assert found["cardNumber"] == "4b171400-b51e-103d-8abc-001900000001"
    assert "University" in found["personIdentifier"]


# --- agreement and erasure
def test_nothing_is_rendered_without_agreement():
    for name in ("status", "card"):
        assert list(documents(changed(name, esc_agreement=False), name).values()) == [None]
    assert (
        documents(changed("diploma", holder_consent=False), "diploma")["esc.credential-pointers.v1"]
        is None
    )


def test_tombstone_keys_need_no_record():
    for word, name in (
        ("student_status", "status"),
        ("card", "card"),
        ("credential", "micro"),
        ("qualification", "qualification"),
        ("provider", "provider"),
    ):
        found = rendered(samples.RECORDS[name], name)
        assert isinstance(found, Rendered)
        gone = tombstones([word], samples.keys(name))
        assert {(one.topic, one.key) for one in gone if one.topic != INCOMPLETE} == {
            (one.topic, one.key) for one in found.documents
        }
        assert all(one.value is None for one in gone)


def test_pseudonyms_differ_by_audience():
    status = samples.accepted(samples.RECORDS["status"])
    keys = set()
    for key in (samples.KEY, b"another key for another audience, as long"):
        found = render(status, samples.keys("status", key=key), country="IE", at=samples.AT)
        assert isinstance(found, Rendered)
        keys.add(found.documents[0].key)
    assert len(keys) == 2
    assert not any("S-1" in key or "900000017" in key for key in keys)


def test_invalid_identifier_is_rejected_without_its_value():
    found = rendered(
        changed("status", holder=Holder(esi="urn:schac:personalUniqueCode:int:esi:XX:secret-17"))
    )
    assert isinstance(found, Rejected)
    assert "UNKNOWN_COUNTRY" in found.detail
    assert "secret" not in found.detail


# --- what may never pass
TOKEN = st.text("abcdefghij", min_size=12, max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    grade=TOKEN,
    scale=TOKEN,
    national=TOKEN,
    given_name=TOKEN,
    born=st.dates(date(1930, 1, 1), date(2015, 1, 1)),
    ended=st.booleans(),
)
def test_student_card_topics_omit_sensitive_fields(grade, scale, national, given_name, born, ended):
    grade, scale, national, given_name = (
        f"{mark}{word}"
        for mark, word in zip("GSNF", (grade, scale, national, given_name), strict=True)
    )
    holder = Holder(esi=samples.ESI, pseudonym=national, given_name=given_name, birth_date=born)
    assessment = Assessment(kind="written", grade=grade, grading_scale=scale, assessed_on=born)
    found = [
        *documents(changed("status", holder=holder, ended=ended)).items(),
        *documents(changed("card", holder=holder), "card").items(),
        *documents(changed("micro", holder=holder, assessment=assessment), "micro").items(),
    ]
    seen = 0
    for topic, document in found:
        if topic.startswith("esc."):
            seen += 1
            text = json.dumps(document)
            assert not any(word in text for word in (grade, scale, national, born.isoformat()))
            assert not FORBIDDEN_FIELDS & {name.casefold() for name in fields(document)}
            assert given_name not in text or topic == "esc.student-status.v1"
    assert seen == 3


@pytest.mark.parametrize("topic", [name for name in SCHEMAS if name.startswith("esc.")])
def test_closed_schema_refuses_sensitive_fields(topic: str):
    name = {
        "esc.student-status.v1": "status",
        "esc.cards.v1": "card",
        "esc.credential-pointers.v1": "micro",
    }[topic]
    document = documents(samples.RECORDS[name], name)[topic]
    schema = Draft202012Validator(SCHEMAS[topic])
    assert schema.is_valid(document)
    for field in (
        "grade",
        "dateOfBirth",
        "birthDate",
        "nationalNumber",
        "nationalId",
        "reason",
        "reasonForLeaving",
        "transcript",
    ):
        assert not schema.is_valid(document | {field: "x"})
        for inner, value in document.items():
            if isinstance(value, dict) and inner != "title":
                assert not schema.is_valid(document | {inner: value | {field: "x"}})


def test_card_records_have_no_sensitive_fields():
    for kind in (StudentStatus, Card):
        assert not {"grade", "reason", "national_number", "birth_date", "transcript"} & set(
            kind.__struct_fields__
        )


def fields(node: Any) -> set[str]:
    if isinstance(node, dict):
        return set(node).union(*map(fields, node.values()))
    return set().union(*map(fields, node)) if isinstance(node, list) else set()
