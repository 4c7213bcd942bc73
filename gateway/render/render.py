"""Turn a harmonised record into documents, with pure functions and stable bytes.

:func:`render` returns the documents of an accepted record with their topics. It returns a rejection
if the record breaks a rule of the target format. :func:`tombstones` needs only the identity of a
record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial

import msgspec
from orjson import dumps

from gateway.config.publishing_needs import record_word
from gateway.identifiers import CardNumber, parse_card_number, parse_student_identifier
from gateway.messages.topics import (
    CARDS_TOPIC,
    CREDENTIALS_TOPIC,
    INCOMPLETE_ENTRIES_TOPIC,
    OPPORTUNITIES_TOPIC,
    POINTERS_TOPIC,
    PROVIDERS_TOPIC,
    QUALIFICATIONS_TOPIC,
    STUDENT_STATUS_TOPIC,
)
from gateway.records import (
    Accepted,
    Card,
    Credential,
    Document,
    Issue,
    LearningOpportunity,
    LearningRecord,
    Provenance,
    Provider,
    Qualification,
    RawRecord,
    Rejected,
    StudentStatus,
)
from gateway.render import (
    annex1,
    elm_catalogue,
    elm_common,
    elm_credential,
    elm_levels,
    incomplete_entries,
    student_card,
)
from gateway.render.record_ids import iri, person_iri, pseudonym_key

SCHEMAS = "https://schemas.qualification-gateway.eu"

EVENT_TYPES = {
    QUALIFICATIONS_TOPIC: "eu.europass.qualification",
    OPPORTUNITIES_TOPIC: "eu.europass.learning-opportunity",
    INCOMPLETE_ENTRIES_TOPIC: "eu.qualification-gateway.incomplete-entry",
    CREDENTIALS_TOPIC: "eu.europass.credential",
    STUDENT_STATUS_TOPIC: "eu.student-card.student-status",
    CARDS_TOPIC: "eu.student-card.card",
    POINTERS_TOPIC: "eu.student-card.credential-pointer",
    PROVIDERS_TOPIC: "eu.qualification-gateway.provider",
}
_TYPES = {
    topic: (f"{word}.changed.v1", f"{word}.deleted.v1") for topic, word in EVENT_TYPES.items()
}
_SCHEMAS = {topic: f"{SCHEMAS}/{topic}.json" for topic in EVENT_TYPES}
LEVEL_MISSING = Issue(code="level_missing", field="eqf_level")
SEALING_REQUIRED = Issue(code="sealing_required", field="issuer")
ESCO_INVALID = Issue(
    code="esco_invalid",
    field="learning_outcomes.esco",
    message="not the URI of an ESCO skill: left out",
)
ESI_INVALID = Issue(
    code="esi_invalid",
    field="holder.esi",
    message="no European Student Identifier: left out",
)
ACCREDITATION_INCOMPLETE = Issue(
    code="accreditation_incomplete",
    field="accreditation",
    message="left out: ELM needs a title, a kind, and an agency with name and country; "
    "for a catalogue entry also its levels and its awarding body",
)
ORIGINAL_TOO_LARGE = Issue(
    code="signed_original_too_large",
    field="signed_original",
    message="left out: the document would not fit into a message",
)
ASSURED_OUTCOMES = frozenset(
    {"PROGRAMME_ACCREDITED", "INSTITUTION_ACCREDITED", "QA_VOLUNTARY_ONLY"}
)
"""Outcomes of the provider check that state a quality assurance, Annex I's eleventh element."""
TOPICS_OF = {
    "qualification": (QUALIFICATIONS_TOPIC, INCOMPLETE_ENTRIES_TOPIC),
    "learning_opportunity": (OPPORTUNITIES_TOPIC, INCOMPLETE_ENTRIES_TOPIC),
    "credential": (CREDENTIALS_TOPIC, POINTERS_TOPIC),
    "student_status": (STUDENT_STATUS_TOPIC,),
    "card": (CARDS_TOPIC,),
    "provider": (PROVIDERS_TOPIC,),
}


class Rendered(msgspec.Struct, frozen=True):
    """The documents of one record, and its provenance with the issues of rendering."""

    documents: tuple[Document, ...]
    provenance: Provenance


