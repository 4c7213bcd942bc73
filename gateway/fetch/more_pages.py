"""Find a sign that a list has more records than the reply shows.

A connector can leave out the paging of a second list. The gateway then refuses a reply that says
that there is more, instead of reading a part of the list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from lxml import etree

from gateway.fetch.paging import link

_NEXT = frozenset(
    {"next", "nextpage", "nextlink", "nexturl", "nexthref", "nextpageurl", "nexttoken"}
    | {"nextpagetoken", "nextcursor", "odatanextlink", "hasnext", "hasnextpage", "hasmore", "more"}
    | {"resumptiontoken", "continuationtoken", "nextmarker"}
)
_FLAGS = {
    **dict.fromkeys(("truncated", "istruncated"), "true"),
    **dict.fromkeys(("last", "islast", "islastpage"), "false"),
}
_TOTAL = frozenset(
    {"count", "total", "totalcount", "totalrecords", "totalelements", "totalitems", "totalsize"}
    | {"totalresults", "totalhits", "numfound", "odatacount", "recordcount", "numberofrecords"}
)
_PLAIN = frozenset({"count", "total"})
_BESIDE_PAGES = _NEXT | {"previous", "prev", "page", "pagenumber", "pagesize", "limit", "offset"}
_PAGES = frozenset({"totalpages", "pagecount", "numpages", "numberofpages", "lastpage"})
_AROUND = frozenset(
    {"links", "meta", "metadata", "page", "pages", "paging", "pagination", "pageinfo", "cursor"}
    | {"head", "header", "info", "resultinfo"}
)
_NOTHING = frozenset({"", "0", "false", "no", "none", "null"})
_LEADING_NAMES = re.compile(r'(?:"[^"]+"|[A-Za-z_]\w*)(?:\.(?:"[^"]+"|[A-Za-z_]\w*))*')

Sign = tuple[str, Any]


def sign_of_more(
    kind: str,
    root: Any,
    nodes: Sequence[Any],
    expression: str,
    links: Sequence[str],
    *,
    is_detail: bool = False,
) -> str | None:
    """Return a text about a sign that there are more records, or ``None``.

    ``nodes`` are the records that ``expression`` selected in the document. With ``is_detail``, the
    reply describes one record, and a plain count is one of its values unless paging is around it.
    """
    if link(links, "next"):
        return "its Link header names a next page"
    if kind == "xml":
        served, signs = _count_in_xml(nodes), list(_signs_in_xml(nodes))
    else:
        served, signs = _signs_in_json(root, expression)
    keys = {_normalise(name) for name, _ in signs}
    ignored = _PLAIN | _FLAGS.keys() if is_detail and not keys & _BESIDE_PAGES else frozenset()
    for name, value in signs:
        key = _normalise(name)
        if key in ignored:
            continue
        if key in _NEXT and _is_set(value):
            return f"its `{name}` names a next page"
        if key in _FLAGS and str(value).strip().lower() == _FLAGS[key]:
            return f"its `{name}` is {_FLAGS[key]}"
        number = _number(value)
        if number is None:
            continue
        if key in _TOTAL and number > served:
            return f"its `{name}` is {number}, and {served} came"
        if key in _PAGES and number > 1:
            return f"its `{name}` is {number}"
    return None


def listed_length(root: Any, expression: str) -> int:
    """Return the length of the JSON list that an expression starts from, without its filter."""
    return len(root) if isinstance(root, list) else _signs_in_json(root, expression)[0]


def _signs_in_json(root: Any, expression: str) -> tuple[int, list[Sign]]:
    """Return the length of the list and the members around it, when the list is in an object."""
    match = _LEADING_NAMES.match(expression.strip())
    if match is None or (match.end() < len(expression) and expression[match.end()] == "("):
        return 0, []
    signs: list[Sign] = []
    value = root
    for name in re.findall(r'"[^"]+"|\w+', match[0]):
        if not isinstance(value, dict):
            return 0, []
        signs += _members(value)
        value = value.get(name.strip('"'))
        if isinstance(value, list):
            return len(value), signs
    return 0, []


def _members(holder: dict[str, Any]) -> Iterator[Sign]:
    for name, value in holder.items():
        yield name, value
        if _normalise(name) not in _AROUND:
            continue
        if isinstance(value, dict):
            yield from _members(value)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict) and item.get("rel") == "next":
                    yield "next", item.get("href")


def _signs_in_xml(nodes: Sequence[Any]) -> Iterator[Sign]:
    """Yield the attributes and plain elements around the selected elements."""
    elements = [node for node in nodes if etree.iselement(node)]
    for around in elements[0].iterancestors() if elements else ():
        yield from _attributes(around)
        for child in around.iterchildren(etree.Element):
            if child.tag == elements[0].tag:
                continue
            yield from _sign_of_element(child)
            if _normalise(etree.QName(child).localname) in _AROUND:
                yield from _attributes(child)
                for inner in child.iterchildren(etree.Element):
                    yield from _sign_of_element(inner)


def _attributes(element: Any) -> Iterator[Sign]:
    for name, value in element.attrib.items():
        yield str(name), value


def _sign_of_element(element: Any) -> Iterator[Sign]:
    if element.get("rel") == "next" and element.get("href"):
        yield "next", element.get("href")
    elif not len(element):
        yield etree.QName(element).localname, element.text


def _count_in_xml(nodes: Sequence[Any]) -> int:
    """Return the number of elements that have the name and a parent of a selected element."""
    elements = [node for node in nodes if etree.iselement(node)]
    parents = {
        parent: element.tag for element in elements if (parent := element.getparent()) is not None
    }
    counted = sum(len(parent.findall(tag)) for parent, tag in parents.items())
    return max(counted, len(elements))


def _normalise(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.rpartition("}")[2].lower())


def _is_set(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_is_set(value.get(name)) for name in ("href", "url"))
    return value is not None and str(value).strip().lower() not in _NOTHING


def _number(value: Any) -> int | None:
    if isinstance(value, bool) or value is None or isinstance(value, dict | list):
        return None
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None  # noqa: PLR2004
