"""Encode the suppression list on ``gateway.suppressions.v1``.

The list prevents the gateway from publishing erased data again. It contains keyed hashes
only, so it identifies no person. Every writer of raw records reads the topic when it
acquires a stream. It does so after fencing and before it writes the first record.

An entry covers one record (connector and native id), or one identifier of a person in any
record.
"""

from __future__ import annotations

import hmac
from typing import Literal

import msgspec

from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.topics import SUPPRESSIONS
from gateway.pseudonym_keys import key_id

SuppressionKind = Literal["record", "person"]


class SuppressionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The value of one entry, whose key is the hash.

    ``key_id`` names the secret key of the hash.
    """

    kind: SuppressionKind
    key_id: str
    at: str


def suppression_id(key: bytes, connector: str, native_id: str) -> str:
    """Return the suppression id of one record: a keyed SHA-256 in hexadecimal."""
    return hmac.digest(key, b"record\x00" + f"{connector}|{native_id}".encode(), "sha256").hex()


def encode_suppression(
    suppression_id: str, kind: SuppressionKind, key: bytes, at: str
) -> OutgoingRecord:
    """Return the record of one entry."""
    value = msgspec.json.encode(SuppressionEntry(kind=kind, key_id=key_id(key), at=at))
    return OutgoingRecord(
        SUPPRESSIONS.name,
        suppression_id.encode(),
        value,
        [("content-type", b"application/json")],
        0,
    )
