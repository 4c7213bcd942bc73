"""Select values from a payload: XPath 1.0 for XML, JMESPath for JSON, column names for CSV, and ``$name`` for what was kept.

Everything is decided when the file loads. A path of plain names becomes a direct walk; only the rest is left to the engines.
A select gives a list: nothing found is ``[]``, and a JSON ``null`` is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jmespath
from jmespath.exceptions import JMESPathError, JMESPathTypeError, LexerError, ParseError
from jmespath.functions import Functions
from lxml import etree

from gateway.config.expressions import jmespath_compiler

PayloadKind = Literal["xml", "json", "csv"]
Context = Mapping[str, Any]
Evaluate = Callable[[Any, Context], list[Any]]

BUILT_IN_PREFIXES = {
    "xml": "http://www.w3.org/XML/1998/namespace",
    "soap": "http://schemas.xmlsoap.org/soap/envelope/",
    "soap12": "http://www.w3.org/2003/05/soap-envelope",
    "atom": "http://www.w3.org/2005/Atom",
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
}
"""Prefixes that need no declaration."""


class ExpressionError(ValueError):
    """An expression that cannot work. ``column`` counts from 0 inside the expression; ``code`` names the mistake."""

    def __init__(self, code: str, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.column = column


class EvaluationError(ValueError):
    """A value that an expression cannot work with, such as a number where a function takes a list. Holds no value."""


@dataclass(frozen=True, slots=True)
class CompiledExpression:
    """A compiled expression. Call it with a node and a context; ``run`` is the same without the extra call."""

    text: str
    kind: PayloadKind
    run: Evaluate
    is_direct_path: bool
    variables: frozenset[str] = frozenset()
    first_names: frozenset[str] = frozenset()
    """First names the expression touches, for coverage."""
    direct_path: Any = None
    """What a plain path walks: keys in JSON; children, attribute and own text in XML. ``None`` when it is no plain path."""

    def __call__(self, node: Any, context: Context | None = None) -> list[Any]:
        """Return what was found, without ``None``."""
        return self.run(node, context or {})


_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_VARIABLE_PATH = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)([.\[].+)", re.DOTALL)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def compile_expression(
    kind: PayloadKind, text: str, namespaces: Mapping[str, str] | None = None
) -> CompiledExpression:
    """Compile an expression; raises :class:`ExpressionError` for everything that can be known beforehand."""
    stripped = text.strip()
    if found := _VARIABLE.fullmatch(stripped):
        return CompiledExpression(
            text, kind, _compile_context_value(found[1]), True, frozenset({found[1]})
        )
    if kind == "json" and (found := _VARIABLE_PATH.fullmatch(stripped)):
        return _compile_kept_path(
            found[1], _compile_jmespath(found[2].removeprefix("."), kind), text
        )
    if kind == "xml":
        return _compile_xpath(stripped, {**BUILT_IN_PREFIXES, **(namespaces or {})})
    return _compile_jmespath(stripped, kind)


def _compile_context_value(name: str) -> Evaluate:
    def run(_node: Any, context: Context) -> list[Any]:
        value = context.get(name)
        return [] if value is None or value == "" else [value]

    return run


# XML ------------------------------------------------------------------------------------------------------------------

_NAME = r"[^\W\d][\w.-]*"
_STEP = re.compile(
    rf"(?:(?P<prefix>{_NAME}):)?(?P<name>{_NAME})(?:\[@(?P<attribute>(?:{_NAME}:)?{_NAME})='(?P<value>[^']*)'\])?"
)
_ATTRIBUTE = re.compile(rf"@(?:(?P<prefix>{_NAME}):)?(?P<name>{_NAME})")


def _compile_xpath(text: str, namespaces: Mapping[str, str]) -> CompiledExpression:
    variables = frozenset(_VARIABLE.findall(_QUOTED.sub("", text)))
    if not variables and (walk := _compile_direct_xpath(text, namespaces)):
        walked, route = walk
        return CompiledExpression(
            text,
            "xml",
            walked,
            is_direct_path=True,
            first_names=_names_read(text),
            direct_path=route,
        )
    _check_prefixes(text, namespaces)
    try:
        compiled = etree.XPath(text, namespaces=dict(namespaces), smart_strings=False, regexp=False)
        compiled(etree.Element("empty"), **dict.fromkeys(variables, ""))
    except etree.XPathError as error:
        message = str(error)
        if "function" in message.lower():
            raise ExpressionError("unknown-function", _unknown_function_message(text)) from None
        raise ExpressionError(
            "bad-expression", f"not XPath 1.0: {text!r}; check brackets, quotes and slashes"
        ) from None
    except ValueError:
        raise ExpressionError(
            "bad-expression", f"not XPath 1.0: {text!r} holds characters that XML cannot"
        ) from None

    def run(node: Any, context: Context) -> list[Any]:
        try:
            found = (
                compiled(node, **{name: context.get(name, "") for name in variables})
                if variables
                else compiled(node)
            )
        except etree.XPathError as error:
            raise EvaluationError(
                f"the expression cannot work with what it found: {type(error).__name__}"
            ) from None
        if isinstance(found, list):
            return found
        return [] if found == "" or found != found else [found]  # noqa: PLR0124 - NaN, what number() gives for no number

    return CompiledExpression(text, "xml", run, False, variables, _names_read(text))


def _unknown_function_message(text: str) -> str:
    for name in re.findall(rf"({_NAME})\s*\(", _QUOTED.sub("", text)):
        try:
            etree.XPath(f"{name}()")(etree.Element("empty"))
        except etree.XPathError as error:
            if "unregistered" in str(error).lower():
                return f"XPath 1.0 has no function '{name}'; write it with those it has, such as contains, substring-before, not and count"
    return f"XPath 1.0 has no such function in {text!r}"


def _check_prefixes(text: str, namespaces: Mapping[str, str]) -> None:
    bare = _QUOTED.sub(lambda found: "'" + "x" * (len(found[0]) - 2) + "'", text)
    for found in re.finditer(rf"(?<![\w.:-])({_NAME}):(?!:)(?={_NAME}|\*)", bare):
        if found[1] not in namespaces:
            known = ", ".join(sorted(set(namespaces) - set(BUILT_IN_PREFIXES))) or "none"
            raise ExpressionError(
                "undefined-prefix",
                f"prefix '{found[1]}' is not declared; add it under namespaces (declared: {known})",
                found.start(1),
            )


def _names_read(text: str) -> frozenset[str]:
    return frozenset(re.findall(rf"{_NAME}(?![\w.-]*\()", _QUOTED.sub("", text)))


def _compile_direct_xpath(text: str, namespaces: Mapping[str, str]) -> tuple[Evaluate, Any] | None:
    """Return a direct walk for ``a/b/@c``, ``a[@x='y']``, ``.`` and ``text()``, or ``None`` when it is not that simple."""
    if text == ".":
        return (lambda node, _context: [node]), ((), None, False)
    steps = _split_steps(text)
    attribute: str | None = None
    own_text = False
    tags: list[tuple[str, str | None, str]] = []
    for index, step in enumerate(steps):
        last = index == len(steps) - 1
        if last and step == "text()":
            own_text = True
            continue
        if last and (found := _ATTRIBUTE.fullmatch(step)):
            attribute = _clark_name(found["prefix"], found["name"], namespaces)
            continue
        found = _STEP.fullmatch(step)
        if not found:
            return None
        prefix, _, name = (found["attribute"] or "").rpartition(":")
        key = _clark_name(prefix or None, name, namespaces) if found["attribute"] else None
        tags.append(
            (_clark_name(found["prefix"], found["name"], namespaces), key, found["value"] or "")
        )
    return _build_walk(tags, attribute, own_text=own_text), (tuple(tags), attribute, own_text)


def _split_steps(text: str) -> list[str]:
    return re.split(r"/(?![^\[]*\])", text)


def _clark_name(prefix: str | None, name: str, namespaces: Mapping[str, str]) -> str:
    if not prefix:
        return name
    if prefix not in namespaces:
        known = ", ".join(sorted(set(namespaces) - set(BUILT_IN_PREFIXES))) or "none"
        raise ExpressionError(
            "undefined-prefix",
            f"prefix '{prefix}' is not declared; add it under namespaces (declared: {known})",
        )
    return f"{{{namespaces[prefix]}}}{name}"


def _build_walk(
    tags: list[tuple[str, str | None, str]], attribute: str | None, *, own_text: bool
) -> Evaluate:
    if len(tags) == 1 and tags[0][1] is None and attribute is None and not own_text:
        only = tags[0][0]
        return lambda node, _context: list(node.iterchildren(only))
    if not tags and attribute is not None:
        return lambda node, _context: [] if (value := node.get(attribute)) is None else [value]

    def run(node: Any, _context: Context) -> list[Any]:
        nodes = [node]
        for tag, key, value in tags:
            if key is None:
                nodes = [child for parent in nodes for child in parent.iterchildren(tag)]
            else:
                nodes = [
                    child
                    for parent in nodes
                    for child in parent.iterchildren(tag)
                    if child.get(key) == value
                ]
            if not nodes:
                return nodes
        if attribute is not None:
            return [value for found in nodes if (value := found.get(attribute)) is not None]
        if own_text:
            return [found.text for found in nodes if found.text]
        return nodes

    return run


def text_of(value: Any) -> str:
    """Return the text of anything a select gives: an element's whole text, a number as written, ``true``."""
    if isinstance(value, str):
        return value
    if isinstance(value, etree._Element):  # noqa: SLF001 - lxml has no public name for it
        return "".join(map(str, value.itertext())) if len(value) else (value.text or "")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def is_element(value: Any) -> bool:
    """Whether a value is an XML element."""
    return isinstance(value, etree._Element)  # noqa: SLF001


