"""Hold the gateway's record batches against those of aiokafka, byte by byte."""

from __future__ import annotations

import struct

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.kafka.record_batch import RecordBatch
from gateway.messages.header_block import HeaderBlock
from gateway.messages.outgoing import OutgoingRecord

NOW = 1_790_000_000_000
RECORDS = st.lists(
    st.builds(
        OutgoingRecord,
        st.just("t"),
        st.binary(max_size=20),
        st.one_of(st.none(), st.binary(max_size=400), st.just(b"x" * 9_000)),
        st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=90)), max_size=4),
        st.just(0),
        st.one_of(st.none(), st.integers(0, 2**45)),
    ),
    min_size=1,
    max_size=40,
)


def aiokafka_batch(records: list[OutgoingRecord], max_bytes: int) -> tuple[int, bytes]:
    """How many records aiokafka's batch takes, and its bytes."""
    builder = BatchBuilder(max_bytes, 0, is_transactional=1)
    for record in records:
        time = NOW if record.timestamp is None else record.timestamp
        headers = list(record.headers)
        if (
            builder.append(timestamp=time, key=record.key, value=record.value, headers=headers)
            is None
        ):
            break
    builder._set_producer_state(7, 3, 40)
    return builder.record_count(), bytes(builder._build())


def own_batch(records: list[OutgoingRecord], max_bytes: int, **options: bool) -> RecordBatch:
    batch = RecordBatch(max_bytes, **options)
    for record in records:
        if not batch.append(record, NOW):
            break
    batch.set_producer(7, 3, 40)
    return batch


def rows(encoded: bytes) -> list[tuple[object, ...]]:
    """The records of a batch as a consumer sees them."""
    batch = DefaultRecordBatch(encoded)
    assert batch.validate_crc()
    return [
        (record.offset, record.timestamp, record.key, record.value, list(record.headers))
        for record in batch
    ]


TWO_RECORDS = [
    OutgoingRecord("t", b"1", b"x", [("name", b"value")], 0, None),
    OutgoingRecord("t", b"2", b"y", [("name", b"value")], 0, None),
]


@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_record_that_fills_a_batch_is_refused_as_by_aiokafka(spare: int):
    most = len(own_batch(TWO_RECORDS, 10_000).encode()) + spare
    count, expected = aiokafka_batch(TWO_RECORDS, most)
    assert count == (2 if spare > 0 else 1)
    assert own_batch(TWO_RECORDS, most).encode() == expected


@settings(max_examples=300)
@given(RECORDS, st.integers(80, 20_000), st.booleans())
def test_bytes_are_those_of_aiokafka(records: list[OutgoingRecord], most: int, in_blocks: bool):
    count, expected = aiokafka_batch(records, most)
    if in_blocks:
        for record in records:
            record.headers = HeaderBlock.of(record.headers)
    batch = own_batch(records, most)
    assert batch.record_count == count
    assert batch.size == batch.sent_size == len(expected)
    assert batch.encode() == expected


@settings(max_examples=200)
@given(RECORDS, st.integers(80, 20_000))
def test_compressed_batches_hold_the_same_records(records: list[OutgoingRecord], most: int):
    count, expected = aiokafka_batch(records, most)
    batch = own_batch(records, most, compress=True)
    encoded = batch.encode()
    assert rows(encoded) == rows(expected)
    assert batch.record_count == count
    assert batch.size == len(expected), "limits of batches do not depend on compression"
    assert batch.sent_size == len(encoded) <= len(expected)


def test_a_batch_that_would_grow_is_not_compressed():
    batch = own_batch([OutgoingRecord("t", b"k", bytes(range(40)), [])], 1_000, compress=True)
    assert (
        batch.encode()
        == own_batch([OutgoingRecord("t", b"k", bytes(range(40)), [])], 1_000).encode()
    )


def test_a_batch_takes_a_first_record_of_any_size_and_no_second():
    large = OutgoingRecord("t", b"k", b"x" * 5_000, [])
    batch = RecordBatch(100)
    assert batch.append(large, NOW)
    assert not batch.append(OutgoingRecord("t", b"k", b"", []), NOW)
    assert batch.record_count == 1


def test_a_closed_batch_takes_no_record_and_is_encoded_once():
    record = OutgoingRecord("t", b"k", b"v", [])
    batch = own_batch([record], 1_000)
    encoded = batch.encode()
    assert batch.closed
    assert not batch.append(record, NOW)
    batch.set_producer(9, 9, 99)
    assert batch.encode() is encoded, "a retry must send the same bytes, or it would be a duplicate"


def test_the_checksum_covers_what_follows_it():
    encoded = own_batch([OutgoingRecord("t", b"k", b"v" * 500, [])], 1_000).encode()
    assert struct.unpack_from(">I", encoded, 17)[0] == calc_crc32c(encoded[21:])


def test_a_wrong_type_is_an_error():
    with pytest.raises(TypeError):
        RecordBatch(1_000).append(OutgoingRecord("t", "key", b"", []), NOW)  # type: ignore[arg-type]
