r"""Pieces of the European Learning Model that every document shares: organisations, outcomes, credits, notes.

A piece is JSON, written as it will stand in the document, and a document is its pieces, joined once: this is where most of the time of
a record went, and nothing is quicker than to write every byte once. Ids of nodes inside a document are written with ``\0`` where the
root's own IRI will stand (:data:`HERE`, :func:`placed`); JSON never holds that byte unescaped, so no text of a registry can be taken for
it. A piece the record does not hold is left out, never filled in.

What many records share (a country, a field of education, an institution) is written once and remembered; a person is never in there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from orjson import OPT_NAIVE_UTC, OPT_OMIT_MICROSECONDS, OPT_UTC_Z, dumps

from gateway.records import Accreditation, LangMap, Learning, LearningOutcome, Organisation
from gateway.render import vocabularies

Node = dict[str, Any]
"""A document as its readers get it."""
Pieces = list[bytes]
"""A part of a document, to be joined."""

ESCO_ATTRIBUTION = "This service uses the ESCO classification of the European Commission."

ADDRESS: Final = re.compile(r"https?://[^\s/?#]+[^\s]*")
ESCO_SKILL: Final = re.compile(r"http://data\.europa\.eu/esco/skill/[A-Za-z0-9.-]+")
ECTS: Final = vocabularies.snb("education-credit", vocabularies.ECTS)
SKILL_TYPES: Final = {kind: b',"dcType":%b' % vocabularies.snb("skill-type", kind) for kind in ("knowledge", "skill")}
MODES: Final = {mode: b',"mode":%b' % vocabularies.snb("learning-assessment", code) for mode, code in vocabularies.MODES.items()}
SETTINGS: Final = {
    name: b',"learningSetting":%b' % vocabularies.snb("learning-setting", code) for name, code in vocabularies.SETTINGS.items()
}

HERE: Final = b"\0"
"""Stands where the ids of nodes inside a document begin."""
_LARGEST: Final = 4096
_TO_THE_SECOND: Final = OPT_NAIVE_UTC | OPT_OMIT_MICROSECONDS | OPT_UTC_Z


class Style(NamedTuple):
    """Where the two profiles differ for the same fact."""

    url: bytes
    """The term for a web resource's address: the two contexts spell it differently."""
    esco_scheme: bool
    """Whether an ESCO concept names its scheme: one profile demands it, the other's vocabulary shapes reject the real one."""
    back_reference: bool
    """Whether an accreditation must name the organisation it is about."""
    ordered: bool = False
    """Whether outcomes carry their place in the list, which newer versions know."""


LOQ: Final = Style(url=b"contentUrl", esco_scheme=False, back_reference=True)
LOQ_ORDERED: Final = LOQ._replace(ordered=True)
EDC: Final = Style(url=b"contentURL", esco_scheme=True, back_reference=False)


@lru_cache(maxsize=_LARGEST)
def number(value: Decimal | None) -> str | None:
    """Return a decimal as ELM wants a credit point: a plain string without trailing zeros."""
    if value is None:
        return None
    return format(value.normalize(), "f")


@lru_cache(maxsize=_LARGEST)
def hours(value: Decimal | None) -> str | None:
    """Return hours as an XML duration; a fraction becomes minutes."""
    if value is None:
        return None
    minutes = int((value * 60).to_integral_value())
    whole, rest = divmod(minutes, 60)
    return f"PT{whole}H{rest}M" if rest else f"PT{whole}H"


def midnight(value: date) -> bytes:
    """Return a date as ELM's date and time, as JSON."""
    return dumps(value)[:-1] + b'T00:00:00Z"'


def instant(value: datetime) -> str:
    """Return a moment in UTC to the second."""
    return moment(value)[1:-1].decode()


def moment(value: datetime) -> bytes:
    """Return a moment in UTC to the second, as JSON."""
    return dumps(value, option=_TO_THE_SECOND)


def placed(made: Pieces, at: bytes) -> bytes:
    """Return what the pieces make, its inner ids beginning with ``at``: for a document, what :func:`identity.inside` says of its root."""
    return b"".join(made).replace(HERE, at)


