"""The ids under which the gateway keeps a record that its registry knows by another one."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata

from gateway.config.connector import Connector
from gateway.errors import StreamHalted, UsageError
from gateway.fetch.secrets import Secrets

_HASHED_ID = re.compile(r"[0-9a-f]{40}")


def hash_native_id(key: bytes, native_id: str) -> str:
    """Return the keyed hash that stands for the id in a stream with an ``id_key``."""
    return hmac.new(key, native_id.encode(), hashlib.sha256).hexdigest()[:40]


def possible_native_ids(
    connector: Connector, given: str, secrets: Secrets
) -> dict[str, tuple[str, ...]]:
    """Return the ids that a record may have in each stream, if a person wrote ``given``.

    That is the id of the registry in each spelling, and its hash where the stream hashes ids.
    ``given`` may also be the hash. Raises :class:`~gateway.errors.UsageError` if the secret of a
    stream is missing, unless ``given`` has the form of a hash.
    """
    spellings = tuple(
        dict.fromkeys((unicodedata.normalize("NFC", given.strip()), given.strip(), given))
    )
    ids: dict[str, tuple[str, ...]] = {}
    for name, stream in connector.streams.items():
        ids[name] = spellings
        if stream.id_key is None:
            continue
        try:
            key = secrets(stream.id_key.secret)
        except StreamHalted as error:
            if _HASHED_ID.fullmatch(spellings[0]):
                continue
            raise UsageError(
                f"{connector.connector} {name} hashes its ids with the secret of id_key, so the "
                f"gateway needs it to find a record; {error}; "
                "or give the hashed id, which is the key on the topics of the gateway"
            ) from None
        ids[name] += tuple(hash_native_id(key, spelling) for spelling in spellings)
    return ids


def describe_native_id(connector: Connector) -> str:
    """Return which id a person has to give for a record, with the fields of each stream."""
    fields = "; ".join(
        f"the stream {name} reads it from {' and '.join(stream.id)}, joined by /"
        if len(stream.id) > 1
        else f"the stream {name} reads it from {stream.id[0]}"
        for name, stream in connector.streams.items()
    )
    return f"the id that the registry gives the record ({fields})"
