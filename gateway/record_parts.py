"""Define the parts that several kinds of records share, and the description of a field."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct

LangMap = dict[str, str]
"""A text in several languages: BCP 47 language tag to text."""


UnknownCode = Literal["leave_out", "reject", "keep"]
"""The treatment of a code that is not in the list of its field.

``leave_out`` notes an issue and leaves the value out. ``reject`` rejects the record. ``keep``
leaves the decision to a rule for records.
"""


def field_info(
    description: str,
    *,
    personal: bool = False,
    derived: bool = False,
    source: str = "",
    codes: str = "",
    unknown_code: UnknownCode = "leave_out",
) -> Meta:
    """Return the description of a record field, for people and for programs.

    ``personal`` marks personal data. ``derived`` marks a field that the gateway computes, so that
    no connector may fill it. ``source`` names the rule or standard that requires the field.
    ``codes`` is the closed list of values, separated by spaces, and ``unknown_code`` the treatment
    of all other values.
    """
    return Meta(
        description=f"{description}: {codes.replace(' ', ' | ')}" if codes else description,
        extra={
            "personal": personal,
            "derived": derived,
            "source": source,
            "codes": tuple(codes.split()),
            "unknown_code": unknown_code,
        },
    )


class Organisation(Struct, frozen=True, kw_only=True):
    """A body that awards, provides, accredits or issues."""

    name: Annotated[LangMap, field_info("Legal name by language", source="ELM rov:legalName")] = {}
    country: Annotated[
        str | None, field_info("ISO 3166-1 alpha-2", source="ELM elm:countryCode")
    ] = None
    identifiers: Annotated[
        dict[str, str],
        field_info(
            "Identifier by scheme: schac pic erasmus oid eter deqar ror vat eidas local, or a "
            "national number by its country, such as fi-national",
            source="ECHE, DEQAR, ELM adms:identifier",
        ),
    ] = {}
    homepage: Annotated[str | None, field_info("https URL")] = None


class LearningOutcome(Struct, frozen=True, kw_only=True):
    """The knowledge or skill of a learner (Recommendation 2017/C 189/03, Annex I)."""

    title: Annotated[LangMap, field_info("The outcome by language", source="ELM dc:title")] = {}
    kind: Annotated[Literal["knowledge", "skill"] | None, field_info("ELM skill type")] = None
    esco: Annotated[
        tuple[str, ...], field_info("ESCO skill URIs", source="ELM elm:relatedESCOSkill")
    ] = ()


class Accreditation(Struct, frozen=True, kw_only=True):
    """A quality-assurance decision that the registry itself reports."""

    title: Annotated[LangMap, field_info("Name of the decision by language")] = {}
    kind: Annotated[
        str | None, field_info("Kind of the decision", codes="programme institutional licence")
    ] = None
    agency: Annotated[
        Organisation | None, field_info("Agency that decided", source="ELM elm:accreditingAgent")
    ] = None
    report: Annotated[str | None, field_info("https URL of the report")] = None
    valid_from: date | None = None
    valid_until: date | None = None


class Assessment(Struct, frozen=True, kw_only=True):
    """The assessment that led to a result."""

    title: Annotated[LangMap, field_info("Name by language")] = {}
    kind: Annotated[
        str | None,
        field_info(
            "Kind of assessment",
            codes="written oral marked_assignment continuous portfolio project practical "
            "quiz artefact attendance peer",
            source="Annex I element 9",
        ),
    ] = None
    supervision: Annotated[
        str | None,
        field_info(
            "Supervision",
            codes="unsupervised supervised_with_id verified_online",
            source="Annex I optional element 2",
        ),
    ] = None
    grade: Annotated[
        str | None,
        field_info("As the registry writes it; never converted", personal=True, source="R16"),
    ] = None
    grading_scale: Annotated[
        str | None, field_info("The scale the grade belongs to", source="R16")
    ] = None
    assessed_on: Annotated[date | None, field_info("Date of the assessment", personal=True)] = None


class Holder(Struct, frozen=True, kw_only=True):
    """The person who holds a credential, an enrolment or a card."""

    pseudonym: Annotated[
        str | None,
        field_info("Keyed pseudonym of the national identifier, per audience", personal=True),
    ] = None
    esi: Annotated[
        str | None,
        field_info(
            "European Student Identifier, urn:schac:personalUniqueCode:int:esi:…", personal=True
        ),
    ] = None
    given_name: Annotated[str | None, field_info("Given name", personal=True)] = None
    family_name: Annotated[str | None, field_info("Family name", personal=True)] = None
    full_name: Annotated[
        str | None, field_info("Full name where the registry does not split it", personal=True)
    ] = None
    birth_date: Annotated[date | None, field_info("Date of birth", personal=True)] = None
    email: Annotated[str | None, field_info("Institutional address", personal=True)] = None


class LearningRecord(Struct, frozen=True, kw_only=True):
    """The fields that qualifications, opportunities, credentials and their parts share."""

    id: Annotated[str, field_info("The registry's own identifier, unique within its stream")]
    iri: Annotated[
        str,
        field_info(
            "Persistent IRI of the record; from connector and id unless the connector defines it",
            derived=True,
        ),
    ] = ""
    title: Annotated[
        LangMap, field_info("Title by language", source="Annex I element 2, ELM dc:title")
    ] = {}
    description: Annotated[LangMap, field_info("Description by language")] = {}
    nqf_framework: Annotated[
        str | None, field_info("Short key of the national framework in mappings/<country>.yaml")
    ] = None
    nqf_level: Annotated[
        str | None,
        field_info("National level exactly as written, as text", source="ELM elm:NQFLevel"),
    ] = None
    nqf_uri: Annotated[
        str | None, field_info("EU vocabulary URI of the national level", derived=True)
    ] = None
    eqf_declared: Annotated[
        int | None,
        field_info(
            "EQF level 1-8 that the registry itself states; for comparison only", source="R4"
        ),
    ] = None
    eqf_level: Annotated[
        int | None,
        field_info(
            "EQF level 1-8 that a dated, sourced table row states", derived=True, source="R1-R5"
        ),
    ] = None
    cycle: Annotated[
        str | None,
        field_info(
            "QF-EHEA cycle, only if the registry says so",
            codes="short first second third",
            source="R12",
        ),
    ] = None
    credit_amount: Annotated[Decimal | None, field_info("National credits as written")] = None
    credit_unit: Annotated[
        str | None, field_info("Unit of credit_amount: a unit key in mappings/<country>.yaml")
    ] = None
    credit_sector: Annotated[
        str | None,
        field_info("Sector of the credits", codes="HE VET GEN", unknown_code="keep", source="R19"),
    ] = None
    credit_points: Annotated[
        Decimal | None,
        field_info(
            "ECTS credit points, exact until one rounding to 2 places",
            derived=True,
            source="R17-R19",
        ),
    ] = None
    credit_framework: Annotated[
        str | None,
        field_info("IRI of the framework of credits that are not ECTS", derived=True, source="R19"),
    ] = None
    workload_hours: Annotated[
        Decimal | None,
        field_info("Notional workload in hours of 60 minutes", source="Annex I element 7"),
    ] = None
    duration_months: Annotated[
        int | None, field_info("Nominal duration in months", source="ELM elm:maximumDuration")
    ] = None
    isced_f: Annotated[
        tuple[str, ...],
        field_info(
            "ISCED-F 2013 codes of 2, 3 or 4 digits, in quotes", source="ELM elm:ISCEDFCode"
        ),
    ] = ()
    languages: Annotated[
        tuple[str, ...], field_info("Languages of instruction and assessment, BCP 47")
    ] = ()
    learning_outcomes: Annotated[
        tuple[LearningOutcome, ...], field_info("Learning outcomes", source="Annex I element 6")
    ] = ()
    mode: Annotated[
        str | None,
        field_info(
            "Mode of learning",
            codes="online blended presential workbased project research",
            source="Annex I element 10",
        ),
    ] = None
    setting: Annotated[
        str | None, field_info("Setting of the learning", codes="formal non_formal")
    ] = None
    entry_requirement: Annotated[
        LangMap, field_info("Prerequisites by language", source="Annex I optional element 1")
    ] = {}
    partial: Annotated[
        bool | None,
        field_info(
            "True when stackable towards a larger qualification",
            source="Annex I optional element 4",
        ),
    ] = None
    micro: Annotated[bool, field_info("True for a micro-credential", source="2022/C 243/02")] = (
        False
    )
    homepage: Annotated[str | None, field_info("https URL for people")] = None
    awarding_body: Annotated[
        Organisation | None, field_info("Awarding organisation", source="Annex I element 4")
    ] = None
    accreditation: Annotated[
        tuple[Accreditation, ...], field_info("Quality assurance", source="Annex I element 11")
    ] = ()
    changed_at: Annotated[
        datetime | None, field_info("Time of the last change in the registry, with zone")
    ] = None
    valid_from: Annotated[
        date | None, field_info("First day the qualification, course or award is valid")
    ] = None
    valid_until: Annotated[date | None, field_info("Last day it is valid")] = None
