"""Check that the fast keyed hash is HMAC-SHA-256."""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st

from gateway.pseudonym_keys import keyed_hash, keyed_hash_writer
from gateway.render.record_ids import (
    event_uuid,
    event_uuid_writer,
    pseudonym_key,
    pseudonym_writer,
)

_TEXTS = st.text(st.characters(codec="utf-8"))


@given(st.binary(max_size=200), st.binary(max_size=300))
def test_keyed_hash_is_hmac_sha256(key: bytes, message: bytes):
    expected = hmac.digest(key, message, "sha256")
    assert keyed_hash(key, message) == expected
    assert keyed_hash(key, message) == expected  # the started hashes stay as they were


@given(st.binary(min_size=63, max_size=66))
def test_keys_around_the_block_size(key: bytes):
    assert keyed_hash(key, b"x") == hmac.digest(key, b"x", "sha256")


@given(st.binary(max_size=200), st.binary(max_size=150), st.binary(max_size=150))
def test_a_writer_gives_the_hash_of_its_start_and_a_message(
    key: bytes, start: bytes, message: bytes
):
    write = keyed_hash_writer(key, start)
    expected = hmac.digest(key, start + message, "sha256").hex()
    assert write(message) == expected
    assert write(message) == expected


@given(st.binary(min_size=1), _TEXTS, _TEXTS, _TEXTS)
def test_writers_give_the_ids_of_records_and_events(
    key: bytes, connector: str, native_id: str, version: str
):
    pseudonym = pseudonym_key(key, connector, native_id)
    assert pseudonym_writer(key, connector)(native_id) == pseudonym
    expected = event_uuid(key, f"{connector}|{pseudonym}", version, "card.updated")
    assert event_uuid_writer(key, connector)(f"{pseudonym}|{version}|card.updated") == expected
