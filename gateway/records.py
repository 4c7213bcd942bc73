"""Define the records that connectors fill and renderers read, and the outcomes of a raw record.

Connector checks, JSON Schemas and documentation read this module. It follows these conventions:

A text in several languages is a mapping from BCP 47 tag to text.

A level is text, such as ``4+``, ``6.1`` or ``VI/2``, and never a number.

An amount is a :class:`~decimal.Decimal`, and a date is a :class:`~datetime.date`.

A value that the registry does not supply is ``None`` or empty. The gateway never guesses it.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from msgspec import Struct, field

from gateway.record_parts import (
    Accreditation,
    Assessment,
    Holder,
    LangMap,
    LearningOutcome,
    LearningRecord,
    Organisation,
    field_info,
)

MISSING_ID_PREFIX, INVALID_ID_PREFIX = "?", "?!"
"""Prefixes of the ids that the gateway assigns to records with a missing or an invalid native id.

The gateway rejects such records and counts them like all others.
"""
CONFLICT_CONTEXT_KEY = "id conflict"
"""The context key with the digests of both contents, when one version arrives with two contents.

No connector can use this key, because it contains a space.
"""

ChangeTimeProblem = Literal["", "unreadable", "in_future"]
"""``unreadable``: the text of the change time has no known form. ``in_future``: it states a time
that has not been reached."""

MISSING_PARTS_CONTEXT_KEY = "id parts missing"
"""The context key with the numbers of the parts of an id that have no value, from 1."""
MALFORMED_ROW_KEY = "_malformed"
"""The key of a row of a table with more or fewer cells than columns: a list of both numbers."""
UNREADABLE_CONTEXT_KEY = "unreadable values"
"""The context key with the names of the values that cannot be stored, such as ``version``.

