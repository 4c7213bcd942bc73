"""A person's award as an unsealed European Digital Credential: ELM EDC, generic profile, W3C VC data model 1.1 context."""

from __future__ import annotations

from datetime import date
from typing import Final

import msgspec
from orjson import dumps

from gateway.records import Assessment, Credential, Holder, Learning, Part, Rejected
from gateway.render import elm, vocab
from gateway.render.elm import Pieces, day, instant
from gateway.render.identity import escaped, inside

__all__ = ["credential", "day", "instant", "sealing_required"]

CONTEXT: Final = ["https://www.w3.org/2018/credentials/v1", "http://data.europa.eu/snb/model/context/edc-ap"]
SCHEMA: Final = {"id": "http://data.europa.eu/snb/model/ap/edc-generic-full", "type": "ShaclValidator2017"}
PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A transparent pixel: the profile demands a rendered image, and whoever seals the credential draws the real one."""

ASSESSMENT_TITLE: Final = {"en": "Assessment"}
"""The profile wants a title; this one says no more than what the node is."""
NO_LANGUAGE: Final = "en"
"""A name and a grade are in no language; the model wants a tag, and two-letter ones only."""


_GENERIC: Final = b'"credentialSchema":%b,"credentialProfiles":%b' % (dumps(SCHEMA), vocab.snb("credential", vocab.GENERIC_CREDENTIAL))
_SHORT_PROGRAMME: Final = b',"dcType":%b' % vocab.snb("learning-opportunity", vocab.SHORT_LEARNING_PROGRAMME)
_ASSESSMENTS: Final = {kind: vocab.snb("assessment", code) for kind, code in vocab.ASSESSMENTS.items()}
_VERIFIED: Final = {kind: b',"idVerification":%b' % vocab.snb("supervision-verification", code) for kind, code in vocab.SUPERVISION.items()}
_IMAGE: Final = b'"type":"MediaObject","content":"%b","contentEncoding":%b,"contentType":%b' % (
    PIXEL.encode(), vocab.snb("encoding", "6146cde7dd"), vocab.file_type("PNG"),
)  # fmt: skip
_CONTEXT: Final = dumps(CONTEXT)


def credential(record: Credential, root: str) -> bytes | Rejected:
    """Return the credential; ``issued`` and the issuer's eIDAS id are left to the sealer when the registry has none."""
    if not record.title:
        return Rejected(stage="render", field="title", reason="missing")
    at = inside(root)
    body = elm.organisation(record.awarding_body, at, "awarding-body", elm.EDC)
    if body is None or not elm.is_complete(record.awarding_body):
        return Rejected(
            stage="render", field="awarding_body", reason="missing", detail="a credential needs its awarding body's name and country"
        )
    issuer = elm.organisation(record.issuer, at, "issuer", elm.EDC)
    if issuer is not None and not elm.is_complete(record.issuer):
        return Rejected(stage="render", field="issuer", reason="missing", detail="an issuer that is named needs its name and country")
    awarded = record.awarded_on
    if awarded is None:
        return Rejected(stage="render", field="awarded_on", reason="missing", detail="a credential needs its date of award")
    made = [
        b'{"@context":', _CONTEXT, b',"id":"%b","type":["VerifiableCredential","EuropeanDigitalCredential"],' % elm.inner(root), _GENERIC,
        b',"issuer":', issuer or body,
    ]  # fmt: skip
    if record.issued_at:
        issued = elm.moment(record.issued_at)
        made += (b',"issued":', issued, b',"issuanceDate":', issued)
    made.append(b',"validFrom":"%b"' % day(record.valid_from or awarded).encode())
    if record.valid_until:
        made.append(b',"validUntil":"%b","expirationDate":"%b"' % (2 * (day(record.valid_until).encode(),)))
    made += (b',"displayParameter":', _display(record, at), b',"credentialSubject":', *_subject(record.holder, at))
    made += (b',"hasClaim":', *_achievement(record, body, at, record.assessment, awarded), b"}}")
    return b"".join(made)


def sealing_required(record: Credential) -> bool:
    """Return whether a sealer has to add the issuing time or the issuer's eIDAS id."""
    issuer = record.issuer or record.awarding_body
    return record.issued_at is None or issuer is None or "eidas" not in issuer.identifiers


def _subject(holder: Holder, at: bytes) -> Pieces:
    """Return the person, whose node is left open for what the person achieved."""
    made = [b'{"id":"%b","type":"Person"' % (elm.inner(holder.esi) if holder.esi else b"%bholder" % at)]
    if holder.given_name:
        made += (b',"givenName":', _spoken(holder.given_name))
    if holder.family_name:
        made += (b',"familyName":', _spoken(holder.family_name))
    if full := holder.full_name or " ".join(filter(None, (holder.given_name, holder.family_name))):
        made += (b',"fullName":', _spoken(full))
    if holder.birth_date:
        made.append(b',"dateOfBirth":"%b"' % day(holder.birth_date).encode())
    if holder.esi:
        made.append(
            b',"identifier":{"id":"%besi","type":"Identifier","notation":%b,"schemeName":"European Student Identifier"}'
            % (at, dumps(holder.esi))
        )
    return made


