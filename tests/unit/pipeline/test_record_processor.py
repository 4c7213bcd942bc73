"""Process raw records into outgoing records: shadow streams and rejected new versions."""

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
from gateway.pipeline.page_writer import select_changes
from gateway.pipeline.record_processor import RecordProcessor
from gateway.records import RawRecord

ROOT = Path(__file__).parents[3]
KEY = b"a key for tests only, never for people"
PROGRAMME = json.dumps(
    load_connector(ROOT / "connectors" / "demo-rest.yaml").streams["programmes"].tests[0].given
).encode()
RAW = RawRecord(connector="demo-rest", stream="programmes", native_id="0a3c", body=PROGRAMME)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(ROOT / "mappings")


def delivered(tables: Tables, raw: RawRecord, mode: str = "live"):
    connector = load_connector(ROOT / "connectors" / "demo-rest.yaml")
    stream = connector.streams["programmes"].model_copy(update={"mode": mode})
    connector = connector.with_streams({"programmes": stream})
    harmoniser = Harmoniser(connector, tables, pseudonym_key=KEY)
    record = SimpleNamespace(
        key=raw.key.encode(),
        value=raw.body,
        headers=encode_raw_headers(raw),
        timestamp=0,
        topic="gateway.raw.v1",
        partition=0,
        offset=7,
    )
    result = RecordProcessor({"demo-rest": harmoniser}.get, KEY)(record)
    return result.outcome, [(one.topic, one.value is None) for one in result.outgoing]


def test_shadow_stream_only_counts(tables):
    assert delivered(tables, RAW) == ("accepted", [("europass.qualifications.v1", False)])
    assert delivered(tables, RAW, "shadow") == ("accepted", [])


def test_shadow_stream_writes_rejections(tables):
    broken = msgspec.structs.replace(RAW, body=b"{", written_before=True)
    assert delivered(tables, broken, "shadow") == ("rejected", [("gateway.rejections.v1", False)])


def test_rejected_version_removes_the_previous_document(tables):
    first = msgspec.structs.replace(RAW, body=b"{")
    assert delivered(tables, first) == ("rejected", [("gateway.rejections.v1", False)])
    again = msgspec.structs.replace(first, written_before=True)
    assert delivered(tables, again) == (
        "rejected",
        [
            ("gateway.rejections.v1", False),
            ("europass.qualifications.v1", True),
            ("catalogue.incomplete-entries.v1", True),
        ],
    )


def test_deletion_becomes_a_tombstone(tables):
    assert delivered(tables, msgspec.structs.replace(RAW, body=None)) == (
        "deleted",
        [("europass.qualifications.v1", True), ("catalogue.incomplete-entries.v1", True)],
    )


def test_record_of_a_removed_stream_is_rejected(tables):
    connector = load_connector(ROOT / "connectors" / "demo-rest.yaml")
    raw = msgspec.structs.replace(RAW, stream="programmen")
    record = SimpleNamespace(
        key=raw.key.encode(),
        value=raw.body,
        headers=encode_raw_headers(raw),
        timestamp=0,
        topic="t",
        partition=0,
        offset=7,
    )
    result = RecordProcessor(
        {"demo-rest": Harmoniser(connector, tables, pseudonym_key=KEY)}.get, KEY
    )(record)
    assert (result.outcome, result.reason, result.field) == ("rejected", "unknown_stream", "stream")
    assert b"programmes, courses" in result.outgoing[0].value
    result = RecordProcessor({}.get, KEY)(record)
    assert (result.outcome, result.reason, result.field) == (
        "rejected",
        "unknown_connector",
        "connector",
    )


def test_deleting_all_records_removes_their_documents(tables, tmp_path):
    """What CONTRIBUTING.md says to do before a stream is renamed, removed, or given another id, iri or emits."""
    text = (ROOT / "connectors" / "demo-rest.yaml").read_text()
    gone = text.replace(
        "    id: programmeId\n",
        "    id: programmeId\n    deleted: {path: programmeId, exists: true}\n",
    )
    assert gone != text
    (tmp_path / "demo-rest.yaml").write_text(gone)
    before = load_connector(ROOT / "connectors" / "demo-rest.yaml")
    after = load_connector(tmp_path / "demo-rest.yaml")
    example = before.streams["programmes"].tests[0]
    (known,), _ = select_changes([raw_record_of_test(before, "programmes", example)], {})
    (entry,), _ = select_changes(
        [raw_record_of_test(after, "programmes", example)], {known.raw.native_id: known.value}
    )
    places = []
    for connector, raw in ((before, known.raw), (after, entry.raw)):
        record = SimpleNamespace(
            key=raw.key.encode(),
            value=raw.body,
            headers=encode_raw_headers(raw),
            timestamp=0,
            topic="t",
            partition=0,
            offset=7,
        )
        result = RecordProcessor(
            {"demo-rest": Harmoniser(connector, tables, pseudonym_key=KEY)}.get, KEY
        )(record)
        places.append(
            [
                (one.topic, one.key, one.value is None)
                for one in result.outgoing
                if one.topic != "gateway.rejections.v1"
            ]
        )
    ((topic, key, is_gone),) = places[0]
    assert not is_gone
    assert places[1] == [(topic, key, True), ("catalogue.incomplete-entries.v1", key, True)]