The gateway rejects the record.
"""


class RawRecord(Struct, frozen=True, kw_only=True):
    """One record as the registry served it.

    ``body`` holds only the record, in UTF-8: an XML element, a JSON value, or a CSV row as a JSON
    object. It is ``None`` for a deletion, which the registry reports or a complete scan shows.

    ``context`` holds values from around the record, such as a parent's id or the requested data
    subject. Rules read them as ``$name``.
    """

    connector: str
    stream: str
    native_id: str
    body: bytes | None
    media_type: Literal["application/json", "application/xml"] = "application/json"
    kind: str = ""
    context: dict[str, str] = {}
    changed_at: datetime | None = None
    """When the registry changed the record, at the earliest when its text leaves it open."""
    changed_latest: datetime | None = None
    """The latest time that the registry's text may mean, when it does not mean one moment.

    Examples are a date without a time, and a local time that occurs twice. Only the poll that read
    the record knows it.
    """
    change_time_problem: ChangeTimeProblem = ""
    """Why the change time is not used, or an empty text."""
    version: str = ""
    row: str = ""
    """The row of the table that held the record, such as ``row 17``. It is no part of it."""
    written_before: bool = False
    """True when the gateway wrote an earlier version.

    If it rejects this version, it removes the documents of the earlier one.
    """
    corrects_event_id: str = ""
    """The id of the event that a new harmonisation of the same bytes corrects."""
    event_id: str = ""
    """The id of its event on ``gateway.raw.v1``, or an empty text before the record is written."""
    erasure: Literal["", "asked", "met"] = ""
    """Why this deletion is an erasure, or an empty text for any other record.

    ``asked`` means a request for erasure. ``met`` means that the registry served an erased record
    again. An erasure also removes the rejections of the record.
    """

    @property
    def key(self) -> str:
        """The key on ``gateway.raw.v1``. It is unique for each record and never changes."""
        return f"{self.connector}|{self.native_id}"


class Qualification(LearningRecord, frozen=True, kw_only=True):
    """A qualification in a national framework, as a catalogue entry without personal data."""

    code: Annotated[str | None, field_info("National code of the qualification")] = None
    status: Annotated[
        str | None, field_info("Status of the qualification", codes="active inactive planned")
    ] = None


class LearningOpportunity(LearningRecord, frozen=True, kw_only=True):
    """A course or programme, as a catalogue entry without personal data."""

    provider: Annotated[
        Organisation | None, field_info("Organisation that offers it", source="ELM elm:providedBy")
    ] = None
    leads_to: Annotated[str | None, field_info("Native id of the qualification it leads to")] = None
    starts_on: date | None = None
    ends_on: date | None = None
    location: Annotated[str | None, field_info("Place by name")] = None
    location_country: Annotated[
        str | None,
        field_info("Country of the place, ISO 3166-1 alpha-2; the provider's when left out"),
    ] = None


class CredentialPart(LearningRecord, frozen=True, kw_only=True):
    """A separate part of a credential, such as a course unit or a block of competences."""

    assessment: Assessment | None = None
    awarded_on: Annotated[date | None, field_info("Date achieved", personal=True)] = None


class Credential(LearningRecord, frozen=True, kw_only=True):
    """An award to a person: a diploma, certificate, transcript of records or micro-credential."""

    kind: Annotated[
        Literal["diploma", "certificate", "transcript", "micro_credential"] | None,
        field_info("Type of the credential; without a value the record gets an issue"),
    ] = None
    holder: Annotated[
        Holder,
        field_info("Person who holds the credential", personal=True, source="Annex I element 1"),
    ] = Holder()
    awarded_on: Annotated[
        date | None,
        field_info("Date of the award; tables and quality assurance count as of this date"),
    ] = None
    issued_at: Annotated[
        datetime | None,
        field_info("Time at which the document was issued", source="Annex I element 5"),
    ] = None
    issuer: Annotated[
        Organisation | None,
        field_info("Issuer of the document, when it differs from the awarding body"),
    ] = None
    assessment: Annotated[
        Assessment | None, field_info("Type of assessment", source="Annex I element 9")
    ] = None
    parts: Annotated[tuple[CredentialPart, ...], field_info("Parts of the credential")] = ()
    further_information: Annotated[
        LangMap, field_info("Further information by language", source="Annex I optional element 5")
    ] = field(default_factory=dict)
    holder_consent: Annotated[
        bool, field_info("True when the holder agreed to share it with student-card services")
    ] = False
    revoked: Annotated[bool, field_info("True when the registry annulled it")] = False
    signed_original: Annotated[
        str | None, field_info("Base64 of the signed bytes exactly as received", personal=True)
    ] = None


class StudentStatus(Struct, frozen=True, kw_only=True):
    """A person's enrolment at an institution, for student-card services. It never holds grades."""

    id: Annotated[str, field_info("The registry's own identifier, unique within its stream")]
    holder: Annotated[
        Holder, field_info("esi is required; full_name and email may be given", personal=True)
    ] = Holder()
    institution: Annotated[Organisation | None, field_info("identifiers.pic is required")] = None
    active: Annotated[bool | None, field_info("True while enrolled and attending")] = None
    ended: Annotated[
        bool,
        field_info(
            "True once the enrolment is over, for any reason; the record never holds the reason"
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
        field_info(
            "False for open studies and micro-credential learners, who get no academic level"
        ),
    ] = True
    esc_agreement: Annotated[
        bool,
        field_info(
            "True when the student agreed; otherwise the gateway publishes nothing",
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
        field_info("Event in the life of the card"),
    ] = "updated"
    active: bool | None = None
    processor: Annotated[
        str | None, field_info("VAT number of a third party that manages the card")
    ] = None
    card_type: Annotated[
        str,
        field_info(
            "Name of the ESC Router v2, `UNKNOWN` when left out",
            codes="UNKNOWN PASSIVE SMART_NO_CDZ SMART_CDZ SMART_MAY_SP SMART_PASSIVE "
            "SMART_PASSIVE_EMULATION",
            unknown_code="reject",
        ),
    ] = "UNKNOWN"
    issued_on: date | None = None
    expires_on: date | None = None
    display_name: Annotated[str | None, field_info("Name of the card product")] = None
    esc_agreement: Annotated[
        bool, field_info("True when the student agreed; otherwise the gateway publishes nothing")
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
    permalink: Annotated[str | None, field_info("Permanent web address of the report")] = None
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
    countries: Annotated[
        tuple[str, ...],
        field_info("Further countries in which it is established, ISO 3166-1 alpha-2"),
    ] = ()
    eche: Annotated[bool, field_info("Holds an Erasmus Charter for Higher Education")] = False
    eche_list_from: Annotated[
        date | None,
        field_info("First day that the list of charters covers; nothing is known before it"),
    ] = None
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
"""The record types that a stream may emit, by the word in the connector file."""


# The JSON Schemas publish the docstrings of the next three classes, so they stay on one line.


class Issue(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something a subscriber should know about an accepted record. ``code`` is stable and a metric label."""  # noqa: E501

    code: str
    field: str
    message: str = ""


class Lookup(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One table that was read for a record: what was asked, which row answered, and the row's legal source."""  # noqa: E501

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
    """How a record came about; travels in one compact JSON header, ``provenance``. Holds no personal data."""  # noqa: E501

    connector: str
    stream: str
    config_digest: str
    tables_digest: str = ""
    lookups: tuple[Lookup, ...] = ()
    issues: tuple[Issue, ...] = ()
    annex1: dict[str, bool] = {}
    quality_assurance: dict[str, str] = {}
    country: str = ""
    """The country of the record, if its source holds records of several countries."""


class Accepted(Struct, frozen=True, kw_only=True):
    """The outcome of a raw record that became a harmonised record."""

    record: Record
    provenance: Provenance


class Rejected(Struct, frozen=True, kw_only=True):
    """The outcome of a raw record that the gateway cannot harmonise.

    It names a stage, a field and a reason code, and never holds a personal value. ``stage`` is
    ``decode``, ``map``, ``table``, ``rule``, ``render`` or ``size``.

    ``detail`` tells operators what the gateway expected. It never holds the payload, but may quote
    a value that is not personal, such as a level or a unit.
    """

    stage: str
    field: str
    reason: str
    detail: str = ""
    config_digest: str = ""
    tables_digest: str = ""
    country: str = ""
    """The country of the record, if its source holds records of several countries."""


class Withheld(Struct, frozen=True, kw_only=True):
    """The outcome of a valid record that the gateway may not publish.

    Reasons are, for example, a missing agreement or an erased person. The gateway removes the
    documents of earlier versions. ``detail`` tells operators what the gateway expected, and never
    holds the payload.
    """

    reason: str
    detail: str = ""


Outcome = Accepted | Rejected | Withheld


class Document(Struct, frozen=True, kw_only=True):
    """One document that is ready for a topic. ``value`` is ``None`` for a tombstone."""

    topic: str
    key: str
    value: bytes | None
    type: str
    """The CloudEvents type, such as ``eu.europass.credential.changed.v1``."""
    subject: str
    schema: str
    """The CloudEvents dataschema, which is the ``$id`` of the JSON Schema of the value."""
    record_type: str = ""
    """The type of the record, as connector files write it, for an incomplete entry."""
    missing: tuple[str, ...] = ()
    """The fields that LOQ requires and an incomplete entry lacks."""


__all__ = [
    "CONFLICT_CONTEXT_KEY",
    "INVALID_ID_PREFIX",
    "MISSING_ID_PREFIX",
    "MISSING_PARTS_CONTEXT_KEY",
    "RECORD_TYPES",
    "UNREADABLE_CONTEXT_KEY",
    "Accepted",
    "Accreditation",
    "Assessment",
    "Card",
    "ChangeTimeProblem",
    "Credential",
    "CredentialPart",
    "Document",
    "Holder",
    "Issue",
    "LangMap",
    "LearningOpportunity",
    "LearningOutcome",
    "LearningRecord",
    "Lookup",
    "Organisation",
    "Outcome",
    "Provenance",
    "Provider",
    "Qualification",
    "QualityReport",
    "RawRecord",
    "Record",
    "Rejected",
    "StudentStatus",
    "Withheld",
]
