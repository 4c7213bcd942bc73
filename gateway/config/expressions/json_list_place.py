"""Find the place of a list in a JSON document, and tell an absent list from an empty one.

JMESPath gives an empty result both for a list without items and for a list that is not there. The
functions of this module walk the same expression and raise :class:`Gap` in the second case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.visitor import TreeInterpreter

from gateway.config.expressions.jmespath_compiler import compile_tree, is_false
from gateway.config.expressions.json_paths import parse_json_path

Tree = Any
Resolve = Callable[[Any], Any]
HasId = Callable[[Any], bool]


class Gap(Exception):
    """The place of a list is not there, or holds something else.

    ``place`` is the part of the expression that still matched, ``found`` the kind of thing there,
    and ``missing`` the step that is not there. No attribute holds a value of the document.
    """

    def __init__(self, place: str, found: str, missing: str = "", expected: str = "a list") -> None:
        super().__init__(place)
        self.place = place
        self.found = found
        self.missing = missing
        self.expected = expected


def kind_of(value: Any) -> str:
    """Return the kind of a JSON value, for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    return "a list" if isinstance(value, list) else "a number"


@dataclass(frozen=True, slots=True)
class _Alternative:
    """One side of ``||`` at the top of an expression."""

    resolve: Resolve
    text: str
    names_one_record: bool


@dataclass(frozen=True, slots=True)
class JsonListPlace:
    """The place of a list, compiled from an expression."""

    alternatives: tuple[_Alternative, ...]

    def select(self, value: Any, has_id: HasId) -> list[Any]:
        """Return the records; raise :class:`Gap` when the list is not there.

        An object in place of the list is one record where ``has_id`` finds its id.
        """
        if value == {}:  # A wildcard would find an empty list in it.
            raise Gap("", kind_of(value))
        gap: Gap | None = None
        is_present = False
        for alternative in self.alternatives:
            if is_present and alternative.names_one_record:
                continue
            try:
                nodes = _read_nodes(alternative, value, has_id)
            except Gap as error:
                gap = gap or error
                continue
            if nodes:
                return nodes
            is_present = True
        if gap is not None and not is_present:
            raise gap
        return []

    def require(self, value: Any) -> None:
        """Raise :class:`Gap` unless the place is there: a list, an object, a text or a number."""
        for alternative in self.alternatives:
            try:
                if alternative.resolve(value) is not None:
                    return
            except Gap:
                continue
        self.select(value, lambda _node: True)

    def require_container(self, value: Any) -> None:
        """Raise :class:`Gap` unless the place is there and holds a list or an object."""
        self.select(value, lambda _node: True)


def _read_nodes(alternative: _Alternative, value: Any, has_id: HasId) -> list[Any]:
    result = alternative.resolve(value)
    if isinstance(result, list):
        if None in result:
            raise Gap(alternative.text, "a list with null in it", expected="a list of records")
        is_the_reply = len(result) == 1 and result[0] is value
        if not (alternative.names_one_record or is_the_reply) or all(map(has_id, result)):
            return result
        raise Gap(alternative.text, kind_of(result[0]), expected="a list, or a record with its id")
    if isinstance(result, dict):
        if has_id(result):
            return [result]
        raise Gap(alternative.text, kind_of(result), expected="a list, or a record with its id")
    raise Gap(alternative.text, kind_of(result))


def parse_json_expression(text: str) -> Tree:
    """Return the tree of a valid expression, also of a direct path and of a column's name."""
    steps = parse_json_path(text.strip())
    if steps is not None:
        # JMESPath itself reads fewer letters in names than the direct paths do.
        text = "".join(
            f'."{step}"' if isinstance(step, str) else f"[{'' if step is None else step}]"
            for step in steps
        ).removeprefix(".")
    try:
        return jmespath.compile(text).parsed
    except (JMESPathError, ValueError):
        return {"type": "field", "value": text, "children": []}  # the name of a CSV column


def compile_json_place(text: str) -> JsonListPlace:
    """Compile the place of the list that a valid expression names."""
    return JsonListPlace(
        tuple(
            _Alternative(_compile(side, ""), _write(side), _names_one_record(side))
            for side in _sides(parse_json_expression(text))
        )
    )


