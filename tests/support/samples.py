"""Fictional records of every kind with every field, for tests of the renderers."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, date, datetime
from decimal import Decimal

from gateway.harmonise.tables.credit_frameworks import ECVET, credit_framework
from gateway.records import (
    Accepted,
    Accreditation,
    Assessment,
    Card,
    Credential,
    CredentialPart,
    Holder,
    LearningOpportunity,
    LearningOutcome,
    Organisation,
    Provenance,
    Provider,
    Qualification,
    QualityReport,
    RawRecord,
    Record,
    StudentStatus,
)
from gateway.render.render import TopicKeys

AT = datetime(2026, 11, 2, 8, 0, 5, tzinfo=UTC)
CHANGED = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)
KEY = b"a key of thirty-two bytes or more, for tests only"
ESI = "urn:schac:personalUniqueCode:int:esi:university.example:900000017"
SKILL = "http://data.europa.eu/esco/skill/ccdf3597-5c80-410f-896d-e1bdfa223de9"

BODY = Organisation(
    name={"en": "Example Awarding Body", "ga": "Comhlacht Samplach"},
    country="IE",
    identifiers={
        "pic": "900000001",
        "schac": "university.example",
        "deqar": "DEQARINST9001",
        "eidas": "VATIE-0000000X",
    },
    homepage="https://www.university.example/",
)
AGENCY = Organisation(name={"en": "Example Quality Agency"}, country="IE")
OUTCOMES = (
    LearningOutcome(
        title={"en": "Plan and deliver care routines.", "ga": "Pleanáil agus seachadadh."},
        kind="skill",
        esco=(SKILL,),
    ),
    LearningOutcome(title={"en": "Explain how children develop."}, kind="knowledge"),
)
ACCREDITED = Accreditation(
    title={"en": "Programme review 2024"},
    kind="programme",
    agency=AGENCY,
    report="https://quality.example/reports/17",
    valid_from=date(2024, 1, 1),
    valid_until=date(2029, 12, 31),
)
LEARNING = {
    "title": {"en": "Certificate in Early Learning and Care", "ga": "Teastas i Luathfhoghlaim"},
    "description": {"en": "For practice in early years settings."},
    "nqf_framework": "NFQ",
    "nqf_level": "5",
    "nqf_uri": "http://data.europa.eu/snb/qdr/c_4053e803",
    "eqf_level": 4,
    "credit_amount": Decimal(60),
    "credit_points": Decimal("60.00"),
    "workload_hours": Decimal("1200.5"),
    "duration_months": 12,
    "isced_f": ("0112", "092"),
    "languages": ("en", "ga"),
    "learning_outcomes": OUTCOMES,
    "mode": "blended",
    "setting": "formal",
    "entry_requirement": {"en": "Leaving certificate."},
    "partial": False,
    "homepage": "https://qualifications.example/award/EX-0001",
    "awarding_body": BODY,
    "accreditation": (ACCREDITED,),
    "changed_at": CHANGED,
}
HOLDER = Holder(
    pseudonym="p-1",
    esi=ESI,
    given_name="Aino",
    family_name="Esimerkki",
    birth_date=date(1990, 1, 2),
    email="aino@student.university.example",
)
ASSESSED = Assessment(
    title={"en": "Written examination"},
    kind="written",
    supervision="supervised_with_id",
    grade="4",
    grading_scale="0-5",
    assessed_on=date(2026, 5, 20),
)
AWARD = LEARNING | {
    "holder": HOLDER,
    "awarded_on": date(2026, 5, 30),
    "assessment": ASSESSED,
    "holder_consent": True,
}


def part(number: int) -> CredentialPart:
    return CredentialPart(
        id=f"unit-{number}",
        title={"en": f"Unit {number}"},
        credit_points=Decimal(5),
        learning_outcomes=(LearningOutcome(title={"en": f"Outcome of unit {number}"}),),
        assessment=Assessment(
            title={"en": "Coursework"},
            kind="marked_assignment",
            grade=str(number),
            grading_scale="0-5",
        ),
        awarded_on=date(2026, 1, number),
    )


RECORDS: dict[str, Record] = {
    "qualification": Qualification(id="EX-0001", code="EX1", status="active", **LEARNING),
    "qualification-vocational": Qualification(
        id="EX-0004",
        status="inactive",
        **(
            LEARNING
            | {
                "awarding_body": None,
                "cycle": "short",
                "credit_points": None,
                "credit_amount": Decimal(180),
                "credit_unit": "osp",
                "credit_sector": "VET",
                "credit_framework": credit_framework("FI", "osp"),
                "valid_from": date(2015, 8, 1),
                "valid_until": date(2020, 7, 31),
                "micro": True,
            }
        ),
    ),
    "qualification-converted": Qualification(
        id="EX-0005",
        **(
            LEARNING
            | {
                "credit_amount": Decimal(120),
                "credit_unit": "CATS",
                "valid_until": date(2030, 7, 31),
            }
        ),
    ),
    "qualification-small": Qualification(
        id="EX-0003",
        title={"en": "Small"},
        eqf_level=6,
        nqf_uri="http://data.europa.eu/snb/qdr/c_8a7da315",
        isced_f=("0613",),
        learning_outcomes=(LearningOutcome(title={"en": "One thing."}),),
    ),
    "specification": Qualification(
        id="EX-0002", **(LEARNING | {"eqf_level": None, "nqf_uri": None})
    ),
    "opportunity": LearningOpportunity(
        id="LO-1",
        provider=BODY,
        starts_on=date(2026, 9, 1),
        ends_on=date(2027, 6, 1),
        location="Example Town",
        leads_to="EX-0001",
        **(LEARNING | {"micro": True, "valid_from": date(2026, 1, 1), "cycle": "first"}),
    ),
    "opportunity-unlevelled": LearningOpportunity(
        id="LO-2", provider=BODY, **(LEARNING | {"eqf_level": None, "nqf_uri": None})
    ),
    "opportunity-vocational": LearningOpportunity(
        id="LO-3",
        provider=BODY,
        **(
            LEARNING
            | {
                "nqf_uri": None,
                "credit_points": None,
                "credit_framework": ECVET,
                "credit_unit": "ECVET",
            }
        ),
    ),
    "opportunity-national": LearningOpportunity(
        id="LO-4",
        provider=BODY,
        **(
            LEARNING
            | {
                "credit_points": None,
                "credit_framework": credit_framework("FI", "osp"),
                "credit_unit": "osp",
                "credit_sector": "VET",
            }
        ),
    ),
    "diploma": Credential(id="D-1", kind="diploma", issued_at=CHANGED, issuer=BODY, **AWARD),
    "diploma-vocational": Credential(
        id="D-2",
        kind="diploma",
        issued_at=CHANGED,
        signed_original=b64encode(b"<elmo/>").decode(),
        parts=(
            CredentialPart(
                id="block-1",
                title={"en": "Block 1"},
                nqf_framework="NFQ",
                nqf_level="5",
                eqf_level=4,
                partial=True,
                credit_amount=Decimal(30),
                credit_unit="osp",
                credit_framework=credit_framework("FI", "osp"),
            ),
        ),
        **(
            AWARD
            | {
                "nqf_uri": None,
                "cycle": "first",
                "credit_points": None,
                "credit_amount": Decimal(180),
                "credit_unit": "osp",
                "credit_framework": credit_framework("FI", "osp"),
            }
        ),
    ),
    "certificate": Credential(
        id="C-1", kind="certificate", issued_at=CHANGED, valid_until=date(2030, 1, 1), **AWARD
    ),
    "transcript": Credential(
        id="T-1", kind="transcript", issued_at=CHANGED, parts=(part(1), part(2)), **AWARD
    ),
    "micro": Credential(
        id="M-1",
        kind="micro_credential",
        micro=True,
        issued_at=CHANGED,
        further_information={"en": "Part of a larger programme."},
        **(AWARD | {"credit_points": Decimal(3), "workload_hours": Decimal(81), "partial": True}),
    ),
    "unsealed": Credential(
        id="U-1", kind="certificate", **(AWARD | {"awarding_body": AGENCY, "holder_consent": False})
    ),
    "plain": Credential(
        id="P-1",
        kind="certificate",
        title={"fi": "Todistus"},
        awarding_body=AGENCY,
        awarded_on=date(2026, 5, 30),
        holder=Holder(pseudonym="p-2"),
    ),
    "status": StudentStatus(
        id="S-1",
        holder=HOLDER,
        institution=BODY,
        active=True,
        valid_from=date(2026, 9, 1),
        valid_until=date(2027, 9, 30),
        eqf_level=7,
        esc_agreement=True,
        changed_at=CHANGED,
    ),
    "status-ended": StudentStatus(
        id="S-2",
        holder=HOLDER,
        institution=BODY,
        ended=True,
        valid_until=date(2026, 6, 15),
        eqf_level=5,
        esc_agreement=True,
        changed_at=CHANGED,
    ),
    "card": Card(
        id="K-1",
        card_number="4b171400-b51e-103d-8abc-001900000001",
        holder=HOLDER,
        issuer=BODY,
        event="issued",
        active=True,
        card_type="SMART_CDZ",
        issued_on=date(2025, 1, 1),
        expires_on=date(2027, 9, 30),
        display_name="Campus card",
        esc_agreement=True,
        changed_at=CHANGED,
    ),
    "provider": Provider(
        id="101012444",
        organisation=BODY,
        eche=True,
        eche_from=date(2021, 1, 1),
        eche_until=date(2029, 12, 31),
        levels=(6, 7),
        reports=(QualityReport(id="5", obligatory=True, levels=(6,), valid_from=date(2024, 1, 1)),),
        changed_at=CHANGED,
    ),
}


def raw(name: str) -> RawRecord:
    return RawRecord(
        connector="ex-registry",
        stream="all",
        native_id=RECORDS[name].id,
        body=b"{}",
        changed_at=CHANGED,
        version="1",
    )


def keys(name: str, template: str | None = None, key: bytes = KEY) -> TopicKeys:
    return TopicKeys(raw(name), template, key)


def accepted(record: Record) -> Accepted:
    return Accepted(
        record=record,
        provenance=Provenance(connector="ex-registry", stream="all", config_digest="0" * 16),
    )
