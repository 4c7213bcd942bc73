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


def about(description: str, *, personal: bool = False, derived: bool = False, source: str = "") -> Meta:
    """Describe a field once, for people and for programs."""
    return Meta(description=description, extra={"personal": personal, "derived": derived, "source": source})


NO_ID, BAD_ID = "?", "?!"
"""How the names of records begin whose native id is missing, or cannot be one; they are rejected, and counted like all others."""
CONFLICT = "id conflict"
"""In the context of a record that came twice with one version and two contents: the digests of both. No connector can name it."""


class Raw(Struct, frozen=True, kw_only=True):
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
    again: bool = False
    """True when an earlier version of it was written before: what came of that has to go if this one is rejected."""
    correctionof: str = ""
    """The event that a new reading of the same bytes corrects."""
    erased: Literal["", "asked", "met"] = ""
    """This deletion is an erasure: somebody asked for it, or what was erased before was met again. What was rejected goes too."""

    @property
    def key(self) -> str:
        """The key on ``gateway.raw.v1``: unique per record, stable for ever."""
        return f"{self.connector}|{self.native_id}"


class Organisation(Struct, frozen=True, kw_only=True):
    """A body that awards, provides, accredits or issues."""

    name: Annotated[LangMap, about("Legal name by language", source="ELM rov:legalName")] = {}
    country: Annotated[str | None, about("ISO 3166-1 alpha-2", source="ELM elm:countryCode")] = None
    identifiers: Annotated[
        dict[str, str],
        about("Identifier by scheme: schac pic erasmus oid eter deqar ror vat eidas local", source="ECHE, DEQAR, ELM adms:identifier"),
    ] = {}
    homepage: Annotated[str | None, about("https URL")] = None


class LearningOutcome(Struct, frozen=True, kw_only=True):
    """What a learner knows, understands and is able to do (Recommendation 2017/C 189/03, Annex I)."""

    title: Annotated[LangMap, about("The outcome by language", source="ELM dc:title")] = {}
    kind: Annotated[Literal["knowledge", "skill"] | None, about("ELM skill type")] = None
    esco: Annotated[tuple[str, ...], about("ESCO skill URIs", source="ELM elm:relatedESCOSkill")] = ()


class Accreditation(Struct, frozen=True, kw_only=True):
    """A quality-assurance decision the registry itself reports."""

    title: Annotated[LangMap, about("Name of the decision by language")] = {}
    kind: Annotated[str | None, about("programme | institutional | licence")] = None
    agency: Annotated[Organisation | None, about("Who decided", source="ELM elm:accreditingAgent")] = None
    report: Annotated[str | None, about("https URL of the report")] = None
    valid_from: date | None = None
    valid_until: date | None = None


class Assessment(Struct, frozen=True, kw_only=True):
    """How a result was established."""

    title: Annotated[LangMap, about("Name by language")] = {}
    kind: Annotated[
        str | None,
        about(
            "written | oral | marked_assignment | continuous | portfolio | project | practical | quiz | artefact | attendance | peer",
            source="Annex I element 9",
        ),
    ] = None
    supervision: Annotated[
        str | None, about("unsupervised | supervised_with_id | verified_online", source="Annex I optional element 2")
    ] = None
    grade: Annotated[str | None, about("As the registry writes it; never converted", personal=True, source="R16")] = None
    grading_scale: Annotated[str | None, about("The scale the grade belongs to", source="R16")] = None
    assessed_on: Annotated[date | None, about("Date of the assessment", personal=True)] = None


class Holder(Struct, frozen=True, kw_only=True):
    """The person a credential, enrolment or card belongs to."""

    pseudonym: Annotated[str | None, about("Keyed pseudonym of the national identifier, per audience", personal=True)] = None
    esi: Annotated[str | None, about("European Student Identifier, urn:schac:personalUniqueCode:int:esi:…", personal=True)] = None
    given_name: Annotated[str | None, about("Given name", personal=True)] = None
    family_name: Annotated[str | None, about("Family name", personal=True)] = None
    full_name: Annotated[str | None, about("Full name where the registry does not split it", personal=True)] = None
    birth_date: Annotated[date | None, about("Date of birth", personal=True)] = None
    email: Annotated[str | None, about("Institutional address", personal=True)] = None


