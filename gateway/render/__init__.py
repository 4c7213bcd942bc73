"""Harmonised record to wire documents: pure and byte-stable.

``render`` answers with the documents of one accepted record, each bound for its topic, or with a rejection when a target's rules
cannot be met. ``tombstones`` answers with what takes a record away, from its identity alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
import orjson

from gateway.records import (
    Accepted,
    Card,
    Credential,
    Document,
    Issue,
    LearningOpportunity,
    Provenance,
    Provider,
    Qualification,
    Raw,
    Rejected,
    StudentStatus,
)
from gateway.render import annex1, elm_edc, elm_loq, esc
from gateway.render.identity import iri, pseudonym_key

SCHEMAS = "https://schemas.qualification-gateway.eu"
QUALIFICATIONS = "europass.qualifications.v1"
OPPORTUNITIES = "europass.learning-opportunities.v1"
CREDENTIALS = "europass.credentials.v1"
STATUS = "esc.student-status.v1"
CARDS = "esc.cards.v1"
POINTERS = "esc.credential-pointers.v1"
PROVIDERS = "reference.providers.v1"

TYPES = {
    QUALIFICATIONS: "eu.europass.qualification",
    OPPORTUNITIES: "eu.europass.learning-opportunity",
    CREDENTIALS: "eu.europass.credential",
    STATUS: "eu.student-card.student-status",
    CARDS: "eu.student-card.card",
    POINTERS: "eu.student-card.credential-pointer",
    PROVIDERS: "eu.qualification-gateway.provider",
}
TOPICS_OF = {
    "qualification": (QUALIFICATIONS,),
    "learning_opportunity": (OPPORTUNITIES,),
    "credential": (CREDENTIALS, POINTERS),
    "student_status": (STATUS,),
    "card": (CARDS,),
    "provider": (PROVIDERS,),
}


class Rendered(msgspec.Struct, frozen=True):
    """The documents of one record and its provenance, completed with what rendering found."""

    documents: tuple[Document, ...]
    provenance: Provenance


def render(accepted: Accepted, raw: Raw, *, template: str | None, country: str, at: datetime, audience_key: bytes) -> Rendered | Rejected:
    """Return the documents of an accepted record. ``at`` is the raw record's own time, so that repeats give the same bytes."""
    identity = iri(raw.connector, raw.native_id, template)
    record = accepted.record
    provenance = accepted.provenance
    if not isinstance(record, StudentStatus | Card | Provider):
        record = msgspec.structs.replace(record, iri=identity)
    keys = _keys(raw, identity, audience_key)
    found: dict[str, Any]
    match record:
        case Qualification():
            node = elm_loq.qualification(record)
            found = {QUALIFICATIONS: node}
            if isinstance(node, dict) and node["type"] != "Qualification":
                provenance = _with_issue(provenance, Issue(code="level_missing", field="eqf_level"))
        case LearningOpportunity():
            found = {OPPORTUNITIES: elm_loq.opportunity(record)}
        case Credential():
            if record.revoked:
                return Rendered(_all_gone("credential", keys), provenance)
            found = {CREDENTIALS: elm_edc.credential(record)}
            quality = provenance.quality_assurance.get("outcome", "UNKNOWN_PROVIDER")
            found[POINTERS] = esc.pointer(record, raw, country, at, quality)
            provenance = _credential_provenance(record, provenance)
        case StudentStatus():
            found = {STATUS: esc.student_status(record, raw, country, at)}
        case Card():
            found = {CARDS: esc.card(record, raw, country, at)}
        case Provider():
            found = {PROVIDERS: msgspec.to_builtins(record)}
    for node in found.values():
        if isinstance(node, Rejected):
            return node
    return Rendered(tuple(_document(topic, keys[topic], node) for topic, node in found.items()), provenance)


def tombstones(emits: Iterable[str], raw: Raw, *, template: str | None, audience_key: bytes) -> tuple[Document, ...]:
    """Return what takes a record away from every topic it may stand on."""
    keys = _keys(raw, iri(raw.connector, raw.native_id, template), audience_key)
    return tuple(document for word in sorted(set(emits)) for document in _all_gone(word, keys))


def _all_gone(emits: str, keys: dict[str, str]) -> tuple[Document, ...]:
    return tuple(_document(topic, keys[topic], None) for topic in TOPICS_OF[emits])


def _keys(raw: Raw, identity: str, audience_key: bytes) -> dict[str, str]:
    """Return the key on each topic; all follow from connector and native id, because a deletion knows no more."""
    return {
        QUALIFICATIONS: identity,
        OPPORTUNITIES: identity,
        CREDENTIALS: identity,
        POINTERS: identity,
        STATUS: pseudonym_key(audience_key, raw.connector, raw.native_id),
        CARDS: raw.native_id.lower()
        if esc.ESCN.fullmatch(raw.native_id.lower())
        else pseudonym_key(audience_key, raw.connector, raw.native_id),
        PROVIDERS: raw.key,
    }


def _document(topic: str, key: str, node: Any) -> Document:
    gone = node is None
    return Document(
        topic=topic,
        key=key,
        value=None if gone else orjson.dumps(node),
        type=f"{TYPES[topic]}.{'deleted' if gone else 'changed'}.v1",
        subject=key,
        schema=f"{SCHEMAS}/{topic}.json",
    )


def _credential_provenance(record: Credential, provenance: Provenance) -> Provenance:
    if elm_edc.sealing_required(record):
        provenance = _with_issue(provenance, Issue(code="sealing_required", field="issuer"))
    if record.micro or record.kind == "micro_credential":
        assured = provenance.quality_assurance.get("outcome", "") in {"PROGRAMME_ACCREDITED", "INSTITUTION_ACCREDITED", "QA_VOLUNTARY_ONLY"}
        provenance = msgspec.structs.replace(provenance, annex1=annex1.completeness(record, quality_assured=assured))
    return provenance


def _with_issue(provenance: Provenance, issue: Issue) -> Provenance:
    return msgspec.structs.replace(provenance, issues=(*provenance.issues, issue))
