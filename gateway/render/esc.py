"""Student-card documents: flat, closed, with a list of fields and nothing else.

No grade, transcript, birth date, national number, gender or reason for leaving can pass: there is no field for them. The times of
an event come from the raw record, so that the same raw record always gives the same bytes.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

from gateway.records import Card, Credential, Organisation, Raw, Rejected, StudentStatus
from gateway.render.elm import Node, put
from gateway.render.elm_edc import instant
from gateway.render.identity import event_uuid

ACADEMIC_LEVELS: Final = {6: "BACHELOR", 7: "MASTER", 8: "DOCTORATE"}
CARD_TYPES: Final = frozenset(
    {"UNKNOWN", "PASSIVE", "SMART_NO_CDZ", "SMART_CDZ", "SMART_MAY_SP", "SMART_PASSIVE", "SMART_PASSIVE_EMULATION"}
)
ESI: Final = re.compile(r"urn:schac:personalUniqueCode:int:esi:[^:]+:.+")
ESCN: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9]{12}")
PIC: Final = re.compile(r"[0-9]{9}")
LARGEST_MICRO_CREDENTIAL: Final = 60
"""Below 60 ECTS and no full degree (DEQAR's definition; the Recommendation only says a small volume)."""


def student_status(record: StudentStatus, raw: Raw, country: str, at: datetime) -> Node | Rejected:
    """Return one enrolment in full."""
    esi, pic = _esi(record.holder.esi), _identifier(record.institution, "pic", PIC)
    if isinstance(esi, Rejected):
        return esi
    if pic is None:
        return _missing("institution.identifiers.pic", "nine digits")
    if record.active is None and not record.ended:
        return _missing("active", "whether the student is enrolled")
    if record.valid_until is None:
        return _missing("valid_until", "the end of the term or study right")
    if record.valid_from and record.valid_until < record.valid_from:
        return Rejected(stage="render", field="valid_until", reason="dates_out_of_order", detail="valid_until lies before valid_from")
    event = "ended" if record.ended else "activated" if record.active else "updated"
    institution: Node = {"pic": pic}
    identifiers = record.institution.identifiers if record.institution else {}
    put(
        institution,
        schacHomeOrganization=identifiers.get("schac"),
        erasmusCode=identifiers.get("erasmus"),
        oid=identifiers.get("oid"),
        deqarId=identifiers.get("deqar"),
    )
    node = _envelope(raw, country, f"student.status.{event}", record.changed_at, at)
    node |= {"esi": esi, "institution": institution, "status": "ACTIVE" if record.active and not record.ended else "INACTIVE"}
    put(
        node,
        validFrom=record.valid_from and record.valid_from.isoformat(),
        validUntil=record.valid_until.isoformat(),
        academicLevel=ACADEMIC_LEVELS.get(record.eqf_level or 0) if record.degree_programme else None,
        eqfLevel=record.eqf_level if record.eqf_level in range(5, 9) else None,
        fullName=record.holder.full_name or " ".join(filter(None, (record.holder.given_name, record.holder.family_name))),
        email=record.holder.email,
    )
    return node | {"escAgreement": True}


def card(record: Card, raw: Raw, country: str, at: datetime) -> Node | Rejected:
    """Return one card in full; EXPIRED is derived by readers and never written."""
    esi, pic = _esi(record.holder.esi), _identifier(record.issuer, "pic", PIC)
    number = (record.card_number or "").lower()
    if isinstance(esi, Rejected):
        return esi
    if not ESCN.fullmatch(number):
        return _missing("card_number", "an ESCN: a version 1 UUID whose node is zeroes and the issuer's PIC")
    if pic is None:
        return _missing("issuer.identifiers.pic", "nine digits")
    if number[-9:] != pic:
        return Rejected(
            stage="render",
            field="issuer.identifiers.pic",
            reason="pic_conflict",
            detail="the PIC differs from the last nine digits of the ESCN",
        )
    if record.issued_on is None or record.expires_on is None:
        return _missing("issued_on" if record.issued_on is None else "expires_on", "a date")
    if record.expires_on < record.issued_on:
        return Rejected(stage="render", field="expires_on", reason="dates_out_of_order", detail="expires_on lies before issued_on")
    if record.card_type not in CARD_TYPES:
        return Rejected(stage="render", field="card_type", reason="unmapped", detail=f"expected one of {', '.join(sorted(CARD_TYPES))}")
    active = record.active if record.active is not None else record.event in {"issued", "updated", "reactivated"}
    node = _envelope(raw, country, f"card.{record.event}", record.changed_at, at) | {
        "cardNumber": number,
        "personIdentifier": esi,
        "issuerIdentifier": pic,
        "cardStatusType": "ACTIVE" if active else "INACTIVE",
        "cardType": record.card_type,
        "issuedAt": record.issued_on.isoformat(),
        "expiresAt": record.expires_on.isoformat(),
    }
    return put(node, displayName=record.display_name)


def pointer(record: Credential, raw: Raw, country: str, at: datetime, quality: str) -> Node | None:
    """Return the pointer to a credential, or ``None`` when the holder did not agree or cannot be named by an ESI."""
    esi = record.holder.esi
    if not record.holder_consent or not esi or not ESI.fullmatch(esi) or record.awarded_on is None:
        return None
    body = record.awarding_body
    named = {scheme: found for scheme in ("pic", "deqarId", "schac") if (found := body and body.identifiers.get(scheme.removesuffix("Id")))}
    if not named:
        return None
    credential: Node = {
        "credentialId": record.iri,
        "kind": _kind(record),
        "title": record.title,
        "awardedOn": record.awarded_on.isoformat(),
    }
    skills = sorted({uri for outcome in record.learning_outcomes for uri in outcome.esco})
    put(
        credential,
        profile="EDC",
        eqfLevel=record.eqf_level,
        ectsCredits=float(record.credit_points) if record.credit_points else None,
        iscedF=record.isced_f[0] if record.isced_f else None,
        escoSkills=skills,
        assessment="ASSESSED" if record.assessment and record.assessment.kind != "attendance" else None,
        qualityAssurance=quality,
    )
    event = "credential.revoked" if record.revoked else "credential.available"
    node = _envelope(raw, country, event, record.changed_at, at)
    return node | {"esi": esi, "awardingBody": named, "credential": credential, "holderConsent": True}


def _kind(record: Credential) -> str:
    if record.micro or record.kind == "micro_credential":
        small = record.credit_points is None or record.credit_points < LARGEST_MICRO_CREDENTIAL
        return "MICRO_CREDENTIAL" if small else "OTHER_PROVISION"
    if record.kind != "diploma":
        return "OTHER_PROVISION"
    return "SHORT_CYCLE" if record.cycle == "short" else "DEGREE"


def _envelope(raw: Raw, country: str, event: str, changed: datetime | None, at: datetime) -> Node:
    occurred = changed or raw.changed_at or at
    return {
        "schemaVersion": "1",
        "eventId": event_uuid(raw.key, raw.version, event, instant(occurred), instant(at)),
        "eventType": event,
        "occurredAt": instant(occurred),
        "publishedAt": instant(at),
        "source": {"registryId": raw.connector, "country": country[:2], "sourceEventId": raw.native_id[:128]},
    }


def _esi(esi: str | None) -> str | Rejected:
    if esi is None:
        return _missing("holder.esi", "a European Student Identifier")
    if not ESI.fullmatch(esi):
        return Rejected(
            stage="render", field="holder.esi", reason="invalid", detail="expected urn:schac:personalUniqueCode:int:esi:<scope>:<code>"
        )
    return esi


def _identifier(body: Organisation | None, scheme: str, pattern: re.Pattern[str]) -> str | None:
    found = body.identifiers.get(scheme) if body else None
    return found if found and pattern.fullmatch(found) else None


def _missing(field: str, expected: str) -> Rejected:
    return Rejected(stage="render", field=field, reason="missing", detail=f"expected {expected}")


def fields_of(node: Any) -> set[str]:
    """Return every field name of a document, for the minimisation test."""
    if isinstance(node, dict):
        return set(node) | {name for value in node.values() for name in fields_of(value)}
    return {name for item in node for name in fields_of(item)} if isinstance(node, list) else set()
