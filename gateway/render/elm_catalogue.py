"""Catalogue entries as JSON-LD in the LOQ profile of the European Learning Model (ELM).

Entries are qualifications, achievement specifications and learning opportunities. They contain no
personal data. An entry whose register does not hold a field that LOQ requires can be rendered
without it. It is then valid under the general shapes of ELM, and not under those of LOQ.
"""

from __future__ import annotations

import json
from collections.abc import Container
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from orjson import dumps

from gateway.config.code_lists import ISCED_F
from gateway.config.publishing_needs import rejection
from gateway.records import LangMap, LearningOpportunity, LearningRecord, Qualification, Rejected
from gateway.render import elm_common, elm_levels, vocabularies
from gateway.render.elm_common import Fragments, OrganisationFragment, ProfileStyle
from gateway.render.elm_periods import period, place, validity_text
from gateway.render.record_ids import node_id_prefix

DEFAULT_VERSION: Final = "3.1"


class ProfileVersion(NamedTuple):
    """A version of the profile, with the JSON-LD context and the style of its documents."""

    context: list[Any]
    style: ProfileStyle
    label: bytes
    """The context as JSON text, which every document contains."""


def _inline_context() -> list[Any]:
    """Return an inline context for version 3.3, because its official context has no known address.

    It defines every term that the documents use.
    """
    data = json.loads(Path(__file__).with_name("elm33.json").read_text(encoding="utf-8"))
    terms: dict[str, Any] = {"id": "@id", "type": "@type", **data["prefixes"]}
    terms |= {name.rpartition(":")[2]: name for name in data["classes"]}
    terms |= {name: {"@id": iri, "@container": "@language"} for name, iri in data["texts"].items()}
    terms |= {name: {"@id": iri, "@type": "@id"} for name, iri in data["links"].items()}
    terms |= {
        name: {"@id": iri, "@type": f"xsd:{kind}"} for name, (iri, kind) in data["values"].items()
    }
    terms["notation"] = {"@id": "skos:notation"}
    return [terms]


def _version(context: list[Any], style: ProfileStyle) -> ProfileVersion:
    return ProfileVersion(context, style, dumps(context))


_EXTRA: Final = {
    "id": "@id",
    "type": "@type",
    "contentUrl": {"@id": "elm:contentUrl", "@type": "xsd:anyURI"},
    "QualificationReference": "elm:QualificationReference",
    "modified": {"@id": "dc:modified", "@type": "xsd:dateTime"},
    "defaultLanguage": {"@id": "elm:defaultLanguage", "@type": "@id"},
}
VERSIONS: Final = {
    # LOQ 3.1 has no context of its own, so documents use the EDC context and add the missing terms.
    "3.1": _version(["http://data.europa.eu/snb/model/context/edc-ap", _EXTRA], elm_common.LOQ),
    "3.3": _version(_inline_context(), elm_common.LOQ_ORDERED),
}
SPECIFICATION: Final = b"\0specification"
"""The id of the specification of an opportunity. Its nodes have ids below it."""
IS_QUALIFICATION: Final = b'","type":"Qualification",'
IS_OPPORTUNITY: Final = b'","type":"LearningOpportunity",'
SPECIFICATION_START: Final = b',"learningAchievementSpecification":{"id":"' + SPECIFICATION
_CACHE_SIZE: Final = 4096
IS_SPECIFICATION: Final = b'","type":"LearningAchievementSpecification",'


def missing_elements(
    record: LearningRecord, emits: str, without: Container[str] = ()
) -> Rejected | None:
    """Return a rejection if the entry lacks a title, a field of education or a learning outcome.

    LOQ requires all three. ``without`` names fields that the entry may lack.
    """
    if not record.title:
        return rejection(emits, "title")
    if ISCED_F.isdisjoint(record.isced_f) and "isced_f" not in without:
        return rejection(emits, "isced_f")
    outcomes = record.learning_outcomes
    if (
        not (outcomes and outcomes[0].title)
        and not any(outcome.title for outcome in outcomes)
        and "learning_outcomes" not in without
    ):
        return rejection(emits, "learning_outcomes")
    return None


