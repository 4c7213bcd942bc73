"""Turn personal identifiers into keyed pseudonyms.

The gateway publishes a personal value as a pseudonym, on a named legal basis, or not at all.
"""

from __future__ import annotations

import binascii
import hmac
import unicodedata
from collections.abc import Callable

from gateway.combining_marks import has_too_many_marks

_BASE64URL_PREFIX = bytes.maketrans(b"+/", b"-_")
MIN_KEY_BYTES = 32
"""The smallest length of a pseudonym key, in bytes."""


def pseudonymiser(key: bytes, country: str, kind: str) -> Callable[[str], str]:
    """Return a function that turns an identifier into its pseudonym.

    One key gives the same pseudonym for the same identifier, kind and country. The registry does
    not matter. Without the key, a pseudonym reveals nothing. ``kind`` is the value of
    ``pseudonym:`` in the rule. The function raises :class:`ValueError` when the key is too short.
    """
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"the pseudonym key needs at least {MIN_KEY_BYTES} bytes")
    # Copying a started hash is faster, because the key is then processed only once.
    copy_started_hash = hmac.new(key, f"{country}\x00{kind}\x00".encode(), "sha256").copy

    def pseudonym(identifier: str) -> str:
        normalised = (
            identifier
            if identifier.isascii() or has_too_many_marks(identifier)
            else unicodedata.normalize("NFKC", identifier)
        )
        keyed_hash = copy_started_hash()
        keyed_hash.update(normalised.strip().upper().encode())
        return (
            binascii.b2a_base64(keyed_hash.digest(), newline=False)
            .translate(_BASE64URL_PREFIX, b"=")
            .decode()
        )

    return pseudonym
