"""Check the origin of every literal in a document.

Each literal comes from the record, from a table row or from a fixed vocabulary.
"""

from __future__ import annotations

import json
import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.messages.cloudevents import midnight_of
from gateway.records import (
    Credential,
    Holder,
    LearningOpportunity,
    LearningOutcome,
    LearningRecord,
    Organisation,
    Qualification,
    Rejected,
)
from gateway.render import (
    elm_catalogue,
    elm_common,
    elm_credential,
    elm_credits,
    elm_levels,
    elm_periods,
    vocabularies,
)
from gateway.render.json_schemas import schemas
from gateway.render.render import render
from tests.support import samples

VALIDATORS = {name: Draft202012Validator(schema) for name, schema in schemas().items()}
DRAWN = (
    "qualification",
    "specification",
    "qualification-vocational",
    "qualification-converted",
    "opportunity",
    "opportunity-vocational",
    "diploma",
    "diploma-vocational",
    "micro",
    "transcript",
    "status",
    "card",
)

# What stands in documents whatever the record says.
FIXED = {
    *elm_credential.CONTEXT,
    *(
        text
        for version in elm_catalogue.VERSIONS.values()
        for text in json.dumps(version.context).split('"')
    ),
    *json.dumps(elm_credential.SCHEMA).split('"'),
    elm_credential.PLACEHOLDER_IMAGE,
    *elm_credential.ASSESSMENT_TITLE.values(),
    elm_levels.CYCLES,
    *elm_levels.CYCLE_NAMES.values(),
    "VerifiableCredential",
    "EuropeanDigitalCredential",
    "European Student Identifier",
    "EDC",
    "1",
    "UNKNOWN_PROVIDER",
}
VOCABULARY = re.compile(
    r"http://(data\.europa\.eu/snb|publications\.europa\.eu/resource/authority|data\.europa\.eu/esco/concept-scheme)/"
)
CODES = re.compile(r"[A-Z][A-Z_]+|(student\.status|card|credential)\.[a-z]+|[A-Z][A-Za-z]+")
"""Words of our own closed lists and names of classes."""


def literals(node: Any) -> set[str]:
    if isinstance(node, dict):
        return set().union(*map(literals, node.values()))
    if isinstance(node, list):
        return set().union(*map(literals, node))
    return set() if isinstance(node, bool) or node is None else {str(node)}


def said(value: Any) -> set[str]:
    """Every literal a record holds, in each form a document may give it."""
    if isinstance(value, msgspec.Struct):
        return set().union(*(said(getattr(value, name)) for name in value.__struct_fields__))
    if isinstance(value, dict):
        return set().union(*map(said, value.values()))
    if isinstance(value, tuple):
        return set().union(*map(said, value))
    if isinstance(value, datetime):
        return {elm_common.datetime_text(value)}
    if isinstance(value, date):
        return {value.isoformat(), elm_periods.date_as_datetime(value)[1:-1].decode()}
    if isinstance(value, Decimal):
        return {
            elm_credits.decimal_text(value) or "",
            elm_common.xml_duration(value) or "",
            str(float(value)),
        }
    if isinstance(value, int):
        return {str(value), f"P{value}M"}
    return {str(value)} if value is not None else set()


def composed(record: Any) -> set[str]:
    """What is put together from two fields of the record."""
    holder = getattr(record, "holder", Holder())
    found = {" ".join(filter(None, (holder.given_name, holder.family_name)))}
    for one in (record, *getattr(record, "parts", ())):
        if assessment := getattr(one, "assessment", None):
            found.add(f"{assessment.grade} ({assessment.grading_scale})")
        if isinstance(one, LearningRecord):
            found |= {
                f"{one.nqf_framework} {one.nqf_level}",
                f"{elm_levels.CYCLES}/{one.cycle}",
                elm_credits.unit_label(one.credit_unit, one.credit_sector),
                elm_credits.national_amount(one) or "",
                (one.credit_framework or "").rpartition("/")[0],
                elm_periods.validity_text(one.valid_from, one.valid_until) or "",
            }
    if holder.email:
        found.add(f"mailto:{holder.email}")
    return found


def vary(name: str) -> st.SearchStrategy[Any]:
    """A sample record with any of its fields back at what a silent registry leaves."""
    record = samples.RECORDS[name]
    blank = dict(
        zip(
            reversed(record.__struct_fields__),
            reversed(type(record).__struct_defaults__),
            strict=False,
        )
    )
    fields = [
        field
        for field in blank
        if field not in {"esc_agreement", "iri"}
        and default_of(blank[field]) != getattr(record, field)
    ]
    return st.sets(st.sampled_from(fields), max_size=5).map(
        lambda gone: msgspec.structs.replace(
            record, **{field: default_of(blank[field]) for field in gone}
        )
    )


