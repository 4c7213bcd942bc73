"""Awards on the fast path: the same results as the ordinary way, and each rule still fires."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from bench.harmonise import Fetched
from gateway.harmonise.providers import Providers
from gateway.messages.cloudevents import decode_raw
from gateway.records import Organisation, Provider, QualityReport
from tests.support.equality import Comparison, World, facts, fetched
from tests.support.equality_neighbours import neighbours
from tests.support.every_kind import FORMATS, Format, accepted, every_kind, raw_of
from tests.support.fast_paths import all_fast_paths, processor_of

PIC = "900000001"


def award(**changes: Any) -> dict[str, Any]:
    """Return an award that the fast path knows: without parts and without decisions about it."""
    payload = accepted("credentials") | changes
    return {key: value for key, value in payload.items() if key not in {"modules", "reviews"}}


def micro(**changes: Any) -> dict[str, Any]:
    """Return a micro-credential of five credits."""
    small = {"value": 5, "unit": "ECTS", "sector": "HE", "hours": 125}
    return award(type="M", micro=True, credits=small, months=None, **changes)


def records_of(payloads: list[dict[str, Any]], form: Format = "json") -> list[Fetched]:
    return [fetched(raw_of("credentials", payload, form)) for payload in payloads]


def compare(records: list[Fetched], form: Format = "json", **world: Any) -> list[dict[str, Any]]:
    """Compare both ways and return the results."""
    return Comparison(World({"every-kind": every_kind(form)}, **world)).assert_equal(
        records, passes=2
    )


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "payload",
    [award(), award(consent=False), award(issuer=None), award(exam=None), micro()],
    ids=["shared", "not shared", "no issuer", "no assessment", "micro"],
)
def test_award_is_processed_on_the_fast_path(payload: dict[str, Any], form: Format):
    processor = processor_of(every_kind(form))
    record = fetched(raw_of("credentials", payload, form))
    first = processor(record)
    [(_, path)] = all_fast_paths(processor)
    provenance = next(known for known in path.memories if known.name == "provenance")
    assert first.outcome == "accepted"
    assert [len(provenance.entries), path.differences] == [1, 0]
    again = processor(record)
    assert [one.value for one in again.outgoing] == [one.value for one in first.outgoing]
    assert len(provenance.entries) == 1


@pytest.mark.parametrize("make", [award, micro])
def test_one_value_of_an_award_is_another(make: Any):
    changed = [payload for _, payload in neighbours(make())]
    results = compare(records_of([make(), make(), *changed[::3]]))
    assert {result["outcome"] for result in results} >= {"accepted", "rejected"}


PERSON = accepted("credentials")["person"]
EXAM = accepted("credentials")["exam"]
BODY = accepted("credentials")["body"]
RULES: dict[str, dict[str, Any]] = {
    "date_implausible": award(awarded="0001-01-01"),
    "future": award(awarded="2090-01-01"),
    "dates_unordered": award(person=PERSON | {"born": "2023-06-15"}),
    "encoding_suspect": award(person=PERSON | {"family": "MÃ¼ller"}),
    "grade_without_scale": award(exam=EXAM | {"scale": None}),
    "grade_scale_obsolete": award(
        exam=EXAM | {"scale": "ECTS grading scale (A-E, FX, F)", "grade": "A"}
    ),
    "micro_element_missing": micro(form=None),
    "micro_not_identified": micro(person=None),
    "micro_credential_large": micro() | {"credits": {"value": 61, "unit": "ECTS", "sector": "HE"}},
    "credits_unusual": award(credits={"value": 90, "unit": "ECTS", "sector": "HE"}),
    "esi_invalid": award(person=PERSON | {"esi": "urn:example:1"}, consent=False),
    "pointer_missing": award(person=PERSON | {"esi": None}),
    "sealing_required": award(),
}


@pytest.mark.parametrize("code", RULES)
def test_rule_fires_after_awards_that_it_accepts(code: str):
    good = micro() if code.startswith("micro") else award(consent=False)
    *_, last = results = compare(records_of([good, good, RULES[code]]))
    told = {last["reason"], *last["issues"]}
    assert any(code in each for each in told), told
    assert results[0]["outcome"] == "accepted"


def test_pointer_of_a_shared_award_and_tombstone_of_another():
    shared, other = compare(records_of([award(), award(consent=False)]))
    topics = {outgoing[0]: outgoing[3] for outgoing in shared["outgoing"]}
    assert all(topics.values())
    assert len(topics) == 2
    assert [outgoing[3] is None for outgoing in other["outgoing"]] == [False, True]


def test_quality_assurance_is_that_of_the_day_the_level_and_the_programme():
    def report(name: str, **values: Any) -> QualityReport:
        return QualityReport(id=name, obligatory=True, **values)

    providers = Providers(
        [
            Provider(
                id="P1",
                organisation=Organisation(country="IE", identifiers={"pic": PIC}),
                levels=(6,),
                reports=(
                    report("1", valid_from=date(2015, 1, 1), valid_until=date(2018, 12, 31)),
                    report(
                        "2",
                        kind="programme",
                        programmes=("Water management",),
                        valid_from=date(2020, 1, 1),
                        valid_until=date(2024, 12, 31),
                    ),
                ),
            )
        ]
    )
    level = accepted("credentials")["level"]
    payloads = [
        award(awarded=day, title={"en": title}, level=level | {"value": value, "eqf": None})
        for day in ("2018-12-31", "2019-01-01", "2020-01-01", "2024-12-31", "2025-01-01")
        for title in ("Water management", "Forestry")
        for value in ("8", "9")
    ]
    results = compare(records_of(payloads), providers=providers)
    headers = b"".join(result["outgoing"][0][4] for result in results)
    for outcome in (
        b"INSTITUTION_ACCREDITED", b"LEVEL_NOT_COVERED", b"PROGRAMME_ACCREDITED", b"NO_VALID_QA"
    ):  # fmt: skip
        assert outcome in headers


def test_no_memory_holds_a_value_about_the_holder():
    people = [
        PERSON | {"given": f"Aino{number}", "family": f"Esimerkki{number}", "number": f"n-{number}"}
        for number in range(5)
    ]
    payloads = [
        award(person=person, exam=EXAM | {"grade": f"grade-{number}"})
        for number, person in enumerate(people)
    ]
    processor = processor_of(every_kind("json"))
    plain = [facts(processor, record) for record in records_of(payloads)]
    assert {each["outcome"] for each in plain} == {"accepted"}
    [(_, path)] = all_fast_paths(processor)
    held = repr([(known.entries.keys(), known.entries) for known in path.memories])
    for private in ("Aino", "Esimerkki", "n-1", "grade-", "1990", "student.university", "esi:"):
        assert private not in held
    assert all(len(known.entries) == 1 for known in path.memories if known.fields)


def test_rules_without_levels_credits_scale_and_pseudonym_are_fast():
    """A group without rules has the same parts for each record."""
    connector = every_kind("json")
    stream = connector.streams["credentials"]
    left_out = ("nqf_", "eqf_", "cycle", "credit_", "holder.pseudonym", "assessment.", "issuer")
    rules = {
        target: rule
        for target, rule in stream.map.items()
        if not target.startswith(left_out) or target == "assessment.grade"
    }
    connector = connector.with_streams({"credentials": stream.model_copy(update={"map": rules})})
    records = records_of([award(), micro(), award(exam=EXAM | {"grade": None}), award()])
    results = Comparison(World({"every-kind": connector})).assert_equal(records, passes=2)
    assert {result["outcome"] for result in results} == {"accepted"}
    assert "grade_without_scale" in results[0]["issues"]
    processor = processor_of(connector)
    first = records[0]
    processor(first)
    [(_, path)] = all_fast_paths(processor)
    assert path.process(decode_raw(first.key, first.value, first.headers), 0) is not None
