"""Ids that follow from the record alone: the same record has the same ids for ever, and no two records share a nested one."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from urllib.parse import quote

NAMESPACE = uuid.UUID("5f0d0a52-3c6b-5c1e-9a44-6d1b6a1f7c3e")


def iri(connector: str, native_id: str, template: str | None) -> str:
    """Return the persistent IRI of a record: the connector's template, else a name-based UUID of connector and native id."""
    if template:
        return template.replace("{id}", escaped(native_id, safe="-._~:/"))
    return f"urn:uuid:{uuid.uuid5(NAMESPACE, f'{connector}|{native_id}')}"


def nested(root: str, *path: str | int) -> str:
    """Return the id of a node inside the document of ``root``: the root's own IRI with a fragment that says where the node is.

    The words of ``path`` are the renderer's own; an identifier from a registry goes through :func:`escaped` first.
    """
    return f"{root}{'/' if '#' in root else '#'}{'/'.join(map(str, path))}"


def event_uuid(*parts: str) -> str:
    """Return an event id in UUID form, the same for the same content."""
    return str(uuid.uuid5(NAMESPACE, "|".join(parts)))


def pseudonym_key(audience_key: bytes, connector: str, native_id: str) -> str:
    """Return the topic key of a record that concerns a person: a keyed hash of connector and native id.

    It does not depend on the person's identifiers, so that a deletion, which arrives without them, finds it.
    """
    return hmac.new(audience_key, f"{connector}|{native_id}".encode(), hashlib.sha256).hexdigest()[:40]


def escaped(native_id: str, *, safe: str = "-._~") -> str:
    """Return an identifier as it may stand in one segment of an IRI."""
    return quote(native_id, safe=safe)
