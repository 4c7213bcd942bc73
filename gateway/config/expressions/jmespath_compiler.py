"""JMESPath, decided at load: the tree of an expression as closures. What is here means what the jmespath library means by it.

Functions, slices, multi-selects and orderings are left to the library's own interpreter, each where it stands in the tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from jmespath.exceptions import LexerError, ParseError
from jmespath.visitor import TreeInterpreter

Find = Callable[[Any], Any]
Tree = Any


def compiled(tree: Tree) -> Find:
    """Return the function of a parsed expression: from a value to what it finds in it, ``None`` for nothing."""
    make = _FORMS.get(tree["type"])
    return make(tree) if make is not None else _interpreted(tree)


def _interpreted(tree: Tree) -> Find:
    visit = TreeInterpreter().visit
    return lambda value: visit(tree, value)


def _field(tree: Tree) -> Find:
    name = tree["value"]
    return lambda value: value.get(name) if isinstance(value, dict) else None


def _index(tree: Tree) -> Find:
    place = tree["value"]
    return lambda value: value[place] if isinstance(value, list) and -len(value) <= place < len(value) else None


def _same(_tree: Tree) -> Find:
    return lambda value: value


def _literal(tree: Tree) -> Find:
    said = tree["value"]
    return lambda _value: said


def _chain(tree: Tree) -> Find:
    first, *others = map(compiled, tree["children"])
    if len(others) == 1:
        other = others[0]
        return lambda value: other(first(value))

    def chain(value: Any) -> Any:
        value = first(value)
        for find in others:
            value = find(value)
        return value

    return chain


def _projection(tree: Tree) -> Find:
    base, each = map(compiled, tree["children"])

    def projection(value: Any) -> Any:
        found = base(value)
        return [one for item in found if (one := each(item)) is not None] if isinstance(found, list) else None

    return projection


def _filter(tree: Tree) -> Find:
    base, each, test = map(compiled, tree["children"])

    def filtered(value: Any) -> Any:
        found = base(value)
        if not isinstance(found, list):
            return None
        return [one for item in found if not is_false(test(item)) and (one := each(item)) is not None]

    return filtered


def _flatten(tree: Tree) -> Find:
    (base,) = map(compiled, tree["children"])

    def flat(value: Any) -> Any:
        found = base(value)
        return [one for item in found for one in (item if isinstance(item, list) else (item,))] if isinstance(found, list) else None

    return flat


def _or(tree: Tree) -> Find:
    left, right = map(compiled, tree["children"])
    return lambda value: right(value) if is_false(found := left(value)) else found


def _and(tree: Tree) -> Find:
    left, right = map(compiled, tree["children"])
    return lambda value: found if is_false(found := left(value)) else right(value)


def _comparator(tree: Tree) -> Find:
    compare = TreeInterpreter.COMPARATOR_FUNC[tree["value"]]
    if tree["value"] not in {"eq", "ne"}:
        return _interpreted(tree)
    left, right = map(compiled, tree["children"])
    plain, alike = tree["children"][1], tree["value"] == "eq"
    if plain["type"] == "literal" and type(plain["value"]) is str:  # text is never mistaken for a truth value
        said = plain["value"]
        return lambda value: (left(value) == said) is alike
    return lambda value: compare(left(value), right(value))


def is_false(value: Any) -> bool:
    """Whether a value counts as false: nothing, ``false``, and what is empty; 0 is true."""
    return not value and (value is None or value is False or isinstance(value, str | list | dict))


_FORMS: dict[str, Callable[[Tree], Find]] = {
    "field": _field, "index": _index, "identity": _same, "current": _same, "literal": _literal, "subexpression": _chain,
    "index_expression": _chain, "pipe": _chain, "projection": _projection, "filter_projection": _filter, "flatten": _flatten,
    "or_expression": _or, "and_expression": _and, "comparator": _comparator,
}  # fmt: skip


def why(error: Exception) -> str:
    """Say why a text is no expression."""
    if isinstance(error, LexerError):
        return str(error.message).rstrip(".")
    if isinstance(error, ParseError):
        early = error.token_type == "eof" or error.token_value is None  # noqa: S105
        return "it stops too early" if early else f"{error.token_value!r} is not expected there"
    return "it cannot be read"


def quoted(text: str) -> str:
    """Say how keys with other characters are written, where an expression is nothing but keys."""
    keys = text.split(".")
    if not all(re.fullmatch(r"[\w@:$ -]+", key) for key in keys):
        return ""
    written = ".".join(key if key.isidentifier() else f'"{key}"' for key in keys)
    return f"; such a key is quoted: '{written}'"
