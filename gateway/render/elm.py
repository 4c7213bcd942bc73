"""Pieces of the European Learning Model that every document shares: organisations, outcomes, credits, notes.

Nested ids derive from the root's id; a piece the record does not hold is left out, never filled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, NamedTuple

from gateway.records import Accreditation, Learning, LearningOutcome, Organisation
from gateway.render import vocab
from gateway.render.identity import nested

Node = dict[str, Any]

ESCO_ATTRIBUTION = "This service uses the ESCO classification of the European Commission."


ADDRESS: Final = re.compile(r"https?://[^\s/?#]+[^\s]*")
ESCO_SKILL: Final = re.compile(r"http://data\.europa\.eu/esco/skill/[A-Za-z0-9.-]+")


class Style(NamedTuple):
    """Where the two profiles differ for the same fact."""

    url: str
    """The term for a web resource's address: the two contexts spell it differently."""
    esco_scheme: bool
    """Whether an ESCO concept names its scheme: one profile demands it, the other's vocabulary shapes reject the real one."""
    back_reference: bool
    """Whether an accreditation must name the organisation it is about."""
    ordered: bool = False
    """Whether outcomes carry their place in the list, which newer versions know."""


LOQ: Final = Style(url="contentUrl", esco_scheme=False, back_reference=True)
LOQ_ORDERED: Final = LOQ._replace(ordered=True)
EDC: Final = Style(url="contentURL", esco_scheme=True, back_reference=False)


def put(node: Node, **fields: Any) -> Node:
    """Add the fields that hold something and return the node."""
    for name, value in fields.items():
        if value not in (None, {}, [], (), ""):
            node[name] = value
    return node


def number(value: Decimal | None) -> str | None:
    """Return a decimal as ELM wants a credit point: a plain string without trailing zeros."""
    if value is None:
        return None
    return format(value.normalize(), "f")


def hours(value: Decimal | None) -> str | None:
    """Return hours as an XML duration; a fraction becomes minutes."""
    if value is None:
        return None
    minutes = int((value * 60).to_integral_value())
    whole, rest = divmod(minutes, 60)
    return f"PT{whole}H{rest}M" if rest else f"PT{whole}H"


def organisation(body: Organisation | None, root: str, role: str, style: Style) -> Node | None:
    """Return an organisation with its location, or ``None`` when it has neither a name nor an identifier."""
    if body is None or not (body.name or body.identifiers):
        return None
    place = vocab.country(body.country)
    node: Node = {"id": nested(root, role), "type": "Organisation"}
    put(node, legalName=body.name)
    identifiers = [
        {"id": nested(root, role, scheme), "type": "Identifier", "notation": value, "schemeName": scheme}
        for scheme, value in sorted(body.identifiers.items())
        if scheme != "eidas"
    ]
    put(node, identifier=identifiers)
    if "eidas" in body.identifiers and place:
        node["eIDASIdentifier"] = {
            "id": nested(root, role, "eidas"),
            "type": "LegalIdentifier",
            "notation": body.identifiers["eidas"],
            "spatial": place,
        }
    if place:
        address = {"id": nested(root, role, "address"), "type": "Address", "countryCode": place}
        node["location"] = {"id": nested(root, role, "location"), "type": "Location", "address": address}
    return put(node, homepage=web(body.homepage, style, root, role, "homepage"))


def web(url: str | None, style: Style, root: str, *path: str) -> Node | None:
    """Return a web resource, or ``None`` for what is no web address: the profiles take http and https only."""
    return {"id": nested(root, *path), "type": "WebResource", style.url: url} if url and ADDRESS.fullmatch(url) else None