class Body(NamedTuple):
    """An organisation as it is written."""

    written: bytes
    """Empty when it has neither a name nor an identifier."""
    complete: bool
    """Whether it has the name and the country that every profile demands of it."""


NOBODY: Final = Body(b"", complete=False)
_BODIES: Final[dict[tuple[str, bytes, bytes], Body]] = {}
"""Organisations as they were written before. Institutions are few and stand in every record."""
_read: Final = msgspec.json.Encoder().encode


def organisation(body: Organisation | None, role: str, style: Style) -> Body:
    """Return an organisation with its location."""
    if body is None:
        return NOBODY
    wanted = (role, style.url, _read(body))
    found = _BODIES.get(wanted)
    if found is None:
        if len(_BODIES) >= _LARGEST:
            _BODIES.clear()
        found = _BODIES[wanted] = _organisation(body, role.encode(), style)
    return found


def _organisation(body: Organisation, role: bytes, style: Style) -> Body:
    if not (body.name or body.identifiers):
        return NOBODY
    place = vocabularies.country(body.country)
    made = b'{"id":"\0%b","type":"Organisation"' % role
    if body.name:
        made += b',"legalName":%b' % dumps(body.name)
    identifiers = [
        b'{"id":"\0%b/%b","type":"Identifier","notation":%b,"schemeName":%b}' % (role, inner(scheme), dumps(value), dumps(scheme))
        for scheme, value in sorted(body.identifiers.items())
        if scheme != "eidas"
    ]
    if identifiers:
        made += b',"identifier":[%b]' % b",".join(identifiers)
    if "eidas" in body.identifiers and place:
        made += b',"eIDASIdentifier":{"id":"\0%b/eidas","type":"LegalIdentifier","notation":%b,"spatial":%b}' % (
            role, dumps(body.identifiers["eidas"]), place,
        )  # fmt: skip
    if place:
        made += (
            b',"location":{"id":"\0%b/location","type":"Location","address":{"id":"\0%b/address","type":"Address","countryCode":%b}}'
            % (role, role, place)
        )
    if page := web(body.homepage, style, b"%b/homepage" % role):
        made += b',"homepage":%b' % page
    return Body(made + b"}", complete=bool(body.name) and place is not None)


def inner(text: str) -> bytes:
    """Return a text as it stands between the quotes of a JSON string."""
    return dumps(text)[1:-1]


def web(url: str | None, style: Style, place: bytes) -> bytes | None:
    """Return a web resource, or ``None`` for what is no web address: the profiles take http and https only."""
    if not url or not ADDRESS.fullmatch(url):
        return None
    return b'{"id":"\0%b","type":"WebResource","%b":%b}' % (place, style.url, dumps(url))


def outcomes(found: Iterable[LearningOutcome], style: Style) -> bytes:
    """Return learning outcomes with the ESCO skills they name, as the inside of a list."""
    made: Pieces = []
    index = 0
    for outcome in found:
        if not outcome.title:
            continue
        index += 1
        more = b',"order":"%d"' % index if style.ordered else b""
        if outcome.kind:
            more += SKILL_TYPES[outcome.kind]
        if outcome.esco and (skills := [esco(uri, style) for uri in outcome.esco if ESCO_SKILL.fullmatch(uri)]):
            more += b',"relatedESCOSkill":[%b]' % b",".join(skills)
        made.append(b'{"id":"\0outcome/%d","type":"LearningOutcome","title":%b%b}' % (index, dumps(outcome.title), more))
    return b",".join(made)


def esco(uri: str, style: Style) -> bytes:
    """Return an ESCO skill."""
    if style.esco_scheme:
        return vocabularies.concept(uri, "http://data.europa.eu/esco/concept-scheme/skills")
    return b'{"id":%b,"type":"Concept"}' % dumps(uri)


@lru_cache(maxsize=_LARGEST)
def credit(points: Decimal) -> bytes:
    """Return ECTS credit points; national credits that are not ECTS stay in the provenance and are never relabelled."""
    return b'{"id":"\0credit","type":"CreditPoint","framework":%b,"point":"%b"}' % (ECTS, (number(points) or "").encode())