# JSON -----------------------------------------------------------------------------------------------------------------

_PLAIN_STEP = re.compile(r"(?P<name>[^\W\d]\w*)|\"(?P<quoted>[^\"\\]+)\"")
_INDEX = re.compile(r"\[(-?\d+|\*?)\]")


def _compile_jmespath(text: str, kind: PayloadKind) -> CompiledExpression:
    if text == "@":
        return CompiledExpression(text, kind, lambda node, _context: _as_list(node), True)
    steps = _parse_direct_path(text)
    if steps is not None:
        first = frozenset(step for step in steps[:1] if isinstance(step, str))
        keys = tuple(step for step in steps if isinstance(step, str))
        return CompiledExpression(
            text,
            kind,
            _compile_direct_jmespath(steps),
            is_direct_path=True,
            first_names=first,
            direct_path=keys if len(keys) == len(steps) else None,
        )
    try:
        compiled = jmespath.compile(text)
    except (JMESPathError, ValueError, RecursionError) as error:
        if kind == "csv" and "$" not in text:
            return CompiledExpression(
                text, kind, _compile_direct_jmespath([text]), True, first_names=frozenset({text})
            )
        column = (
            getattr(error, "lex_position", 0) if isinstance(error, LexerError | ParseError) else 0
        )
        hint = (
            "; this payload is JSON: XPath needs decode: xml"
            if re.match(r"\.{0,2}/", text)
            else jmespath_compiler.quoting_hint(text)
        )
        raise ExpressionError(
            "bad-expression",
            f"not JMESPath: {jmespath_compiler.describe_error(error)}: {text!r}{hint}",
            column or 0,
        ) from None
    reads = _check_functions(compiled.parsed, text)
    find = jmespath_compiler.compile_tree(compiled.parsed)

    def run(node: Any, _context: Context) -> list[Any]:
        try:
            return _as_list(find(node))
        except JMESPathTypeError as error:
            if error.actual_type == "null":
                return []  # nothing was found for the function to work on
            raise EvaluationError(
                f"{error.function_name}() met a value of another type than it takes"
            ) from None
        except (JMESPathError, RecursionError, OverflowError, TypeError, ValueError) as error:
            raise EvaluationError(
                f"the expression cannot work with what it found: {type(error).__name__}"
            ) from None

    return CompiledExpression(text, kind, run, False, first_names=reads)