def default_of(value: Any) -> Any:
    return value.factory() if hasattr(value, "factory") else value


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(DRAWN).flatmap(lambda name: st.tuples(st.just(name), vary(name))),
    st.sampled_from(["3.1", "3.3"]),
)
def test_documents_contain_no_invented_values(drawn: tuple[str, Any], version: str):
    name, record = drawn
    found = render(
        samples.accepted(record),
        samples.keys(name),
        country="IE",
        at=samples.AT,
        loq_version=version,
    )
    if isinstance(found, Rejected):
        assert found.stage == "render"
        assert found.reason in {
            "missing",
            "invalid",
            "pic_conflict",
            "dates_out_of_order",
            "unmapped",
        }
        return
    known = (
        said(record)
        | composed(record)
        | FIXED
        | {
            "ex-registry",
            "IE",
            midnight_of(samples.AT),
            midnight_of(samples.CHANGED),
            elm_common.datetime_text(samples.CHANGED),
        }
    )
    for document in found.documents:
        if document.value is None:
            continue
        node = json.loads(document.value)
        errors = [
            f"{list(error.absolute_path)}: {error.message[:200]}"
            for error in VALIDATORS[document.topic].iter_errors(node)
        ]
        assert not errors, errors
        places = {str(place) for place, _ in enumerate(getattr(record, "learning_outcomes", ()), 1)}
        named = node.get("source", {}).get("sourceEventId", "")
        derived = places | {node.get("id", ""), node.get("eventId", ""), named, document.key}
        unexplained = {
            text
            for text in literals(node) - known - derived
            if not (
                VOCABULARY.match(text)
                or CODES.fullmatch(text)
                or any(text.startswith(f"{root}#") for root in derived - places if root)
            )
        }
        unexplained -= (
            set(vocabularies.SUPERVISION)
            | {"identifier"}
            | set(Organisation.__struct_fields__)
            | {"pic", "schac", "deqar", "eidas"}
        )
        assert not unexplained


def test_property_detects_an_invented_value():
    record = samples.RECORDS["qualification"]
    assert "An invention" not in said(record) | FIXED
    assert not VOCABULARY.match("An invention")
    assert not CODES.fullmatch("An invention")


def test_level_is_never_invented():
    for kind, name in (
        (Qualification, "qualification"),
        (LearningOpportunity, "opportunity"),
        (Credential, "micro"),
    ):
        for field in ("eqf_level", "nqf_uri"):
            record = msgspec.structs.replace(samples.RECORDS[name], **{field: None})
            assert isinstance(record, kind)
            found = render(
                samples.accepted(record),
                samples.keys(name),
                country="IE",
                at=samples.AT,
            )
            assert not isinstance(found, Rejected)
            text = (found.documents[0].value or b"").decode()
            assert ("snb/eqf/4" in text) == (field == "nqf_uri")


def test_missing_outcome_or_field_of_education_is_no_complete_entry():
    for field, value in (
        ("learning_outcomes", ()),
        ("learning_outcomes", (LearningOutcome(),)),
        ("isced_f", ()),
        ("isced_f", ("1234",)),
    ):
        record = msgspec.structs.replace(samples.RECORDS["qualification"], **{field: value})
        found = render(
            samples.accepted(record),
            samples.keys("qualification"),
            country="IE",
            at=samples.AT,
            incomplete=False,
        )
        assert isinstance(found, Rejected)
        assert (found.stage, found.field, found.reason) == ("render", field, "missing")


def test_invalid_esco_uri_is_dropped_with_an_issue():
    outcome = LearningOutcome(
        title={"en": "One"}, esco=("http://data.europa.eu/esco/occupation/x", samples.SKILL)
    )
    record = msgspec.structs.replace(samples.RECORDS["micro"], learning_outcomes=(outcome,))
    found = render(
        samples.accepted(record),
        samples.keys("micro"),
        country="IE",
        at=samples.AT,
    )
    assert not isinstance(found, Rejected)
    assert "esco_invalid" in {issue.code for issue in found.provenance.issues}
    for document in found.documents:
        assert b"esco/occupation" not in (document.value or b"")
        assert samples.SKILL.encode() in (document.value or b"")


def test_annex_1_lists_missing_elements():
    whole = render(
        samples.accepted(samples.RECORDS["micro"]),
        samples.keys("micro"),
        country="IE",
        at=samples.AT,
    )
    assert not isinstance(whole, Rejected)
    assert len(whole.provenance.annex1) == 16
    assert all(whole.provenance.annex1.values())
    poor = msgspec.structs.replace(
        samples.RECORDS["micro"],
        accreditation=(),
        mode=None,
        learning_outcomes=(),
        workload_hours=None,
        credit_points=None,
    )
    found = render(
        samples.accepted(poor),
        samples.keys("micro"),
        country="IE",
        at=samples.AT,
    )
    assert not isinstance(found, Rejected)
    missing = {element for element, held in found.provenance.annex1.items() if not held}
    assert missing == {"learning_outcomes", "workload", "participation", "quality_assurance"}