def note(text: LangMap, place: bytes) -> bytes:
    """Return a note in several languages."""
    return b'{"id":"\0%b","type":"Note","noteLiteral":%b}' % (place, dumps(text))


def accreditation(found: Sequence[Accreditation], body: Body, style: Style) -> bytes | None:
    """Return the accreditations that can be said in ELM, as the inside of a list: those that name their agency and kind.

    In a catalogue they name their holder, too: ``body``.
    """
    if not found or (style.back_reference and not body.complete):
        return None
    nodes = []
    for index, one in enumerate(found, 1):
        agency = organisation(one.agency, f"agency-{index}", style)
        if not agency.complete or one.kind not in vocabularies.ACCREDITATIONS or not one.title:
            continue
        made = b'{"id":"\0accreditation/%d","type":"Accreditation","dcType":%b,"title":%b,"accreditingAgent":%b' % (
            index,
            vocabularies.snb("accreditation", vocabularies.ACCREDITATIONS[one.kind]),
            dumps(one.title),
            agency.written,
        )
        if style.back_reference and body.written:
            made += b',"organisation":%b' % body.written
        if report := web(one.report, style, b"report/%d" % index):
            made += b',"report":%b' % report
        if one.valid_from:
            made += b',"dateIssued":%b' % midnight(one.valid_from)
        if one.valid_until:
            made += b',"expiryDate":%b' % midnight(one.valid_until)
        nodes.append(made + b"}")
    return b",".join(nodes)


def specification(record: Learning, style: Style) -> Pieces:
    """Return the members in which a qualification or achievement specification speaks about learning, levels and workload."""
    made = [b'"title":', dumps(record.title)]
    if record.description:
        made += (b',"description":', dumps(record.description))
    made.append(_subject(record.isced_f, record.languages))
    if record.learning_outcomes and (learnt := outcomes(record.learning_outcomes, style)):
        made += (b',"learningOutcome":[', learnt, b"]")
    made.append(_volume(record.credit_points, record.workload_hours, record.duration_months))
    if record.entry_requirement:
        made += (b',"entryRequirement":', note(record.entry_requirement, b"entry"))
    if page := web(record.homepage, style, b"homepage"):
        made += (b',"homepage":', page)
    made.append(_manner(record.mode, record.setting))
    return made


@lru_cache(maxsize=_LARGEST)
def _manner(mode: str | None, setting: str | None) -> bytes:
    return MODES.get(mode or "", b"") + SETTINGS.get(setting or "", b"")


@lru_cache(maxsize=_LARGEST)
def _subject(isced_f: tuple[str, ...], languages: tuple[str, ...]) -> bytes:
    areas, tongues = vocabularies.fields(isced_f), vocabularies.languages(languages)
    return (b',"thematicArea":[%b]' % areas if areas else b"") + (b',"language":[%b]' % tongues if tongues else b"")


@lru_cache(maxsize=_LARGEST)
def _volume(points: Decimal | None, worked: Decimal | None, months: int | None) -> bytes:
    made = b',"creditPoint":%b' % credit(points) if points is not None else b""
    if worked is not None:
        made += b',"volumeOfLearning":"%b"' % (hours(worked) or "").encode()
    if months:
        made += b',"maximumDuration":"P%dM"' % months
    return made


def levels(record: Learning) -> bytes:
    """Return the members with the EQF and national level concepts the record holds."""
    return _levels(record.eqf_level, record.nqf_uri or None)


@lru_cache(maxsize=_LARGEST)
def _levels(eqf: int | None, national: str | None) -> bytes:
    made = b',"eqfLevel":%b' % vocabularies.snb("eqf", str(eqf)) if eqf is not None else b""
    return made + (b',"nqfLevel":%b' % vocabularies.concept(national, f"{vocabularies.SNB}/qdr/25831c2") if national else b"")


def has_levels(record: Learning) -> bool:
    """Return whether a table stated both levels, without which nothing is called a qualification in a catalogue."""
    return record.eqf_level is not None and bool(record.nqf_uri)
