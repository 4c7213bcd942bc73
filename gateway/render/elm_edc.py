"""A person's award as an unsealed European Digital Credential: ELM EDC, generic profile, W3C VC data model 1.1 context."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Final

import msgspec

from gateway.records import Assessment, Credential, Holder, Learning, Part, Rejected
from gateway.render import elm, vocab
from gateway.render.elm import Node, put
from gateway.render.identity import escaped, nested

CONTEXT: Final = ["https://www.w3.org/2018/credentials/v1", "http://data.europa.eu/snb/model/context/edc-ap"]
SCHEMA: Final = {"id": "http://data.europa.eu/snb/model/ap/edc-generic-full", "type": "ShaclValidator2017"}
PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A transparent pixel: the profile demands a rendered image, and whoever seals the credential draws the real one."""

ASSESSMENT_TITLE: Final = {"en": "Assessment"}
"""The profile wants a title; this one says no more than what the node is."""
NO_LANGUAGE: Final = "en"
"""A name and a grade are in no language; the model wants a tag, and two-letter ones only."""


def credential(record: Credential) -> Node | Rejected:
    """Return the credential; ``issued`` and the issuer's eIDAS id are left to the sealer when the registry has none."""
    if not record.title:
        return Rejected(stage="render", field="title", reason="missing")
    root = record.iri
    body = elm.organisation(record.awarding_body, root, "awarding-body", elm.EDC)
    if body is None or not elm.is_complete(body):
        return Rejected(
            stage="render", field="awarding_body", reason="missing", detail="a credential needs its awarding body's name and country"
        )
    issuer = elm.organisation(record.issuer, root, "issuer", elm.EDC) or body
    if not elm.is_complete(issuer):
        return Rejected(stage="render", field="issuer", reason="missing", detail="an issuer that is named needs its name and country")
    awarded = record.awarded_on
    if awarded is None:
        return Rejected(stage="render", field="awarded_on", reason="missing", detail="a credential needs its date of award")
    node: Node = {
        "@context": CONTEXT,
        "id": root,
        "type": ["VerifiableCredential", "EuropeanDigitalCredential"],
        "credentialSchema": SCHEMA,
        "credentialProfiles": vocab.snb("credential", vocab.GENERIC_CREDENTIAL),
        "issuer": issuer,
    }
    if record.issued_at:
        node["issued"] = node["issuanceDate"] = instant(record.issued_at)
    node["validFrom"] = day(record.valid_from or awarded)
    if record.valid_until:
        node["validUntil"] = node["expirationDate"] = day(record.valid_until)
    node["displayParameter"] = _display(record, root)
    node["credentialSubject"] = _subject(record.holder, root) | {"hasClaim": _achievement(record, body, root, record.assessment, awarded)}
    return node


def sealing_required(record: Credential) -> bool:
    """Return whether a sealer has to add the issuing time or the issuer's eIDAS id."""
    issuer = record.issuer or record.awarding_body
    return record.issued_at is None or issuer is None or "eidas" not in issuer.identifiers


def day(value: date) -> str:
    """Return a date as ELM's date and time."""
    return f"{value.isoformat()}T00:00:00Z"


def instant(value: datetime) -> str:
    """Return a moment in UTC to the second."""
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def _subject(holder: Holder, root: str) -> Node:
    node: Node = {"id": holder.esi or nested(root, "holder"), "type": "Person"}
    if holder.given_name:
        node["givenName"] = {NO_LANGUAGE: holder.given_name}
    if holder.family_name:
        node["familyName"] = {NO_LANGUAGE: holder.family_name}
    full = holder.full_name or " ".join(filter(None, (holder.given_name, holder.family_name)))
    if full:
        node["fullName"] = {NO_LANGUAGE: full}
    if holder.birth_date:
        node["dateOfBirth"] = day(holder.birth_date)
    if holder.esi:
        node["identifier"] = {
            "id": nested(root, "esi"),
            "type": "Identifier",
            "notation": holder.esi,
            "schemeName": "European Student Identifier",
        }
    return node


