"""Compile a parsed JMESPath expression into Python functions, which run faster than the library.

The functions return the same results as the jmespath library. The library's own interpreter
evaluates the remaining parts of a tree: functions, slices, multi-selects and orderings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from jmespath.exceptions import LexerError, ParseError
from jmespath.visitor import TreeInterpreter

EvaluateNode = Callable[[Any], Any]
Tree = Any


def compile_tree(tree: Tree) -> EvaluateNode:
    """Return the function of a parsed expression.

    It takes a value and returns the selected part, or ``None``.
    """
    make = _COMPILERS.get(tree["type"])
    return make(tree) if make is not None else _interpreted(tree)


def _interpreted(tree: Tree) -> EvaluateNode:
    visit = TreeInterpreter().visit
    return lambda value: visit(tree, value)


def _field(tree: Tree) -> EvaluateNode:
    name = tree["value"]
    return lambda value: value.get(name) if isinstance(value, dict) else None


def _index(tree: Tree) -> EvaluateNode:
    place = tree["value"]
    return lambda value: (
        value[place] if isinstance(value, list) and -len(value) <= place < len(value) else None
    )


def _identity(_tree: Tree) -> EvaluateNode:
    return lambda value: value


def _literal(tree: Tree) -> EvaluateNode:
    literal = tree["value"]
    return lambda _value: literal


def _compile_chain(tree: Tree) -> EvaluateNode:
    first, *others = map(compile_tree, tree["children"])
    if len(others) == 1:
        other = others[0]
        return lambda value: other(first(value))

    def chain(value: Any) -> Any:
        value = first(value)
        for find in others:
            value = find(value)
        return value

    return chain


def _projection(tree: Tree) -> EvaluateNode:
    base, each = map(compile_tree, tree["children"])

    def projection(value: Any) -> Any:
        items = base(value)
        if not isinstance(items, list):
            return None
        return [result for item in items if (result := each(item)) is not None]

    return projection


def _filter(tree: Tree) -> EvaluateNode:
    base, each, test = map(compile_tree, tree["children"])
    if (sought := _sought_text(tree["children"][2])) is not None:
        name, text = sought

        def with_text(value: Any) -> Any:
            items = base(value)
            if not isinstance(items, list):
                return None
            return [
                result
                for item in items
                if isinstance(item, dict)
                and item.get(name) == text
                and (result := each(item)) is not None
            ]

        return with_text

    def filtered(value: Any) -> Any:
        items = base(value)
        if not isinstance(items, list):
            return None
        return [
            result
            for item in items
            if not is_false(test(item)) and (result := each(item)) is not None
        ]

    return filtered


def _sought_text(test: Tree) -> tuple[str, str] | None:
    """Return the key and the text of a test such as ``type=='pic'``, or ``None``."""
    if test["type"] != "comparator" or test["value"] != "eq":
        return None
    left, right = test["children"]
    if left["type"] != "field" or right["type"] != "literal" or type(right["value"]) is not str:
        return None
    return left["value"], right["value"]


def _flatten(tree: Tree) -> EvaluateNode:
    (base,) = map(compile_tree, tree["children"])

    def flat(value: Any) -> Any:
        items = base(value)
        if not isinstance(items, list):
            return None
        return [inner for item in items for inner in (item if isinstance(item, list) else (item,))]

    return flat


def _or(tree: Tree) -> EvaluateNode:
    left, right = map(compile_tree, tree["children"])
    return lambda value: right(value) if is_false(first := left(value)) else first


def _and(tree: Tree) -> EvaluateNode:
    left, right = map(compile_tree, tree["children"])
    return lambda value: first if is_false(first := left(value)) else right(value)


def _comparator(tree: Tree) -> EvaluateNode:
    compare = TreeInterpreter.COMPARATOR_FUNC[tree["value"]]
    if tree["value"] not in {"eq", "ne"}:
        return _interpreted(tree)
    left, right = map(compile_tree, tree["children"])
    plain, alike = tree["children"][1], tree["value"] == "eq"
    if plain["type"] == "literal" and type(plain["value"]) is str:
        # JMESPath compares numbers and truth values in a special way, but text as Python does.
        literal = plain["value"]
        return lambda value: (left(value) == literal) is alike
    return lambda value: compare(left(value), right(value))


def is_false(value: Any) -> bool:
    """Return whether JMESPath treats a value as false: ``null``, ``false`` or empty, but not 0."""
    return not value and (value is None or value is False or isinstance(value, str | list | dict))


_COMPILERS: dict[str, Callable[[Tree], EvaluateNode]] = {
    "field": _field,
    "index": _index,
    "identity": _identity,
    "current": _identity,
    "literal": _literal,
    "subexpression": _compile_chain,
    "index_expression": _compile_chain,
    "pipe": _compile_chain,
    "projection": _projection,
    "filter_projection": _filter,
    "flatten": _flatten,
    "or_expression": _or,
    "and_expression": _and,
    "comparator": _comparator,
}


def describe_error(error: Exception) -> str:
    """Return why a text is not a valid expression."""
    if isinstance(error, LexerError):
        return str(error.message).rstrip(".")
    if isinstance(error, ParseError):
        early = error.token_type == "eof" or error.token_value is None  # noqa: S105
        return "it stops too early" if early else f"{error.token_value!r} is not expected there"
    return "it cannot be read"


def quoting_hint(text: str) -> str:
    """Return a hint about quotes when an expression consists only of keys, or an empty text."""
    keys = text.split(".")
    if not all(re.fullmatch(r"[\w@:$ -]+", key) for key in keys):
        return ""
    written = ".".join(key if key.isidentifier() else f'"{key}"' for key in keys)
    return f"; such a key is quoted: '{written}'"
