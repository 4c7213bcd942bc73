"""Bound what a JMESPath expression can make from a value, before it runs.

JMESPath has no loops and no access to the outer value, so a result grows only where an expression
uses one value several times: ``[@, @]``. Each further use multiplies. The bound costs nothing at
run time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Tree = Any

MAX_GROWTH = 64
"""The largest result, as a multiple of the value from which an expression makes it."""
MAX_WORK = 20_000
"""The largest number of steps for each part of the value."""

_TEXT_OF_SIZE_1 = 32
_CHAINS = frozenset({"subexpression", "index_expression", "pipe"})
_ANSWERS = frozenset(
    {"comparator", "not_expression", "slice", "field", "index", "current", "identity"}
)
_NUMBERS = frozenset(
    {"abs", "avg", "ceil", "contains", "ends_with", "floor", "length", "starts_with", "sum", "type"}
)
"""Functions whose result does not contain their arguments."""
_EACH = frozenset({"map", "max_by", "min_by", "sort_by"})
"""Functions that evaluate an expression for each item of a list."""


class Growth(NamedTuple):
    """The bounds of one part of an expression, for a value of size 1."""

    size: int
    peak: int
    work: int

    @property
    def is_too_much(self) -> bool:
        """Whether the expression can make too much, or takes too long."""
        return self.peak > MAX_GROWTH or self.work > MAX_WORK


def growth_of(tree: Tree) -> Growth:
    """Return the bounds of a parsed expression."""
    kind = tree["type"]
    parts = [growth_of(child) for child in tree.get("children", ()) if isinstance(child, dict)]
    if kind in _CHAINS or kind in {"projection", "value_projection"}:
        return _chain(parts)
    if kind == "filter_projection":
        base, each, test = parts
        return _with_work(_chain([base, each]), _chain([base, test]))
    if kind == "multi_select_list":
        return _sum(parts, _overlap(tree["children"], parts))
    if kind == "multi_select_dict":
        return _sum(parts, _overlap([child["children"][0] for child in tree["children"]], parts))
    if kind == "function_expression":
        return _function(tree, parts)
    if kind in {"or_expression", "and_expression"}:
        return _sum(parts, max(part.size for part in parts))
    if kind == "literal":
        size = 1 + len(str(tree["value"])) // _TEXT_OF_SIZE_1
        return Growth(size, size, size)
    if kind in _ANSWERS:
        return _sum(parts, 1)
    return _sum(parts, sum(part.size for part in parts) or 1)


def _chain(parts: list[Growth]) -> Growth:
    """Return the bounds of steps of which each reads the result of the one before."""
    size, peak, work = 1, 1, 0
    for part in parts:
        peak = max(peak, size * part.peak)
        work += size * part.work
        size *= part.size
    return Growth(size, peak, max(work, 1))


def _sum(parts: list[Growth], size: int) -> Growth:
    peak = max([size, *(part.peak for part in parts)])
    return Growth(size, peak, 1 + size + sum(part.work for part in parts))


def _with_work(growth: Growth, other: Growth) -> Growth:
    peak = max(growth.peak, other.peak)
    return Growth(growth.size, peak, growth.work + other.work)


def _overlap(children: list[Tree], parts: list[Growth]) -> int:
    """Return the size of several results together.

    Fields of different names hold different parts of an object, so they do not add up.
    """
    by_name: dict[str, int] = {}
    shared = 0
    for child, part in zip(children, parts, strict=True):
        name = _first_name(child)
        if name is None:
            shared += part.size
        else:
            by_name[name] = by_name.get(name, 0) + part.size
    return shared + max(by_name.values(), default=0)


def _first_name(tree: Tree) -> str | None:
    """Return the field at which a path starts, or ``None`` for any other expression."""
    if tree["type"] == "field":
        return str(tree["value"])
    if tree["type"] in _CHAINS or tree["type"] in {"projection", "flatten"}:
        return _first_name(tree["children"][0])
    return None


def _function(tree: Tree, parts: list[Growth]) -> Growth:
    name = tree["value"]
    if name in _EACH:
        pairs = sorted(
            zip(tree["children"], parts, strict=True), key=lambda pair: pair[0]["type"] == "expref"
        )
        whole = _chain([part for _, part in pairs])
        size = whole.size if name == "map" else pairs[0][1].size
        return Growth(size, whole.peak, whole.work + 1)
    if name in _NUMBERS:
        return _sum(parts, 1)
    if name == "not_null":
        return _sum(parts, max(part.size for part in parts))
    size = sum(part.size for part in parts)
    if name == "join":
        separator = tree["children"][0]
        is_fixed = separator["type"] == "literal"
        size *= max(1, len(str(separator["value"])) // 4) if is_fixed else MAX_GROWTH + 1
    elif name == "to_string":
        size *= 2  # quotes and backslashes
    return _sum(parts, max(size, 1))
