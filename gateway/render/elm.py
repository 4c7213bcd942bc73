"""Pieces of the European Learning Model that every document shares: organisations, outcomes, credits, notes.

A piece is JSON, written as it will stand in the document, and a document is its pieces, joined once: this is where most of the time of
a record went, and nothing is quicker than to write every byte once. ``at`` is where nested ids begin,
the root's IRI with ``#`` (:func:`gateway.render.identity.inside`). A piece the record does not hold is left out, never filled in.

What many records share (a country, a field of education, an institution) is written once and remembered; a person is never in there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

from orjson import OPT_NAIVE_UTC, OPT_OMIT_MICROSECONDS, OPT_UTC_Z, dumps

from gateway.records import Accreditation, LangMap, Learning, LearningOutcome, Organisation
from gateway.render import vocab

Node = dict[str, Any]
"""A document as its readers get it."""
Pieces = list[bytes]
"""A part of a document, to be joined."""

ESCO_ATTRIBUTION = "This service uses the ESCO classification of the European Commission."


ADDRESS: Final = re.compile(r"https?://[^\s/?#]+[^\s]*")
ESCO_SKILL: Final = re.compile(r"http://data\.europa\.eu/esco/skill/[A-Za-z0-9.-]+")
ECTS: Final = vocab.snb("education-credit", vocab.ECTS)
SKILL_TYPES: Final = {kind: b',"dcType":%b' % vocab.snb("skill-type", kind) for kind in ("knowledge", "skill")}
MODES: Final = {mode: b',"mode":%b' % vocab.snb("learning-assessment", code) for mode, code in vocab.MODES.items()}
SETTINGS: Final = {name: b',"learningSetting":%b' % vocab.snb("learning-setting", code) for name, code in vocab.SETTINGS.items()}

_HERE: Final = "\0"
"""Stands for ``at`` in what is remembered; JSON never holds it unescaped."""
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


def day(value: date) -> str:
    """Return a date as ELM's date and time."""
    return f"{value.isoformat()}T00:00:00Z"


def instant(value: datetime) -> str:
    """Return a moment in UTC to the second."""
    return moment(value)[1:-1].decode()


def moment(value: datetime) -> bytes:
    """Return a moment in UTC to the second, as JSON."""
    return dumps(value, option=_TO_THE_SECOND)


