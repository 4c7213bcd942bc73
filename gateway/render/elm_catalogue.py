"""Catalogue entries as JSON-LD in the LOQ profile of the European Learning Model (ELM).

Entries are qualifications, achievement specifications and learning opportunities. They contain no
personal data.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from orjson import dumps

from gateway.config.code_lists import ISCED_F
from gateway.config.publishing_needs import rejection
from gateway.records import LearningOpportunity, LearningRecord, Qualification, Rejected
from gateway.render import elm_common, vocabularies
from gateway.render.elm_common import ProfileStyle
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
    "modified": {"@id": "dc:modified", "@type": "xsd:dateTime"},
    "defaultLanguage": {"@id": "elm:defaultLanguage", "@type": "@id"},
}
VERSIONS: Final = {
    # LOQ 3.1 has no context of its own, so documents use the EDC context and add the missing terms.
    "3.1": _version(["http://data.europa.eu/snb/model/context/edc-ap", _EXTRA], elm_common.LOQ),
    "3.3": _version(_inline_context(), elm_common.LOQ_ORDERED),
}
_IS_QUALIFICATION: Final = b'","type":"Qualification",'
_IS_SPECIFICATION: Final = b'","type":"LearningAchievementSpecification",'


def missing_elements(record: LearningRecord, emits: str) -> Rejected | None:
    """Return a rejection if the entry lacks a title, a field of education or a learning outcome.

    LOQ requires all three.
    """
    if not record.title:
        return rejection(emits, "title")
    if ISCED_F.isdisjoint(record.isced_f):
        return rejection(emits, "isced_f")
    if not any(outcome.title for outcome in record.learning_outcomes):
        return rejection(emits, "learning_outcomes")
    return None


def qualification(
    record: Qualification, root: str, version: str = DEFAULT_VERSION
) -> bytes | Rejected:
    """Return a ``Qualification`` as JSON, or a rejection if LOQ does not allow the entry.

    If the record lacks its EQF or national level, the result is a
    ``LearningAchievementSpecification``.
    """
    if rejected := missing_elements(record, "qualification"):
        return rejected
    _, style, context = VERSIONS[version]
    identity = elm_common.json_string_content(root)
    complete = elm_common.has_levels(record)
    body = elm_common.organisation(record.awarding_body, "awarding-body", style)
    fragments = [
        b'{"@context":',
        context,
        b',"id":"',
        identity,
        _IS_QUALIFICATION if complete else _IS_SPECIFICATION,
        *elm_common.specification(record, style),
    ]
    if complete:
        fragments.append(elm_common.levels(record))
        if record.partial is not None:
            fragments.append(b',"isPartialQualification":%b' % dumps(record.partial))
        if accreditations := elm_common.accreditation(record.accreditation, body, style):
            fragments += (b',"accreditation":[', accreditations, b"]")
    elif not vocabularies.languages(record.languages):
        return rejection("qualification", "languages")
    fragments.append(_identifier(record.code or record.id))
    if body.complete:
        fragments += (
            b',"awardingOpportunity":{"id":"\0awarding","type":"AwardingOpportunity","learningAchievementSpecification":"',
            identity,
            b'","awardingBody":',
            body.json,
            b"}",
        )
    fragments.append(_validity_end(record))
    return elm_common.with_node_ids(fragments, node_id_prefix(root))


def opportunity(
    record: LearningOpportunity, root: str, version: str = DEFAULT_VERSION
) -> bytes | Rejected:
    """Return a ``LearningOpportunity`` as JSON, with the specification of its qualification.

    Return a rejection if LOQ does not allow the entry.
    """
    if rejected := missing_elements(record, "learning_opportunity"):
        return rejected
    _, style, context = VERSIONS[version]
    tag = record.languages[0] if record.languages else next(iter(record.title))
    default = vocabularies.language(tag)
    if default is None:
        return Rejected(
            stage="render",
            field="languages",
            reason="missing",
            detail="expected a language of the EU vocabulary in languages or title",
        )
    page = elm_common.web_resource(record.homepage, style, b"homepage")
    if page is None:
        return rejection("learning_opportunity", "homepage")
    provider = elm_common.organisation(record.provider or record.awarding_body, "provider", style)
    if not provider.complete:
        return rejection("learning_opportunity", "provider")
    complete = elm_common.has_levels(record)
    fragments = [
        b'{"@context":', context, b',"id":"', elm_common.json_string_content(root),
        b'","type":"LearningOpportunity","title":', dumps(record.title),
        b',"defaultLanguage":', default, b',"providedBy":', provider.json, b',"homepage":', page,
        b',"learningAchievementSpecification":{"id":"\0specification',
        _IS_QUALIFICATION if complete else _IS_SPECIFICATION,
        elm_common.with_node_ids(elm_common.specification(record, style), b"\0specification/"),
    ]  # fmt: skip
    if complete:
        fragments.append(elm_common.levels(record))
    fragments.append(b"}")
    if record.description:
        fragments += (b',"description":', dumps(record.description))
    if record.duration_months:
        fragments.append(b',"duration":"P%dM"' % record.duration_months)
    fragments += (_identifier(record.id), _validity_end(record))
    return elm_common.with_node_ids(fragments, node_id_prefix(root))


def _identifier(notation: str) -> bytes:
    return b',"identifier":{"id":"\0identifier","type":"Identifier","notation":%b}' % dumps(
        notation
    )


def _validity_end(record: LearningRecord) -> bytes:
    """Return the last bytes of an entry, with the time of its last change if it is known."""
    return (
        b',"modified":%b}' % elm_common.datetime_json(record.changed_at)
        if record.changed_at
        else b"}"
    )