def _achievement(record: Learning, body: Node, root: str, assessment: Assessment | None, awarded: date | None) -> Node:
    process: Node = {"id": nested(root, "awarding"), "type": "AwardingProcess", "awardingBody": body}
    if awarded:
        process["awardingDate"] = day(awarded)
    node: Node = {"id": nested(root, "achievement"), "type": "LearningAchievement", "title": record.title, "awardedBy": process}
    put(node, description=record.description, creditReceived=elm.credit(record, nested(root, "received")))
    node["specifiedBy"] = specified = _specification(record, root)
    if assessment and assessment.grade:
        node["provenBy"] = _assessment(assessment, assessment.grade, process, root)
    elif assessment and (planned := _assessment_specification(assessment, root)):
        specified["provenBy"] = planned
    parts = getattr(record, "parts", ())
    if parts:
        node["hasPart"] = [_part(part, body, nested(root, "part", escaped(part.id))) for part in parts]
    if isinstance(record, Credential):
        put(node, additionalNote=elm.note(record.further_information, root, "further"))
    return node


def _part(part: Part, body: Node, root: str) -> Node:
    own = elm.organisation(part.awarding_body, root, "awarding-body", elm.EDC)
    named = part if part.title else msgspec.structs.replace(part, title={NO_LANGUAGE: part.id})
    return _achievement(named, own if own and elm.is_complete(own) else body, root, part.assessment, part.awarded_on)


def _specification(record: Learning, root: str) -> Node:
    levels = elm.levels(record)
    node: Node = {"id": nested(root, "specification"), "type": "Qualification" if levels else "LearningAchievementSpecification"}
    node |= elm.specification(record, nested(root, "specification"), elm.EDC)
    node |= levels
    if record.partial is not None and levels:
        node["isPartialQualification"] = record.partial
    if record.micro:
        node["dcType"] = vocab.snb("learning-opportunity", vocab.SHORT_LEARNING_PROGRAMME)
    return put(node, accreditation=elm.accreditation(record.accreditation, root, None, elm.EDC))


def _assessment(assessment: Assessment, grade: str, process: Node, root: str) -> Node:
    """Return a result with its grade as the registry writes it; the profile knows no result without one."""
    shown = f"{grade} ({assessment.grading_scale})" if assessment.grading_scale else grade
    node: Node = {
        "id": nested(root, "assessment"),
        "type": "LearningAssessment",
        "title": assessment.title or ASSESSMENT_TITLE,
        "awardedBy": process,
        "grade": {"id": nested(root, "grade"), "type": "Note", "noteLiteral": {NO_LANGUAGE: shown}},
    }
    if assessment.supervision in vocab.SUPERVISION:
        node["idVerification"] = vocab.snb("supervision-verification", vocab.SUPERVISION[assessment.supervision])
    return put(node, specifiedBy=_assessment_specification(assessment, root))


def _assessment_specification(assessment: Assessment, root: str) -> Node | None:
    """Return how results are established, which can be said without a grade."""
    if assessment.kind not in vocab.ASSESSMENTS:
        return None
    return {
        "id": nested(root, "assessment", "specification"),
        "type": "LearningAssessmentSpecification",
        "title": assessment.title or ASSESSMENT_TITLE,
        "dcType": vocab.snb("assessment", vocab.ASSESSMENTS[assessment.kind]),
    }


def _display(record: Credential, root: str) -> Node:
    tags = [tag for tag in record.title if vocab.language(tag)] or ["en"]
    shown: list[Any] = [vocab.language(tag) for tag in tags]
    image = {
        "id": nested(root, "image"),
        "type": "MediaObject",
        "content": PIXEL,
        "contentEncoding": vocab.snb("encoding", "6146cde7dd"),
        "contentType": vocab.file_type("PNG"),
    }
    return {
        "id": nested(root, "display"),
        "type": "DisplayParameter",
        "title": record.title,
        "language": shown,
        "primaryLanguage": shown[0],
        "individualDisplay": [
            {
                "id": nested(root, "display", tags[0]),
                "type": "IndividualDisplay",
                "language": shown[0],
                "displayDetail": {"id": nested(root, "display", tags[0], 1), "type": "DisplayDetail", "page": 1, "image": image},
            }
        ],
    }
