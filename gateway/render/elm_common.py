r"""Fragments of the European Learning Model (ELM) that documents share, for example organisations.

A fragment is JSON text, and a document joins its fragments once. This is the fastest way, because
every byte is written only once. Ids of nodes inside a document begin with ``\0``, the
:data:`ID_PREFIX_MARKER`. :func:`with_node_ids` replaces the marker with a prefix from the root IRI.
JSON never contains this byte unescaped, so text of a registry cannot imitate the marker. If the
record lacks a value, its fragment is omitted.

Fragments that many records share are cached, for example countries and institutions. The caches
never contain personal data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from orjson import OPT_NAIVE_UTC, OPT_OMIT_MICROSECONDS, OPT_UTC_Z, dumps

from gateway.identifiers import is_web_address
from gateway.records import Accreditation, LangMap, LearningOutcome, LearningRecord, Organisation
from gateway.render import elm_credits, elm_levels, vocabularies
from gateway.render.elm_periods import date_as_datetime

Node = dict[str, Any]
"""A parsed document, or a node inside it."""
Fragments = list[bytes]
"""Byte strings that are joined into a part of a document."""

ESCO_ATTRIBUTION = "This service uses the ESCO classification of the European Commission."

ESCO_SKILL: Final = re.compile(r"http://data\.europa\.eu/esco/skill/[A-Za-z0-9.-]+")
SKILL_TYPES: Final = {
    kind: b',"dcType":%b' % vocabularies.snb_concept("skill-type", kind)
    for kind in ("knowledge", "skill")
}
MODES: Final = {
    mode: b',"mode":%b' % vocabularies.snb_concept("learning-assessment", code)
    for mode, code in vocabularies.MODES.items()
}
SETTINGS: Final = {
    name: b',"learningSetting":%b' % vocabularies.snb_concept("learning-setting", code)
    for name, code in vocabularies.SETTINGS.items()
}
SHORT_PROGRAMME: Final = b',"dcType":%b' % vocabularies.snb_concept(
    "learning-opportunity", vocabularies.SHORT_LEARNING_PROGRAMME
)

ID_PREFIX_MARKER: Final = b"\0"
"""The byte at the beginning of each node id, until the prefix is known."""
_CACHE_SIZE: Final = 4096
_TO_THE_SECOND: Final = OPT_NAIVE_UTC | OPT_OMIT_MICROSECONDS | OPT_UTC_Z


class ProfileStyle(NamedTuple):
    """The differences between the profiles in how they express the same fact."""

    url: bytes
    """The term for the address of a web resource, which each context spells differently."""
    esco_scheme: bool
    """Whether an ESCO concept names its scheme.

    EDC requires the scheme. The vocabulary shapes of LOQ reject the real scheme.
    """
    back_reference: bool
    """Whether an accreditation must name the organisation it is about."""
    ordered: bool = False
    """Whether learning outcomes state their order, which only newer versions support."""


LOQ: Final = ProfileStyle(url=b"contentUrl", esco_scheme=False, back_reference=True)
LOQ_ORDERED: Final = LOQ._replace(ordered=True)
EDC: Final = ProfileStyle(url=b"contentURL", esco_scheme=True, back_reference=False)


@lru_cache(maxsize=_CACHE_SIZE)
def xml_duration(value: Decimal | None) -> str | None:
    """Return hours as an XML duration; a fraction becomes minutes."""
    if value is None:
        return None
    minutes = int((value * 60).to_integral_value())
    whole, rest = divmod(minutes, 60)
    return f"PT{whole}H{rest}M" if rest else f"PT{whole}H"


def datetime_text(value: datetime) -> str:
    """Return a time in UTC, to the second."""
    return datetime_json(value)[1:-1].decode()


def datetime_json(value: datetime) -> bytes:
    """Return a time in UTC as JSON, to the second."""
    return dumps(value, option=_TO_THE_SECOND)


def with_node_ids(json_text: Fragments, prefix: bytes) -> bytes:
    """Join the fragments, and replace each marker of a node id with ``prefix``.

    For a whole document, :func:`~gateway.render.record_ids.node_id_prefix` returns the prefix.
    """
    return b"".join(json_text).replace(ID_PREFIX_MARKER, prefix)


class OrganisationFragment(NamedTuple):
    """An organisation as JSON text."""

    json: bytes
    """The JSON text, empty if the organisation has neither a name nor an identifier."""
    complete: bool
    """Whether it has a name and a country, which every profile requires."""


NO_ORGANISATION: Final = OrganisationFragment(b"", complete=False)
_ORGANISATION_CACHE: Final[dict[tuple[str, bytes, bytes], OrganisationFragment]] = {}
"""Rendered organisations. The cache works because a few institutions occur in every record."""
_cache_key_of: Final = msgspec.json.Encoder().encode


def organisation(body: Organisation | None, role: str, style: ProfileStyle) -> OrganisationFragment:
    """Return an organisation with its location."""
    if body is None:
        return NO_ORGANISATION
    cache_key = (role, style.url, _cache_key_of(body))
    fragment = _ORGANISATION_CACHE.get(cache_key)
    if fragment is None:
        if len(_ORGANISATION_CACHE) >= _CACHE_SIZE:
            _ORGANISATION_CACHE.clear()
        fragment = _ORGANISATION_CACHE[cache_key] = _organisation(body, role.encode(), style)
    return fragment


def _organisation(body: Organisation, role: bytes, style: ProfileStyle) -> OrganisationFragment:
    if not (body.name or body.identifiers):
        return NO_ORGANISATION
    place = vocabularies.country(body.country)
    json_text = b'{"id":"\0%b","type":"Organisation"' % role
    if body.name:
        json_text += b',"legalName":%b' % dumps(body.name)
    identifiers = [
        b'{"id":"\0%b/%b","type":"Identifier","notation":%b,"schemeName":%b}'
        % (role, json_string_content(scheme), dumps(value), dumps(scheme))
        for scheme, value in sorted(body.identifiers.items())
        if scheme != "eidas"
    ]
    if identifiers:
        json_text += b',"identifier":[%b]' % b",".join(identifiers)
    if "eidas" in body.identifiers and place:
        json_text += (
            b',"eIDASIdentifier":{"id":"\0%b/eidas","type":"LegalIdentifier",'
            b'"notation":%b,"spatial":%b}' % (role, dumps(body.identifiers["eidas"]), place)
        )
    if place:
        json_text += (
            b',"location":{"id":"\0%b/location","type":"Location","address":{"id":"\0%b/address","type":"Address","countryCode":%b}}'
            % (role, role, place)
        )
    if page := web_resource(body.homepage, style, b"%b/homepage" % role):
        json_text += b',"homepage":%b' % page
    return OrganisationFragment(json_text + b"}", complete=bool(body.name) and place is not None)


def json_string_content(text: str) -> bytes:
    """Return a text as JSON, without the enclosing quotes."""
    return dumps(text)[1:-1]


def web_resource(url: str | None, style: ProfileStyle, place: bytes) -> bytes | None:
    """Return a web resource, or ``None`` if the address is not valid http or https."""
    if not url or not is_web_address(url):
        return None
    return checked_web_resource(url, style, place)


def checked_web_resource(url: str, style: ProfileStyle, place: bytes) -> bytes:
    """Return a web resource with an address that is valid http or https."""
    return b'{"id":"\0%b","type":"WebResource","%b":%b}' % (place, style.url, dumps(url))


def learning_outcomes(outcomes: Iterable[LearningOutcome], style: ProfileStyle) -> bytes:
    """Return the items of a JSON list: learning outcomes with their ESCO skills."""
    json_text: Fragments = []
    index = 0
    for outcome in outcomes:
        if not outcome.title:
            continue
        index += 1
        members = b',"order":"%d"' % index if style.ordered else b""
        if outcome.kind:
            members += SKILL_TYPES[outcome.kind]
        if outcome.esco and (
            skills := [
                esco_concept(uri, style) for uri in outcome.esco if ESCO_SKILL.fullmatch(uri)
            ]
        ):
            members += b',"relatedESCOSkill":[%b]' % b",".join(skills)
        json_text.append(
            b'{"id":"\0outcome/%d","type":"LearningOutcome","title":%b%b}'
            % (index, dumps(outcome.title), members)
        )
    return b",".join(json_text)


def esco_concept(uri: str, style: ProfileStyle) -> bytes:
    """Return an ESCO skill."""
    if style.esco_scheme:
        return vocabularies.concept(uri, "http://data.europa.eu/esco/concept-scheme/skills")
    return b'{"id":%b,"type":"Concept"}' % dumps(uri)


def note(text: LangMap, place: bytes) -> bytes:
    """Return a note in several languages."""
    return b'{"id":"\0%b","type":"Note","noteLiteral":%b}' % (place, dumps(text))


def is_complete(body: Organisation | None) -> bool:
    """Return whether an organisation has a name and a country, which every profile requires."""
    return body is not None and bool(body.name) and vocabularies.country(body.country) is not None


def accreditation_fits(entry: Accreditation) -> bool:
    """Return whether ELM can express an accreditation.

    It needs a title, a known kind, and an agency with name and country.
    """
    return (
        bool(entry.title)
        and entry.kind in vocabularies.ACCREDITATIONS
        and is_complete(entry.agency)
    )


def accreditation(
    accreditations: Sequence[Accreditation], body: OrganisationFragment, style: ProfileStyle
) -> bytes | None:
    """Return the items of a JSON list: the accreditations that ELM can express.

    Each has a title, a known kind, and an agency with name and country. In a catalogue, each also
    names the accredited organisation ``body``. Without any, return ``None`` or an empty string.
    """
    if not accreditations or (style.back_reference and not body.complete):
        return None
    nodes = []
    for index, entry in enumerate(accreditations, 1):
        agency = organisation(entry.agency, f"agency-{index}", style)
        if not agency.complete or entry.kind not in vocabularies.ACCREDITATIONS or not entry.title:
            continue
        json_text = (
            b'{"id":"\0accreditation/%d","type":"Accreditation","dcType":%b,"title":%b,"accreditingAgent":%b'
            % (
                index,
                vocabularies.snb_concept("accreditation", vocabularies.ACCREDITATIONS[entry.kind]),
                dumps(entry.title),
                agency.json,
            )
        )
        if style.back_reference and body.json:
            json_text += b',"organisation":%b' % body.json
        if report := web_resource(entry.report, style, b"report/%d" % index):
            json_text += b',"report":%b' % report
        if entry.valid_from:
            json_text += b',"dateIssued":%b' % date_as_datetime(entry.valid_from)
        if entry.valid_until:
            json_text += b',"expiryDate":%b' % date_as_datetime(entry.valid_until)
        nodes.append(json_text + b"}")
    return b",".join(nodes)


def specification(
    record: LearningRecord, style: ProfileStyle, notes: Sequence[str] = ()
) -> Fragments:
    """Return the members that qualifications and specifications share, without levels.

    ``notes`` are additional notes on the entry.
    """
    json_text = [
        title_member(record.title),
        description_member(record.description),
        fields_and_languages(record.isced_f, record.languages),
        outcomes_member(record.learning_outcomes, style),
        credit_member(record),
        workload_members(record.workload_hours, record.duration_months),
        entry_requirement_member(record.entry_requirement),
        homepage_member(record.homepage, style),
        mode_and_setting(record.mode, record.setting),
        other_levels_member(record, style),
    ]
    if record.micro:
        json_text.append(SHORT_PROGRAMME)
    if amount := elm_credits.national_amount(record):
        notes = (*notes, amount)
    if notes:
        json_text.append(additional_notes(notes))
    return json_text


def title_member(title: LangMap) -> bytes:
    """Return the title, the first member of a specification."""
    return b'"title":' + dumps(title)


def description_member(description: LangMap) -> bytes:
    """Return the member for the description, or nothing without one."""
    return b',"description":' + dumps(description) if description else b""


def outcomes_member(outcomes: Sequence[LearningOutcome], style: ProfileStyle) -> bytes:
    """Return the member for the learning outcomes, or nothing without one."""
    if outcomes and (learnt := learning_outcomes(outcomes, style)):
        return b',"learningOutcome":[%b]' % learnt
    return b""


def credit_member(record: LearningRecord) -> bytes:
    """Return the member for the credit points, or nothing without an amount."""
    points = elm_credits.credit_point(record)
    return b',"creditPoint":' + points if points else b""


def entry_requirement_member(text: LangMap) -> bytes:
    """Return the member for the entry requirement, or nothing without one."""
    return b',"entryRequirement":' + note(text, b"entry") if text else b""


def homepage_member(url: str | None, style: ProfileStyle) -> bytes:
    """Return the member for the homepage, or nothing without a valid address."""
    page = web_resource(url, style, b"homepage")
    return b',"homepage":' + page if page else b""


def other_levels_member(record: LearningRecord, style: ProfileStyle) -> bytes:
    """Return the member for the levels that the members for EQF and NQF levels do not express."""
    complete = elm_levels.has_levels(record)
    if record.cycle is None and complete:
        return b""
    return elm_levels.education_levels(
        record, levels_published=not style.back_reference or complete
    )


def additional_notes(texts: Sequence[str]) -> bytes:
    """Return the member for notes without a language."""
    items = [
        b'{"id":"\0note/%d","type":"Note","noteLiteral":{"%b":%b}}'
        % (number, elm_credits.NO_LANGUAGE.encode(), dumps(text))
        for number, text in enumerate(texts, 1)
    ]
    return b',"additionalNote":[%b]' % b",".join(items)


@lru_cache(maxsize=_CACHE_SIZE)
def mode_and_setting(mode: str | None, setting: str | None) -> bytes:
    """Return the members for the mode of learning and its setting."""
    return MODES.get(mode or "", b"") + SETTINGS.get(setting or "", b"")


@lru_cache(maxsize=_CACHE_SIZE)
def fields_and_languages(isced_f: tuple[str, ...], languages: tuple[str, ...]) -> bytes:
    """Return the members for the fields of education and the languages."""
    areas, tongues = vocabularies.education_fields(isced_f), vocabularies.languages(languages)
    return (b',"thematicArea":[%b]' % areas if areas else b"") + (
        b',"language":[%b]' % tongues if tongues else b""
    )


def workload_members(worked: Decimal | None, months: int | None) -> bytes:
    """Return the members for the hours of work and the months of a record."""
    json_text = b""
    if worked is not None:
        hours = int(worked)
        if hours == worked:
            json_text = b',"volumeOfLearning":"PT%dH"' % hours
        else:
            json_text = b',"volumeOfLearning":"%b"' % (xml_duration(worked) or "").encode()
    if months:
        json_text += b',"maximumDuration":"P%dM"' % months
    return json_text
