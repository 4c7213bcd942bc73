"""Personal values leave as a keyed pseudonym, or on a named legal basis, or not at all."""

from __future__ import annotations

import binascii
import hmac
import unicodedata
from collections.abc import Callable

_BASE64URL_PREFIX = bytes.maketrans(b"+/", b"-_")
MIN_KEY_BYTES = 32
"""Bytes a pseudonym key must have."""


def pseudonymiser(key: bytes, country: str, kind: str) -> Callable[[str], str]:
    """Return a function from an identifier to its pseudonym.

    The same identifier of the same kind in the same country has the same pseudonym under one key, whatever registry it came
    from; nothing can be told from a pseudonym without the key. ``kind`` is what the rule's ``pseudonym:`` says.
    """
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"the pseudonym key needs at least {MIN_KEY_BYTES} bytes")
    started = hmac.new(
        key, f"{country}\x00{kind}\x00".encode(), "sha256"
    ).copy  # the key is worked in once

    def pseudonym(identifier: str) -> str:
        same = identifier if identifier.isascii() else unicodedata.normalize("NFKC", identifier)
        keyed = started()
        keyed.update(same.strip().upper().encode())
        return (
            binascii.b2a_base64(keyed.digest(), newline=False)
            .translate(_BASE64URL_PREFIX, b"=")
            .decode()
        )

    return pseudonym