def _spoken(text: str) -> bytes:
    return b'{"%b":%b}' % (NO_LANGUAGE.encode(), dumps(text))


def _achievement(record: Learning, body: bytes, at: bytes, assessment: Assessment | None, awarded: date | None) -> Pieces:
    process = b'{"id":"%bawarding","type":"AwardingProcess","awardingBody":%b%b}' % (
        at, body, b',"awardingDate":"%b"' % day(awarded).encode() if awarded else b"",
    )  # fmt: skip
    made = [b'{"id":"%bachievement","type":"LearningAchievement","title":' % at, dumps(record.title), b',"awardedBy":', process]
    if record.description:
        made += (b',"description":', dumps(record.description))
    if record.credit_points is not None:
        made += (b',"creditReceived":', elm.credit(record.credit_points, b"%breceived/" % at))
    graded = assessment is not None and bool(assessment.grade)
    planned = _assessment_specification(assessment, at) if assessment and not graded else None
    made += (b',"specifiedBy":', *_specification(record, at, planned))
    if assessment and assessment.grade:
        made += (b',"provenBy":', _assessment(assessment, assessment.grade, process, at))
    if isinstance(record, Credential):
        if record.parts:
            made += (b',"hasPart":[', b",".join([_part(part, body, at) for part in record.parts]), b"]")
        if record.further_information:
            made += (b',"additionalNote":', elm.note(record.further_information, b"%bfurther" % at))
    made.append(b"}")
    return made


def _part(part: Part, body: bytes, at: bytes) -> bytes:
    at = b"%bpart/%b/" % (at, escaped(part.id).encode())
    own = elm.organisation(part.awarding_body, at, "awarding-body", elm.EDC) if elm.is_complete(part.awarding_body) else None
    named = part if part.title else msgspec.structs.replace(part, title={NO_LANGUAGE: part.id})
    return b"".join(_achievement(named, own or body, at, part.assessment, part.awarded_on))


def _specification(record: Learning, at: bytes, planned: bytes | None) -> Pieces:
    levels = elm.levels(record)
    kind = b"Qualification" if levels else b"LearningAchievementSpecification"
    made = [b'{"id":"%bspecification","type":"%b",' % (at, kind), *elm.specification(record, b"%bspecification/" % at, elm.EDC), levels]
    if record.partial is not None and levels:
        made.append(b',"isPartialQualification":%b' % dumps(record.partial))
    if record.micro:
        made.append(_SHORT_PROGRAMME)
    if decided := elm.accreditation(record.accreditation, at, None, None, elm.EDC):
        made += (b',"accreditation":[', decided, b"]")
    if planned:
        made += (b',"provenBy":', planned)
    made.append(b"}")
    return made


def _assessment(assessment: Assessment, grade: str, process: bytes, at: bytes) -> bytes:
    """Return a result with its grade as the registry writes it; the profile knows no result without one."""
    shown = f"{grade} ({assessment.grading_scale})" if assessment.grading_scale else grade
    made = (
        b'{"id":"%bassessment","type":"LearningAssessment","title":%b,"awardedBy":%b,"grade":{"id":"%bgrade","type":"Note","noteLiteral":%b}'
        % (at, dumps(assessment.title or ASSESSMENT_TITLE), process, at, _spoken(shown))
    )
    made += _VERIFIED.get(assessment.supervision or "", b"")
    planned = _assessment_specification(assessment, at)
    return made + (b',"specifiedBy":%b}' % planned if planned else b"}")


def _assessment_specification(assessment: Assessment, at: bytes) -> bytes | None:
    """Return how results are established, which can be said without a grade."""
    kind = _ASSESSMENTS.get(assessment.kind or "")
    if kind is None:
        return None
    return b'{"id":"%bassessment/specification","type":"LearningAssessmentSpecification","title":%b,"dcType":%b}' % (
        at, dumps(assessment.title or ASSESSMENT_TITLE), kind,
    )  # fmt: skip


def _display(record: Credential, at: bytes) -> bytes:
    tags = tuple([tag for tag in record.title if vocab.language(tag)]) or ("en",)
    first = elm.inner(tags[0])
    primary = vocab.languages(tags[:1])
    return (
        b'{"id":"%bdisplay","type":"DisplayParameter","title":%b,"language":[%b],"primaryLanguage":%b,"individualDisplay":['
        b'{"id":"%bdisplay/%b","type":"IndividualDisplay","language":%b,"displayDetail":'
        b'{"id":"%bdisplay/%b/1","type":"DisplayDetail","page":1,"image":{"id":"%bimage",%b}}}]}'
        % (at, dumps(record.title), vocab.languages(tags), primary, at, first, primary, at, first, at, _IMAGE)
    )
