"""Change one place of a saved reply, and tell which records the changed reply no longer lists."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lxml import etree

KINDS = ("remove", "rename", "empty", "null", "error", "namespace")
ERROR_BODIES = (
    b'{"error": "maintenance", "status": 503}',
    b'{"errors": [{"code": "E17", "message": "timeout"}]}',
    b"null",
    b'"an error"',
    b"{}",
    b"<error><code>17</code><text>timeout</text></error>",
    b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>',
    (
        b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><r><faultCode>1</faultCode>'
        b"<faultString>failed</faultString></r></s:Body></s:Envelope>"
    ),
    b"<!DOCTYPE html><html><body>Sign in</body></html>",
    b"",
)


@dataclass(frozen=True)
class Mutation:
    """A changed reply. ``removed`` is the removed node, and ``emptied`` the emptied one.

    ``is_item`` says that the removed node was an item of a JSON array, or the id of a record in an
    XML list of ids.
    """

    body: bytes
    what: str
    removed: Any = None
    emptied: Any = None
    is_item: bool = False


def mutate(data: bytes, kind: str, number: int) -> Mutation:
    """Return the reply with one place changed: the place with this number, counted modulo all."""
    if data.lstrip()[:1] in b"{[" and data.strip():
        return _mutate_json(json.loads(data), kind, number)
    return _mutate_xml(data, kind, number)


def may_be_deleted(body: bytes, mutation: Mutation) -> bool:
    """Return whether the changed reply shows its list, and shows that this record is not in it.

    That is the case when the record was removed, alone or with the item of a list that holds it, or
    when the list around it was emptied. A list of scalars holds the ids of records.
    """
    removed, emptied = mutation.removed, mutation.emptied
    if _is_same(removed, body) or (mutation.is_item and _holds(removed, body)):
        return True
    if mutation.is_item and etree.iselement(removed):
        return any(removed.text == text for text in etree.fromstring(body).itertext())
    if isinstance(emptied, list):
        return any(
            not isinstance(child, dict | list) or _is_same(child, body) or _holds(child, body)
            for child in emptied
        )
    return etree.iselement(emptied) and any(_is_same(child, body) for child in emptied)


def _holds(node: Any, body: bytes) -> bool:
    if isinstance(node, dict | list):
        children = node.values() if isinstance(node, dict) else node
        return any(_is_same(child, body) or _holds(child, body) for child in children)
    return False


def _is_same(node: Any, body: bytes) -> bool:
    if node is None:
        return False
    if etree.iselement(node):
        try:
            return _canonical(node) == _canonical(etree.fromstring(body))
        except etree.XMLSyntaxError:
            return False
    try:
        return bool(node == json.loads(body))
    except ValueError:
        return False


def _canonical(element: etree._Element) -> bytes:
    detached = copy.deepcopy(element)
    detached.tail = None
    return etree.tostring(detached, method="c14n", exclusive=True)


def _mutate_json(root: Any, kind: str, number: int) -> Mutation:
    places = list(_json_places(root))
    if not places:
        return Mutation(json.dumps(root).encode(), "nothing to change")
    parent, key = places[number % len(places)]
    old, what = parent[key], f"{kind} {key!r}"
    removed = emptied = None
    if kind == "remove":
        removed = copy.deepcopy(old)
        del parent[key]
    elif kind in {"rename", "namespace"} and isinstance(parent, dict):
        parent[f"{key}X"] = parent.pop(key)
    elif kind == "empty" and isinstance(old, list | dict):
        emptied = copy.deepcopy(old)
        parent[key] = type(old)()
    elif kind == "error":
        parent[key] = {"error": {"code": 17, "message": "timeout"}}
    else:
        parent[key] = None
    return Mutation(json.dumps(root).encode(), what, removed, emptied, isinstance(parent, list))


def _json_places(node: Any) -> Iterator[tuple[Any, Any]]:
    if not isinstance(node, dict | list):
        return
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        yield from _json_places(value)


def _mutate_xml(data: bytes, kind: str, number: int) -> Mutation:
    root = etree.fromstring(data, etree.XMLParser(remove_comments=True, remove_pis=True))
    if kind == "namespace" and (
        spaces := sorted({e.nsmap[k] for e in root.iter() for k in e.nsmap})
    ):
        space = spaces[number % len(spaces)]
        changed = re.sub(re.escape(space.encode()) + rb"(?=[\"'])", space.encode() + b"/v9", data)
        return Mutation(changed, f"namespace {space}")
    elements = [element for element in root.iter() if element.getparent() is not None]
    element = elements[number % len(elements)]
    what = f"{kind} {etree.QName(element).localname}"
    removed = emptied = None
    is_item = False
    if kind == "remove":
        removed = copy.deepcopy(element)
        is_item = _is_id_in_list(element)
        element.getparent().remove(element)
    elif kind == "rename":
        # A record under another name is no record of the list, whose other records remain.
        removed = copy.deepcopy(element)
        element.tag = f"{element.tag}X"
    elif kind == "error":
        for child in list(element):
            element.remove(child)
        element.text = None
        etree.SubElement(element, "faultCode").text = "17"
    else:
        emptied = copy.deepcopy(element)
        element.clear(keep_tail=True)
    return Mutation(etree.tostring(root), what, removed, emptied, is_item)


def _is_id_in_list(element: etree._Element) -> bool:
    """Return whether a reply consists of nothing but texts under one name, such as ids."""
    root = element.getroottree().getroot()
    return element.getparent() is root and all(
        not len(each) and each.tag == element.tag for each in root
    )