def outcomes(found: Iterable[LearningOutcome], root: str, style: Style) -> list[Node]:
    """Return learning outcomes with the ESCO skills they name."""
    nodes = []
    for index, outcome in enumerate((one for one in found if one.title), 1):
        node: Node = {"id": nested(root, "outcome", index), "type": "LearningOutcome"}
        put(node, title=outcome.title, order=str(index) if style.ordered else None)
        if outcome.kind:
            node["dcType"] = vocab.snb("skill-type", outcome.kind)
        nodes.append(put(node, relatedESCOSkill=[esco(uri, style) for uri in outcome.esco if ESCO_SKILL.fullmatch(uri)]))
    return nodes


def esco(uri: str, style: Style) -> Node:
    """Return an ESCO skill."""
    return vocab.concept(uri, "http://data.europa.eu/esco/concept-scheme/skills") if style.esco_scheme else {"id": uri, "type": "Concept"}


def is_complete(body: Node | None) -> bool:
    """Return whether an organisation has the name and the country that every profile demands of it."""
    return body is not None and "legalName" in body and "location" in body


def credit(record: Learning, root: str) -> Node | None:
    """Return ECTS credit points; national credits that are not ECTS stay in the provenance and are never relabelled."""
    points = number(record.credit_points)
    if points is None:
        return None
    return {"id": nested(root, "credit"), "type": "CreditPoint", "framework": vocab.snb("education-credit", vocab.ECTS), "point": points}


def note(text: dict[str, str], root: str, *path: str | int) -> Node | None:
    """Return a note in several languages."""
    return {"id": nested(root, *path), "type": "Note", "noteLiteral": text} if text else None


def accreditation(found: Iterable[Accreditation], root: str, holder: Node | None, style: Style) -> list[Node]:
    """Return the accreditations that can be said in ELM: those that name their agency and kind and, in a catalogue, their holder."""
    nodes: list[Node] = []
    if style.back_reference and not is_complete(holder):
        return nodes
    for index, one in enumerate(found, 1):
        agency = organisation(one.agency, root, f"agency-{index}", style)
        if agency is None or not is_complete(agency) or one.kind not in vocab.ACCREDITATIONS or not one.title:
            continue
        node: Node = {
            "id": nested(root, "accreditation", index),
            "type": "Accreditation",
            "dcType": vocab.snb("accreditation", vocab.ACCREDITATIONS[one.kind]),
            "title": one.title,
            "accreditingAgent": agency,
        }
        put(node, organisation=holder if style.back_reference else None, report=web(one.report, style, root, "report", str(index)))
        if one.valid_from:
            node["dateIssued"] = f"{one.valid_from}T00:00:00Z"
        if one.valid_until:
            node["expiryDate"] = f"{one.valid_until}T00:00:00Z"
        nodes.append(node)
    return nodes


def specification(record: Learning, root: str, style: Style) -> Node:
    """Return what a qualification or achievement specification says about learning, levels and workload."""
    node: Node = {"title": record.title}
    put(
        node,
        description=record.description,
        thematicArea=[vocab.snb("isced-f", code) for code in record.isced_f if code in vocab.ISCED_F],
        language=[found for tag in record.languages if (found := vocab.language(tag))],
        learningOutcome=outcomes(record.learning_outcomes, root, style),
        creditPoint=credit(record, root),
        volumeOfLearning=hours(record.workload_hours),
        maximumDuration=f"P{record.duration_months}M" if record.duration_months else None,
        entryRequirement=note(record.entry_requirement, root, "entry"),
        homepage=web(record.homepage, style, root, "homepage"),
    )
    if record.mode in vocab.MODES:
        node["mode"] = vocab.snb("learning-assessment", vocab.MODES[record.mode])
    if record.setting in vocab.SETTINGS:
        node["learningSetting"] = vocab.snb("learning-setting", vocab.SETTINGS[record.setting])
    return node


def levels(record: Learning) -> Node:
    """Return the EQF and national level concepts the record holds."""
    found: Node = {}
    if record.eqf_level is not None:
        found["eqfLevel"] = vocab.snb("eqf", str(record.eqf_level))
    if record.nqf_uri:
        found["nqfLevel"] = vocab.concept(record.nqf_uri, f"{vocab.SNB}/qdr/25831c2")
    return found