class Learning(Struct, frozen=True, kw_only=True):
    """What qualifications, opportunities, credentials and their parts say alike."""

    id: Annotated[str, about("The registry's own identifier, unique within its stream")]
    iri: Annotated[
        str, about("Persistent IRI of the record, derived from connector and id unless the connector says how", derived=True)
    ] = ""
    title: Annotated[LangMap, about("Title by language", source="Annex I element 2, ELM dc:title")] = {}
    description: Annotated[LangMap, about("Description by language")] = {}
    nqf_framework: Annotated[str | None, about("Short key of the national framework in mappings/<country>.yaml")] = None
    nqf_level: Annotated[str | None, about("National level exactly as written, as text", source="ELM elm:NQFLevel")] = None
    nqf_uri: Annotated[str | None, about("EU vocabulary URI of the national level", derived=True)] = None
    eqf_declared: Annotated[int | None, about("The EQF level the registry itself states, 1-8; compared, never trusted", source="R4")] = None
    eqf_level: Annotated[int | None, about("EQF level 1-8 that a dated, sourced table row states", derived=True, source="R1-R5")] = None
    cycle: Annotated[str | None, about("QF-EHEA cycle: short | first | second | third, only if the registry says so", source="R12")] = None
    credit_amount: Annotated[Decimal | None, about("National credits as written")] = None
    credit_unit: Annotated[str | None, about("Unit of credit_amount: a unit key in mappings/<country>.yaml")] = None
    credit_sector: Annotated[str | None, about("HE | VET | GEN", source="R19")] = None
    credit_points: Annotated[
        Decimal | None, about("ECTS credit points, exact until one rounding to 2 places", derived=True, source="R17-R19")
    ] = None
    workload_hours: Annotated[Decimal | None, about("Notional workload in hours of 60 minutes", source="Annex I element 7")] = None
    duration_months: Annotated[int | None, about("Nominal duration in months", source="ELM elm:maximumDuration")] = None
    isced_f: Annotated[tuple[str, ...], about("ISCED-F 2013 codes of 2, 3 or 4 digits", source="ELM elm:ISCEDFCode")] = ()
    languages: Annotated[tuple[str, ...], about("Languages of instruction and assessment, BCP 47")] = ()
    learning_outcomes: Annotated[tuple[LearningOutcome, ...], about("Learning outcomes", source="Annex I element 6")] = ()
    mode: Annotated[str | None, about("online | blended | presential | workbased | project | research", source="Annex I element 10")] = None
    setting: Annotated[str | None, about("formal | non_formal")] = None
    entry_requirement: Annotated[LangMap, about("Prerequisites by language", source="Annex I optional element 1")] = {}
    partial: Annotated[bool | None, about("True when stackable towards a larger qualification", source="Annex I optional element 4")] = None
    micro: Annotated[bool, about("True for a micro-credential", source="2022/C 243/02")] = False
    homepage: Annotated[str | None, about("https URL for people")] = None
    awarding_body: Annotated[Organisation | None, about("Who awards", source="Annex I element 4")] = None
    accreditation: Annotated[tuple[Accreditation, ...], about("Quality assurance", source="Annex I element 11")] = ()
    changed_at: Annotated[datetime | None, about("When the registry changed the record; an instant with zone")] = None
    valid_from: Annotated[date | None, about("First day the qualification, course or award is valid")] = None
    valid_until: Annotated[date | None, about("Last day it is valid")] = None


class Qualification(Learning, frozen=True, kw_only=True):
    """A qualification in a national framework: a catalogue entry, no personal data."""

    code: Annotated[str | None, about("National code people know it by")] = None
    status: Annotated[str | None, about("active | inactive | planned")] = None


class LearningOpportunity(Learning, frozen=True, kw_only=True):
    """A course or programme somebody offers: a catalogue entry, no personal data."""

    provider: Annotated[Organisation | None, about("Who offers it", source="ELM elm:providedBy")] = None
    leads_to: Annotated[str | None, about("Native id of the qualification it leads to")] = None
    starts_on: date | None = None
    ends_on: date | None = None
    location: Annotated[str | None, about("Place by name")] = None


class Part(Learning, frozen=True, kw_only=True):
    """A part of a credential that was achieved on its own: a course unit, a module, a block of competences."""

    assessment: Assessment | None = None
    awarded_on: Annotated[date | None, about("Date achieved", personal=True)] = None


