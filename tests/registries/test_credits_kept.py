"""Check that no published record of the saved replies loses its amount of credits."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson
import pytest

from gateway.config.loading import load_connector
from gateway.errors import StreamError
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.records import Accepted, LearningRecord, RawRecord
from gateway.render.publication import Publication, publication
from gateway.render.vocabularies import ECTS
from tests.support.saved_replies import CASES, REFERENCE, REGISTRIES, ROOT, connector_for, read

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(
        not REGISTRIES.is_dir(),
        reason=f"no reference material at {REFERENCE}; set GATEWAY_REFERENCE",
    ),
]


def published() -> Iterator[tuple[LearningRecord, Publication]]:
    tables = Tables.load(ROOT / "mappings")
    for case in CASES:
        connector = connector_for(case)
        harmonise = Harmoniser(connector, tables, pseudonym_key=b"k" * 32)
        try:
            raws = asyncio.run(read(case))
        except StreamError:
            continue
        for raw in raws:
            if raw.body is None:
                continue
            made = publication(harmonise(raw), raw, connector)
            if (
                isinstance(made.outcome, Accepted)
                and made.topics
                and isinstance(made.outcome.record, LearningRecord)
            ):
                yield made.outcome.record, made


def points(node: Any) -> Iterator[tuple[Decimal, bool]]:
    """Yield each amount of a document, and whether its framework is ECTS."""
    if isinstance(node, dict):
        if node.get("type") == "CreditPoint":
            yield Decimal(node["point"]), node["framework"]["id"].endswith(ECTS)
        for value in node.values():
            yield from points(value)
    elif isinstance(node, list):
        for value in node:
            yield from points(value)


def test_every_amount_is_published_in_its_own_framework():
    amounts = 0
    for record, made in published():
        found = {
            point
            for document in made.documents
            for point in points(orjson.loads(document.value or b"null"))
        }
        for one in (record, *getattr(record, "parts", ())):
            if one.credit_amount is None:
                continue
            amounts += 1
            ects = one.credit_points is not None
            amount = one.credit_points if ects else one.credit_amount
            assert (amount.normalize(), ects) in {
                (value.normalize(), is_ects) for value, is_ects in found
            }
    assert amounts >= 100


def test_a_finnish_vocational_diploma_keeps_its_180_competence_points():
    """The saved vocational learner has no award yet, so this is the sample of the connector."""
    connector = load_connector(ROOT / "connectors/fi-koski.yaml")
    stream, sample = next(
        (name, test)
        for name, stream in connector.streams.items()
        for test in stream.tests
        if "competence points" in test.name
    )
    raw = RawRecord(
        connector="fi-koski",
        stream=stream,
        native_id="1.2.246.562.15.00000000001",
        body=orjson.dumps(sample.given),
        context=dict(sample.context),
    )
    harmonise = Harmoniser(connector, Tables.load(ROOT / "mappings"), pseudonym_key=b"k" * 32)
    made = publication(harmonise(raw), raw, connector)
    (document,) = [orjson.loads(one.value) for one in made.documents if one.value]
    assert list(points(document)) == [(Decimal(180), False)] * 2
    frameworks = re.findall(rb'"prefLabel":{"en":"(osp)"}', orjson.dumps(document))
    assert len(frameworks) == 2
