"""Ids that depend only on the record.

The same record always has the same ids, and two records never share the id of a nested node.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from hashlib import sha1
from urllib.parse import quote

from orjson import dumps

from gateway.pseudonym_keys import keyed_hash, keyed_hash_writer

NAMESPACE = uuid.UUID("5f0d0a52-3c6b-5c1e-9a44-6d1b6a1f7c3e")
_NAMESPACE = NAMESPACE.bytes
_UNRESERVED = re.compile(r"[A-Za-z0-9._~:/-]*")
"""Text that needs no percent-encoding in the path of an IRI."""

_PSEUDONYM_LENGTH = 40

_VARIANT = {digit: "89ab"[place % 4] for place, digit in enumerate("0123456789abcdef")}
"""The variant digit of a UUID, which keeps two bits of the hash (RFC 9562, 4.1)."""


def iri(connector: str, native_id: str, template: str | None) -> str:
    """Return the persistent IRI of a record.

    The template of the connector applies. Without one, the IRI is a UUID of version 5, made from
    the connector and the native id.
    """
    if template:
        return template.replace(
            "{id}",
            native_id
            if _UNRESERVED.fullmatch(native_id)
            else iri_segment(native_id, safe="-._~:/"),
        )
    return f"urn:uuid:{uuid5(f'{connector}|{native_id}')}"


def iri_writer(connector: str, template: str | None) -> Callable[[str], tuple[bytes, bytes]]:
    """Return a function from a native id to the IRI of the record and the prefix of its nodes.

    Both are JSON without quotes, as :func:`iri` and :func:`node_id_prefix` give them.
    """
    start, _, end = (template or "").partition("{id}")
    parts = (start, end)
    plain = (
        bool(template)
        and "{id}" not in end
        and all(dumps(part)[1:-1] == part.encode() for part in parts)
    )
    before, after = start.encode(), end.encode()
    separator = b"/" if "#" in start + end else b"#"

    def write(native_id: str) -> tuple[bytes, bytes]:
        if plain and _UNRESERVED.fullmatch(native_id):
            root = b"%b%b%b" % (before, native_id.encode(), after)
            return root, root + separator
        text = iri(connector, native_id, template)
        return dumps(text)[1:-1], node_id_prefix(text)

    return write


def person_iri(key: bytes, connector: str, native_id: str, template: str | None) -> str:
    """Return the persistent IRI of a record about a person.

    Without a template, the IRI is a UUID of version 8 (RFC 9562), made by a keyed hash. A native id
    may be a national number. Without the key, a reader of the IRI could find it by trying all
    numbers.
    """
    if template:
        return iri(connector, native_id, template)
    digest = keyed_hash(key, f"{connector}|{native_id}".encode()).hex()
    return f"urn:uuid:{_uuid(digest, 8)}"


def person_iri_writer(
    key: bytes, connector: str, template: str | None
) -> Callable[[str], tuple[bytes, bytes]]:
    """Return a function from a native id to the IRI of a record about a person and a prefix.

    Both are JSON without quotes, as :func:`person_iri` and :func:`node_id_prefix` give them.
    """
    if template:
        return iri_writer(connector, template)

    hash_of = keyed_hash_writer(key, f"{connector}|".encode())

    def write(native_id: str) -> tuple[bytes, bytes]:
        root = f"urn:uuid:{_uuid(hash_of(native_id.encode()), 8)}".encode()
        return root, root + b"#"

    return write


def node_id_prefix(root: str) -> bytes:
    """Return the prefix of node ids inside the document ``root``, as JSON without quotes.

    The prefix is the root IRI with a fragment separator. The renderer adds fixed words. It encodes
    identifiers of a registry with :func:`iri_segment` first.
    """
    return dumps(root)[1:-1] + (b"/" if "#" in root else b"#")


def uuid5(name: str) -> str:
    """Return the UUID of version 5 of a name (RFC 9562).

    The result equals that of :func:`uuid.uuid5`, in a fifth of its time.
    """
    digest = sha1(_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    return _uuid(digest, 5)


def _uuid(digest: str, version: int) -> str:
    """Return a UUID of the given version from a hash in hexadecimal digits."""
    return (
        f"{digest[:8]}-{digest[8:12]}-{version}{digest[13:16]}-{_VARIANT[digest[16]]}"
        f"{digest[17:20]}-{digest[20:32]}"
    )


def event_uuid(key: bytes, *parts: str) -> str:
    """Return an event id in UUID form, the same for the same content and key.

    It is a UUID of version 8 (RFC 9562). The parts cannot be searched for without the key.
    """
    return _uuid(keyed_hash(key, "|".join(("event", *parts)).encode()).hex(), 8)


def event_uuid_writer(key: bytes, start: str) -> Callable[[str], str]:
    """Return a function that gives the :func:`event_uuid` of parts that begin with ``start``.

    The function takes the other parts with a ``|`` between them.
    """
    write = keyed_hash_writer(key, f"event|{start}|".encode())
    return lambda rest: _uuid(write(rest.encode()), 8)


def pseudonym_writer(audience_key: bytes, connector: str) -> Callable[[str], str]:
    """Return a function that gives the :func:`pseudonym_key` of a native id of a connector."""
    write = keyed_hash_writer(audience_key, f"{connector}|".encode())
    return lambda native_id: write(native_id.encode())[:_PSEUDONYM_LENGTH]


def pseudonym_key(audience_key: bytes, connector: str, native_id: str) -> str:
    """Return the topic key of a record about a person: a keyed hash of connector and native id.

    The key does not depend on identifiers of the person, because deletions arrive without them.
    """
    digest = keyed_hash(audience_key, f"{connector}|{native_id}".encode())
    return digest.hex()[:_PSEUDONYM_LENGTH]


def iri_segment(native_id: str, *, safe: str = "-._~") -> str:
    """Return an identifier with percent-encoding, for one segment of an IRI."""
    return quote(native_id, safe=safe)