def _compile_kept_path(name: str, rest: CompiledExpression, text: str) -> CompiledExpression:
    """Read on inside a value that was kept: ``$root.meta.issued``, ``$parent.code``."""

    def run(_node: Any, context: Context) -> list[Any]:
        value = context.get(name)
        return [] if value is None else rest(value, context)

    return CompiledExpression(text, "json", run, False, frozenset({name}), rest.first_names)


def _check_functions(tree: Any, text: str) -> frozenset[str]:
    table: Mapping[str, Any] = Functions.FUNCTION_TABLE
    reads: set[str] = set()

    def visit(node: Any) -> None:
        if not isinstance(node, dict):
            return
        if node.get("type") == "field":
            reads.add(node["value"])
        if node.get("type") == "function_expression":
            name = node["value"]
            if name not in table:
                near = ", ".join(sorted(table))
                raise ExpressionError(
                    "unknown-function",
                    f"JMESPath has no function '{name}'; it has {near}",
                    max(text.find(name), 0),
                )
            signature = table[name]["signature"]
            given, wanted = len(node["children"]), len(signature)
            if given < wanted or (given > wanted and not signature[-1].get("variadic")):
                raise ExpressionError(
                    "bad-expression",
                    f"{name}() takes {wanted} arguments, not {given}",
                    max(text.find(name), 0),
                )
        for child in node.get("children", ()):
            visit(child)

    visit(tree)
    return frozenset(reads)


