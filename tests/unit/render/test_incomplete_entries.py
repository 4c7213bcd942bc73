"""An entry that LOQ refuses is published as incomplete, if its register does not hold the field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from gateway.config.publishing_needs import NEEDS, ONLY_LOQ
from gateway.messages.cloudevents import encode_document_headers
from gateway.messages.event_ids import EventIds
from gateway.messages.topics import (
    INCOMPLETE_ENTRIES_TOPIC,
    OPPORTUNITIES_TOPIC,
    QUALIFICATIONS_TOPIC,
)
from gateway.records import Accepted, Document, Issue, LearningOutcome, Rejected
from gateway.render.incomplete_entries import LOQ_FIELD_MISSING
from gateway.render.json_schemas import schemas
from gateway.render.render import Rendered, render, tombstones
from tests.support import samples

SCHEMA = schemas()[INCOMPLETE_ENTRIES_TOPIC]
ABSENT: dict[str, Any] = {
    "isced_f": (),
    "learning_outcomes": (),
    "languages": (),
    "homepage": None,
}
"""What a record holds for a field that its register does not have."""
CASES = {
    # sample, fields that the register does not hold, fields that the entry lacks
    "no outcomes": ("qualification", "learning_outcomes", "learning_outcomes"),
    "no field of education": ("qualification", "isced_f", "isced_f"),
    "a level instead of a language": ("qualification", "isced_f languages", "isced_f"),
    "neither level nor language": ("specification", "languages", "languages"),
    "nothing but a title": (
        "specification",
        "isced_f learning_outcomes languages homepage",
        "isced_f learning_outcomes languages",
    ),
    "a course without a page": ("opportunity", "homepage", "homepage"),
    "a course of which little is known": (
        "opportunity-unlevelled",
        "isced_f learning_outcomes languages homepage",
        "isced_f learning_outcomes homepage",
    ),
    "a vocational course": (
        "opportunity-vocational",
        "isced_f learning_outcomes",
        "isced_f learning_outcomes",
    ),
}


def made(name: str, *issues: Issue, incomplete: bool = True, **values: Any) -> Rendered | Rejected:
    accepted = samples.accepted(replace(samples.RECORDS[name], **values))
    accepted = Accepted(
        record=accepted.record,
        provenance=replace(accepted.provenance, issues=issues),
    )
    return render(accepted, samples.keys(name), country="IE", at=samples.AT, incomplete=incomplete)


def entry(name: str, fields: str) -> tuple[Document, Rendered]:
    found = made(name, **{field: ABSENT[field] for field in fields.split()})
    assert isinstance(found, Rendered), found
    (document,) = found.documents
    return document, found


@pytest.mark.parametrize("case", CASES)
def test_entry_without_a_field_is_incomplete(case: str) -> None:
    name, absent, missing = CASES[case]
    document, found = entry(name, absent)
    assert document.topic == INCOMPLETE_ENTRIES_TOPIC
    assert document.missing == tuple(missing.split())
    assert document.record_type == name.partition("-")[0].replace(
        "opportunity", "learning_opportunity"
    ).replace("specification", "qualification")
    assert [
        issue.field for issue in found.provenance.issues if issue.code == LOQ_FIELD_MISSING
    ] == missing.split()
    Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
        json.loads(document.value or b"")
    )


def test_incomplete_entry_holds_everything_else() -> None:
    document, _ = entry("opportunity", "isced_f learning_outcomes homepage")
    whole = made("opportunity")
    assert isinstance(whole, Rendered)
    expected = json.loads(whole.documents[0].value or b"")
    del expected["homepage"]
    del expected["learningAchievementSpecification"]["homepage"]
    del expected["learningAchievementSpecification"]["thematicArea"]
    del expected["learningAchievementSpecification"]["learningOutcome"]
    assert json.loads(document.value or b"") == expected


@pytest.mark.parametrize("version", ["3.1", "3.3"])
def test_complete_entry_stays_on_its_topic(version: str) -> None:
    for name, topic in (
        ("qualification", QUALIFICATIONS_TOPIC),
        ("specification", QUALIFICATIONS_TOPIC),
        ("opportunity", OPPORTUNITIES_TOPIC),
    ):
        found = render(
            samples.accepted(samples.RECORDS[name]),
            samples.keys(name),
            country="IE",
            at=samples.AT,
            loq_version=version,
        )
        assert isinstance(found, Rendered)
        assert [(one.topic, one.missing) for one in found.documents] == [(topic, ())]


@pytest.mark.parametrize("name", ["qualification", "opportunity"])
def test_both_kinds_of_entry_have_the_same_key(name: str) -> None:
    document, _ = entry(name, "isced_f")
    whole = made(name)
    assert isinstance(whole, Rendered)
    assert document.key == whole.documents[0].key
    emits = {"qualification": "qualification", "opportunity": "learning_opportunity"}[name]
    assert {(one.topic, one.key) for one in tombstones([emits], samples.keys(name))} == {
        (document.topic, document.key),
        (whole.documents[0].topic, document.key),
    }


UNUSABLE = {
    "a code that is not ISCED-F": ("qualification", {"isced_f": ("1234",)}, "isced_f", ()),
    "a code that was left out": (
        "qualification",
        {"isced_f": ()},
        "isced_f",
        (Issue(code="isced_unknown", field="isced_f"),),
    ),
    "a code without a row": (
        "qualification",
        {"isced_f": ()},
        "isced_f",
        (Issue(code="unmapped", field="isced_f"),),
    ),
    "an outcome in an unknown language": (
        "qualification",
        {"learning_outcomes": ()},
        "learning_outcomes",
        (Issue(code="language_unknown", field="learning_outcomes.title"),),
    ),
    "an unknown language": ("specification", {"languages": ("xx",)}, "languages", ()),
    "an unknown language of a course": ("opportunity", {"languages": ("xx",)}, "languages", ()),
    "a page without a web address": ("opportunity", {"homepage": "ftp://x"}, "homepage", ()),
    "a page that was left out": (
        "opportunity",
        {"homepage": None},
        "homepage",
        (Issue(code="invalid_value", field="homepage"),),
    ),
    "one field absent and one unusable": (
        "opportunity",
        {"isced_f": (), "homepage": "ftp://x"},
        "homepage",
        (),
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_value_that_cannot_be_used_is_rejected(case: str) -> None:
    name, values, field, issues = UNUSABLE[case]
    found = made(name, *issues, **values)
    assert isinstance(found, Rejected)
    assert (found.stage, found.field, found.reason) == ("render", field, "missing")
    assert "the registry sent a value that cannot be used" in found.detail


@pytest.mark.parametrize("code", ["isced_ambiguous", "isced_not_stated"])
def test_code_without_an_equivalent_is_no_unusable_value(code: str) -> None:
    """The register has a classification of its own, and no law relates the code to one field."""
    issue = Issue(code=code, field="isced_f")
    found = made("qualification", issue, isced_f=())
    assert isinstance(found, Rendered)
    assert found.documents[0].missing == ("isced_f",)
    assert found.provenance.issues[0] == issue


def test_element_of_a_micro_credential_that_is_missing_is_no_unusable_value() -> None:
    issue = Issue(code="micro_element_missing", field="learning_outcomes")
    found = made("opportunity", issue, learning_outcomes=())
    assert isinstance(found, Rendered)
    assert found.documents[0].missing == ("learning_outcomes",)


def test_what_every_reader_needs_stays_required() -> None:
    for name, values, field in (
        ("qualification", {"title": {}, "isced_f": ()}, "title"),
        ("opportunity", {"title": {}}, "title"),
        ("opportunity", {"isced_f": (), "provider": None, "awarding_body": None}, "provider"),
    ):
        found = made(name, **values)
        assert isinstance(found, Rejected)
        assert (found.field, found.reason) == (field, "missing")
        assert "cannot be used" not in found.detail
    assert set(ABSENT) == ONLY_LOQ
    assert {need.field for emits in NEEDS for need in NEEDS[emits] if need.only_loq} == ONLY_LOQ


def test_outcomes_without_a_title_are_no_outcomes() -> None:
    found = made("qualification", learning_outcomes=(LearningOutcome(esco=(samples.SKILL,)),))
    assert isinstance(found, Rendered)
    assert found.documents[0].missing == ("learning_outcomes",)


def test_title_without_a_language_leaves_the_language_of_a_course_open() -> None:
    found = made("opportunity", title={"und": "A course"}, languages=())
    assert isinstance(found, Rendered)
    assert found.documents[0].missing == ("languages",)
    assert "defaultLanguage" not in json.loads(found.documents[0].value or b"")


def test_stream_can_reject_incomplete_entries() -> None:
    found = made("qualification", isced_f=(), incomplete=False)
    assert isinstance(found, Rejected)
    assert (found.stage, found.field, found.reason) == ("render", "isced_f", "missing")
    assert "cannot be used" not in found.detail


def test_headers_name_the_type_and_the_missing_fields() -> None:
    document, found = entry("opportunity", "isced_f learning_outcomes")
    headers = dict(
        encode_document_headers(
            document, samples.raw("opportunity"), found.provenance, EventIds(b"secret")
        )
    )
    assert headers["ce_type"] == b"eu.qualification-gateway.incomplete-entry.changed.v1"
    assert headers["ce_dataschema"].decode() == SCHEMA["$id"]
    assert headers["ce_recordtype"] == b"learning_opportunity"
    assert headers["ce_missingfields"] == b"isced_f,learning_outcomes"
    whole = made("opportunity")
    assert isinstance(whole, Rendered)
    complete = dict(
        encode_document_headers(
            whole.documents[0], samples.raw("opportunity"), whole.provenance, EventIds(b"secret")
        )
    )
    assert headers.keys() - complete.keys() == {"ce_recordtype", "ce_missingfields"}