def render(
    accepted: Accepted,
    keys: TopicKeys,
    *,
    country: str,
    at: datetime,
    loq_version: str = elm_catalogue.DEFAULT_VERSION,
    incomplete: bool = True,
) -> Rendered | Rejected:
    """Return the documents of an accepted record, or a rejection.

    ``at`` is the time of the raw record on its topic. Student-card documents contain its day as
    ``publishedAt``, so that a repeated run gives the same bytes. ``loq_version`` is the ELM
    version of catalogue entries, 3.1 or 3.3. With ``incomplete``, a catalogue entry without a field
    that its register does not hold is published on the topic of incomplete entries.
    """
    record, provenance = accepted.record, accepted.provenance
    items: RenderedItems
    match record:
        case Qualification() | LearningOpportunity():
            document, provenance = _catalogue(record, keys, provenance, loq_version, incomplete)
            return document if isinstance(document, Rejected) else Rendered((document,), provenance)
        case Credential():
            if record.revoked:
                return Rendered(tombstones(["credential"], keys), provenance)
            items, provenance = _credential(record, keys, provenance, country, at)
        case StudentStatus():
            provenance = _add_issues(provenance, student_card.left_out_texts(record))
            items = [
                (
                    STUDENT_STATUS_TOPIC,
                    keys[STUDENT_STATUS_TOPIC],
                    student_card.student_status(record, keys.event_source(country, at))
                    if record.esc_agreement
                    else None,
                )
            ]
        case Card():
            provenance = _add_issues(provenance, student_card.left_out_texts(record))
            items = [
                (
                    CARDS_TOPIC,
                    keys[CARDS_TOPIC],
                    student_card.card(record, keys.event_source(country, at))
                    if record.esc_agreement
                    else None,
                )
            ]
        case Provider():
            items = [(PROVIDERS_TOPIC, keys[PROVIDERS_TOPIC], dumps(msgspec.to_builtins(record)))]
    documents = []
    for topic, key, value in items:
        if isinstance(value, Rejected):
            return value
        documents.append(document_of(topic, key, value))
    return Rendered(tuple(documents), provenance)


def tombstones(emits: Iterable[str], keys: TopicKeys) -> tuple[Document, ...]:
    """Return the tombstones that delete a record from every topic of its possible types."""
    topics = [topic for record_type in sorted(set(emits)) for topic in TOPICS_OF[record_type]]
    return tuple([document_of(topic, keys[topic], None) for topic in dict.fromkeys(topics)])


def tombstone(topic: str, key: str) -> Document:
    """Return the tombstone of one document."""
    return document_of(topic, key, None)


RenderedItems = list[tuple[str, str, bytes | Rejected | None]]
"""Topic, key and document. A document that is ``None`` is a tombstone."""


_ENTRY_RENDERERS: dict[type, tuple[str, Callable[..., bytes | Rejected]]] = {
    Qualification: (QUALIFICATIONS_TOPIC, elm_catalogue.qualification),
    LearningOpportunity: (OPPORTUNITIES_TOPIC, elm_catalogue.opportunity),
}


def _catalogue(
    record: Qualification | LearningOpportunity,
    keys: TopicKeys,
    provenance: Provenance,
    version: str,
    incomplete: bool,
) -> tuple[Document | Rejected, Provenance]:
    issues = _esco_issues(record)
    if not elm_catalogue.all_accreditations_fit(record):
        issues.append(ACCREDITATION_INCOMPLETE)
    topic, render_entry = _ENTRY_RENDERERS[type(record)]
    if not isinstance(record, LearningOpportunity) and not elm_levels.has_levels(record):
        issues.append(LEVEL_MISSING)
    identity = keys[topic]
    value = render_entry(record, identity, version)
    missing: tuple[str, ...] = ()
    if isinstance(value, Rejected) and incomplete:
        value, missing = incomplete_entries.render_without_missing_fields(
            partial(render_entry, record, identity, version), value, record, provenance.issues
        )
    if isinstance(value, Rejected):
        return value, provenance
    document = document_of(INCOMPLETE_ENTRIES_TOPIC if missing else topic, identity, value)
    if missing:
        issues += incomplete_entries.missing_field_issues(missing)
        document = msgspec.structs.replace(
            document, record_type=record_word(record), missing=missing
        )
    return document, _add_issues(provenance, issues)


