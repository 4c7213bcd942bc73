"""A person's award as an unsealed European Digital Credential.

The document follows the generic EDC profile of the European Learning Model (ELM). Its context
includes the W3C Verifiable Credentials data model 1.1.
"""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import date, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote

import msgspec
from orjson import dumps

from gateway.config.publishing_needs import rejection
from gateway.records import (
    Assessment,
    Credential,
    CredentialPart,
    LangMap,
    LearningRecord,
    Rejected,
)
from gateway.render import elm_common, elm_credits, elm_levels, vocabularies
from gateway.render.elm_common import ID_PREFIX_MARKER, Fragments
from gateway.render.elm_periods import date_as_datetime
from gateway.render.record_ids import iri_segment, node_id_prefix

CONTEXT: Final = [
    "https://www.w3.org/2018/credentials/v1",
    "http://data.europa.eu/snb/model/context/edc-ap",
]
SCHEMA: Final = {
    "id": "http://data.europa.eu/snb/model/ap/edc-generic-full",
    "type": "ShaclValidator2017",
}
PLACEHOLDER_IMAGE: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Erk"
    "Jggg=="
)
"""A transparent pixel, because the profile requires an image. The sealer draws the real image."""

ASSESSMENT_TITLE: Final = {"en": "Assessment"}
"""The title of an assessment without a title, because the profile requires one."""
NO_LANGUAGE: Final = "en"
"""The tag of names and grades, because the model requires a language tag of two letters."""


_NO_LANGUAGE: Final = NO_LANGUAGE.encode()
_GENERIC: Final = (
    b'","type":["VerifiableCredential","EuropeanDigitalCredential"],'
    b'"credentialSchema":%b,"credentialProfiles":%b'
    % (
        dumps(SCHEMA),
        vocabularies.snb_concept("credential", vocabularies.GENERIC_CREDENTIAL),
    )
)
_ASSESSMENTS: Final = {
    kind: vocabularies.snb_concept("assessment", code)
    for kind, code in vocabularies.ASSESSMENTS.items()
}
_VERIFICATION: Final = {
    kind: b',"idVerification":%b' % vocabularies.snb_concept("supervision-verification", code)
    for kind, code in vocabularies.SUPERVISION.items()
}
_IMAGE: Final = b'"type":"MediaObject","content":"%b","contentEncoding":%b,"contentType":%b' % (
    PLACEHOLDER_IMAGE.encode(),
    vocabularies.snb_concept("encoding", "6146cde7dd"),
    vocabularies.file_type("PNG"),
)
START: Final = b'{"@context":%b,"id":"' % dumps(CONTEXT)
ISSUER: Final = _GENERIC + b',"issuer":'
CLAIM: Final = b',"hasClaim":'
SPECIFIED_BY: Final = b',"specifiedBy":'
SPECIFICATION_PREFIX: Final = ID_PREFIX_MARKER + b"specification/"
"""The prefix of the ids of nodes in a specification."""
_PLAIN_ADDRESS: Final = re.compile(r"[A-Za-z0-9._~@-]*")
_CONVERSION: Final = vocabularies.snb_concept("evidence-type", "c_c4f849d7")
_BASE64: Final = vocabularies.snb_concept("encoding", "6146cde7dd")
_BINARY: Final = vocabularies.file_type("BIN")
_ORIGINAL_TYPES: Final = {
    b"<": vocabularies.file_type("XML"),
    b"{": vocabularies.file_type("JSON"),
    b"[": vocabularies.file_type("JSON"),
    b"%": vocabularies.file_type("PDF"),
}
"""The type of a file by its first byte."""