def qualification(
    record: Qualification,
    root: str,
    version: str = DEFAULT_VERSION,
    without: Container[str] = (),
) -> bytes | Rejected:
    """Return a ``Qualification`` as JSON, or a rejection if LOQ does not allow the entry.

    If the record lacks its EQF or national level, the result is a
    ``LearningAchievementSpecification``. ``without`` names fields that the entry may lack.
    """
    if rejected := missing_elements(record, "qualification", without):
        return rejected
    _, style, context = VERSIONS[version]
    identity = elm_common.json_string_content(root)
    complete = elm_levels.has_levels(record)
    body = elm_common.organisation(record.awarding_body, "awarding-body", style)
    awarding, notes = _awarding(record, body, identity, elm_common.ID_PREFIX_MARKER)
    fragments = [
        b'{"@context":',
        context,
        b',"id":"',
        identity,
        IS_QUALIFICATION if complete else IS_SPECIFICATION,
        *elm_common.specification(record, style, notes),
    ]
    if complete:
        fragments += _qualification_members(record, body, style)
    elif "languages" not in without and not vocabularies.languages(record.languages):
        return rejection("qualification", "languages")
    fragments += (identifier_member(record.code or record.id), awarding)
    fragments += (status_member(record.status), end_member(record.changed_at))
    return elm_common.with_node_ids(fragments, node_id_prefix(root))


def opportunity(
    record: LearningOpportunity,
    root: str,
    version: str = DEFAULT_VERSION,
    without: Container[str] = (),
) -> bytes | Rejected:
    """Return a ``LearningOpportunity`` as JSON, with the specification of its qualification.

    Return a rejection if LOQ does not allow the entry. ``without`` names fields that the entry may
    lack.
    """
    if rejected := missing_elements(record, "learning_opportunity", without):
        return rejected
    _, style, context = VERSIONS[version]
    tag = record.languages[0] if record.languages else next(iter(record.title))
    default = vocabularies.language(tag)
    if default is None and "languages" not in without:
        return Rejected(
            stage="render",
            field="languages",
            reason="missing",
            detail="expected a language of the EU vocabulary in languages or title",
        )
    page = elm_common.web_resource(record.homepage, style, b"homepage")
    if page is None and "homepage" not in without:
        return rejection("learning_opportunity", "homepage")
    organiser = record.provider or record.awarding_body
    provider = elm_common.organisation(organiser, "provider", style)
    if organiser is None or not provider.complete:
        return rejection("learning_opportunity", "provider")
    fragments = [
        b'{"@context":', context, b',"id":"', elm_common.json_string_content(root),
        IS_OPPORTUNITY, elm_common.title_member(record.title),
        b',"defaultLanguage":%b' % default if default else b"",
        b',"providedBy":', provider.json, b',"homepage":%b' % page if page else b"",
        b',"learningAchievementSpecification":',
        _specification_of_opportunity(record, style, default),
        *_offer(record, tag, organiser.country),
    ]  # fmt: skip
    fragments += (identifier_member(record.id), end_member(record.changed_at))
    return elm_common.with_node_ids(fragments, node_id_prefix(root))


def _specification_of_opportunity(
    record: LearningOpportunity, style: ProfileStyle, default: bytes | None
) -> bytes:
    """Return the achievement specification of an opportunity.

    A specification that is no qualification needs a language. Without another one, it is
    ``default``, the language of its title.
    """
    complete = elm_levels.has_levels(record)
    body = elm_common.organisation(record.awarding_body, "awarding-body", style)
    awarding, notes = _awarding(record, body, SPECIFICATION, SPECIFICATION + b"/")
    members = [
        *elm_common.specification(record, style, notes),
        *(_qualification_members(record, body, style) if complete else ()),
    ]
    if default and not (complete or record.languages):
        members.append(b',"language":[%b]' % default)
    return b'{"id":"%b%b%b%b}' % (
        SPECIFICATION,
        IS_QUALIFICATION if complete else IS_SPECIFICATION,
        elm_common.with_node_ids(members, SPECIFICATION + b"/"),
        awarding,
    )


def _offer(record: LearningOpportunity, tag: str, country: str | None) -> Fragments:
    """Return when, where and towards what a course takes place, if the registry says so."""
    fragments = [
        elm_common.description_member(record.description),
        duration_member(record.duration_months),
        dates_member(record.starts_on, record.ends_on),
        location_member(record.location, tag, record.location_country or country),
    ]
    if record.leads_to:
        fragments.append(activity_member(record.title, record.leads_to))
    if record.micro:
        fragments.append(elm_common.SHORT_PROGRAMME)
    return fragments