def _credential(
    record: Credential, keys: TopicKeys, provenance: Provenance, country: str, at: datetime
) -> tuple[RenderedItems, Provenance]:
    identity = keys[CREDENTIALS_TOPIC]
    quality = provenance.quality_assurance
    issues = _esco_issues(record)
    pointer = None
    if record.holder_consent:  # without it, the hash of the event's source would be in vain
        pointer = student_card.credential_pointer(
            record, identity, keys.event_source(country, at), quality
        )
    if isinstance(pointer, Issue):
        issues.append(pointer)
    pointer_value = pointer if isinstance(pointer, bytes) else None
    if pointer_value is None and record.holder.esi:
        record, esi_issues = _without_invalid_identifier(record, record.holder.esi)
        issues += esi_issues
    if not all(map(elm_common.accreditation_fits, record.accreditation)):
        issues.append(ACCREDITATION_INCOMPLETE)
    if not elm_credential.original_fits(record):
        issues.append(ORIGINAL_TOO_LARGE)
    if elm_credential.sealing_required(record):
        issues.append(SEALING_REQUIRED)
    elements: dict[str, bool] = {}
    if record.micro or record.kind == "micro_credential":
        elements = annex1.completeness(
            record, quality_assured=quality.get("outcome", "") in ASSURED_OUTCOMES
        )
    items: RenderedItems = [
        (CREDENTIALS_TOPIC, identity, elm_credential.credential(record, identity)),
        (POINTERS_TOPIC, identity, pointer_value),
    ]
    return items, _add_issues(provenance, issues, elements)


def _without_invalid_identifier(record: Credential, esi: str) -> tuple[Credential, list[Issue]]:
    """Return the record without its student identifier if that is invalid, and the issue."""
    if not isinstance(parse_student_identifier(esi), str):
        return record, []
    holder = msgspec.structs.replace(record.holder, esi=None)
    return msgspec.structs.replace(record, holder=holder), [ESI_INVALID]


_ENTRY_TOPICS = frozenset({QUALIFICATIONS_TOPIC, OPPORTUNITIES_TOPIC, INCOMPLETE_ENTRIES_TOPIC})


class TopicKeys:
    """The keys of a record by topic.

    Each key depends only on the connector and the native id, because deletions contain nothing
    else. ``template`` is the form of an IRI, if the stream sets one. ``audience_key`` makes the
    pseudonyms that replace native ids on the student-card topics. ``id_key`` hides native ids in
    the ids of credentials. If it is empty, ``audience_key`` applies.
    """

    __slots__ = ("_audience_key", "_id_key", "_raw", "_template")

    def __init__(
        self, raw: RawRecord, template: str | None, audience_key: bytes, id_key: bytes = b""
    ) -> None:
        self._raw, self._template, self._audience_key, self._id_key = (
            raw,
            template,
            audience_key,
            id_key or audience_key,
        )

    def event_source(self, country: str, at: datetime) -> student_card.EventSource:
        """Return the source of a student-card document, with a pseudonym as its native id."""
        raw, key = self._raw, self._audience_key
        return student_card.EventSource(
            raw.connector,
            pseudonym_key(key, raw.connector, raw.native_id),
            raw.version,
            raw.changed_at,
            country,
            at,
            key,
        )

    def __getitem__(self, topic: str) -> str:
        raw = self._raw
        if topic in _ENTRY_TOPICS:
            return iri(raw.connector, raw.native_id, self._template)
        if topic == PROVIDERS_TOPIC:
            return raw.key
        if topic == CARDS_TOPIC and isinstance(
            number := parse_card_number(raw.native_id), CardNumber
        ):
            return number.value
        if topic in (STUDENT_STATUS_TOPIC, CARDS_TOPIC):
            return pseudonym_key(self._audience_key, raw.connector, raw.native_id)
        if topic in (CREDENTIALS_TOPIC, POINTERS_TOPIC):
            return person_iri(self._id_key, raw.connector, raw.native_id, self._template)
        raise KeyError(topic)


def document_of(topic: str, key: str, value: bytes | None) -> Document:
    """Return a document of a topic with its type and schema. Without a value, it is a tombstone."""
    changed, deleted = _TYPES[topic]
    return Document(
        topic=topic,
        key=key,
        value=value,
        type=deleted if value is None else changed,
        subject=key,
        schema=_SCHEMAS[topic],
    )


def _esco_issues(record: LearningRecord) -> list[Issue]:
    for outcome in record.learning_outcomes:
        for uri in outcome.esco:
            if not elm_common.ESCO_SKILL.fullmatch(uri):
                return [ESCO_INVALID]
    return []


def _add_issues(
    provenance: Provenance, issues: list[Issue], elements: dict[str, bool] | None = None
) -> Provenance:
    """Return the provenance with the issues and Annex I elements that rendering found."""
    if not issues and not elements:
        return provenance
    return msgspec.structs.replace(
        provenance, issues=(*provenance.issues, *issues), annex1=elements or provenance.annex1
    )