class Credential(Learning, frozen=True, kw_only=True):
    """Something a person was awarded: diploma, certificate, transcript of records or micro-credential."""

    kind: Annotated[Literal["diploma", "certificate", "transcript", "micro_credential"], about("What sort of credential it is")] = (
        "certificate"
    )
    holder: Annotated[Holder, about("Whose it is", personal=True, source="Annex I element 1")] = Holder()
    awarded_on: Annotated[date | None, about("Date of the award; the date tables and quality assurance are judged at")] = None
    issued_at: Annotated[datetime | None, about("When the document was issued", source="Annex I element 5")] = None
    issuer: Annotated[Organisation | None, about("Who issues the document when not the awarding body")] = None
    assessment: Annotated[Assessment | None, about("Type of assessment", source="Annex I element 9")] = None
    parts: Annotated[tuple[Part, ...], about("What it is made of")] = ()
    further_information: Annotated[LangMap, about("Anything more, by language", source="Annex I optional element 5")] = {}
    holder_consent: Annotated[bool, about("True when the holder agreed that student-card services learn of it")] = False
    revoked: Annotated[bool, about("True when the registry annulled it")] = False
    signed_original: Annotated[str | None, about("Base64 of the signed bytes exactly as received", personal=True)] = None


class StudentStatus(Struct, frozen=True, kw_only=True):
    """One person's enrolment at one institution, as student-card services may know it. No grades, ever."""

    id: Annotated[str, about("The registry's own identifier, unique within its stream")]
    holder: Annotated[Holder, about("esi is required; full_name and email may be given", personal=True)] = Holder()
    institution: Annotated[Organisation | None, about("identifiers.pic is required")] = None
    active: Annotated[bool | None, about("True while enrolled and attending")] = None
    ended: Annotated[bool, about("True once the enrolment is over, whatever the reason; the reason is never carried")] = False
    valid_from: date | None = None
    valid_until: Annotated[date | None, about("End of the term or study right")] = None
    nqf_framework: str | None = None
    nqf_level: Annotated[str | None, about("Level of the programme")] = None
    eqf_declared: int | None = None
    eqf_level: Annotated[int | None, about("5-8", derived=True)] = None
    degree_programme: Annotated[bool, about("False for open studies and micro-credential learners: then no academic level")] = True
    esc_agreement: Annotated[bool, about("True when the student agreed; otherwise nothing is published", source="ESC Router MRAP.7")] = (
        False
    )
    changed_at: datetime | None = None


class Card(Struct, frozen=True, kw_only=True):
    """One European Student Card."""

    id: Annotated[str, about("The registry's own identifier, unique within its stream")]
    card_number: Annotated[str | None, about("ESCN", personal=True)] = None
    holder: Annotated[Holder, about("esi is required", personal=True)] = Holder()
    issuer: Annotated[Organisation | None, about("identifiers.pic equals the last nine digits of the ESCN")] = None
    event: Annotated[Literal["issued", "updated", "suspended", "reactivated", "expired", "revoked"], about("What happened")] = "updated"
    active: bool | None = None
    card_type: Annotated[str, about("One of the seven names of the ESC Router v2")] = "UNKNOWN"
    issued_on: date | None = None
    expires_on: date | None = None
    display_name: Annotated[str | None, about("Name of the card product")] = None
    esc_agreement: Annotated[bool, about("True when the student agreed; otherwise nothing is published")] = False
    changed_at: datetime | None = None


class QualityReport(Struct, frozen=True, kw_only=True):
    """One external quality-assurance report about a provider (DEQAR's facts)."""

    id: Annotated[str, about("Report number")]
    kind: Annotated[Literal["institutional", "programme"], about("What was reviewed")] = "institutional"
    obligatory: Annotated[bool, about("Part of the obligatory system: counts as accreditation")] = False
    positive: Annotated[bool, about("False when the decision was negative")] = True
    high_alert: Annotated[bool, about("True when flagged 'high level'")] = False
    agency: str | None = None
    programmes: Annotated[tuple[str, ...], about("Names of the programmes a programme report covers")] = ()
    levels: Annotated[tuple[int, ...], about("EQF levels 5-8 covered")] = ()
    valid_from: date | None = None
    valid_until: Annotated[date | None, about("None: six years from valid_from")] = None


class Provider(Struct, frozen=True, kw_only=True):
    """A trusted provider and its quality assurance (ECHE, DEQAR)."""

    id: Annotated[str, about("The registry's own identifier")]
    organisation: Annotated[Organisation, about("Names and identifiers used to join")] = Organisation()
    eche: Annotated[bool, about("Holds an Erasmus Charter for Higher Education")] = False
    eche_from: date | None = None
    eche_until: date | None = None
    founded_on: date | None = None
    closed_on: date | None = None
    levels: Annotated[tuple[int, ...], about("EQF levels 5-8 the provider may award")] = ()
    reports: tuple[QualityReport, ...] = ()
    changed_at: datetime | None = None


Record = Qualification | LearningOpportunity | Credential | StudentStatus | Card | Provider

EMITS: dict[str, type[Any]] = {
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
