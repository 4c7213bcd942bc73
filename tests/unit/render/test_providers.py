"""Check trusted providers: the published vectors, the join, and the date of the assessment."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path

import pytest

from gateway.harmonise.providers import Providers
from gateway.harmonise.quality_assurance import OUTCOMES
from gateway.records import (
    Credential,
    Organisation,
    Provider,
    Qualification,
    QualityReport,
    StudentStatus,
)

CYCLES = {"short cycle": 5, "first cycle": 6, "second cycle": 7, "third cycle": 8}


def report(row: dict) -> QualityReport:
    kind = row["agency_esg_activity_type"]
    return QualityReport(
        id=str(row["id"]),
        kind="institutional" if kind.startswith("institutional") else "programme",
        obligatory=row["status"] == "part of obligatory EQA system",
        positive=row["decision"] != "negative",
        high_alert=(row.get("flag") or row.get("flag_level")) == "high level",
        agency=row["agency_acronym"],
        programmes=tuple(one["name_primary"] for one in row["programmes"]),
        levels=tuple(CYCLES[one["qf_ehea_level"]] for one in row["programmes"]),
        valid_from=date.fromisoformat(row["valid_from"][:10]),
        valid_until=date.fromisoformat(row["valid_to"][:10]) if row.get("valid_to") else None,
    )


@pytest.fixture(scope="module")
def real(reference: Path) -> Providers:
    """Built from the published answers: reports grouped by institution."""
    grouped: dict[str, list[QualityReport]] = {}
    for name in (
        "reports-institutional-by-institution",
        "reports-programme-by-institution",
        "reports-search",
    ):
        for row in json.loads(
            (reference / "providers" / "deqar" / f"{name}.response.json").read_text()
        )["results"]:
            grouped.setdefault(row["institutions"][0]["deqar_id"], []).append(report(row))
    return Providers(
        Provider(
            id=name, organisation=Organisation(identifiers={"deqar": name}), reports=tuple(found)
        )
        for name, found in grouped.items()
    )


@pytest.mark.reference
def test_published_test_vectors_match(real: Providers, reference: Path):
    vectors = json.loads(
        (reference / "providers" / "deqar" / "trust-check-vectors.json").read_text()
    )
    assert set(OUTCOMES) == {*vectors["outcomes"], "NO_REPORT_KNOWN"}
    assert len(vectors["vectors"]) == 7
    for vector in vectors["vectors"]:
        given = vector["institution"]
        body = Organisation(
            identifiers={
                scheme: given[name]
                for scheme, name in (("deqar", "deqar_id"), ("eter", "eter_id"), ("pic", "pic"))
                if name in given
            }
        )
        found = real.assess_award(
            body,
            awarded_on=date.fromisoformat(vector["awarded_on"]),
            eqf_level=vector["eqf_level"],
            programme=[vector["programme"]] if vector["programme"] else [],
        )
        expected = vector["expect_report"]
        assert (found.outcome, found.report and found.report.id) == (
            vector["expect"],
            expected and str(expected),
        ), vector["case"]


@pytest.mark.reference
def test_charter_list_joins_by_pic_oid_and_erasmus_code(reference: Path):
    with (reference / "providers" / "eche" / "eche-list-2026-04-08.csv").open() as file:
        rows = list(csv.DictReader(file))
    providers = Providers(
        Provider(
            id=row["proposal_number"],
            organisation=Organisation(
                identifiers={
                    "pic": row["pic"],
                    "oid": row["oid"],
                    "erasmus": row["erasmus_code_normalized"],
                }
            ),
        )
        for row in rows
    )
    assert len(providers) == len({row["pic"] for row in rows})
    for row in rows:
        if row["erasmus_code"] != row["erasmus_code_normalized"] and row["erasmus_code_normalized"]:
            found, joined_by, _ = providers.find(
                Organisation(identifiers={"erasmus": row["erasmus_code"]})
            )
            assert joined_by == "erasmus", row["erasmus_code"]
            assert row["pic"] in {one.organisation.identifiers["pic"] for one in found}


ONE = Provider(
    id="1",
    organisation=Organisation(
        name={"en": "One"}, identifiers={"pic": "999880560", "erasmus": "E  TARRAGO01"}
    ),
    eche=True,
    eche_from=date(2021, 1, 1),
)
TWO = Provider(
    id="2",
    organisation=Organisation(
        identifiers={"erasmus": "E\u00a0 TARRAGO01", "schac": "URV.cat", "deqar": "DEQARINST0792"}
    ),
    closed_on=date(2030, 6, 30),
    levels=(6, 7),
    reports=(
        QualityReport(id="7", obligatory=True, valid_from=date(2024, 2, 29)),
        QualityReport(id="8", obligatory=True, positive=False, valid_from=date(2010, 1, 1)),
        QualityReport(id="9", obligatory=True, high_alert=True, valid_from=date(2010, 1, 1)),
    ),
)
BODY = Organisation(identifiers={"pic": "999880560"})


def judge(on: date, level: int | None = 6) -> str:
    return Providers([ONE, TWO]).assess_award(BODY, awarded_on=on, eqf_level=level).outcome


def test_both_registers_are_combined():
    view = Providers([TWO, ONE])
    found, joined_by, _ = view.find(BODY)
    assert {provider.id for provider in found} == {"1", "2"}
    assert joined_by == "pic"
    assert view.with_known_identifiers(BODY).identifiers["schac"] == "URV.cat"
    facts = view.assess_award(BODY, awarded_on=date(2025, 1, 1), eqf_level=6).to_provenance()
    assert facts == {
        "outcome": "INSTITUTION_ACCREDITED",
        "joined_by": "pic",
        "charter": "true",
        "report": "7",
        "valid_from": "2024-02-29",
        "valid_until": "2030-02-28",
    }


@pytest.mark.parametrize(
    ("on", "level", "outcome"),
    [
        (date(2024, 2, 28), 6, "NO_VALID_QA"),
        (date(2024, 2, 29), 6, "INSTITUTION_ACCREDITED"),
        (date(2030, 2, 28), 7, "INSTITUTION_ACCREDITED"),
        (date(2030, 3, 1), 6, "NO_VALID_QA"),
        (date(2025, 1, 1), 8, "LEVEL_NOT_COVERED"),
        (date(2025, 1, 1), None, "INSTITUTION_ACCREDITED"),
        (date(2012, 1, 1), 6, "NO_VALID_QA"),
        (date(2030, 6, 30), 6, "NO_VALID_QA"),
        (date(2030, 7, 1), 6, "CLOSED_BEFORE_AWARD"),
    ],
)
def test_quality_assurance_uses_the_award_day(on: date, level: int | None, outcome: str):
    assert judge(on, level) == outcome


def test_unknown_provider_is_reported():
    assert Providers([ONE]).assess_award(
        None, awarded_on=date(2025, 1, 1), eqf_level=6
    ).to_provenance() == {"outcome": "UNKNOWN_PROVIDER"}
    assert (
        Providers([ONE])
        .assess_award(
            Organisation(identifiers={"local": "x"}), awarded_on=date(2025, 1, 1), eqf_level=6
        )
        .outcome
        == "UNKNOWN_PROVIDER"
    )


def test_award_gets_quality_assurance_and_identifiers():
    view = Providers([ONE, TWO])
    award = Credential(
        id="c",
        title={"en": "Physics"},
        awarding_body=BODY,
        awarded_on=date(2025, 1, 1),
        eqf_level=6,
    )
    record, facts, issues = view.assess_record(award)
    assert issues == ()
    assert isinstance(record, Credential)
    assert record.awarding_body is not None
    assert record.awarding_body.identifiers["deqar"] == "DEQARINST0792"
    assert facts["outcome"] == "INSTITUTION_ACCREDITED"
    assert view.assess_record(Credential(id="c", awarding_body=BODY))[1] == {}, (
        "an award without a date is not judged"
    )
    status, facts, _ = view.assess_record(
        StudentStatus(id="s", institution=Organisation(identifiers={"schac": "urv.cat"}))
    )
    assert isinstance(status, StudentStatus)
    assert status.institution is not None
    assert status.institution.identifiers["pic"] == "999880560"
    assert facts == {}
    qualification, facts, _ = view.assess_record(Qualification(id="q", awarding_body=BODY))
    assert isinstance(qualification, Qualification)
    assert qualification.awarding_body is not None
    assert qualification.awarding_body.name == {"en": "One"}
    assert facts == {}, "a catalogue entry is no award"
