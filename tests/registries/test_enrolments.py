"""Student statuses from the saved replies of VIRTA, and what never leaves for student-card services.

The saved replies are older than the national learner number. The register adds it to each person,
and the tests do the same. ``GOLDEN=update pytest tests/registries/test_enrolments.py`` writes the
golden file again.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from msgspec import structs

from gateway.config.connector import Connector
from gateway.config.rules import MappingRule, Rules
from gateway.errors import StreamError
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.local.registries.saved_replies import SavedReply
from gateway.messages.cloudevents import encode_raw_headers
from gateway.messages.topics import POINTERS_TOPIC, STUDENT_STATUS_TOPIC
from gateway.pipeline.record_processor import RecordProcessor
from gateway.records import Accepted, Assessment, Credential, Outcome, RawRecord, Rejected
from gateway.render.json_schemas import schemas
from gateway.render.publication import Publication, publication
from tests.support.saved_providers import saved_providers
from tests.support.saved_replies import (
    CASES,
    REFERENCE,
    REGISTRIES,
    ROOT,
    VIRTA,
    Case,
    connector_for,
    read,
)

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(
        not REGISTRIES.is_dir(),
        reason=f"no reference material at {REFERENCE}; set GATEWAY_REFERENCE",
    ),
]
GOLDEN = ROOT / "tests/golden/virta_statuses.json"
KEY = b"a key for tests only, never for people"
LEARNER = "1.2.246.562.24.00000000017"
AGREED = MappingRule(const=True, basis="Card terms of the tests, version 1")
NUMBER = re.compile(
    rb"\b\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]\b|\b\d{11}\b|\b\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}\b"
)
"""A national number of Finland, Norway, Estonia or Belgium."""


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(ROOT / "mappings")


def with_learner_number(number: str) -> Callable[[bytes, str], list[SavedReply]]:
    """Return a function that serves a saved reply with a learner number for each person."""

    def serve(data: bytes, _: str) -> list[SavedReply]:
        end = b"</virta:Henkilotunnus>"
        added = f"<virta:KansallinenOppijanumero>{number}</virta:KansallinenOppijanumero>"
        return [SavedReply(data.replace(end, end + added.encode()), "text/xml", "POST")]

    return serve


def with_rules(rules: Mapping[str, Rules]) -> Callable[[Connector], Connector]:
    """Return a function that adds rules to the streams of a connector, by what they emit."""

    def adapt(connector: Connector) -> Connector:
        return connector.with_streams(
            {
                name: stream.model_copy(
                    update={"map": {**stream.map, **rules.get(stream.emits, {})}}
                )
                for name, stream in connector.streams.items()
            }
        )

    return adapt


def chained(
    first: Callable[[Connector], Connector],
    second: Callable[[Connector], Connector],
    connector: Connector,
) -> Connector:
    return second(first(connector))


def enrolments(file: str, rules: Rules, number: str = LEARNER) -> Case:
    serve, subjects = with_learner_number(number), {"person": ["1"]}
    adapt = with_rules({"student_status": rules})
    return Case("fi-virta", "enrolments", file, serve, subjects, adapt)


def made_of(
    case: Case, tables: Tables, change: Callable[[Outcome], Outcome] = lambda outcome: outcome
) -> Iterator[tuple[RawRecord, Publication]]:
    """Yield each record of a saved reply, and what a run makes of it."""
    connector = connector_for(case)
    harmonise = Harmoniser(connector, tables, providers=saved_providers(), pseudonym_key=KEY)
    for raw in asyncio.run(read(case)):
        if raw.body is not None:
            yield raw, publication(change(harmonise(raw)), raw, connector)


def status_of(raw: RawRecord, made: Publication) -> dict[str, Any]:
    (document,) = made.documents
    assert document.topic == STUDENT_STATUS_TOPIC
    content = json.loads(document.value or b"")
    names = ("eventType", "status", "validFrom", "validUntil", "academicLevel", "institution")
    return {
        "study right": raw.context["right"],
        "term": raw.kind == "LukukausiIlmoittautuminen",
        **{name: content[name] for name in names if name in content},
    }


def test_saved_replies_give_a_status_for_each_study_right_and_term(tables: Tables) -> None:
    found = {
        file.rsplit("/", 1)[-1]: [
            status_of(raw, made)
            for raw, made in made_of(enrolments(file, {"esc_agreement": AGREED}), tables)
        ]
        for file in VIRTA
    }
    if os.environ.get("GOLDEN") == "update":
        GOLDEN.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    assert json.loads(GOLDEN.read_text()) == found


def test_golden_statuses_cover_every_study_right_and_every_term() -> None:
    for file, statuses in json.loads(GOLDEN.read_text()).items():
        reply = next((REFERENCE / one).read_text() for one in VIRTA if one.endswith(file))
        rights = set(re.findall(r"<virta:Opiskeluoikeus [^>]*\bavain=\"([^\"]+)\"", reply))
        assert {status["study right"] for status in statuses} == rights, file
        terms = len(re.findall(r"<virta:LukukausiIlmoittautuminen ", reply))
        assert sum(status["term"] for status in statuses) == terms, file


@pytest.mark.parametrize("file", VIRTA)
def test_without_an_agreement_every_record_is_withheld_and_counted(
    file: str, tables: Tables
) -> None:
    case = enrolments(file, {})
    harmoniser = Harmoniser(
        connector_for(case), tables, providers=saved_providers(), pseudonym_key=KEY
    )
    process = RecordProcessor({"fi-virta": harmoniser}.get, KEY)
    ends: Counter[tuple[str, str]] = Counter()
    for offset, raw in enumerate(raws := asyncio.run(read(case))):
        result = process(
            SimpleNamespace(
                key=raw.key.encode(),
                value=raw.body,
                headers=encode_raw_headers(raw),
                timestamp=0,
                topic="gateway.raw.v1",
                partition=0,
                offset=offset,
            )
        )
        ends[result.outcome, result.reason] += 1
        assert not [one for one in result.outgoing if one.value is not None]
    assert ends == {("deleted", "no_agreement"): len(raws)}
    assert raws


def test_number_of_a_person_is_no_student_identifier(tables: Tables) -> None:
    """The national number and other texts never become the code of an identifier."""
    for planted in ("010190-901A", "1.2.246.562.24.", "1.2.246.562.24.1 010190-901A", "900007"):
        for _, made in made_of(enrolments(VIRTA[0], {"esc_agreement": AGREED}, planted), tables):
            assert isinstance(made.outcome, Rejected)
            assert made.outcome.field == "holder.esi"
            assert planted not in made.outcome.detail
            assert not made.documents


def planted(data: bytes, _: str) -> list[SavedReply]:
    """Put a national number and a grade wherever a reply of VIRTA can hold a text."""
    text = with_learner_number(LEARNER)(data, "")[0].body.decode()
    text = re.sub(
        r'(opiskelijaAvain|\bavain|opiskeluoikeusAvain)="([^"]+)"', r'\1="010190-901A \2"', text
    )
    text = re.sub(r"(<virta:Henkilotunnus>)[^<]*", r"\g<1>010190-901A", text)
    text = re.sub(r"(<virta:Koulutuskunta>|<virta:Koulutuskoodi>)[^<]*", r"\g<1>010190-901A", text)
    text = re.sub(r'koulutusmoduulitunniste="[^"]*"', 'koulutusmoduulitunniste="010190-901A"', text)
    return [SavedReply(text.encode(), "text/xml", "POST")]


@pytest.mark.parametrize("file", VIRTA)
def test_planted_numbers_reach_no_student_status(file: str, tables: Tables) -> None:
    case = replace(enrolments(file, {"esc_agreement": AGREED}), replies=planted)
    documents = [document for _, made in made_of(case, tables) for document in made.documents]
    assert documents
    for document in documents:
        assert b"010190" not in (document.value or b"") + document.key.encode()
        assert not NUMBER.search((document.value or b"").replace(LEARNER.encode(), b""))


def with_planted_values(outcome: Outcome) -> Outcome:
    """Return a credential with a grade, a name and a day of birth that a reader would notice."""
    if not isinstance(outcome, Accepted) or not isinstance(outcome.record, Credential):
        return outcome
    record, seen = outcome.record, Assessment(kind="written", grade="planted 4711")
    holder = structs.replace(
        record.holder, birth_date=date(1890, 1, 9), full_name="Planted", given_name="Planted"
    )
    parts = tuple(structs.replace(part, assessment=seen) for part in record.parts)
    changed = structs.replace(record, holder=holder, assessment=seen, parts=parts)
    return structs.replace(outcome, record=changed)


def test_no_grade_and_no_national_number_is_on_a_student_card_topic(tables: Tables) -> None:
    """Every saved record about a person gets an identifier, a PIC and an agreement."""
    identifier = "urn:schac:personalUniqueCode:int:esi:office.example:one"
    esi = MappingRule(const=identifier, basis="Tests")
    pic, day = MappingRule(const="999999999"), MappingRule(const="2027-07-31")
    rules: dict[str, Rules] = {
        "credential": {
            "holder.esi": esi,
            "awarding_body.identifiers.pic": pic,
            "holder_consent": AGREED,
        },
        "student_status": {
            "holder.esi": esi,
            "institution.identifiers.pic": pic,
            "esc_agreement": AGREED,
            "valid_until": day,
            "active": MappingRule(const=True),
        },
    }
    validators = {topic: Draft202012Validator(schema) for topic, schema in schemas().items()}
    topics: Counter[str] = Counter()
    for case in CASES:
        emits = connector_for(case).streams[case.stream].emits
        if emits not in rules:
            continue
        changed = replace(case, adapt=partial(chained, case.adapt, with_rules(rules)))
        try:
            found = list(made_of(changed, tables, with_planted_values))
        except StreamError:
            continue
        for raw, made in found:
            numbers = set(NUMBER.findall((raw.body or b"") + json.dumps(raw.context).encode()))
            for document in made.documents:
                if document.value is None or not document.topic.startswith("esc."):
                    continue
                topics[document.topic] += 1
                validators[document.topic].validate(json.loads(document.value))
                assert not re.search(rb"(?i)grade|planted|4711|1890", document.value), case
                assert not [one for one in numbers if one in document.value], case
    assert topics[STUDENT_STATUS_TOPIC] >= 1
    assert topics[POINTERS_TOPIC] >= 100
