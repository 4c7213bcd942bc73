"""JMESPath, decided at load: the tree of an expression as closures. What is here means what the jmespath library means by it.

Functions, slices, multi-selects and orderings are left to the library's own interpreter, each where it stands in the tree.
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
    """Return the function of a parsed expression: from a value to what it finds in it, ``None`` for nothing."""
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
        found = base(value)
        return (
            [one for item in found if (one := each(item)) is not None]
            if isinstance(found, list)
            else None
        )

    return projection


def _filter(tree: Tree) -> EvaluateNode:
    base, each, test = map(compile_tree, tree["children"])

    def filtered(value: Any) -> Any:
        found = base(value)
        if not isinstance(found, list):
            return None
        return [
            one for item in found if not is_false(test(item)) and (one := each(item)) is not None
        ]

    return filtered


def _flatten(tree: Tree) -> EvaluateNode:
    (base,) = map(compile_tree, tree["children"])

    def flat(value: Any) -> Any:
        found = base(value)
        return (
            [one for item in found for one in (item if isinstance(item, list) else (item,))]
            if isinstance(found, list)
            else None
        )

    return flat


def _or(tree: Tree) -> EvaluateNode:
    left, right = map(compile_tree, tree["children"])
    return lambda value: right(value) if is_false(found := left(value)) else found


def _and(tree: Tree) -> EvaluateNode:
    left, right = map(compile_tree, tree["children"])
    return lambda value: found if is_false(found := left(value)) else right(value)


def _comparator(tree: Tree) -> EvaluateNode:
    compare = TreeInterpreter.COMPARATOR_FUNC[tree["value"]]
    if tree["value"] not in {"eq", "ne"}:
        return _interpreted(tree)
    left, right = map(compile_tree, tree["children"])
    plain, alike = tree["children"][1], tree["value"] == "eq"
    if (
        plain["type"] == "literal" and type(plain["value"]) is str
    ):  # text is never mistaken for a truth value
        literal = plain["value"]
        return lambda value: (left(value) == literal) is alike
    return lambda value: compare(left(value), right(value))


def is_false(value: Any) -> bool:
    """Whether a value counts as false: nothing, ``false``, and what is empty; 0 is true."""
    return not value and (value is None or value is False or isinstance(value, str | list | dict))


_COMPILERS: dict[str, Callable[[Tree], EvaluateNode]] = {
    "field": _field, "index": _index, "identity": _identity, "current": _identity, "literal": _literal, "subexpression": _compile_chain,
    "index_expression": _compile_chain, "pipe": _compile_chain, "projection": _projection, "filter_projection": _filter, "flatten": _flatten,
    "or_expression": _or, "and_expression": _and, "comparator": _comparator,
}  # fmt: skip


def describe_error(error: Exception) -> str:
    """Say why a text is no expression."""
    if isinstance(error, LexerError):
        return str(error.message).rstrip(".")
    if isinstance(error, ParseError):
        early = error.token_type == "eof" or error.token_value is None  # noqa: S105
        return "it stops too early" if early else f"{error.token_value!r} is not expected there"
    return "it cannot be read"


def quoting_hint(text: str) -> str:
    """Say how keys with other characters are written, where an expression is nothing but keys."""
    keys = text.split(".")
    if not all(re.fullmatch(r"[\w@:$ -]+", key) for key in keys):
        return ""
    written = ".".join(key if key.isidentifier() else f'"{key}"' for key in keys)
    return f"; such a key is quoted: '{written}'"
