"""Check that encoded headers are those that Kafka's own client would write."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages.cloudevents import (
    CONTENT_ID_HEADER,
    MISSING_FIELDS_HEADER,
    RECORD_TYPE_HEADER,
    encode_document_headers,
)
from gateway.messages.event_ids import EventIds
from gateway.messages.header_block import HeaderBlock, varint
from gateway.messages.topics import QUALIFICATIONS_TOPIC
from gateway.records import Document, Lookup, Provenance, RawRecord

HEADERS = st.lists(st.tuples(st.text(max_size=80), st.binary(max_size=300)), max_size=90)


def written_by_aiokafka(headers: list[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
    """The headers after a round trip through a batch of aiokafka."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, -1, -1, 0, 1_000_000)
    builder.append(0, timestamp=0, key=b"", value=b"", headers=headers)
    return list(next(iter(DefaultRecordBatch(bytes(builder.build())))).headers)


@given(HEADERS)
def test_headers_are_read_back(headers: list[tuple[str, bytes]]):
    block = HeaderBlock.of(headers)
    assert list(block) == headers == written_by_aiokafka(headers)
    assert len(block) == len(headers)
    assert block == HeaderBlock.of(headers)


@given(HEADERS)
def test_bytes_are_those_of_aiokafka(headers: list[tuple[str, bytes]]):
    builder = DefaultRecordBatchBuilder(2, 0, 1, -1, -1, 0, 1_000_000)
    builder.append(0, timestamp=0, key=b"", value=b"", headers=headers)
    assert bytes(builder.build()).endswith(HeaderBlock.of(headers).encoded)


@given(st.integers(min_value=-(2**62), max_value=2**62))
def test_numbers_are_zigzag(number: int):
    read = shift = 0
    encoded = varint(number)
    for byte in encoded:
        read |= (byte & 127) << shift
        shift += 7
    assert (read >> 1) ^ -(read & 1) == number
    assert all(byte > 127 for byte in encoded[:-1])
    assert encoded[-1] < 128


def test_a_missing_value_differs_from_an_empty_one():
    headers = [("a", None), ("b", b"")]
    assert written_by_aiokafka(headers) == headers
    assert HeaderBlock.of([("a", None)]) != HeaderBlock.of([("a", b"")])


def test_a_printed_block_shows_no_value():
    assert "secret" not in repr(HeaderBlock.of([("ce_subject", b"secret")]))


def test_document_headers_have_every_attribute_in_order():
    raw = RawRecord(
        connector="c-1",
        stream="s",
        native_id="1",
        body=b"{}",
        changed_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
        event_id="e",
        corrects_event_id="x",
    )
    document = Document(
        topic=QUALIFICATIONS_TOPIC,
        key="https://a.example/ü",
        value=b'{"a":1}',
        type="t.v1",
        schema="https://s.example",
        subject="subject",
        record_type="qualification",
        missing=("title", "homepage"),
    )
    lookup = Lookup(field="mode", table="mode", version="1", row="a", source="s")
    provenance = Provenance(connector="c-1", stream="s", config_digest="d", lookups=(lookup,))
    headers = list(encode_document_headers(document, raw, provenance, EventIds(b"k")))
    by_name = dict(headers)
    assert [name for name, _ in headers] == [
        "ce_specversion",
        "ce_id",
        CONTENT_ID_HEADER,
        "ce_source",
        "ce_type",
        "ce_subject",
        "ce_dataschema",
        "content-type",
        "ce_time",
        "provenance",
        "ce_correctionof",
        RECORD_TYPE_HEADER,
        MISSING_FIELDS_HEADER,
    ]
    content = by_name[CONTENT_ID_HEADER].decode()
    assert by_name["ce_id"].decode() == EventIds(b"k")(QUALIFICATIONS_TOPIC, "e", content)
    assert by_name["ce_source"] == b"/connectors/c-1/s"
    assert by_name["ce_type"] == b"t.v1"
    assert by_name["ce_subject"] == b"subject"
    assert by_name["ce_dataschema"] == b"https://s.example"
    assert by_name["ce_time"] == b"2026-03-01T12:00:00Z"
    assert msgspec.json.decode(by_name["provenance"], type=Provenance) == provenance
    assert by_name["ce_correctionof"] == b"x"
    assert by_name[MISSING_FIELDS_HEADER] == b"title,homepage"
