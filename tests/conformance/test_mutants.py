"""Spoil a valid document in one place and check that the named oracle notices.

Without these tests, an oracle that accepts everything would go unnoticed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from gateway.render.qdr_xml import dataset
from tests.support.official_oracles import Oracles
from tests.support.sample_documents import document

pytestmark = pytest.mark.reference

Node = dict[str, Any]


def drop(*path: str | int) -> Callable[[Node], None]:
    def spoil(node: Node) -> None:
        at: Any = node
        for step in path[:-1]:
            at = at[step]
        del at[path[-1]]

    return spoil


def put(value: Any, *path: str | int) -> Callable[[Node], None]:
    def spoil(node: Node) -> None:
        at: Any = node
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value

    return spoil


def rename(new: str, *path: str | int) -> Callable[[Node], None]:
    def spoil(node: Node) -> None:
        at: Any = node
        for step in path[:-1]:
            at = at[step]
        at[new] = at.pop(path[-1])

    return spoil


QDR = "http://data.europa.eu/snb/qdr/25831c2"
CLAIM = ("credentialSubject", "hasClaim")
SPEC = (*CLAIM, "specifiedBy")

MUTANTS: list[tuple[str, str, str, Callable[[Node], None]]] = [
    # --- catalogue, official shapes in both engines
    ("title dropped", "qualification", "shapes", drop("title")),
    ("EQF level dropped", "qualification", "shapes", drop("eqfLevel")),
    ("national level dropped", "qualification", "shapes", drop("nqfLevel")),
    ("field of education dropped", "qualification", "shapes", drop("thematicArea")),
    ("outcomes dropped", "qualification", "shapes", drop("learningOutcome")),
    ("outcome without title", "qualification", "shapes", drop("learningOutcome", 0, "title")),
    (
        "two EQF levels",
        "qualification",
        "shapes",
        lambda n: n.update(
            eqfLevel=[n["eqfLevel"], n["eqfLevel"] | {"id": "http://data.europa.eu/snb/eqf/5"}]
        ),
    ),
    (
        "EQF level in the national scheme",
        "qualification",
        "shapes",
        put(QDR, "eqfLevel", "inScheme", "id"),
    ),
    ("EQF level without scheme", "qualification", "shapes", drop("eqfLevel", "inScheme")),
    (
        "EQF level as a bare IRI",
        "qualification",
        "shapes",
        put("http://data.europa.eu/snb/eqf/4", "eqfLevel"),
    ),
    ("national level untyped", "qualification", "shapes", drop("nqfLevel", "type")),
    (
        "ftp address",
        "qualification",
        "shapes",
        put("ftp://example.org/x", "homepage", "contentUrl"),
    ),
    ("garbage address", "qualification", "shapes", put("not an address", "homepage", "contentUrl")),
    ("credit without points", "qualification", "shapes", drop("creditPoint", "point")),
    ("credit without framework", "qualification", "shapes", drop("creditPoint", "framework")),
    (
        "awarding without body",
        "qualification",
        "shapes",
        drop("awardingOpportunity", "awardingBody"),
    ),
    (
        "awarding without back-reference",
        "qualification",
        "shapes",
        drop("awardingOpportunity", "learningAchievementSpecification"),
    ),
    (
        "body without name",
        "qualification",
        "shapes",
        lambda n: _everywhere(n, "Organisation", "legalName"),
    ),
    (
        "body without place",
        "qualification",
        "shapes",
        lambda n: _everywhere(n, "Organisation", "location"),
    ),
    (
        "address without country",
        "qualification",
        "shapes",
        lambda n: _everywhere(n, "Address", "countryCode"),
    ),
    (
        "accreditation without agent",
        "qualification",
        "shapes",
        drop("accreditation", 0, "accreditingAgent"),
    ),
    (
        "accreditation without holder",
        "qualification",
        "shapes",
        drop("accreditation", 0, "organisation"),
    ),
    ("identifier without notation", "qualification", "shapes", drop("identifier", "notation")),
    (
        "order in 3.1, where no class has it",
        "qualification",
        "shapes",
        lambda n: n.update(
            {"@context": [*n["@context"], {"order": {"@id": "elm:order"}}], "order": "1"}
        ),
    ),
    ("opportunity without provider", "opportunity", "shapes", drop("providedBy")),
    ("opportunity without web page", "opportunity", "shapes", drop("homepage")),
    ("opportunity without language", "opportunity", "shapes", drop("defaultLanguage")),
    (
        "opportunity that leads nowhere",
        "opportunity",
        "shapes",
        drop("learningAchievementSpecification"),
    ),
    ("duration in words", "qualification", "shacl", put("a year", "maximumDuration")),
    # --- catalogue, where shapes are blind
    (
        "an EQF level that is none",
        "qualification",
        "vocabulary",
        put("http://data.europa.eu/snb/eqf/9", "eqfLevel", "id"),
    ),
    (
        "a national level that is none",
        "qualification",
        "vocabulary",
        put("http://data.europa.eu/snb/qdr/c_00000000", "nqfLevel", "id"),
    ),
    (
        "a country by two letters",
        "qualification",
        "vocabulary",
        lambda n: n["awardingOpportunity"]["awardingBody"]["location"]["address"].update(
            countryCode={
                "id": "http://publications.europa.eu/resource/authority/country/IE",
                "type": "Concept",
            }
        ),
    ),
    ("misspelt root type", "qualification", "targets", put("Qualificaton", "type")),
    (
        "an EQF level that is none, in XML",
        "qualification",
        "xsd",
        put("http://data.europa.eu/snb/eqf/9", "eqfLevel", "id"),
    ),
    (
        "an ISCED-F code that is none, in XML",
        "qualification",
        "xsd",
        put("http://data.europa.eu/snb/isced-f/1234", "thematicArea", 0, "id"),
    ),
    ("a date where a time is due, in XML", "qualification", "xsd", put("2026-11-01", "modified")),
    (
        "a language by two letters, in XML",
        "qualification",
        "xsd",
        put("http://publications.europa.eu/resource/authority/language/EN", "language", 0, "id"),
    ),
    (
        "credit in a framework that is none, in XML",
        "qualification",
        "xsd",
        put("http://data.europa.eu/snb/education-credit/0", "creditPoint", "framework", "id"),
    ),
    # --- credentials
    ("credential without issue time", "diploma", "shapes", drop("issued")),
    ("credential without issuer", "diploma", "shapes", drop("issuer")),
    ("credential without profile", "diploma", "shapes", drop("credentialProfiles")),
    ("credential without subject", "diploma", "shapes", drop("credentialSubject")),
    ("credential without display", "diploma", "shapes", drop("displayParameter")),
    (
        "issuer without eIDAS id",
        "diploma",
        "shapes",
        lambda n: _everywhere(n, "Organisation", "eIDASIdentifier"),
    ),
    ("holder without claim", "diploma", "shapes", drop(*CLAIM)),
    ("achievement without title", "diploma", "shapes", drop(*CLAIM, "title")),
    ("achievement that nobody awarded", "diploma", "shapes", drop(*CLAIM, "awardedBy")),
    ("result without grade", "diploma", "shapes", drop(*CLAIM, "provenBy", "grade")),
    ("grade as text", "diploma", "shapes", put("4", *CLAIM, "provenBy", "grade")),
    (
        "EQF level of a credential in no scheme",
        "micro",
        "shapes",
        drop(*SPEC, "eqfLevel", "inScheme"),
    ),
    (
        "ESCO skill in no scheme",
        "micro",
        "shapes",
        drop(*SPEC, "learningOutcome", 0, "relatedESCOSkill", 0, "inScheme"),
    ),
    (
        "misspelt key in a credential",
        "micro",
        "ebsi",
        rename("learningOutcomes", *SPEC, "learningOutcome"),
    ),
    ("unknown key in a credential", "micro", "ebsi", put("x", *CLAIM, "remark")),
    (
        "assessment type that is none",
        "micro",
        "vocabulary",
        put(
            "http://data.europa.eu/snb/assessment/ffffffffff",
            *CLAIM,
            "provenBy",
            "specifiedBy",
            "dcType",
            "id",
        ),
    ),
    (
        "misspelt credential type",
        "diploma",
        "targets",
        put(["VerifiableCredential", "EuropeanDigitalCredentials"], "type"),
    ),
]


def _everywhere(node: Any, kind: str, field: str) -> None:
    """Drop a field from every node of a kind: copies of one node merge in RDF and would hide the defect."""
    if isinstance(node, dict):
        if node.get("type") == kind:
            node.pop(field, None)
        for value in node.values():
            _everywhere(value, kind, field)
    elif isinstance(node, list):
        for value in node:
            _everywhere(value, kind, field)


def complaints(oracles: Oracles, catcher: str, node: Node, profile: str) -> list[list[str]]:
    match catcher:
        case "shapes":
            return [oracles.rudof(node, profile), oracles.shacl(node, profile)]
        case "shacl":
            return [oracles.shacl(node, profile)]
        case "vocabulary":
            return [oracles.vocabulary(node)]
        case "ebsi":
            return [oracles.ebsi(node)]
        case "xsd":
            return [oracles.xsd(dataset([node])[0])]
        case _:
            return [[] if oracles.targets(node, profile) else ["nothing to look at"]]


def test_mutants_are_numerous():
    assert len(MUTANTS) >= 40
    assert len({name for name, *_ in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize(
    ("name", "of", "catcher", "spoil"),
    MUTANTS,
    ids=[f"{catcher}: {name}" for name, _, catcher, _ in MUTANTS],
)
def test_oracles_reject_mutated_documents(
    oracles: Oracles, name: str, of: str, catcher: str, spoil: Callable[[Node], None]
):
    profile = "loq" if of in {"qualification", "opportunity"} else "edc"
    spoilt = copy.deepcopy(document(of))
    spoil(spoilt)
    assert all(complaints(oracles, catcher, spoilt, profile)), f"{name}: {catcher} did not notice"