def credential(record: Credential, root: str) -> bytes | Rejected:
    """Return the credential as JSON, or a rejection if a required field is missing.

    If the registry has no ``issued`` time or no eIDAS id of the issuer, the sealer adds it.
    """
    if not record.title:
        return rejection("credential", "title")
    prefix = node_id_prefix(root)
    body, issuer = (
        elm_common.organisation(record.awarding_body, "awarding-body", elm_common.EDC),
        elm_common.organisation(record.issuer, "issuer", elm_common.EDC),
    )
    if not body.complete:
        return rejection("credential", "awarding_body")
    if issuer.json and not issuer.complete:
        return Rejected(
            stage="render",
            field="issuer",
            reason="missing",
            detail="an issuer that is named needs its name and country",
        )
    awarded = record.awarded_on
    if awarded is None:
        return rejection("credential", "awarded_on")
    # Every part repeats the awarding body with the same ids, so its marker is replaced here.
    awarder = body.json.replace(ID_PREFIX_MARKER, prefix)
    holder = record.holder
    fragments = [
        START, elm_common.json_string_content(root), ISSUER,
        issuer.json or awarder,
        validity_members(record.issued_at, record.valid_from, awarded, record.valid_until),
        display_member(record.title, dumps(record.title)),
        subject_start(
            holder.esi, holder.given_name, holder.family_name,
            holder.full_name, holder.birth_date, holder.email,
        ),
        CLAIM,
        *_achievement(record, awarder, record.assessment, awarded),
        b"}",
    ]  # fmt: skip
    if record.signed_original and original_fits(record):
        fragments.append(_original(record.signed_original))
    fragments.append(b"}")
    return elm_common.with_node_ids(fragments, prefix)


def validity_members(
    issued_at: datetime | None, valid_from: date | None, awarded: date, valid_until: date | None
) -> bytes:
    """Return the members for the time of issue and the days on which the credential is valid."""
    json_text = b',"validFrom":' + date_as_datetime(valid_from or awarded)
    if issued_at:
        json_text = (
            b',"issued":%b,"issuanceDate":%b' % (2 * (elm_common.datetime_json(issued_at),))
        ) + json_text
    if valid_until:
        json_text += b',"validUntil":%b,"expirationDate":%b' % (
            2 * (date_as_datetime(valid_until),)
        )
    return json_text


def display_member(title: LangMap, json: bytes) -> bytes:
    """Return the member for the display of the credential. ``json`` is the title as JSON."""
    return b',"displayParameter":{"id":"\0display","type":"DisplayParameter","title":%b%b' % (
        json,
        _display_parameter(tuple(title)),
    )


MAX_ORIGINAL: Final = 500_000
"""Most characters of a signed original, in base64, so that the document fits into a message."""


def original_fits(record: Credential) -> bool:
    """Return whether a document can contain the signed original of the record."""
    return len(record.signed_original or "") <= MAX_ORIGINAL


def _original(content: str) -> bytes:
    """Return the signed original as embedded evidence of a conversion."""
    start = b64decode(content[:64]).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    return (
        b',"evidence":{"id":"\0original","type":"Evidence","dcType":%b,"embeddedEvidence":'
        b'{"id":"\0original/file","type":"MediaObject","content":%b,"contentEncoding":%b,'
        b'"contentType":%b}}'
        % (_CONVERSION, dumps(content), _BASE64, _ORIGINAL_TYPES.get(start, _BINARY))
    )


def sealing_required(record: Credential) -> bool:
    """Return whether a sealer must add the issuing time or the eIDAS id of the issuer."""
    issuer = record.issuer or record.awarding_body
    return record.issued_at is None or issuer is None or "eidas" not in issuer.identifiers


