"""Read several versions of one XML format with the same expressions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lxml import etree

from gateway.config.connector import Protocol, Push


def namespace_aliases(block: Protocol | Push) -> dict[str, str]:
    """Return the namespace to read in place of each further namespace of a prefix."""
    return {
        other: block.namespaces[prefix]
        for prefix, others in block.namespace_versions.items()
        if prefix in block.namespaces
        for other in others
    }


def unify_namespaces(roots: Iterable[Any], aliases: Mapping[str, str]) -> None:
    """Rename the elements and attributes of the aliased namespaces in place.

    Roots that are not XML stay as they are. The signed original of a document is another copy.
    """
    if not aliases:
        return
    for root in roots:
        if etree.iselement(root):
            for element in root.iter(etree.Element):
                _rename(element, aliases)


def _rename(element: etree._Element, aliases: Mapping[str, str]) -> None:
    name = etree.QName(element)
    if name.namespace in aliases:
        element.tag = f"{{{aliases[name.namespace]}}}{name.localname}"
    for attribute, value in list(element.attrib.items()):
        name = etree.QName(attribute)
        if name.namespace in aliases:
            del element.attrib[attribute]
            element.set(f"{{{aliases[name.namespace]}}}{name.localname}", value)
