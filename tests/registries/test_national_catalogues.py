"""Check the entries of the Swedish and French registers: their bodies, and where fields come from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import orjson
import pytest

from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import FieldMatch, Tables
from gateway.messages.topics import INCOMPLETE_ENTRIES_TOPIC, QUALIFICATIONS_TOPIC
from gateway.records import Accepted, LearningOpportunity, Qualification
from gateway.render.publication import Publication, publication
from tests.support.saved_replies import CASES, REFERENCE, REGISTRIES, ROOT, connector_for, read

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(
        not REGISTRIES.is_dir(),
        reason=f"no reference material at {REFERENCE}; set GATEWAY_REFERENCE",
    ),
]
TABLES = Tables.load(ROOT / "mappings")


def published(name: str) -> Iterator[tuple[Accepted, Publication]]:
    (case,) = [case for case in CASES if case.connector == name]
    connector = connector_for(case)
    harmonise = Harmoniser(connector, TABLES, pseudonym_key=b"k" * 32)
    for raw in asyncio.run(read(case)):
        if raw.body is not None:
            outcome = harmonise(raw)
            if isinstance(outcome, Accepted):
                yield outcome, publication(outcome, raw, connector)


def test_swedish_courses_are_published_with_the_institution_that_gives_them() -> None:
    """Ladok's events hold no outcomes, no web page and no ISCED-F field, so LOQ refuses them."""
    found = list(published("se-ladok"))
    assert len(found) >= 1
    for outcome, made in found:
        record = outcome.record
        assert isinstance(record, LearningOpportunity)
        assert made.topics == (INCOMPLETE_ENTRIES_TOPIC,)
        assert record.provider is not None
        assert record.provider.name == {
            "sv": "Kungliga Tekniska högskolan",
            "en": "Royal Institute of Technology",
        }
        assert record.provider.country == "SE"
        assert record.provider.identifiers["pic"] == "999990946"
        assert record.changed_at is not None
        assert record.isced_f == ()
        (document,) = made.documents
        assert "Royal Institute of Technology" in str(orjson.loads(document.value or b"null"))


def test_french_fields_are_those_of_the_ministry() -> None:
    found = {outcome.record.id: (outcome, made) for outcome, made in published("fr-rncp")}
    assert len(found) == 9
    diploma, made = found["RNCP509"]
    assert isinstance(diploma.record, Qualification)
    assert diploma.record.isced_f == ("0715",)
    assert made.topics == (QUALIFICATIONS_TOPIC,)
    for outcome, _ in found.values():
        record, provenance = outcome.record, outcome.provenance
        assert isinstance(record, Qualification)
        rows = [lookup for lookup in provenance.lookups if lookup.field == "isced_f"]
        assert len(rows) == len(record.isced_f)
        for field, lookup in zip(record.isced_f, rows, strict=True):
            classification = lookup.table.rpartition(":")[2]
            stated = TABLES.field("FR", classification, lookup.row)
            assert isinstance(stated, FieldMatch)
            assert (stated.isced_f, stated.source) == (field, lookup.source)
        if not record.isced_f:
            codes = {issue.code for issue in provenance.issues if issue.field == "isced_f"}
            assert "isced_ambiguous" in codes


def test_french_certification_without_a_determined_level_has_none() -> None:
    found = {outcome.record.id: (outcome, made) for outcome, made in published("fr-rncp")}
    outcome, made = found["RNCP19468"]
    assert isinstance(outcome.record, Qualification)
    assert (outcome.record.nqf_level, outcome.record.eqf_level) == (None, None)
    assert made.topics == (INCOMPLETE_ENTRIES_TOPIC,)
