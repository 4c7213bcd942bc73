"""Check that the fast keyed hash is HMAC-SHA-256."""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st

from gateway.pseudonym_keys import keyed_hash


@given(st.binary(max_size=200), st.binary(max_size=300))
def test_keyed_hash_is_hmac_sha256(key: bytes, message: bytes):
    expected = hmac.digest(key, message, "sha256")
    assert keyed_hash(key, message) == expected
    assert keyed_hash(key, message) == expected  # the started hashes stay as they were


@given(st.binary(min_size=63, max_size=66))
def test_keys_around_the_block_size(key: bytes):
    assert keyed_hash(key, b"x") == hmac.digest(key, b"x", "sha256")
