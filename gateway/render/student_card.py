"""Student-card documents: enrolments, cards and pointers to credentials.

The documents are flat and contain only the fields of a closed list. They have no field for a
grade, transcript, birth date, national number, gender or reason for leaving. The times of an event
come from the raw record, so that the same raw record always gives the same bytes. They are cut to
the day: another platform receives records of the same person, and exact times would join them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from orjson import dumps

from gateway.config.publishing_needs import rejection
from gateway.identifiers import (
    is_student_identifier,
    is_well_formed,
    normalise_identifier,
    parse_card_number,
    parse_student_identifier,
)
from gateway.messages.cloudevents import midnight_of
from gateway.records import (
    Card,
    Credential,
    Holder,
    Issue,
    Organisation,
    Rejected,
    StudentStatus,
)
from gateway.render.elm_common import ESCO_SKILL, Node
from gateway.render.record_ids import event_uuid

ACADEMIC_LEVELS: Final = {6: "BACHELOR", 7: "MASTER", 8: "DOCTORATE"}
CARD_TYPES: Final = frozenset(
    {
        "UNKNOWN",
        "PASSIVE",
        "SMART_NO_CDZ",
        "SMART_CDZ",
        "SMART_MAY_SP",
        "SMART_PASSIVE",
        "SMART_PASSIVE_EMULATION",
    }
)
ACTIVATING_EVENTS: Final = frozenset({"issued", "reactivated"})
"""Events after which a card is active, if nothing else is known about its status."""
BODY_SCHEMES: Final = {
    "pic": "pic",
    "oid": "oid",
    "schacHomeOrganization": "schac",
    "erasmusCode": "erasmus",
    "deqarId": "deqar",
}
"""Fields of an institution to the schemes of its identifiers."""
MAX_TEXT_LENGTH: Final = 255
"""The longest name that the documents may hold."""
MAX_PROCESSOR_LENGTH: Final = 32
"""The longest VAT number of a processor that the documents may hold."""
MAX_MICRO_CREDENTIAL_ECTS: Final = 60
"""A micro-credential has fewer ECTS credits than this, a limit from DEQAR.

