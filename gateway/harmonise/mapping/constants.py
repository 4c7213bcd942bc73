"""Convert the values of a connector file to rules: constants and defaults."""

from __future__ import annotations

import difflib
from typing import Any, Protocol

from gateway.config.expressions.compiler import Context
from gateway.config.target_fields import TargetField
from gateway.harmonise.mapping.conversion import build_conversion, target_converter
from gateway.harmonise.mapping.rule_context import expected_rule_form
from gateway.harmonise.mapping.rule_functions import (
    CompiledRule,
    Conversion,
    MappingState,
    constant,
)
from gateway.harmonise.mapping.target_names import normalise_tag
from gateway.harmonise.values import text as scalars
from gateway.harmonise.values.text import CastError

Place = tuple[str | int, ...]


class Report(Protocol):
    """Receives a mistake, and whether the connector cannot run because of it."""

    def __call__(
        self, code: str, place: Place, message: str, column: int = 0, *, blocks: bool = True
    ) -> None:
        """Report a mistake at a place of the stream."""


def compile_constant(
    value: Any, target: TargetField, zone: str, place: Place, report: Report
) -> CompiledRule:
    """Return the rule for a value of the file, which is converted once if possible.

    A code that is not in its closed list is left out of each record, with an issue.
    """
    literal = _literal(value, target, zone, place, report)
    if literal is not None or target.value_type not in {"text", "texts"}:
        return constant(literal)
    conversion = build_conversion(
        target, zone, cast=None, lookup=None, pseudonymise=None, invalid=None, personal=False
    )
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return _converted_constant(values, conversion, several=target.value_type == "texts")


def _literal(value: Any, target: TargetField, zone: str, place: Place, report: Report) -> Any:
    """Return the converted value, or ``None`` after a report."""
    try:
        if target.value_type in {"texts", "integers"}:
            values = value if isinstance(value, tuple | list) else (value,)
            return tuple(map(target_converter(target, zone), values))
        if target.value_type == "languages" and isinstance(value, dict):
            return {
                _tag(str(tag), place, report): scalars.read_text(text)
                for tag, text in value.items()
            }
        if target.value_type in {"struct", "structs", "dictionary", "languages"}:
            report("wrong-rule", place, expected_rule_form(target))
            return None
        return target_converter(target, zone)(value)
    except CastError as error:
        message = f"'{'.'.join(target.path)}' expects {error.expected}"
        message += suggestion(str(value), target.choices)
        report("wrong-type", place, message, blocks=not error.leave_out)
        return None


def suggestion(word: str, known: tuple[str, ...]) -> str:
    """Return a question for the known word that is most similar, or an empty text."""
    near = difflib.get_close_matches(word, known, 1, 0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def _tag(tag: str, place: Place, report: Report) -> str:
    normal, problem = normalise_tag(tag)
    if normal != tag:
        problem = f"write {normal}, the shortest code of this language"
    if problem:
        report("bad-language", (*place, tag), problem, blocks=False)
    return normal


def _converted_constant(
    values: tuple[Any, ...], conversion: Conversion, *, several: bool
) -> CompiledRule:
    """Return the rule that converts the same values for each record, and notes their issues."""
    convert = conversion.convert

    def fill(_node: Any, _context: Context, state: MappingState) -> Any:
        converted = [made for value in values if (made := convert(value, state)) is not None]
        if several:
            return tuple(converted) or None
        return converted[0] if converted else None

    return CompiledRule(fill)