def _sides(tree: Tree) -> Iterator[Tree]:
    if tree["type"] == "or_expression":
        for child in tree["children"]:
            yield from _sides(child)
    else:
        yield tree


def _names_one_record(tree: Tree) -> bool:
    return bool(tree["type"] == "multi_select_list" and len(tree["children"]) == 1)


def _write(tree: Tree) -> str:
    """Return a short text of a tree for a message."""
    write = _WRITERS.get(tree["type"])
    return "" if write is None else write(tree, tree.get("children", []))


def _write_chain(_tree: Tree, children: list[Tree]) -> str:
    text = ""
    for child in children:
        text = _join(text, _write(child))
    return text


def _write_projection(tree: Tree, children: list[Tree]) -> str:
    mark = {"filter_projection": "[?]", "value_projection": ".*"}.get(tree["type"], "[*]")
    if children[0]["type"] == "flatten":
        mark = ""
    return _join(_write(children[0]) + mark, _write(children[1]))


_WRITERS: dict[str, Callable[[Tree, list[Tree]], str]] = {
    "field": lambda tree, _children: str(tree["value"]),
    "index": lambda tree, _children: f"[{tree['value']}]",
    "subexpression": _write_chain,
    "index_expression": _write_chain,
    "pipe": _write_chain,
    "projection": _write_projection,
    "filter_projection": _write_projection,
    "value_projection": _write_projection,
    "flatten": lambda _tree, children: _write(children[0]) + "[]",
    "function_expression": lambda tree, children: (
        f"{tree['value']}({', '.join(filter(None, map(_write, children)))})"
    ),
    "multi_select_list": lambda _tree, children: (
        f"[{', '.join(_write(child) or '@' for child in children)}]"
    ),
    "or_expression": lambda _tree, children: " || ".join(map(_write, children)),
}


def _join(before: str, after: str) -> str:
    return before + after if not before or not after or after[0] in "[." else f"{before}.{after}"


# --- one function for each kind of tree; ``at`` is the text of the place that it starts from


def _compile(tree: Tree, at: str) -> Resolve:
    make = _COMPILERS.get(tree["type"])
    return make(tree, at) if make is not None else compile_tree(tree)


def _field(tree: Tree, at: str) -> Resolve:
    name = tree["value"]

    def read_field(value: Any) -> Any:
        if type(value) is dict and name in value:
            return value[name]
        raise Gap(at, kind_of(value), name)

    return read_field


def _index(tree: Tree, at: str) -> Resolve:
    number = tree["value"]

    def read_index(value: Any) -> Any:
        if type(value) is list and -len(value) <= number < len(value):
            return value[number]
        raise Gap(at, kind_of(value), f"[{number}]")

    return read_index


def _chain(tree: Tree, at: str) -> Resolve:
    links = []
    for child in tree["children"]:
        links.append(_compile(child, at))
        at = _join(at, _write(child))

    def follow_chain(value: Any) -> Any:
        for link in links:
            value = link(value)
        return value

    return follow_chain


def _base(tree: Tree, at: str) -> tuple[Resolve, str]:
    """Return the function that reads a list to project, and the text of its place."""
    base, place = _compile(tree, at), _join(at, _write(tree))

    def read_base(value: Any) -> Any:
        items = base(value)
        if type(items) is list:
            return items
        raise Gap(place, kind_of(items))

    return read_base, place


def _projection(tree: Tree, at: str) -> Resolve:
    base, place = _base(tree["children"][0], at)
    if tree["children"][1]["type"] in {"identity", "current"}:
        return base
    each = _compile(tree["children"][1], place)
    return lambda value: [each(item) for item in base(value)]


def _value_projection(tree: Tree, at: str) -> Resolve:
    base, place = _compile(tree["children"][0], at), _join(at, _write(tree["children"][0]))
    each = _compile(tree["children"][1], place)

    def read_values(value: Any) -> Any:
        items = base(value)
        if type(items) is dict:
            return [each(item) for item in items.values()]
        raise Gap(place, kind_of(items), expected="an object")

    return read_values