The Council Recommendation states no limit.
"""


class EventSource(NamedTuple):
    """Where an event comes from, without a native id that could name a person."""

    connector: str
    pseudonym: str
    """It stands for the native id."""
    version: str
    changed_at: datetime | None
    country: str
    published_at: datetime
    key: bytes
    """The key of event ids. Without it, an id would tell the exact times that it covers."""


def add_fields(node: Node, **fields: Any) -> Node:
    """Add each field that has a value, including 0 and ``False``, and return the node."""
    for name, value in fields.items():
        if value or value == 0:
            node[name] = value
    return node


def student_status(record: StudentStatus, source: EventSource) -> bytes | Rejected:
    """Return one enrolment with all its fields as JSON, or a rejection if a field is invalid."""
    esi, institution = _esi(record.holder.esi), institution_identifiers(record.institution)
    if isinstance(esi, Rejected):
        return esi
    if "pic" not in institution:
        return rejection("student_status", "institution.identifiers.pic")
    if record.active is None and not record.ended:
        return rejection("student_status", "active")
    if record.valid_until is None:
        return rejection("student_status", "valid_until")
    if record.valid_from and record.valid_until < record.valid_from:
        return Rejected(
            stage="render",
            field="valid_until",
            reason="dates_out_of_order",
            detail="valid_until lies before valid_from",
        )
    node = _envelope(source, event_of_status(record), record.changed_at)
    node |= {"esi": esi, "institution": institution, "status": state_of_status(record)}
    add_fields(
        node,
        validFrom=record.valid_from and record.valid_from.isoformat(),
        validUntil=record.valid_until.isoformat(),
        **levels_of_status(record),
        fullName=_if_it_fits(_full_name(record.holder)),
        email=record.holder.email,
    )
    node["escAgreement"] = True
    return dumps(node)


def event_of_status(record: StudentStatus) -> str:
    """Return the type of the event that an enrolment is."""
    event = "ended" if record.ended else "activated" if record.active else "updated"
    return f"student.status.{event}"


def state_of_status(record: StudentStatus) -> str:
    """Return the state of an enrolment as its document contains it."""
    return "ACTIVE" if record.active and not record.ended else "INACTIVE"


def levels_of_status(record: StudentStatus) -> dict[str, str | int | None]:
    """Return the members for the level of a programme. A member without a value is left out."""
    level = record.eqf_level
    return {
        "academicLevel": ACADEMIC_LEVELS.get(level or 0) if record.degree_programme else None,
        "eqfLevel": level if level in range(5, 9) else None,
    }


def card(record: Card, source: EventSource) -> bytes | Rejected:
    """Return one card with all its fields as JSON, or a rejection if a field is invalid.

    The gateway never writes the status EXPIRED, because readers derive it from ``expiresAt``.
    """
    esi, number = _esi(record.holder.esi), parse_card_number(record.card_number or "")
    if isinstance(esi, Rejected):
        return esi
    if isinstance(number, str):
        return _missing_field(
            "card_number", f"an ESCN: a version 1 UUID that ends with the issuer's PIC ({number})"
        )
    issued, expires = record.issued_on, record.expires_on
    if issued is None or expires is None:
        return rejection("card", "issued_on" if issued is None else "expires_on")
    if record.active is None and record.event == "updated":
        return rejection("card", "active")
    if problem := _card_problem(record, number.pic, issued, expires):
        return problem
    node = _envelope(source, f"card.{record.event}", record.changed_at) | {
        "cardNumber": number.value,
        "personIdentifier": esi,
        "issuerIdentifier": number.pic,
        "cardStatusType": state_of_card(record),
        "cardType": record.card_type,
        "issuedAt": issued.isoformat(),
        "expiresAt": expires.isoformat(),
    }
    add_fields(
        node,
        processorIdentifier=_if_it_fits(record.processor, MAX_PROCESSOR_LENGTH),
        displayName=_if_it_fits(record.display_name),
    )
    return dumps(node)


def state_of_card(record: Card) -> str:
    """Return the state of a card as its document contains it."""
    active = record.active if record.active is not None else record.event in ACTIVATING_EVENTS
    return "ACTIVE" if active else "INACTIVE"


def _card_problem(record: Card, pic: str, issued: date, expires: date) -> Rejected | None:
    stated = institution_identifiers(record.issuer).get("pic")
    if stated is None:
        return rejection("card", "issuer.identifiers.pic")
    if stated != pic:
        detail = "the PIC differs from the last nine digits of the ESCN"
        return Rejected(
            stage="render", field="issuer.identifiers.pic", reason="pic_conflict", detail=detail
        )
    if expires < issued:
        return Rejected(
            stage="render",
            field="expires_on",
            reason="dates_out_of_order",
            detail="expires_on lies before issued_on",
        )
    if record.card_type not in CARD_TYPES:
        return Rejected(
            stage="render",
            field="card_type",
            reason="unmapped",
            detail=f"expected one of {', '.join(sorted(CARD_TYPES))}",
        )
    return None


def credential_pointer(
    record: Credential,
    root: str,
    source: EventSource,
    quality: Mapping[str, str],
) -> bytes | Issue | None:
    """Return the pointer to the credential ``root`` as JSON.

    A pointer needs the holder's consent, a valid ESI, an award date, a kind and an identifier of
    the awarding body. Without consent, return ``None``. If one of the others is missing, return an
    issue that names it.
    """
    if not record.holder_consent:
        return None
    esi, awarding_body = _esi(record.holder.esi), institution_identifiers(record.awarding_body)
    if record.awarded_on is None:
        return _no_pointer("awarded_on", "a date of award")
    if isinstance(esi, Rejected):
        return _no_pointer("holder.esi", "a European Student Identifier")
    if record.kind is None and not record.micro:
        return _no_pointer("kind", "the kind of the credential")
    if awarding_body.keys().isdisjoint(("pic", "deqarId", "schacHomeOrganization")):
        expected = "a well-formed pic, deqar or schac of the awarding body"
        return _no_pointer("awarding_body.identifiers", expected)
    node = _envelope(source, "credential.available", record.changed_at)
    node |= {
        "esi": esi,
        "awardingBody": awarding_body,
        "credential": _pointed_credential(record, root, record.awarded_on, quality),
        "holderConsent": True,
    }
    return dumps(node)


def _pointed_credential(
    record: Credential, root: str, awarded_on: date, quality: Mapping[str, str]
) -> Node:
    credential: Node = {
        "credentialId": root,
        "kind": _credential_kind(record),
        "title": record.title,
        "awardedOn": awarded_on.isoformat(),
        "profile": "EDC",
    }
    if record.eqf_level is not None:
        credential["eqfLevel"] = record.eqf_level
    if record.credit_points:
        credential["ectsCredits"] = float(record.credit_points)
    if record.isced_f:
        credential["iscedF"] = record.isced_f[0]
    if skills := {
        uri
        for outcome in record.learning_outcomes
        for uri in outcome.esco
        if ESCO_SKILL.fullmatch(uri)
    }:
        credential["escoSkills"] = sorted(skills)
    if assessment := _assessment(record):
        credential["assessment"] = assessment
    credential["qualityAssurance"] = quality.get("outcome", "UNKNOWN_PROVIDER")
    report = quality.get("report", "")
    if report.isascii() and report.isdigit():
        credential["qaReport"] = f"https://data.deqar.eu/report/{report}"
    return credential


def left_out_texts(record: StudentStatus | Card) -> list[Issue]:
    """Return an issue for each text that is longer than the document allows."""
    if isinstance(record, Card):
        texts = [
            ("display_name", record.display_name, MAX_TEXT_LENGTH),
            ("processor", record.processor, MAX_PROCESSOR_LENGTH),
        ]
    else:
        texts = [("holder.full_name", _full_name(record.holder), MAX_TEXT_LENGTH)]
    return [
        Issue(
            code="text_too_long",
            field=field,
            message=f"left out; expected at most {limit} characters",
        )
        for field, text, limit in texts
        if text and len(text) > limit
    ]


def _full_name(holder: Holder) -> str:
    return holder.full_name or " ".join(filter(None, (holder.given_name, holder.family_name)))


def _if_it_fits(text: str | None, limit: int = MAX_TEXT_LENGTH) -> str | None:
    return text if text is not None and len(text) <= limit else None


def _no_pointer(field: str, expected: str) -> Issue:
    message = f"the holder agreed, but a pointer needs {expected}"
    return Issue(code="pointer_missing", field=field, message=message)


def _credential_kind(record: Credential) -> str:
    if record.micro or record.kind == "micro_credential":
        small = record.credit_points is None or record.credit_points < MAX_MICRO_CREDENTIAL_ECTS
        return "MICRO_CREDENTIAL" if small else "OTHER_PROVISION"
    if record.kind != "diploma":
        return "OTHER_PROVISION"
    return "SHORT_CYCLE" if record.cycle == "short" else "DEGREE"


def _envelope(source: EventSource, event: str, changed: datetime | None) -> Node:
    published_at = source.published_at
    occurred_at = changed or source.changed_at or published_at
    key = f"{source.connector}|{source.pseudonym}"
    # The exact times make the id unique. They are hashed with a key, so nobody can search them.
    exact = occurred_at.isoformat(), published_at.isoformat()
    return {
        "schemaVersion": "1",
        "eventId": event_uuid(source.key, key, source.version, event, *exact),
        "eventType": event,
        "occurredAt": midnight_of(occurred_at),
        "publishedAt": midnight_of(published_at),
        "source": {
            "registryId": source.connector,
            "country": source.country[:2],
            "sourceEventId": source.pseudonym[:128],
        },
    }


def _assessment(record: Credential) -> str | None:
    if record.assessment is None or record.assessment.kind is None:
        return None
    return "ATTENDANCE" if record.assessment.kind == "attendance" else "ASSESSED"


def _esi(esi: str | None) -> str | Rejected:
    if esi is None:
        return _missing_field("holder.esi", "a European Student Identifier")
    if is_student_identifier(esi):
        return esi
    parsed = parse_student_identifier(esi)
    if isinstance(parsed, str):
        detail = f"expected urn:schac:personalUniqueCode:int:esi:<scope>:<code>; {parsed}"
        return Rejected(stage="render", field="holder.esi", reason="invalid", detail=detail)
    return esi


def institution_identifiers(body: Organisation | None) -> Mapping[str, str]:
    """Return the well-formed identifiers of an institution by field name."""
    return _well_formed_identifiers(tuple(body.identifiers.items())) if body else {}


@lru_cache(maxsize=4096)
def _well_formed_identifiers(identifiers: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    by_scheme = dict(identifiers)
    well_formed: Node = {}
    for field, scheme in BODY_SCHEMES.items():
        value = normalise_identifier(scheme, by_scheme.get(scheme, ""))
        if value and is_well_formed(scheme, value):
            well_formed[field] = value
    return well_formed


def _missing_field(field: str, expected: str) -> Rejected:
    return Rejected(stage="render", field=field, reason="missing", detail=f"expected {expected}")
