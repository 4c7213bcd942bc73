"""The flat, typed, frozen records that connectors fill and renderers read, and the three ways a raw record can end.

Every field carries its description, unit, whether it is personal, whether it is derived by the gateway (and so cannot be
mapped by a connector), and the source that asks for it. Connector checks, JSON Schemas and documentation read this file.

Conventions: a text in several languages is a mapping from BCP 47 tag to text; a level is text (``4+``, ``6.1``, ``VI/2``), never
a number; amounts are :class:`~decimal.Decimal`; a date is a date; what a registry does not say is ``None`` or empty, never
guessed.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

LangMap = dict[str, str]
"""BCP 47 language tag to text."""


def field_info(
    description: str, *, personal: bool = False, derived: bool = False, source: str = ""
) -> Meta:
    """Describe a field once, for people and for programs."""
    return Meta(
        description=description, extra={"personal": personal, "derived": derived, "source": source}
    )


MISSING_ID_PREFIX, INVALID_ID_PREFIX = "?", "?!"
"""How the names of records begin whose native id is missing, or cannot be one; they are rejected, and counted like all others."""
CONFLICT_CONTEXT_KEY = "id conflict"
"""In the context of a record that came twice with one version and two contents: the digests of both. No connector can name it."""


class RawRecord(Struct, frozen=True, kw_only=True):
    """One record as a registry served it: the unit that is counted, keyed, kept and harmonised.

    ``body`` holds the record alone (an XML element, a JSON value or a CSV row as a JSON object, UTF-8) and is ``None`` when
    the registry says, or a complete scan shows, that the record is gone. ``context`` holds what the reply said around the
    record (a parent's id, the subject that was asked for); rules read it as ``$name``.
    """

    connector: str
    stream: str
    native_id: str
    body: bytes | None
    media_type: Literal["application/json", "application/xml"] = "application/json"
    kind: str = ""
    context: dict[str, str] = {}
    changed_at: datetime | None = None
    version: str = ""
    written_before: bool = False
    """True when an earlier version of it was written before: what came of that has to go if this one is rejected."""
    corrects_event_id: str = ""
    """The event that a new reading of the same bytes corrects."""
    erasure: Literal["", "asked", "met"] = ""
    """This deletion is an erasure: somebody asked for it, or what was erased before was met again. What was rejected goes too."""

    @property
    def key(self) -> str:
        """The key on ``gateway.raw.v1``: unique per record, stable for ever."""
        return f"{self.connector}|{self.native_id}"


class Organisation(Struct, frozen=True, kw_only=True):
    """A body that awards, provides, accredits or issues."""

    name: Annotated[LangMap, field_info("Legal name by language", source="ELM rov:legalName")] = {}
    country: Annotated[
        str | None, field_info("ISO 3166-1 alpha-2", source="ELM elm:countryCode")
    ] = None
    identifiers: Annotated[
        dict[str, str],
        field_info(
            "Identifier by scheme: schac pic erasmus oid eter deqar ror vat eidas local",
            source="ECHE, DEQAR, ELM adms:identifier",
        ),
    ] = {}
    homepage: Annotated[str | None, field_info("https URL")] = None


class LearningOutcome(Struct, frozen=True, kw_only=True):
    """What a learner knows, understands and is able to do (Recommendation 2017/C 189/03, Annex I)."""

    title: Annotated[LangMap, field_info("The outcome by language", source="ELM dc:title")] = {}
    kind: Annotated[Literal["knowledge", "skill"] | None, field_info("ELM skill type")] = None
    esco: Annotated[
        tuple[str, ...], field_info("ESCO skill URIs", source="ELM elm:relatedESCOSkill")
    ] = ()


class Accreditation(Struct, frozen=True, kw_only=True):
    """A quality-assurance decision the registry itself reports."""

    title: Annotated[LangMap, field_info("Name of the decision by language")] = {}
    kind: Annotated[str | None, field_info("programme | institutional | licence")] = None
    agency: Annotated[
        Organisation | None, field_info("Who decided", source="ELM elm:accreditingAgent")
    ] = None
    report: Annotated[str | None, field_info("https URL of the report")] = None
    valid_from: date | None = None
    valid_until: date | None = None


class Assessment(Struct, frozen=True, kw_only=True):
    """How a result was established."""

    title: Annotated[LangMap, field_info("Name by language")] = {}
    kind: Annotated[
        str | None,
        field_info(
            "written | oral | marked_assignment | continuous | portfolio | project | practical | quiz | artefact | attendance | peer",
            source="Annex I element 9",
        ),
    ] = None
    supervision: Annotated[
        str | None,
        field_info(
            "unsupervised | supervised_with_id | verified_online",
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
    """The person a credential, enrolment or card belongs to."""

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
    """What qualifications, opportunities, credentials and their parts say alike."""

    id: Annotated[str, field_info("The registry's own identifier, unique within its stream")]
    iri: Annotated[
        str,
        field_info(
            "Persistent IRI of the record, derived from connector and id unless the connector says how",
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
            "The EQF level the registry itself states, 1-8; compared, never trusted", source="R4"
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
            "QF-EHEA cycle: short | first | second | third, only if the registry says so",
            source="R12",
        ),
    ] = None
    credit_amount: Annotated[Decimal | None, field_info("National credits as written")] = None
    credit_unit: Annotated[
        str | None, field_info("Unit of credit_amount: a unit key in mappings/<country>.yaml")
    ] = None
    credit_sector: Annotated[str | None, field_info("HE | VET | GEN", source="R19")] = None
    credit_points: Annotated[
        Decimal | None,
        field_info(
            "ECTS credit points, exact until one rounding to 2 places",
            derived=True,
            source="R17-R19",
        ),
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
        field_info("ISCED-F 2013 codes of 2, 3 or 4 digits", source="ELM elm:ISCEDFCode"),
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
            "online | blended | presential | workbased | project | research",
            source="Annex I element 10",
        ),
    ] = None
    setting: Annotated[str | None, field_info("formal | non_formal")] = None
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
        Organisation | None, field_info("Who awards", source="Annex I element 4")
    ] = None
    accreditation: Annotated[
        tuple[Accreditation, ...], field_info("Quality assurance", source="Annex I element 11")
    ] = ()
    changed_at: Annotated[
        datetime | None, field_info("When the registry changed the record; an instant with zone")
    ] = None
    valid_from: Annotated[
        date | None, field_info("First day the qualification, course or award is valid")
    ] = None
    valid_until: Annotated[date | None, field_info("Last day it is valid")] = None


class Qualification(LearningRecord, frozen=True, kw_only=True):
    """A qualification in a national framework: a catalogue entry, no personal data."""

    code: Annotated[str | None, field_info("National code people know it by")] = None
    status: Annotated[str | None, field_info("active | inactive | planned")] = None


class LearningOpportunity(LearningRecord, frozen=True, kw_only=True):
    """A course or programme somebody offers: a catalogue entry, no personal data."""

    provider: Annotated[
        Organisation | None, field_info("Who offers it", source="ELM elm:providedBy")
    ] = None
    leads_to: Annotated[str | None, field_info("Native id of the qualification it leads to")] = None
    starts_on: date | None = None
    ends_on: date | None = None
    location: Annotated[str | None, field_info("Place by name")] = None


class CredentialPart(LearningRecord, frozen=True, kw_only=True):
    """A part of a credential that was achieved on its own: a course unit, a module, a block of competences."""

    assessment: Assessment | None = None
    awarded_on: Annotated[date | None, field_info("Date achieved", personal=True)] = None


class Credential(LearningRecord, frozen=True, kw_only=True):
    """Something a person was awarded: diploma, certificate, transcript of records or micro-credential."""

    kind: Annotated[
        Literal["diploma", "certificate", "transcript", "micro_credential"],
        field_info("What sort of credential it is"),
    ] = "certificate"
    holder: Annotated[
        Holder, field_info("Whose it is", personal=True, source="Annex I element 1")
    ] = Holder()
    awarded_on: Annotated[
        date | None,
        field_info("Date of the award; the date tables and quality assurance are judged at"),
    ] = None
    issued_at: Annotated[
        datetime | None, field_info("When the document was issued", source="Annex I element 5")
    ] = None
    issuer: Annotated[
        Organisation | None, field_info("Who issues the document when not the awarding body")
    ] = None
    assessment: Annotated[
        Assessment | None, field_info("Type of assessment", source="Annex I element 9")
    ] = None
    parts: Annotated[tuple[CredentialPart, ...], field_info("What it is made of")] = ()
    further_information: Annotated[
        LangMap, field_info("Anything more, by language", source="Annex I optional element 5")
    ] = {}
    holder_consent: Annotated[
        bool, field_info("True when the holder agreed that student-card services learn of it")
    ] = False
    revoked: Annotated[bool, field_info("True when the registry annulled it")] = False
    signed_original: Annotated[
        str | None, field_info("Base64 of the signed bytes exactly as received", personal=True)
    ] = None


class StudentStatus(Struct, frozen=True, kw_only=True):
    """One person's enrolment at one institution, as student-card services may know it. No grades, ever."""

    id: Annotated[str, field_info("The registry's own identifier, unique within its stream")]
    holder: Annotated[
        Holder, field_info("esi is required; full_name and email may be given", personal=True)
    ] = Holder()
    institution: Annotated[Organisation | None, field_info("identifiers.pic is required")] = None
    active: Annotated[bool | None, field_info("True while enrolled and attending")] = None
    ended: Annotated[
        bool,
        field_info(
            "True once the enrolment is over, whatever the reason; the reason is never carried"
        ),
    ] = False
    valid_from: date | None = None
    valid_until: Annotated[date | None, field_info("End of the term or study right")] = None
    nqf_framework: str | None = None
    nqf_level: Annotated[str | None, field_info("Level of the programme")] = None
    eqf_declared: int | None = None
    eqf_level: Annotated[int | None, field_info("5-8", derived=True)] = None
    degree_programme: Annotated[
        bool,
        field_info("False for open studies and micro-credential learners: then no academic level"),
    ] = True
    esc_agreement: Annotated[
        bool,
        field_info(
            "True when the student agreed; otherwise nothing is published",
            source="ESC Router MRAP.7",
        ),
    ] = False
    changed_at: datetime | None = None


class Card(Struct, frozen=True, kw_only=True):
    """One European Student Card."""

    id: Annotated[str, field_info("The registry's own identifier, unique within its stream")]
    card_number: Annotated[str | None, field_info("ESCN", personal=True)] = None
    holder: Annotated[Holder, field_info("esi is required", personal=True)] = Holder()
    issuer: Annotated[
        Organisation | None, field_info("identifiers.pic equals the last nine digits of the ESCN")
    ] = None
    event: Annotated[
        Literal["issued", "updated", "suspended", "reactivated", "expired", "revoked"],
        field_info("What happened"),
    ] = "updated"
    active: bool | None = None
    card_type: Annotated[str, field_info("One of the seven names of the ESC Router v2")] = "UNKNOWN"
    issued_on: date | None = None
    expires_on: date | None = None
    display_name: Annotated[str | None, field_info("Name of the card product")] = None
    esc_agreement: Annotated[
        bool, field_info("True when the student agreed; otherwise nothing is published")
    ] = False
    changed_at: datetime | None = None


class QualityReport(Struct, frozen=True, kw_only=True):
    """One external quality-assurance report about a provider (DEQAR's facts)."""

    id: Annotated[str, field_info("Report number")]
    kind: Annotated[Literal["institutional", "programme"], field_info("What was reviewed")] = (
        "institutional"
    )
    obligatory: Annotated[
        bool, field_info("Part of the obligatory system: counts as accreditation")
    ] = False
    positive: Annotated[bool, field_info("False when the decision was negative")] = True
    high_alert: Annotated[bool, field_info("True when flagged 'high level'")] = False
    agency: str | None = None
    programmes: Annotated[
        tuple[str, ...], field_info("Names of the programmes a programme report covers")
    ] = ()
    levels: Annotated[tuple[int, ...], field_info("EQF levels 5-8 covered")] = ()
    valid_from: date | None = None
    valid_until: Annotated[date | None, field_info("None: six years from valid_from")] = None


class Provider(Struct, frozen=True, kw_only=True):
    """A trusted provider and its quality assurance (ECHE, DEQAR)."""

    id: Annotated[str, field_info("The registry's own identifier")]
    organisation: Annotated[Organisation, field_info("Names and identifiers used to join")] = (
        Organisation()
    )
    eche: Annotated[bool, field_info("Holds an Erasmus Charter for Higher Education")] = False
    eche_from: date | None = None
    eche_until: date | None = None
    founded_on: date | None = None
    closed_on: date | None = None
    levels: Annotated[tuple[int, ...], field_info("EQF levels 5-8 the provider may award")] = ()
    reports: tuple[QualityReport, ...] = ()
    changed_at: datetime | None = None


Record = Qualification | LearningOpportunity | Credential | StudentStatus | Card | Provider

RECORD_TYPES: dict[str, type[Any]] = {
    "qualification": Qualification,
    "learning_opportunity": LearningOpportunity,
    "credential": Credential,
    "student_status": StudentStatus,
    "card": Card,
    "provider": Provider,
}
"""What a connector's stream may emit, by the word its file uses."""


class Issue(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something a subscriber should know about an accepted record. ``code`` is stable and a metric label."""

    code: str
    field: str
    message: str = ""


class Lookup(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One table that was read for a record: what was asked, which row answered, and the row's legal source."""

    field: str
    table: str
    version: str
    row: str
    source: str
    confidence: str = ""
    relation: str = ""
    referenced_year: int | None = None
    reason: str = ""


class Provenance(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a record came about; travels in one compact JSON header, ``provenance``. Holds no personal data."""

    connector: str
    stream: str
    config_digest: str
    tables_digest: str = ""
    lookups: tuple[Lookup, ...] = ()
    issues: tuple[Issue, ...] = ()
    annex1: dict[str, bool] = {}
    quality_assurance: dict[str, str] = {}


class Accepted(Struct, frozen=True, kw_only=True):
    """The raw record became a harmonised one."""

    record: Record
    provenance: Provenance


class Rejected(Struct, frozen=True, kw_only=True):
    """The raw record cannot be harmonised. Names a stage, a field and a reason code, and never a value of a person.

    ``stage`` is one of decode, map, table, rule, render, size. ``detail`` is for operators: what was expected, without the
    payload; values of fields that are not personal (a level, a unit) may be quoted.
    """

    stage: str
    field: str
    reason: str
    detail: str = ""
    config_digest: str = ""
    tables_digest: str = ""


class Withheld(Struct, frozen=True, kw_only=True):
    """The record is valid but may not be published (no agreement, erased person): it ends as a deletion of what was there."""

    reason: str


Outcome = Accepted | Rejected | Withheld


class Document(Struct, frozen=True, kw_only=True):
    """One wire document ready for a topic. ``value`` is ``None`` for a tombstone."""

    topic: str
    key: str
    value: bytes | None
    type: str
    """CloudEvents type, such as ``eu.europass.credential.changed.v1``."""
    subject: str
    schema: str
    """CloudEvents dataschema: the ``$id`` of the JSON Schema of the value."""
