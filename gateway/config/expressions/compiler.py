"""Compile expressions that select values from a payload.

An expression is XPath 1.0 for XML, JMESPath for JSON, or a column name for CSV. ``$name`` reads a
value that the stream keeps.

Compilation happens once, when the file loads. A path of plain names becomes a direct walk, and the
libraries evaluate all other expressions. The result is always a list. It is empty when the
expression finds nothing, or only a JSON ``null``.
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
from gateway.config.expressions.growth import MAX_GROWTH, growth_of
from gateway.config.expressions.json_paths import as_list, compile_json_path, parse_json_path
from gateway.config.expressions.xml_walks import build_walk, walk_anywhere
from gateway.config.expressions.xpath_cost import Cost, xpath_cost

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
"""XML prefixes that need no declaration."""


class ExpressionError(ValueError):
    """The expression is not valid.

    ``column`` counts from 0 inside the expression. ``code`` names the mistake.
    """

    def __init__(self, code: str, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.column = column


class EvaluationError(ValueError):
    """The expression cannot process a value, such as a number in place of a list.

    The message never contains the value.
    """


class ExpressionLimitError(EvaluationError):
    """The value is too large for the expression, whose time grows faster than the value."""


@dataclass(frozen=True, slots=True)
class CompiledExpression:
    """A compiled expression.

    Call it with a node and a context. ``run`` does the same, without the cost of an extra call.
    """

    text: str
    kind: PayloadKind
    run: Evaluate
    is_direct_path: bool
    variables: frozenset[str] = frozenset()
    first_names: frozenset[str] = frozenset()
    """The first names in the expression's paths, for the report on unread fields."""
    direct_path: Any = None
    """The steps of a plain path, or ``None`` for any other expression.

    In JSON the steps are keys. In XML they are children, an attribute and the element's own text.
    """

    def __call__(self, node: Any, context: Context | None = None) -> list[Any]:
        """Return the values that the expression finds, without ``None``."""
        return self.run(node, context or {})


_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_VARIABLE_PATH = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)([.\[].+)", re.DOTALL)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def compile_expression(
    kind: PayloadKind, text: str, namespaces: Mapping[str, str] | None = None
) -> CompiledExpression:
    """Compile an expression.

    Raises :class:`ExpressionError` for every mistake that is visible without a payload.
    """
    stripped = text.strip()
    if match := _VARIABLE.fullmatch(stripped):
        return CompiledExpression(
            text, kind, _compile_context_value(match[1]), True, frozenset({match[1]})
        )
    if kind == "json" and (match := _VARIABLE_PATH.fullmatch(stripped)):
        return _compile_kept_path(
            match[1], _compile_jmespath(match[2].removeprefix("."), kind), text
        )
    if kind == "xml":
        return _compile_xpath(stripped, {**BUILT_IN_PREFIXES, **(namespaces or {})})
    return _compile_jmespath(stripped, kind)


def _compile_context_value(name: str) -> Evaluate:
    def run(_node: Any, context: Context) -> list[Any]:
        value = context.get(name)
        return [] if value is None or value == "" else [value]

    return run


# XML

_NAME = r"[^\W\d][\w.-]*"
_STEP = re.compile(
    rf"(?:(?P<prefix>{_NAME}):)?(?P<name>{_NAME})"
    rf"(?:\[@(?P<attribute>(?:{_NAME}:)?{_NAME})='(?P<value>[^']*)'\])?"
)
_ANYWHERE = re.compile(rf"//(?:(?P<prefix>{_NAME}):)?(?P<name>{_NAME})")
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

    cost = _cost_of(text)
    is_limited = cost.element_limit is not None

    def run(node: Any, context: Context) -> list[Any]:
        if is_limited and cost.is_too_much_for(node):
            raise ExpressionLimitError(_TOO_MANY_ELEMENTS.format(cost.element_limit))
        try:
            result = (
                compiled(node, **{name: context.get(name, "") for name in variables})
                if variables
                else compiled(node)
            )
        except etree.XPathError as error:
            raise EvaluationError(
                f"the expression cannot process the value it selected: {type(error).__name__}"
            ) from None
        if isinstance(result, list):
            return result
        # XPath's number() returns NaN for a text without a number. Only NaN differs from itself.
        return [] if result == "" or result != result else [result]  # noqa: PLR0124

    if match := _ANYWHERE.fullmatch(text):
        tag = _clark_name(match["prefix"], match["name"], namespaces)
        return CompiledExpression(
            text, "xml", walk_anywhere(tag, run), False, variables, _names_read(text)
        )
    return CompiledExpression(text, "xml", run, False, variables, _names_read(text))


_TOO_MANY_ELEMENTS = (
    "the expression compares elements with each other, so it runs on at most {:,} elements; "
    "write it without paths from the root and without axes such as preceding-sibling:: in [ ]"
)


def _cost_of(text: str) -> Cost:
    try:
        return xpath_cost(text)
    except RecursionError:
        raise ExpressionError(
            "bad-expression", f"not XPath 1.0: nested too deep: {text[:80]!r}…"
        ) from None


def _unknown_function_message(text: str) -> str:
    for name in re.findall(rf"({_NAME})\s*\(", _QUOTED.sub("", text)):
        try:
            etree.XPath(f"{name}()")(etree.Element("empty"))
        except etree.XPathError as error:
            if "unregistered" in str(error).lower():
                return (
                    f"XPath 1.0 has no function '{name}'; use the functions it has, "
                    "such as contains, substring-before, not and count"
                )
    return f"XPath 1.0 has no such function in {text!r}"


