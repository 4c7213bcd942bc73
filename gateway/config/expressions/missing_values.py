"""Count the items of a list that lack the value which an expression reads from each item.

``items[].code`` and ``//school/code`` leave out an item without a code. So their result does not
show that the list of codes is not complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jmespath.exceptions import JMESPathError
from lxml import etree

from gateway.config.expressions.compiler import (
    EvaluationError,
    ExpressionError,
    compile_expression,
    text_of,
)
from gateway.config.expressions.jmespath_compiler import compile_tree, is_false
from gateway.config.expressions.json_list_place import Tree, parse_json_expression
from gateway.config.expressions.xml_list_place import split_expression

_PROJECTIONS = {"projection", "filter_projection", "value_projection"}
_CHAINS = {"subexpression", "index_expression", "pipe"}
_IDENTITY = {"type": "identity", "children": []}


def count_missing_values(
    kind: str, expression: str, root: Any, namespaces: Mapping[str, str]
) -> int:
    """Return how many items of a document have no value, or a blank one."""
    try:
        if kind == "xml":
            sides = split_expression(expression, "|")
            return sum(_missing_in_xml(side.strip(), root, namespaces) for side in sides)
        tree = parse_json_expression(expression)
        found = compile_tree(tree)(root)
        blank = sum(map(_is_blank, found if isinstance(found, list) else []))
        return blank + _missing_in_json(tree, root)
    except (EvaluationError, ExpressionError, JMESPathError):
        return 0


def _is_blank(value: Any) -> bool:
    return value is None or isinstance(value, dict | list) or not text_of(value).strip()


def _missing_in_json(tree: Tree, value: Any) -> int:
    """Return the number of items for which a step after a list finds nothing."""
    kind, children = tree["type"], tree.get("children", [])
    if kind in _PROJECTIONS:
        base, each = children[0], children[1]
        # A list keeps its items that are null; a condition or an object leaves them out.
        every = {**tree, "children": [base, _IDENTITY, *children[2:]]}
        items = compile_tree(base if kind == "projection" else every)(value)
        read = compile_tree(each)
        missing = _missing_in_json(base, value)
        for item in items if isinstance(items, list) else ():
            missing += read(item) is None or _missing_in_json(each, item)
        return missing
    if kind in _CHAINS:
        missing = 0
        for child in children:
            missing += _missing_in_json(child, value)
            value = compile_tree(child)(value)
        return missing
    if kind == "or_expression":
        left, right = children
        is_left = not is_false(compile_tree(left)(value))
        return _missing_in_json(left if is_left else right, value)
    if kind == "flatten" or (kind == "function_expression" and tree["value"] != "not_null"):
        return sum(_missing_in_json(child, value) for child in children)
    return 0


def _missing_in_xml(path: str, root: Any, namespaces: Mapping[str, str]) -> int:
    steps = list(split_expression(path, "/"))
    found = _select(path, namespaces)(root)
    blank = sum(not text_of(value).strip() for value in found)
    ends = [end for end in range(1, len(steps)) if steps[end - 1].strip()]
    if ends:
        return blank + _items_without_value(steps, ends, root, namespaces)
    return blank + _holders_without_value(path, root, namespaces)


def _items_without_value(
    steps: list[str], ends: list[int], root: Any, namespaces: Mapping[str, str]
) -> int:
    """Return the number of elements of the innermost list in which the rest of a path fails."""
    for end in reversed(ends):
        items = _select("/".join(steps[:end]), namespaces)(root)
        if not all(map(etree.iselement, items)):
            return 0
        is_list = len(items) > len({item.getparent() for item in items})
        if is_list or end == ends[0]:
            rest = _select("./" + "/".join(steps[end:]), namespaces)
            return sum(not rest(item) for item in items)
    return 0


def _holders_without_value(path: str, root: Any, namespaces: Mapping[str, str]) -> int:
    """Return the number of elements that lack the value which their siblings have."""
    if set("([") & set(path.replace("[local-name()", "")):
        return 0  # a condition may leave out values, and a function finds no element
    holders = set(_select(f"{path}/..", namespaces)(root))
    around = {parent for item in holders if (parent := item.getparent()) is not None}
    names = {item.tag for item in holders}
    alike = {child for parent in around for child in parent if child.tag in names}
    return len(alike - holders)


def _select(path: str, namespaces: Mapping[str, str]) -> Callable[[Any], list[Any]]:
    run = compile_expression("xml", path, namespaces).run
    return lambda node: run(node, {})
