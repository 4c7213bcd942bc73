"""Questions about compiled rules that the code generator asks before it writes code."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.config.expressions.compiler import CompiledExpression
from gateway.harmonise.mapping.rule_functions import (
    CompiledRule,
    Constant,
    FieldRule,
    ItemList,
    ManyValues,
    SingleValue,
    nested_rules,
)
from gateway.harmonise.part_ids import ORDINAL


def describe_source(shape: CompiledRule) -> str:
    """Return the expressions of a rule for a comment, such as ``: names.fi``, or an empty text."""
    texts = [
        " ".join(part.select.text.split())
        for part in nested_rules(shape)
        if isinstance(part, SingleValue | ManyValues | ItemList)
    ]
    return f": {', '.join(dict.fromkeys(texts))}" if texts else ""


def local_name(step: tuple[str, object, object]) -> str:
    """Return the name of an element without its namespace."""
    return str(step[0]).rpartition("}")[2]


def needs_state(shape: CompiledRule) -> bool:
    """Return whether the most common value of a shape needs a state."""
    return any(
        isinstance(part, ManyValues)
        or type(part) is CompiledRule
        or (
            isinstance(part, SingleValue)
            and (
                (part.select.direct_path is None and not context_name(part.select))
                or converts_with_state(part)
            )
        )
        for part in nested_rules(shape)
    )


def converts_with_state(shape: SingleValue) -> bool:
    """Return whether a conversion needs a state, for example to record a table lookup."""
    return shape.conversion.convert_text is None and shape.conversion.converted_codes is None


def context_name(select: CompiledExpression) -> str:
    """Return the name if an expression consists of ``$name`` alone, or an empty text."""
    return (
        next(iter(select.variables))
        if select.is_direct_path and select.direct_path is None and len(select.variables) == 1
        else ""
    )


def has_ordinals(steps: Sequence[FieldRule]) -> bool:
    """Return whether a step may give the position of an item in place of a value."""
    return any(
        isinstance(part, Constant) and part.value is ORDINAL
        for step in steps
        for part in nested_rules(step.shape)
    )


def is_direct_list(select: CompiledExpression) -> bool:
    """Return whether an expression selects the value of a key or the children of a tag."""
    if select.direct_path is None:
        return False
    return select.kind != "xml" or bool(
        select.direct_path[0] and select.direct_path[1] is None and not select.direct_path[2]
    )


def shared_targets(steps: Sequence[FieldRule]) -> frozenset[tuple[str, ...]]:
    """Return the targets that one rule fills as a whole and another one in part."""
    whole = [(*step.parents, step.name) for step in steps]
    inside = [
        parents[:length]
        for parents in (step.parents for step in steps)
        for length in range(1, len(parents) + 1)
    ]
    return frozenset(path for path in whole if path in inside)


def is_shared(shared: frozenset[tuple[str, ...]], path: tuple[str, ...]) -> bool:
    """Return whether a target is one of the shared targets or below one."""
    return any(path[: len(whole)] == whole for whole in shared)