def _flatten(tree: Tree, at: str) -> Resolve:
    child = tree["children"][0]
    base, place = _base(child, at)
    # After `a[].b`, each value is an inner list. An item of a plain list is a record.
    holds_lists = child["type"].endswith("projection") or child["type"] == "multi_select_list"

    def flatten(value: Any) -> Any:
        items: list[Any] = []
        for item in base(value):
            if type(item) is list:
                items.extend(item)
            elif holds_lists and type(item) is not dict:
                raise Gap(place, kind_of(item))
            else:
                items.append(item)
        return items

    return flatten


def _filter(tree: Tree, at: str) -> Resolve:
    base, place = _base(tree["children"][0], at)
    each, test = _compile(tree["children"][1], place), compile_tree(tree["children"][2])
    operands = [compile_tree(operand) for operand in paths_read(tree["children"][2])]

    def select_items(value: Any) -> Any:
        items = base(value)
        try:
            chosen = [item for item in items if not is_false(test(item))]
        except JMESPathError:
            raise Gap(f"{place}[]", "a value", expected="a value that the filter accepts") from None
        if (
            items
            and not chosen
            and operands
            and all(operand(item) is None for item in items for operand in operands)
        ):
            raise Gap(f"{place}[]", kind_of(items[0]), "a field that the filter reads")
        return [each(item) for item in chosen]

    return select_items


def paths_read(tree: Tree) -> list[Tree]:
    """Return the longest plain paths that a condition reads."""
    kind = tree["type"]
    if kind == "field" or (
        kind in {"subexpression", "index_expression"}
        and all(child["type"] in {"field", "index", "identity"} for child in tree["children"])
    ):
        return [tree]
    return [path for child in tree.get("children", ()) for path in paths_read(child)]


def compile_operands(text: str) -> list[Resolve]:
    """Return a function for each plain path that a valid JMESPath condition reads."""
    return [compile_tree(tree) for tree in paths_read(jmespath.compile(text.strip()).parsed)]


def _or(tree: Tree, at: str) -> Resolve:
    left, right = (_compile(child, at) for child in tree["children"])

    def choose(value: Any) -> Any:
        try:
            first = left(value)
        except Gap:
            return right(value)
        if not is_false(first):
            return first
        try:
            return right(value)
        except Gap:
            return first

    return choose


def _multi_select(tree: Tree, at: str) -> Resolve:
    parts = [_compile(child, at) for child in tree["children"]]
    return lambda value: [part(value) for part in parts]


def _function(tree: Tree, at: str) -> Resolve:
    """Demand every list that a function reads, or one of those that ``not_null`` chooses from."""
    run = TreeInterpreter().visit
    operands = [
        _compile(child, at)
        for child in tree["children"]
        if child["type"] not in {"literal", "expref"}
    ]
    one_is_enough = tree["value"] == "not_null"
    places = [_write(child) for child in tree["children"]]

    def call(value: Any) -> Any:
        gap: Gap | None = None
        for operand, place in zip(operands, places, strict=False):
            try:
                if operand(value) is None:
                    raise Gap(_join(at, place), "null")  # noqa: TRY301 - joined with other gaps
            except Gap as error:
                if not one_is_enough:
                    raise
                gap = gap or error
            else:
                if one_is_enough:
                    gap = None
                    break
        if gap is not None:
            raise gap
        try:
            return run(tree, value)
        except JMESPathError:
            raise Gap(at, "a value", expected=f"a value that {tree['value']}() accepts") from None

    return call


_COMPILERS: dict[str, Callable[[Tree, str], Resolve]] = {
    "field": _field,
    "index": _index,
    "subexpression": _chain,
    "index_expression": _chain,
    "pipe": _chain,
    "projection": _projection,
    "value_projection": _value_projection,
    "flatten": _flatten,
    "filter_projection": _filter,
    "or_expression": _or,
    "multi_select_list": _multi_select,
    "function_expression": _function,
}