def _check_prefixes(text: str, namespaces: Mapping[str, str]) -> None:
    bare = _QUOTED.sub(lambda quoted: "'" + "x" * (len(quoted[0]) - 2) + "'", text)
    for match in re.finditer(rf"(?<![\w.:-])({_NAME}):(?!:)(?={_NAME}|\*)", bare):
        if match[1] not in namespaces:
            raise _undefined_prefix(match[1], namespaces, match.start(1))


def _undefined_prefix(
    prefix: str, namespaces: Mapping[str, str], column: int = 0
) -> ExpressionError:
    declared = ", ".join(sorted(set(namespaces) - set(BUILT_IN_PREFIXES))) or "none"
    message = f"prefix '{prefix}' is not declared; add it under namespaces (declared: {declared})"
    return ExpressionError("undefined-prefix", message, column)


def _names_read(text: str) -> frozenset[str]:
    return frozenset(re.findall(rf"{_NAME}(?![\w.-]*\()", _QUOTED.sub("", text)))


def _compile_direct_xpath(text: str, namespaces: Mapping[str, str]) -> tuple[Evaluate, Any] | None:
    """Return a direct walk for a simple path, or ``None`` for any other.

    Simple paths are ``a/b/@c``, ``a[@x='y']``, ``.`` and ``text()``.
    """
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
        if last and (match := _ATTRIBUTE.fullmatch(step)):
            attribute = _clark_name(match["prefix"], match["name"], namespaces)
            continue
        match = _STEP.fullmatch(step)
        if not match:
            return None
        prefix, _, name = (match["attribute"] or "").rpartition(":")
        key = _clark_name(prefix or None, name, namespaces) if match["attribute"] else None
        tags.append(
            (_clark_name(match["prefix"], match["name"], namespaces), key, match["value"] or "")
        )
    return build_walk(tags, attribute, own_text=own_text), (tuple(tags), attribute, own_text)


def _split_steps(text: str) -> list[str]:
    return re.split(r"/(?![^\[]*\])", text)


def _clark_name(prefix: str | None, name: str, namespaces: Mapping[str, str]) -> str:
    if not prefix:
        return name
    if prefix not in namespaces:
        raise _undefined_prefix(prefix, namespaces)
    return f"{{{namespaces[prefix]}}}{name}"


def text_of(value: Any) -> str:
    """Return the text of a selected value.

    An element gives its whole text. A whole number has no decimal point, and booleans are lower
    case.
    """
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
    """Return whether a value is an XML element."""
    return isinstance(value, etree._Element)  # noqa: SLF001


# JSON


def _compile_jmespath(text: str, kind: PayloadKind) -> CompiledExpression:
    if text == "@":
        return CompiledExpression(text, kind, lambda node, _context: as_list(node), True)
    steps = parse_json_path(text)
    if steps is not None:
        first = frozenset(step for step in steps[:1] if isinstance(step, str))
        keys = tuple(step for step in steps if isinstance(step, str))
        return CompiledExpression(
            text,
            kind,
            compile_json_path(steps),
            is_direct_path=True,
            first_names=first,
            direct_path=keys if len(keys) == len(steps) else None,
        )
    try:
        compiled = jmespath.compile(text)
    except (JMESPathError, ValueError, RecursionError) as error:
        if kind == "csv" and "$" not in text:
            return CompiledExpression(
                text, kind, compile_json_path([text]), True, first_names=frozenset({text})
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
    reads, find = _compile_checked(compiled.parsed, text)

    def run(node: Any, _context: Context) -> list[Any]:
        try:
            return as_list(find(node))
        except JMESPathTypeError as error:
            if error.actual_type == "null":
                return []  # The function got no value.
            raise EvaluationError(
                f"{error.function_name}() does not accept a value of this type"
            ) from None
        except (JMESPathError, RecursionError, OverflowError, TypeError, ValueError) as error:
            raise EvaluationError(
                f"the expression cannot process the value it selected: {type(error).__name__}"
            ) from None

    return CompiledExpression(text, kind, run, False, first_names=reads)


def _compile_checked(tree: Any, text: str) -> tuple[frozenset[str], jmespath_compiler.EvaluateNode]:
    """Return the names that an expression reads and its function, unless it can make too much."""
    try:
        reads = _check_functions(tree, text)
        is_too_much = growth_of(tree).is_too_much
        find = jmespath_compiler.compile_tree(tree)
    except RecursionError:
        raise ExpressionError(
            "bad-expression", f"not JMESPath: nested too deep: {text[:80]!r}…"
        ) from None
    if is_too_much:
        raise ExpressionError(
            "expression-limit",
            f"this expression can make more than {MAX_GROWTH} times the value that it reads; "
            "name each part of the value once",
        )
    return reads, find


def _compile_kept_path(name: str, rest: CompiledExpression, text: str) -> CompiledExpression:
    """Compile a path inside a kept value, such as ``$root.meta.issued`` or ``$parent.code``."""

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
                raise ExpressionError(
                    "unknown-function",
                    f"JMESPath has no function '{name}'; it has {', '.join(sorted(table))}",
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
