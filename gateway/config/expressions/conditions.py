"""Compile the conditions on records and replies, such as ``{path: EXPR, is: [...]}``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from fnmatch import translate
from typing import Any

from gateway.config.connection import Condition
from gateway.config.expressions.compiler import Context, PayloadKind, compile_expression, text_of
from gateway.config.expressions.json_list_place import compile_operands
from gateway.config.expressions.xml_list_place import holds_a_name, names_in_condition

_NO_NUMBER = Decimal("-Infinity")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
Predicate = Callable[[Any, Context], bool]


def text_matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Return a test that accepts the given words, and texts that match a pattern with ``*``."""
    plain = frozenset(pattern for pattern in patterns if "*" not in pattern)
    wild = [re.compile(translate(pattern)) for pattern in patterns if "*" in pattern]
    if not wild:
        return plain.__contains__
    return lambda text: text in plain or any(pattern.match(text) for pattern in wild)


def compile_values_condition(condition: Condition) -> Callable[[list[str]], bool]:
    """Return the test that a condition applies to the texts of its path or header."""
    if condition.is_:
        fits = text_matcher(condition.is_)
        return lambda texts: any(map(fits, texts))
    if condition.not_:
        unfit = text_matcher(condition.not_)
        return lambda texts: not any(map(unfit, texts))
    if condition.over is not None:
        limit = condition.over
        return lambda texts: any(_number(text) > limit for text in texts)
    if condition.since is not None:
        first = condition.since.isoformat()
        return lambda texts: any(
            _DAY.match(text) is not None and text[:10] >= first for text in texts
        )
    wanted = condition.exists is not False
    return lambda texts: bool(texts) is wanted


def compile_record_condition(
    condition: Condition, kind: PayloadKind, namespaces: Mapping[str, str]
) -> Predicate:
    """Compile a condition that tests the ``path`` of a record or a decoded reply."""
    select = compile_expression(kind, condition.path or ".", namespaces).run
    if not (
        condition.is_
        or condition.not_
        or any(test is not None for test in (condition.over, condition.since, condition.exists))
    ):
        return lambda node, context: _is_truthy(select(node, context))
    test = compile_values_condition(condition)
    return lambda node, context: test([text_of(value).strip() for value in select(node, context)])


def words_at_a_key(
    condition: Condition, kind: PayloadKind, namespaces: Mapping[str, str]
) -> tuple[tuple[str, ...], frozenset[str]] | None:
    """Return the keys to a text of a JSON record and the words of a condition on it.

    Return ``None`` if the condition is of another form.
    """
    if kind == "xml" or not condition.is_ or any("*" in word for word in condition.is_):
        return None
    keys = compile_expression(kind, condition.path or ".", namespaces).direct_path
    return (keys, frozenset(condition.is_)) if keys else None


def compile_deletion_condition(
    condition: Condition, kind: PayloadKind, namespaces: Mapping[str, str]
) -> Predicate:
    """Compile the condition that a deleted record fits.

    A record without the value that the condition reads does not fit, because a registry that
    renames a field has deleted nothing. Only ``exists: false`` fits a value that is not there.
    """
    fits = compile_record_condition(condition, kind, namespaces)
    if condition.exists is False:
        return fits
    has_value = _compile_has_value(condition.path or ".", kind, namespaces)
    return lambda node, context: fits(node, context) and has_value(node, context)


def _compile_has_value(path: str, kind: PayloadKind, namespaces: Mapping[str, str]) -> Predicate:
    """Return the test whether a record has a value that an expression reads."""
    expression = compile_expression(kind, path, namespaces)
    if expression.is_direct_path:
        return lambda node, context: any(
            text_of(value).strip() for value in expression.run(node, context)
        )
    if "$" in path:
        return lambda _node, _context: True
    if kind == "xml":
        names = names_in_condition(path)
        looks_outside = ".." in path or "parent::" in path or "ancestor" in path
        return lambda node, _context: not names or looks_outside or holds_a_name(node, names)
    operands = compile_operands(path)
    return lambda node, _context: (
        not operands
        or any(
            value is not None and text_of(value).strip() != ""
            for value in (operand(node) for operand in operands)
        )
    )


def _number(text: str) -> Decimal:
    """Return the number of a text, or a number below all others if it holds none."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return _NO_NUMBER
    return number if number.is_finite() else _NO_NUMBER


def _is_truthy(values: list[Any]) -> bool:
    """Return whether a selection has a value other than a blank text, ``false`` and 0."""
    return any(is_truthy_value(value) for value in values)


def is_truthy_value(value: Any) -> bool:
    """Return whether a value is neither a blank text nor ``false`` nor 0."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        return value != 0
    if isinstance(value, dict | list):
        return bool(value)
    return text_of(value).strip().lower() not in {"", "false", "0"}
