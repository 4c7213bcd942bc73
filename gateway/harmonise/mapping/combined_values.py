"""Define the rules that combine several expressions to one value."""

from __future__ import annotations

from typing import Any

from gateway.config.expressions.compiler import Context, Evaluate
from gateway.config.expressions.template import Template
from gateway.harmonise.mapping.rule_functions import (
    CompiledRule,
    Conversion,
    FieldRejected,
    MappingState,
    non_empty_texts,
)
from gateway.harmonise.values import dates
from gateway.harmonise.values.text import CastError


def joined_text(
    evaluators: list[Evaluate], conversion: Conversion, nulls: frozenset[str], separator: str
) -> CompiledRule:
    """Return the rule that joins the texts of several expressions."""
    convert = conversion.convert

    def join(node: Any, context: Context, state: MappingState) -> Any:
        texts = [text for run in evaluators for text in non_empty_texts(run(node, context), nulls)]
        return convert(separator.join(texts), state) if texts else None

    return CompiledRule(join)


def templated_text(
    evaluators: dict[str, Evaluate],
    template: Template | None,
    conversion: Conversion,
    nulls: frozenset[str],
    separator: str,
) -> CompiledRule:
    """Return the rule that fills a template with the first text of each expression.

    Without a template, the texts are joined.
    """
    convert = conversion.convert

    def fill(node: Any, context: Context, state: MappingState) -> Any:
        texts = {
            name: found[0]
            for name, run in evaluators.items()
            if (found := non_empty_texts(run(node, context), nulls))
        }
        if template is None:
            return convert(separator.join(texts.values()), state) if texts else None
        return convert(template.fill(texts), state) if template.names <= set(texts) else None

    return CompiledRule(fill)


def split_date(
    inside: Evaluate | None, evaluators: list[Evaluate | None], nulls: frozenset[str], name: str
) -> CompiledRule:
    """Return the rule for a date in three fields: year, month and day.

    The fields start at the first value of ``inside``, if it is given.
    """

    def fill(node: Any, context: Context, _state: MappingState) -> Any:
        if inside is not None:
            target = inside(node, context)
            if not target:
                return None
            node = target[0]
        parts = [non_empty_texts(part(node, context), nulls) if part else [] for part in evaluators]
        if not parts[0]:
            return None
        try:
            return dates.complete_date(*(texts[0] if texts else "" for texts in parts))
        except CastError as error:
            raise FieldRejected("map", name, error.reason, f"expected {error.expected}") from None

    return CompiledRule(fill)
