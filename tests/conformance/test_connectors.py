"""Validate the documents that the connectors produce from the payloads in their tests."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from gateway.check.run_tests import raw_record_of_test
from gateway.config.loading import load_connector
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.rule_findings import CHECK_KEY
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.messages.topics import INCOMPLETE_ENTRIES_TOPIC
from gateway.records import Accepted
from gateway.render.json_schemas import schemas
from gateway.render.qdr_xml import dataset
from gateway.render.render import Rendered, TopicKeys, render
from tests.support.official_oracles import Oracles
from tests.support.sample_documents import samples

ROOT = Path(__file__).parents[2]
CONNECTORS = sorted((ROOT / "connectors").glob("*.yaml"))
UNSEALED = {"MinCount:eidasLegalIdentifier", "MinCount:issued", "Node:issuer"}
VALIDATORS = {name: Draft202012Validator(schema) for name, schema in schemas().items()}


def seal(node: dict) -> dict:
    """Add to a copy what the sealing body adds: the issuing time and the issuer's eIDAS identifier, where the registry gave none."""
    copy = json.loads(json.dumps(node))
    copy.setdefault("issued", copy["validFrom"])
    copy.setdefault("issuanceDate", copy["issued"])
    issuer = copy["issuer"]
    issuer.setdefault(
        "eIDASIdentifier",
        {
            "id": f"{issuer['id']}/eidas",
            "type": "LegalIdentifier",
            "notation": "VATXX-00000000",
            "spatial": issuer["location"]["address"]["countryCode"],
        },
    )
    return copy


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(ROOT / "mappings")


@pytest.mark.reference
@pytest.mark.parametrize("path", CONNECTORS, ids=lambda path: path.stem)
def test_connector_documents_conform(path: Path, tables: Tables, oracles: Oracles):
    connector = load_connector(path)
    harmonise = Harmoniser(connector, tables, pseudonym_key=CHECK_KEY)
    ends: Counter[str] = Counter()
    catalogue = []
    for name, stream in connector.streams.items():
        for example in stream.tests:
            if example.given is None or example.exchange is not None:
                continue
            raw = raw_record_of_test(connector, name, example)
            outcome = harmonise(raw)
            if not isinstance(outcome, Accepted):
                continue
            found = render(
                outcome,
                TopicKeys(raw, stream.iri, samples.KEY),
                country=connector.country,
                at=samples.AT,
            )
            if not isinstance(found, Rendered):
                ends[f"rejected: {found.field} {found.reason}"] += 1
                continue
            for one in found.documents:
                if one.value is None:
                    continue
                node = json.loads(one.value)
                ends[one.topic] += 1
                where = f"{path.stem} {name}: {example.name}"
                errors = [
                    f"{list(error.absolute_path)}: {error.message[:160]}"
                    for error in VALIDATORS[one.topic].iter_errors(node)
                ]
                assert not errors, (where, errors)
                if one.topic == INCOMPLETE_ENTRIES_TOPIC:
                    violations = oracles.rudof(node, "loq")
                    assert len(violations) == len(one.missing), (where, violations)
                    assert all("MinCount" in text for text in violations), (where, violations)
                    assert oracles.vocabulary(node) == [], where
                if not one.topic.startswith("europass."):
                    continue
                profile = "edc" if one.topic == "europass.credentials.v1" else "loq"
                allowed = UNSEALED if profile == "edc" else set()
                assert oracles.targets(node, profile) >= 1, where
                assert set(oracles.shacl(node, profile)) <= allowed, (
                    where,
                    oracles.shacl(node, profile),
                )
                assert oracles.vocabulary(node) == [], where
                if profile == "edc":
                    sealed = seal(node)
                    assert oracles.rudof(sealed, profile) == [], where
                    assert oracles.shacl(sealed, profile) == [], where
                    assert set(oracles.ebsi(node)) <= {": 'issued' is a required property"}, (
                        where,
                        oracles.ebsi(node),
                    )
                else:
                    assert oracles.rudof(node, profile) == [], where
                    catalogue.append(node)
    if catalogue:
        assert oracles.xsd(dataset(catalogue)[0]) == []
    print(path.stem, dict(ends))