def _parse_direct_path(text: str) -> list[str | int | None] | None:
    """Take ``a.b[0].c[].d`` apart: names, positions, and ``None`` for "each of the list"."""
    steps: list[str | int | None] = []
    position = 0
    while position < len(text):
        if text[position] == "[":
            found = _INDEX.match(text, position)
            if not found or found[1] == "*":
                return None
            steps.append(int(found[1]) if found[1] else None)
        else:
            if steps:
                if text[position] != ".":
                    return None
                position += 1
            found = _PLAIN_STEP.match(text, position)
            if not found:
                return None
            steps.append(found["name"] or found["quoted"])
        position = found.end()
    if None in steps and any(isinstance(step, int) for step in steps[steps.index(None) :]):
        return None
    return steps or None


def _compile_direct_jmespath(steps: list[str | int | None]) -> Evaluate:  # noqa: C901 - three shapes of one walk
    if len(steps) == 1 and isinstance(steps[0], str):
        only = steps[0]

        def one(node: Any, _context: Context) -> list[Any]:
            value = node.get(only) if type(node) is dict else None
            if value is None:
                return []
            return _as_list(value) if type(value) is list else [value]

        return one
    if None not in steps:

        def walk_keys(node: Any, _context: Context) -> list[Any]:
            for step in steps:
                if type(node) is dict:
                    node = node.get(step)
                elif type(node) is list and type(step) is int and -len(node) <= step < len(node):
                    node = node[step]
                else:
                    return []
            return _as_list(node)

        return walk_keys

    def walk_lists(node: Any, _context: Context) -> list[Any]:
        nodes, each = [node], False
        for step in steps:
            if (
                step is None
            ):  # as JMESPath flattens: what is a list among the items is spread once, what is none stays
                found = (
                    nodes if each else next((value for value in nodes if type(value) is list), [])
                )
                nodes = [
                    item for value in found for item in (value if type(value) is list else (value,))
                ]
                each = True
            elif type(step) is int:
                nodes = [
                    found[step]
                    for found in nodes
                    if type(found) is list and -len(found) <= step < len(found)
                ]
            else:
                nodes = [
                    item
                    for found in nodes
                    if type(found) is dict and (item := found.get(step)) is not None
                ]
        return [item for item in nodes if item is not None]

    return walk_lists


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    if type(value) is list:
        return [item for item in value if item is not None]
    return [value]
