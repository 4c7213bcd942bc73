"""Turn personal identifiers into keyed pseudonyms.

The gateway publishes a personal value as a pseudonym, on a named legal basis, or not at all.
"""

from __future__ import annotations

import binascii
import unicodedata
from collections.abc import Callable

from gateway.combining_marks import has_too_many_marks
from gateway.pseudonym_keys import keyed_hash

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
    prefix = f"{country}\x00{kind}\x00".encode()

    def pseudonym(identifier: str) -> str:
        normalised = (
            identifier
            if identifier.isascii() or has_too_many_marks(identifier)
            else unicodedata.normalize("NFKC", identifier)
        )
        hashed = keyed_hash(key, prefix + normalised.strip().upper().encode())
        return (
            binascii.b2a_base64(hashed, newline=False).translate(_BASE64URL_PREFIX, b"=").decode()
        )

    return pseudonym
