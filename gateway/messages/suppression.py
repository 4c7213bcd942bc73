"""Who and what was erased, on ``gateway.suppressions.v1``: keyed hashes, so that nothing erased comes back and nobody is named.

Every writer of raw records reads this topic when it takes its stream, after fencing and before its first record. An entry stands for
one record (connector and native id) or for one identifier of a person, whatever record it is met in.
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
    """The value of one entry; its key is the hash. ``key_id`` names the key the hash was made with."""

    kind: SuppressionKind
    key_id: str
    at: str


def suppression_id(key: bytes, connector: str, native_id: str) -> str:
    """Return the suppression id of one record."""
    return hmac.digest(key, b"record\x00" + f"{connector}|{native_id}".encode(), "sha256").hex()


def encode_suppression(
    suppression_id: str, kind: SuppressionKind, key: bytes, at: str
) -> OutgoingRecord:
    """Return the entry as it is written."""
    value = msgspec.json.encode(SuppressionEntry(kind=kind, key_id=key_id(key), at=at))
    return OutgoingRecord(
        SUPPRESSIONS.name,
        suppression_id.encode(),
        value,
        [("content-type", b"application/json")],
        0,
    )