class _Organisations:
    """Organisations as they were written before. Institutions are few and stand in every record."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], list[bytes]] = {}

    def __call__(self, body: Organisation, at: bytes, role: str, style: Style) -> bytes:
        """Return an organisation whose ids begin at ``at``."""
        wanted = (role, style.url, body.country, body.homepage, tuple(body.name.items()), tuple(body.identifiers.items()))
        pieces = self._known.get(wanted)
        if pieces is None:
            pieces = _organisation(body, _HERE.encode(), role, style).split(_HERE.encode())
            if len(self._known) >= _LARGEST:
                self._known.clear()
            self._known[wanted] = pieces
        return at.join(pieces)


_known_organisation: Final = _Organisations()


def organisation(body: Organisation | None, at: bytes, role: str, style: Style) -> bytes | None:
    """Return an organisation with its location, or ``None`` when it has neither a name nor an identifier."""
    return _known_organisation(body, at, role, style) if body is not None and (body.name or body.identifiers) else None


def _organisation(body: Organisation, at: bytes, role: str, style: Style) -> bytes:
    place = vocab.country(body.country)
    me = b"%b%b" % (at, role.encode())
    made = b'{"id":"%b","type":"Organisation"' % me
    if body.name:
        made += b',"legalName":%b' % dumps(body.name)
    identifiers = [
        b'{"id":"%b/%b","type":"Identifier","notation":%b,"schemeName":%b}' % (me, inner(scheme), dumps(value), dumps(scheme))
        for scheme, value in sorted(body.identifiers.items())
        if scheme != "eidas"
    ]
    if identifiers:
        made += b',"identifier":[%b]' % b",".join(identifiers)
    if "eidas" in body.identifiers and place:
        made += b',"eIDASIdentifier":{"id":"%b/eidas","type":"LegalIdentifier","notation":%b,"spatial":%b}' % (
            me, dumps(body.identifiers["eidas"]), place,
        )  # fmt: skip
    if place:
        made += b',"location":{"id":"%b/location","type":"Location","address":{"id":"%b/address","type":"Address","countryCode":%b}}' % (
            me, me, place,
        )  # fmt: skip
    if page := web(body.homepage, style, me, b"/homepage"):
        made += b',"homepage":%b' % page
    return made + b"}"


def is_complete(body: Organisation | None) -> bool:
    """Return whether an organisation has the name and the country that every profile demands of it."""
    return body is not None and bool(body.name) and vocab.country(body.country) is not None


def inner(text: str) -> bytes:
    """Return a text as it stands between the quotes of a JSON string."""
    return dumps(text)[1:-1]


def web(url: str | None, style: Style, at: bytes, place: bytes) -> bytes | None:
    """Return a web resource, or ``None`` for what is no web address: the profiles take http and https only."""
    if not url or not ADDRESS.fullmatch(url):
        return None
    return b'{"id":"%b%b","type":"WebResource","%b":%b}' % (at, place, style.url, dumps(url))


def outcomes(found: Iterable[LearningOutcome], at: bytes, style: Style) -> Pieces:
    """Return learning outcomes with the ESCO skills they name, as the inside of a list."""
    made: Pieces = []
    index = 0
    for outcome in found:
        if not outcome.title:
            continue
        index += 1
        made += (b',{"id":"%boutcome/%d","type":"LearningOutcome","title":' % (at, index), dumps(outcome.title))
        if style.ordered:
            made.append(b',"order":"%d"' % index)
        if outcome.kind:
            made.append(SKILL_TYPES[outcome.kind])
        if outcome.esco and (skills := [esco(uri, style) for uri in outcome.esco if ESCO_SKILL.fullmatch(uri)]):
            made += (b',"relatedESCOSkill":[', b",".join(skills), b"]")
        made.append(b"}")
    if made:
        made[0] = made[0][1:]
    return made


def esco(uri: str, style: Style) -> bytes:
    """Return an ESCO skill."""
    if style.esco_scheme:
        return vocab.concept(uri, "http://data.europa.eu/esco/concept-scheme/skills")
    return b'{"id":%b,"type":"Concept"}' % dumps(uri)


def credit(points: Decimal, at: bytes) -> bytes:
    """Return ECTS credit points; national credits that are not ECTS stay in the provenance and are never relabelled."""
    return b'{"id":"%bcredit","type":"CreditPoint","framework":%b,"point":"%b"}' % (at, ECTS, (number(points) or "").encode())


def note(text: LangMap, me: bytes) -> bytes:
    """Return a note in several languages."""
    return b'{"id":"%b","type":"Note","noteLiteral":%b}' % (me, dumps(text))


def accreditation(found: Sequence[Accreditation], at: bytes, body: Organisation | None, holder: bytes | None, style: Style) -> bytes | None:
    """Return the accreditations that can be said in ELM, as the inside of a list: those that name their agency and kind.

    In a catalogue they name their holder, too: ``body``, which is ``holder`` as it is written.
    """
    if not found or (style.back_reference and not is_complete(body)):
        return None
    nodes = []
    for index, one in enumerate(found, 1):
        agency = organisation(one.agency, at, f"agency-{index}", style)
        if agency is None or not is_complete(one.agency) or one.kind not in vocab.ACCREDITATIONS or not one.title:
            continue
        made = b'{"id":"%baccreditation/%d","type":"Accreditation","dcType":%b,"title":%b,"accreditingAgent":%b' % (
            at,
            index,
            vocab.snb("accreditation", vocab.ACCREDITATIONS[one.kind]),
            dumps(one.title),
            agency,
        )
        if style.back_reference and holder:
            made += b',"organisation":%b' % holder
        if report := web(one.report, style, at, b"report/%d" % index):
            made += b',"report":%b' % report
        if one.valid_from:
            made += b',"dateIssued":"%b"' % day(one.valid_from).encode()
        if one.valid_until:
            made += b',"expiryDate":"%b"' % day(one.valid_until).encode()
        nodes.append(made + b"}")
    return b",".join(nodes)


def specification(record: Learning, at: bytes, style: Style) -> Pieces:
    """Return the members in which a qualification or achievement specification speaks about learning, levels and workload."""
    made = [b'"title":', dumps(record.title)]
    if record.description:
        made += (b',"description":', dumps(record.description))
    made.append(_subject(record.isced_f, record.languages))
    if record.learning_outcomes and (learnt := outcomes(record.learning_outcomes, at, style)):
        made += (b',"learningOutcome":[', *learnt, b"]")
    if volume := _volume(record.credit_points, record.workload_hours, record.duration_months or 0):
        made.append(at.join(volume))
    if record.entry_requirement:
        made += (b',"entryRequirement":', note(record.entry_requirement, b"%bentry" % at))
    if page := web(record.homepage, style, at, b"homepage"):
        made += (b',"homepage":', page)
    if record.mode or record.setting:
        made.append(MODES.get(record.mode or "", b"") + SETTINGS.get(record.setting or "", b""))
    return made


@lru_cache(maxsize=_LARGEST)
def _subject(isced_f: tuple[str, ...], languages: tuple[str, ...]) -> bytes:
    areas, tongues = vocab.fields(isced_f), vocab.languages(languages)
    return (b',"thematicArea":[%b]' % areas if areas else b"") + (b',"language":[%b]' % tongues if tongues else b"")


@lru_cache(maxsize=_LARGEST)
def _volume(points: Decimal | None, worked: Decimal | None, months: int) -> Pieces:
    made = b',"creditPoint":%b' % credit(points, _HERE.encode()) if points is not None else b""
    if worked is not None:
        made += b',"volumeOfLearning":"%b"' % (hours(worked) or "").encode()
    if months:
        made += b',"maximumDuration":"P%dM"' % months
    return made.split(_HERE.encode()) if made else []


def levels(record: Learning) -> bytes:
    """Return the members with the EQF and national level concepts the record holds."""
    return _levels(record.eqf_level, record.nqf_uri or None)


@lru_cache(maxsize=_LARGEST)
def _levels(eqf: int | None, national: str | None) -> bytes:
    made = b',"eqfLevel":%b' % vocab.snb("eqf", str(eqf)) if eqf is not None else b""
    return made + (b',"nqfLevel":%b' % vocab.concept(national, f"{vocab.SNB}/qdr/25831c2") if national else b"")


def has_levels(record: Learning) -> bool:
    """Return whether a table stated both levels, without which nothing is called a qualification in a catalogue."""
    return record.eqf_level is not None and bool(record.nqf_uri)