def _qualification_members(
    record: LearningRecord, body: OrganisationFragment, style: ProfileStyle
) -> Fragments:
    """Return the members that only a ``Qualification`` has, and no other specification."""
    fragments = [elm_levels.levels(record)]
    fragments.append(partial_member(record.partial))
    if record.accreditation and (
        accreditations := elm_common.accreditation(record.accreditation, body, style)
    ):
        fragments += (b',"accreditation":[', accreditations, b"]")
    return fragments


def partial_member(partial: bool | None) -> bytes:
    """Return the member that says whether a qualification is partial, if that is known."""
    return b',"isPartialQualification":%b' % dumps(partial) if partial is not None else b""


def all_accreditations_fit(record: LearningRecord) -> bool:
    """Return whether the entry can contain all accreditations of the record."""
    return not record.accreditation or (
        elm_levels.has_levels(record)
        and elm_common.is_complete(record.awarding_body)
        and all(map(elm_common.accreditation_fits, record.accreditation))
    )


def _awarding(
    record: LearningRecord, body: OrganisationFragment, specification: bytes, prefix: bytes
) -> tuple[bytes, tuple[str, ...]]:
    """Return the awarding body with the days on which it awards, and the notes on the entry.

    ``specification`` is the id of the entry, and ``prefix`` that of its nodes. Without an awarding
    body, a note states the days.
    """
    if not body.complete:
        text = validity_text(record.valid_from, record.valid_until)
        return b"", (text,) if text else ()
    return b"".join(
        (
            awarding_start(body.json, prefix),
            validity_member(record.valid_from, record.valid_until, prefix),
            AWARDED_SPECIFICATION,
            specification,
            AWARDING_END,
        )
    ), ()


AWARDED_SPECIFICATION: Final = b',"learningAchievementSpecification":"'
AWARDING_END: Final = b'"}'


@lru_cache(maxsize=_CACHE_SIZE)
def awarding_start(body: bytes, prefix: bytes) -> bytes:
    """Return the first bytes of the awarding opportunity, with the awarding body."""
    json_text = (
        b',"awardingOpportunity":{"id":"\0awarding","type":"AwardingOpportunity",'
        b'"awardingBody":%b' % body
    )
    return json_text.replace(elm_common.ID_PREFIX_MARKER, prefix)


def validity_member(start: date | None, end: date | None, prefix: bytes) -> bytes:
    """Return the member for the days on which the body awards, or nothing without a day."""
    days = period(start, end, b"validity")
    return b',"temporal":' + days.replace(elm_common.ID_PREFIX_MARKER, prefix) if days else b""


def duration_member(months: int | None) -> bytes:
    """Return the member for the duration of a course, or nothing without one."""
    return b',"duration":"P%dM"' % months if months else b""


def dates_member(start: date | None, end: date | None) -> bytes:
    """Return the member for the days of a course, or nothing without a day."""
    dates = period(start, end, b"dates")
    return b',"temporal":' + dates if dates else b""


def location_member(name: str | None, tag: str, country: str | None) -> bytes:
    """Return the member for a place by name, or nothing without a name or a known country.

    ``tag`` is the language of the name.
    """
    found = place(name, vocabularies.two_letter_tag(tag), country) if name else None
    return b',"location":' + found if found else b""


def activity_member(title: LangMap, leads_to: str) -> bytes:
    """Return the activity of an opportunity, which leads to a qualification."""
    return (
        b',"learningActivitySpecification":{"id":"\0activity","type":'
        b'"LearningActivitySpecification","title":%b,"influences":{"id":"\0leads-to","type":'
        b'"QualificationReference","identifier":{"id":"\0leads-to/identifier","type":'
        b'"Identifier","notation":%b}}}' % (dumps(title), dumps(leads_to))
    )


def identifier_member(notation: str) -> bytes:
    """Return the member for the identifier of an entry."""
    return b',"identifier":{"id":"\0identifier","type":"Identifier","notation":%b}' % dumps(
        notation
    )


def status_member(status: str | None) -> bytes:
    """Return the member for the status, or nothing without one."""
    return b',"status":%b' % dumps(status) if status else b""


def end_member(changed_at: datetime | None) -> bytes:
    """Return the last bytes of an entry, with the time of its last change if it is known."""
    return b',"modified":%b}' % elm_common.datetime_json(changed_at) if changed_at else b"}"
