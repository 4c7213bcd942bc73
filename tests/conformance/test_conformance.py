"""Validate every kind of Europass document with every oracle, and check the oracles themselves."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from pathlib import Path

import pytest

from gateway.render import vocabularies
from gateway.render.qdr_xml import dataset
from tests.support.official_oracles import ELM, Oracles
from tests.support.sample_documents import document

pytestmark = pytest.mark.reference

CATALOGUE = (
    "qualification",
    "qualification-small",
    "qualification-vocational",
    "qualification-converted",
    "specification",
    "opportunity",
    "opportunity-unlevelled",
    "opportunity-vocational",
)
CREDENTIALS = ("diploma", "diploma-vocational", "certificate", "transcript", "micro")
UNSEALED = ("unsealed", "plain")
ALLOWED_UNSEALED = {"MinCount:eidasLegalIdentifier", "MinCount:issued", "Node:issuer"}


@pytest.mark.parametrize("name", CATALOGUE)
def test_catalogue_documents_conform(oracles: Oracles, name: str):
    found = document(name)
    assert oracles.targets(found, "loq") >= 1
    assert oracles.rudof(found, "loq") == []
    assert oracles.shacl(found, "loq") == []
    assert oracles.vocabulary(found) == []


@pytest.mark.parametrize("name", CREDENTIALS)
def test_credentials_conform(oracles: Oracles, name: str):
    found = document(name)
    assert oracles.targets(found, "edc") == 1
    assert oracles.rudof(found, "edc") == []
    assert oracles.shacl(found, "edc") == []
    assert oracles.ebsi(found) == []
    assert oracles.vocabulary(found) == []


def test_a_signed_original_is_the_evidence_of_a_conversion(oracles: Oracles):
    found = document("diploma-vocational")
    assert oracles.shacl(found, "converted") == []
    assert oracles.shacl(document("diploma"), "converted") != []
    content = found["evidence"]["embeddedEvidence"]["content"]
    assert b64decode(content) == b"<elmo/>"


@pytest.mark.parametrize("name", UNSEALED)
def test_unsealed_credential_lacks_only_sealing_fields(oracles: Oracles, name: str):
    found = document(name)
    assert oracles.targets(found, "edc") == 1
    assert set(oracles.shacl(found, "edc")) == ALLOWED_UNSEALED
    assert oracles.ebsi(found) == [": 'issued' is a required property"]
    assert oracles.vocabulary(found) == []


def test_xml_data_set_is_valid(oracles: Oracles):
    xml, left = dataset(map(document, CATALOGUE))
    assert oracles.xsd(xml) == []
    assert xml.count(b"<qualification ") == 4
    assert xml.count(b"<learningOpportunity ") == 3
    for text in (
        b"180 osp",
        b"120 CATS",
        b">inactive<",
        b"until 2020-07-31",
        b">2030-07-31T",
        b">Example Town<",
    ):
        assert text in xml, text
    assert xml.count(b"<qualificationReference ") == 1
    assert xml.count(vocabularies.ECTS.encode()) == 5
    assert xml.count(b"education-credit/60b314e826") == 1
    assert [one.reason for one in left] == ["the XML profile demands language"]


@pytest.mark.parametrize("name", CATALOGUE)
def test_version_3_3_changes_only_the_base_iri(oracles: Oracles, name: str):
    """The official 3.3 shapes are nowhere to be had: this holds 3.3 against the 3.1 shapes on the new base, as a regression test."""
    new = document(name, loq_version="3.3")
    text = json.dumps(new)
    assert "context/edc-ap" not in text
    assert ELM not in text
    ordered = [outcome["order"] for outcome in _outcomes(new)]
    assert ordered == [str(place) for place in range(1, len(ordered) + 1)]
    for outcome in _outcomes(new):
        del outcome["order"]
    rebased = json.loads(json.dumps(new).replace("snb/model/ontology/", "snb/model/elm/"))
    assert oracles.targets(rebased, "loq") >= 1
    assert oracles.rudof(rebased, "loq") == []
    assert oracles.shacl(rebased, "loq") == []
    old = document(name)
    assert set(oracles.graph(rebased)) == set(oracles.graph(old)), (
        "the same statements in both versions"
    )


def _outcomes(node: dict) -> list[dict]:
    return (
        (node.get("learningAchievementSpecification") or node)["learningOutcome"]
        if node["type"] == "LearningOpportunity"
        else node["learningOutcome"]
    )


def test_oracles_agree_with_known_verdicts(oracles: Oracles, reference: Path):
    """A judge that never says no is none: documents of others, whose verdicts were measured elsewhere."""
    samples = reference / "elm" / "samples" / "elm-repo"
    sealed = json.loads((samples / "derived-CertOfPart-signed-payload.json").read_text())
    unsealed = json.loads((samples / "Sample-CertOfPart-unsigned.jsonld").read_text())
    assert oracles.targets(sealed, "edc") == 1
    assert oracles.rudof(sealed, "edc") == []
    assert len(oracles.rudof(unsealed.get("credential", unsealed), "edc")) == 2
    assert oracles.xsd((reference / "elm" / "xsd" / "loq" / "loq.xml").read_bytes()) == []


def test_rdf_conversion_keeps_every_term(oracles: Oracles):
    """JSON-LD drops what its context does not know, silently."""
    for name in (*CATALOGUE, *CREDENTIALS):
        found = document(name)
        terms = _terms(found)
        known = set().union(*(set(part) for part in oracles._inlined(found["@context"])))
        scoped = {"id", "type", "@context"}
        lost = {term for term in terms if term not in known and term not in scoped}
        # The VC context scopes its own terms to its types.
        assert lost <= {
            "credentialSchema",
            "credentialSubject",
            "issuer",
            "issuanceDate",
            "expirationDate",
            "validFrom",
            "validUntil",
            "issued",
            "evidence",
        }, name


def _terms(node: object) -> set[str]:
    if isinstance(node, dict):
        languages = (
            node
            and all(re.fullmatch(r"[a-z]{2,3}", key) for key in node)
            and all(isinstance(value, str) for value in node.values())
        )
        own = set() if languages else {key for key in node if key != "@context"}
        return own.union(*(_terms(value) for key, value in node.items() if key != "@context"))
    return set().union(*map(_terms, node)) if isinstance(node, list) else set()
