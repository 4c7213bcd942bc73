"""Catalogue entries as ELM LOQ JSON-LD: qualifications, achievement specifications, learning opportunities. No personal data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.records import Learning, LearningOpportunity, Qualification, Rejected
from gateway.render import elm, vocab
from gateway.render.elm import Node, Style, put
from gateway.render.identity import nested

DEFAULT_VERSION: Final = "3.1"


class Version(NamedTuple):
    """One version of the profile: the JSON-LD context its documents carry and how its facts are said."""

    context: list[Any]
    style: Style


def _embedded() -> list[Any]:
    """Return a whole context for 3.3, whose own has no known address: every term documents use, on the new base."""
    data = json.loads(Path(__file__).with_name("elm33.json").read_text(encoding="utf-8"))
    terms: dict[str, Any] = {"id": "@id", "type": "@type", **data["prefixes"]}
    terms |= {name.rpartition(":")[2]: name for name in data["classes"]}
    terms |= {name: {"@id": iri, "@container": "@language"} for name, iri in data["texts"].items()}
    terms |= {name: {"@id": iri, "@type": "@id"} for name, iri in data["links"].items()}
    terms |= {name: {"@id": iri, "@type": f"xsd:{kind}"} for name, (iri, kind) in data["values"].items()}
    terms["notation"] = {"@id": "skos:notation"}
    return [terms]


_EXTRA: Final = {
    "id": "@id",
    "type": "@type",
    "contentUrl": {"@id": "elm:contentUrl", "@type": "xsd:anyURI"},
    "modified": {"@id": "dc:modified", "@type": "xsd:dateTime"},
    "defaultLanguage": {"@id": "elm:defaultLanguage", "@type": "@id"},
}
VERSIONS: Final = {
    # There is no LOQ context: the EDC one, and the terms it lacks.
    "3.1": Version(["http://data.europa.eu/snb/model/context/edc-ap", _EXTRA], elm.LOQ),
    "3.3": Version(_embedded(), elm.LOQ_ORDERED),
}


def missing(record: Learning) -> Rejected | None:
    """Return why a catalogue entry cannot be published: LOQ demands a title, a field of education and an outcome."""
    if not record.title:
        return Rejected(stage="render", field="title", reason="missing")
    if vocab.ISCED_F.isdisjoint(record.isced_f):
        return Rejected(stage="render", field="isced_f", reason="missing", detail="LOQ demands at least one ISCED-F code; none is invented")
    if not any(outcome.title for outcome in record.learning_outcomes):
        return Rejected(stage="render", field="learning_outcomes", reason="missing", detail="LOQ demands an outcome; none is invented")
    return None


def qualification(record: Qualification, version: str = DEFAULT_VERSION) -> Node | Rejected:
    """Return a Qualification, or a LearningAchievementSpecification when no table states both of its levels."""
    if rejected := missing(record):
        return rejected
    context, style = VERSIONS[version]
    levels = elm.levels(record)
    complete = "eqfLevel" in levels and "nqfLevel" in levels
    body = elm.organisation(record.awarding_body, record.iri, "awarding-body", style)
    node: Node = {"@context": context, "id": record.iri, "type": "Qualification" if complete else "LearningAchievementSpecification"}
    node |= elm.specification(record, record.iri, style)
    if complete:
        node |= levels
        put(node, isPartialQualification=record.partial, accreditation=elm.accreditation(record.accreditation, record.iri, body, style))
    elif "language" not in node:
        return Rejected(stage="render", field="languages", reason="missing", detail="an entry without a level needs its language")
    identifier = record.code or record.id
    node["identifier"] = {"id": nested(record.iri, "identifier"), "type": "Identifier", "notation": identifier}
    if elm.is_complete(body):
        node["awardingOpportunity"] = {
            "id": nested(record.iri, "awarding"),
            "type": "AwardingOpportunity",
            "learningAchievementSpecification": record.iri,
            "awardingBody": body,
        }
    return _dated(node, record)


def opportunity(record: LearningOpportunity, version: str = DEFAULT_VERSION) -> Node | Rejected:
    """Return a LearningOpportunity with what it leads to."""
    if rejected := missing(record):
        return rejected
    context, style = VERSIONS[version]
    tag = record.languages[0] if record.languages else next(iter(record.title))
    default = vocab.language(tag)
    if default is None:
        return Rejected(stage="render", field="languages", reason="missing", detail="LOQ demands a language the EU vocabulary knows")
    page = elm.web(record.homepage, style, record.iri, "homepage")
    if page is None:
        return Rejected(stage="render", field="homepage", reason="missing", detail="LOQ demands a web page of the opportunity")
    provider = elm.organisation(record.provider or record.awarding_body, record.iri, "provider", style)
    if not elm.is_complete(provider):
        return Rejected(stage="render", field="provider", reason="missing", detail="LOQ demands a provider with name and country")
    root = nested(record.iri, "specification")
    levels = elm.levels(record)
    complete = "eqfLevel" in levels and "nqfLevel" in levels
    specification: Node = {"id": root, "type": "Qualification" if complete else "LearningAchievementSpecification"}
    specification |= elm.specification(record, root, style)
    if complete:
        specification |= levels
    node: Node = {
        "@context": context,
        "id": record.iri,
        "type": "LearningOpportunity",
        "title": record.title,
        "defaultLanguage": default,
        "providedBy": provider,
        "homepage": page,
        "learningAchievementSpecification": specification,
    }
    put(node, description=record.description, duration=f"P{record.duration_months}M" if record.duration_months else None)
    node["identifier"] = {"id": nested(record.iri, "identifier"), "type": "Identifier", "notation": record.id}
    return _dated(node, record)


def _dated(node: Node, record: Learning) -> Node:
    if record.changed_at:
        node["modified"] = record.changed_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return node