def subject_start(
    esi: str | None,
    given_name: str | None,
    family_name: str | None,
    full_name: str | None,
    birth_date: date | None,
    email: str | None,
) -> bytes:
    """Return the member for the person without its closing brace, so that the claim can follow."""
    json_text = b',"credentialSubject":{"id":"%b","type":"Person"' % (
        elm_common.json_string_content(esi) if esi else b"\0holder"
    )
    if given_name:
        json_text += b',"givenName":{"%b":%b}' % (_NO_LANGUAGE, dumps(given_name))
    if family_name:
        json_text += b',"familyName":{"%b":%b}' % (_NO_LANGUAGE, dumps(family_name))
    both = f"{given_name} {family_name}" if given_name and family_name else None
    if full := full_name or both or given_name or family_name:
        json_text += b',"fullName":{"%b":%b}' % (_NO_LANGUAGE, dumps(full))
    if birth_date:
        json_text += b',"dateOfBirth":%b' % date_as_datetime(birth_date)
    if esi:
        json_text += (
            b',"identifier":{"id":"\0esi","type":"Identifier","notation":%b,'
            b'"schemeName":"European Student Identifier"}' % dumps(esi)
        )
    if email:
        json_text += (
            b',"contactPoint":{"id":"\0contact","type":"ContactPoint","emailAddress":'
            b'{"id":"mailto:%b","type":"Mailbox"}}' % _address(email)
        )
    return json_text


def _address(email: str) -> bytes:
    """Return an e-mail address with percent-encoding, for an IRI."""
    text = email if _PLAIN_ADDRESS.fullmatch(email) else quote(email, safe="@")
    return text.encode()


def _language_map(text: str) -> bytes:
    return b'{"%b":%b}' % (_NO_LANGUAGE, dumps(text))


def _achievement(
    record: LearningRecord, body: bytes, assessment: Assessment | None, awarded: date | None
) -> Fragments:
    process = awarding_process(body, awarded)
    specification_only = assessment_specification(assessment)
    grade = assessment.grade if assessment else None
    fragments = [
        achievement_start(dumps(record.title), process, record.description),
        received_member(record),
        SPECIFIED_BY,
        *_specification(record, proof_of_specification(specification_only, grade)),
    ]
    if assessment and grade:
        fragments.append(
            assessment_member(
                assessment_start(assessment), process, grade, assessment.grading_scale,
                supervision_member(assessment), assessment.assessed_on, specification_only,
            )
        )  # fmt: skip
    if isinstance(record, Credential):
        if record.parts:
            fragments += (
                b',"hasPart":[',
                b",".join([_part(part, body) for part in record.parts]),
                b"]",
            )
        fragments.append(further_information_member(record.further_information))
    fragments.append(b"}")
    return fragments


def awarding_process(body: bytes, awarded: date | None) -> bytes:
    """Return the process in which a body awarded an achievement on a day."""
    awarding_date = b',"awardingDate":%b' % date_as_datetime(awarded) if awarded else b""
    return b'{"id":"\0awarding","type":"AwardingProcess","awardingBody":%b%b}' % (
        body,
        awarding_date,
    )


def achievement_start(title: bytes, process: bytes, description: LangMap | None) -> bytes:
    """Return the first members of an achievement. ``title`` is JSON."""
    json_text = b'{"id":"\0achievement","type":"LearningAchievement","title":%b,"awardedBy":%b' % (
        title,
        process,
    )
    return json_text + b',"description":%b' % dumps(description) if description else json_text


def received_member(record: LearningRecord) -> bytes:
    """Return the member for the credits of an achievement, or nothing without an amount."""
    points = elm_credits.credit_point(record)
    return _received(points) if points else b""


@lru_cache(maxsize=4096)
def _received(points: bytes) -> bytes:
    return b',"creditReceived":' + points.replace(ID_PREFIX_MARKER, b"\0received/")


def further_information_member(text: LangMap) -> bytes:
    """Return the member for further information, or nothing without a text."""
    return b',"additionalNote":' + elm_common.note(text, b"further") if text else b""


def _part(part: CredentialPart, body: bytes) -> bytes:
    own_body = elm_common.organisation(part.awarding_body, "awarding-body", elm_common.EDC)
    titled_part = (
        part if part.title else msgspec.structs.replace(part, title={NO_LANGUAGE: part.id})
    )
    fragments = _achievement(
        titled_part, own_body.json if own_body.complete else body, part.assessment, part.awarded_on
    )
    return elm_common.with_node_ids(fragments, b"\0part/%b/" % iri_segment(part.id).encode())


