"""Tell an empty list from a reply in which the list is not there.

An expression that finds nothing does not prove an empty list: the reply can be an error, or have
another form. The functions of this module look for the place of the list, and stop the stream with
``LIST_MISSING`` when it is not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Never

from gateway.config.expressions.json_list_place import (
    Gap,
    JsonListPlace,
    compile_json_place,
)
from gateway.config.expressions.xml_list_place import XmlListPlace, compile_xml_place
from gateway.errors import StreamHalted

REASON = "LIST_MISSING"


def require_list(
    kind: str,
    expression: str,
    root: Any,
    found: Sequence[Any],
    *,
    where: str,
    namespaces: Mapping[str, str] | None = None,
) -> None:
    """Raise ``LIST_MISSING`` unless the place that an expression names is in a document.

    ``found`` is what the expression selected. ``where`` begins the message: the stream, and the
    rule of the connector that holds the expression, such as ``registry.awards: join 'parts'``.
    ``namespaces`` are the prefixes of an XPath.

    A value that stands alone, such as one address in place of a list of them, counts as present.
    """
    if found and not (kind != "xml" and None in found):
        return
    try:
        if kind == "xml":
            xml_place(expression, namespaces or {}).check_empty(root)
        else:
            json_place(expression).require(root)
    except Gap as gap:
        refuse(gap, expression, where)


def refuse(gap: Gap, expression: str, where: str, advice: str = "") -> Never:
    """Raise ``LIST_MISSING`` with a text that says where the reply differs from the expression."""
    raise StreamHalted(
        REASON,
        f"{where}: the reply has no list where `{expression}` looks for it: {describe(gap)}. "
        f"This is not an empty list, so the gateway reads nothing from the reply. "
        + (advice or "Compare the reply with the connector file"),
    ) from None


def describe(gap: Gap) -> str:
    """Return what was found in place of a list, without a value of the reply."""
    place = f"`{gap.place}`" if gap.place else "the outermost value"
    if gap.missing:
        return f"{place} is {gap.found} without `{gap.missing}`"
    return f"{place} is {gap.found}, and the gateway expected {gap.expected}"


@lru_cache(maxsize=512)
def json_place(expression: str) -> JsonListPlace:
    """Return the compiled place of a list in JSON."""
    return compile_json_place(expression)


def xml_place(
    expression: str, namespaces: Mapping[str, str], *, is_declared: bool = False
) -> XmlListPlace:
    """Return the compiled place of a list in XML."""
    return _xml_place(expression, tuple(sorted(namespaces.items())), is_declared)


@lru_cache(maxsize=512)
def _xml_place(
    expression: str, namespaces: tuple[tuple[str, str], ...], is_declared: bool
) -> XmlListPlace:
    return compile_xml_place(expression, dict(namespaces), is_declared=is_declared)
