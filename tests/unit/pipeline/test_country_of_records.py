"""The country of a record labels its metrics and travels with its documents."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from gateway.check.run_tests import raw_record_of_test
from gateway.config.loading import load_connector
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.messages.cloudevents import encode_raw_headers
from gateway.pipeline.processed_record import ProcessedRecord
from gateway.pipeline.record_processor import RecordProcessor
from gateway.render.publication import publication

ROOT = Path(__file__).parents[3]
KEY = b"a key for tests only, never for people"


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(ROOT / "mappings")


def result_of(tables: Tables, name: str, stream: str, test: str, **context: str) -> ProcessedRecord:
    """Return the result of the record of an inline test, with other values around it."""
    connector = load_connector(ROOT / "connectors" / f"{name}.yaml")
    example = next(one for one in connector.streams[stream].tests if one.name == test)
    raw = raw_record_of_test(connector, stream, example)
    raw = msgspec.structs.replace(raw, context=raw.context | context)
    record = SimpleNamespace(
        key=raw.key.encode(),
        value=raw.body,
        headers=encode_raw_headers(raw),
        timestamp=0,
        topic="gateway.raw.v1",
        partition=0,
        offset=7,
    )
    harmoniser = Harmoniser(connector, tables, pseudonym_key=KEY)
    return RecordProcessor({name: harmoniser}.get, KEY)(record)


def test_metrics_of_a_record_name_its_own_country(tables):
    level = "the table of the issuer's country states the level"
    result = result_of(tables, "eu-emrex", "results", level)
    assert ("NO", "NKR") in {(country, table) for country, table, _ in result.table_versions}
    national = "a national level belongs to the framework of the issuer's country"
    result = result_of(tables, "eu-emrex", "results", national, issuer_country="SE")
    assert result.outcome == "accepted"
    result = result_of(tables, "eu-emrex", "results", national, issuer_country="GB")
    assert result.unmapped_values == (("GB", "levels"),)


def test_the_country_of_the_record_travels_in_its_provenance(tables):
    level = "the table of the issuer's country states the level"
    headers = dict(result_of(tables, "eu-emrex", "results", level).outgoing[0].headers)
    assert json.loads(headers["provenance"])["country"] == "NO"


def test_a_student_status_states_the_country_of_its_record(tables):
    connector = load_connector(ROOT / "connectors/demo-soap.yaml")
    name, stream = next(
        (name, stream)
        for name, stream in connector.streams.items()
        if stream.emits == "student_status"
    )
    example = next(one for one in stream.tests if one.expect_some)
    abroad = stream.model_copy(update={"record_country": "substring('SE', 1)"})
    for streams, country in (({name: stream}, connector.country), ({name: abroad}, "SE")):
        raw = raw_record_of_test(connector, name, example)
        other = connector.with_streams(streams)
        outcome = Harmoniser(other, tables, pseudonym_key=KEY)(raw)
        (document, *_) = publication(outcome, raw, other).documents
        assert json.loads(document.value)["source"]["country"] == country