def _specification(record: LearningRecord, proof: bytes) -> Fragments:
    levels = elm_levels.levels(record)
    fragments = [
        specification_start(levels),
        elm_common.with_node_ids(
            elm_common.specification(record, elm_common.EDC), SPECIFICATION_PREFIX
        ),
        levels,
        partial_member(record.partial, levels),
    ]
    if accreditations := elm_common.accreditation(
        record.accreditation, elm_common.NO_ORGANISATION, elm_common.EDC
    ):
        fragments += (b',"accreditation":[', accreditations, b"]")
    fragments += (proof, b"}")
    return fragments


def specification_start(levels: bytes) -> bytes:
    """Return the first members of a specification. With levels, it is a qualification."""
    return (
        b'{"id":"\0specification","type":"Qualification",'
        if levels
        else b'{"id":"\0specification","type":"LearningAchievementSpecification",'
    )


def partial_member(partial: bool | None, levels: bytes) -> bytes:
    """Return the member that says whether a qualification is partial, if that is known."""
    if partial is None or not levels:
        return b""
    return b',"isPartialQualification":%b' % dumps(partial)


def proof_of_specification(assessment: bytes | None, grade: str | None) -> bytes:
    """Return the member of a specification for the assessment, if there is no grade."""
    return b',"provenBy":' + assessment if assessment and not grade else b""


def assessment_start(assessment: Assessment) -> bytes:
    """Return the first members of an assessment with a grade."""
    return b',"provenBy":{"id":"\0assessment","type":"LearningAssessment","title":%b' % dumps(
        assessment.title or ASSESSMENT_TITLE
    )


def supervision_member(assessment: Assessment) -> bytes:
    """Return the member for the supervision of an assessment, or nothing if it is unknown."""
    return _VERIFICATION.get(assessment.supervision or "", b"")


def assessment_member(
    start: bytes,
    process: bytes,
    grade: str | None,
    scale: str | None,
    supervision: bytes,
    assessed_on: date | None,
    specification: bytes | None,
) -> bytes:
    """Return an assessment with the grade of the registry, which the profile requires.

    Without a grade, return nothing.
    """
    if not grade:
        return b""
    shown = f"{grade} ({scale})" if scale else grade
    return b"".join(
        (
            start, b',"awardedBy":', process,
            b',"grade":{"id":"\0grade","type":"Note","noteLiteral":', _language_map(shown), b"}",
            supervision,
            b',"dateIssued":%b' % date_as_datetime(assessed_on) if assessed_on else b"",
            b',"specifiedBy":%b' % specification if specification else b"",
            b"}",
        )
    )  # fmt: skip


def assessment_specification(assessment: Assessment | None) -> bytes | None:
    """Return how the learner was assessed, or ``None`` if the kind is unknown. Needs no grade."""
    kind = _ASSESSMENTS.get(assessment.kind or "") if assessment else None
    if assessment is None or kind is None:
        return None
    return (
        b'{"id":"\0assessment/specification","type":"LearningAssessmentSpecification",'
        b'"title":%b,"dcType":%b}' % (dumps(assessment.title or ASSESSMENT_TITLE), kind)
    )


@lru_cache(maxsize=1024)
def _display_parameter(tags: tuple[str, ...]) -> bytes:
    """Return the display settings that follow the title, for the languages of the title."""
    tags = tuple([tag for tag in tags if vocabularies.language(tag)]) or ("en",)
    first = elm_common.json_string_content(tags[0])
    primary = vocabularies.languages(tags[:1])
    return (
        b',"language":[%b],"primaryLanguage":%b,"individualDisplay":['
        b'{"id":"\0display/%b","type":"IndividualDisplay","language":%b,"displayDetail":'
        b'{"id":"\0display/%b/1","type":"DisplayDetail","page":1,"image":{"id":"\0image",%b}}}]}'
        % (vocabularies.languages(tags), primary, first, primary, first, _IMAGE)
    )
