"""Write the members of an award that each record has for itself."""

from __future__ import annotations

from gateway.records import LangMap
from gateway.render import elm_common, elm_credential
from gateway.render.elm_common import EDC, ID_PREFIX_MARKER
from gateway.render.elm_credential import SPECIFICATION_PREFIX

_HOMEPAGE = SPECIFICATION_PREFIX.removeprefix(ID_PREFIX_MARKER) + b"homepage"


def description_member(text: LangMap | None) -> bytes:
    """Return the description, or nothing without a text."""
    return elm_common.description_member(text or {})


def entry_requirement_member(text: LangMap | None) -> bytes:
    """Return the entry requirement, or nothing without a text."""
    return nested(elm_common.entry_requirement_member(text or {}))


def homepage_member(url: str | None) -> bytes:
    """Return the web page, or nothing without an address."""
    # The rule has checked the address, because the field is a web address.
    return b',"homepage":' + elm_common.checked_web_resource(url, EDC, _HOMEPAGE) if url else b""


def further_information_member(text: LangMap | None) -> bytes:
    """Return further information, or nothing without a text."""
    return elm_credential.further_information_member(text or {})


def nested(json: bytes) -> bytes:
    """Return a member of the specification with the ids of its nodes below that of it."""
    return json.replace(ID_PREFIX_MARKER, SPECIFICATION_PREFIX)
