"""Ids that follow from the record alone: the same record has the same ids for ever, and no two records share a nested one."""

from __future__ import annotations

import hmac
import re
import uuid
from hashlib import sha1
from urllib.parse import quote

from orjson import dumps

NAMESPACE = uuid.UUID("5f0d0a52-3c6b-5c1e-9a44-6d1b6a1f7c3e")
_NAMESPACE = NAMESPACE.bytes
_UNRESERVED = re.compile(r"[A-Za-z0-9._~:/-]*")
"""Characters that stand for themselves in the path of an IRI."""

_VARIANT = {digit: "89ab"[place % 4] for place, digit in enumerate("0123456789abcdef")}
"""The digit that says which UUIDs these are keeps two bits of the hash (RFC 9562, 4.1)."""


def iri(connector: str, native_id: str, template: str | None) -> str:
    """Return the persistent IRI of a record: the connector's template, else a name-based UUID of connector and native id."""
    if template:
        return template.replace(
            "{id}",
            native_id
            if _UNRESERVED.fullmatch(native_id)
            else iri_segment(native_id, safe="-._~:/"),
        )
    return f"urn:uuid:{uuid5(f'{connector}|{native_id}')}"


def person_iri(key: bytes, connector: str, native_id: str, template: str | None) -> str:
    """Return the persistent IRI of a record about a person: as :func:`iri`, but by a keyed hash, a UUID of version 8 (RFC 9562).

    A native id may be a national number, and whoever has the IRI could find it by trying them all if the hash had no key.
    """
    if template:
        return iri(connector, native_id, template)
    found = hmac.digest(key, f"{connector}|{native_id}".encode(), "sha256").hex()
    return f"urn:uuid:{_uuid(found, 8)}"


def node_id_prefix(root: str) -> bytes:
    """Return how the ids of nodes inside the document of ``root`` begin: the root's own IRI and a fragment, as JSON without quotes.

    The words that follow are the renderer's own; an identifier from a registry goes through :func:`escaped` first.
    """
    return dumps(root)[1:-1] + (b"/" if "#" in root else b"#")


def uuid5(name: str) -> str:
    """Return the UUID of version 5 of a name (RFC 9562), as :func:`uuid.uuid5` does, in a fifth of its time."""
    found = sha1(_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    return _uuid(found, 5)


def _uuid(found: str, version: int) -> str:
    """Return the UUID of a version that a hash in hexadecimal digits gives."""
    return f"{found[:8]}-{found[8:12]}-{version}{found[13:16]}-{_VARIANT[found[16]]}{found[17:20]}-{found[20:32]}"


def event_uuid(*parts: str) -> str:
    """Return an event id in UUID form, the same for the same content."""
    return uuid5("|".join(parts))


def pseudonym_key(audience_key: bytes, connector: str, native_id: str) -> str:
    """Return the topic key of a record that concerns a person: a keyed hash of connector and native id.

    It does not depend on the person's identifiers, so that a deletion, which arrives without them, finds it.
    """
    return hmac.digest(audience_key, f"{connector}|{native_id}".encode(), "sha256").hex()[:40]


def iri_segment(native_id: str, *, safe: str = "-._~") -> str:
    """Return an identifier as it may stand in one segment of an IRI."""
    return quote(native_id, safe=safe)
