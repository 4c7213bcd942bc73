"""Define each rule as a closure and as a shape for the code generator.

The closures define the meaning of the connector language and accept each possible value. A shape
describes only the most common case. :mod:`gateway.harmonise.mapping.code_generator` writes that
case inline and calls the closure for all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.config.countries import COUNTRIES
from gateway.config.expressions.compiler import (
    CompiledExpression,
    Context,
    Evaluate,
    is_element,
    text_of,
)
from gateway.config.target_fields import TargetField
from gateway.harmonise.mapping.achievement import Judge, select_achieved
from gateway.harmonise.part_ids import number_parts
from gateway.harmonise.values.text import Convert
from gateway.records import Issue, Lookup


class FieldRejected(Exception):
    """One target cannot be filled, so the record is rejected."""

    def __init__(self, stage: str, field: str, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.stage, self.field, self.reason, self.detail = stage, field, reason, detail


@dataclass(slots=True)
class MappingState:
    """What is collected for one record, or for one item inside it."""

    values: dict[str, Any] = field(default_factory=dict)
    lookups: list[Lookup] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    country: str = ""
    """The country of the record, or an empty text for that of the connector."""


RuleFunction = Callable[[Any, Context, MappingState], Any]
CollectFunction = Callable[[Iterable[Any], Context, MappingState], Any]
StatefulConvert = Callable[[Any, MappingState], Any]
"""A function of a value and the record's state; ``None`` means nothing is known."""
ValueObserver = Callable[[list[Any], bool], None]
"""Receives the values of each expression, and whether the rule protects a personal value."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """The conversion of a selected value to the value of its target.

    ``convert`` accepts each value. The other fields are shortcuts for trimmed, non-empty text.
    """

    convert: StatefulConvert
    convert_text: Convert | None = None
    """A conversion without a state, which may raise ``CastError``, if the rule needs no state."""
    is_plain_text: bool = False
    """Whether clean text stays unchanged."""
    converted_codes: dict[str, tuple[Any, Lookup]] | None = None
    """The cached codes of a table of the connector file, each with its value and its row."""
    accepted_json_type: type[Any] | None = None
    """A further JSON type that generated code accepts inline: ``int`` or ``bool``."""
    wrap: Convert | None = None
    """Converts a value of ``accepted_json_type``, if the target has another type."""
    is_pseudonym: bool = False
    """Whether ``convert_text`` gives the pseudonym of the text and does nothing else."""


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule that generated code only calls."""

    run: RuleFunction


@dataclass(frozen=True, slots=True)
class Constant(CompiledRule):
    """The same value for every record."""

    value: Any


@dataclass(frozen=True, slots=True)
class SingleValue(CompiledRule):
    """One value by a plain path or from the context."""

    select: CompiledExpression
    conversion: Conversion
    nulls: frozenset[str]


@dataclass(frozen=True, slots=True)
class ManyValues(CompiledRule):
    """All values of a plain path, which ``collect`` combines to a list or a language map."""

    select: CompiledExpression
    collect: CollectFunction
    label: str = ""
    """The attribute that gives the language of an XML element, if nothing else is read from it."""


@dataclass(frozen=True, slots=True)
class FirstOf(CompiledRule):
    """The first of several that finds something."""

    shapes: tuple[CompiledRule, ...]


@dataclass(frozen=True, slots=True)
class Conditional(CompiledRule):
    """A rule for records that fit."""

    shape: CompiledRule
    fits: Callable[[Any, Context], bool]
    words: tuple[tuple[str, ...], frozenset[str]] | None = None
    """The keys to a text of a JSON record, and the words of which it must be one."""


@dataclass(frozen=True, slots=True)
class WithDefault(CompiledRule):
    """A rule, and a value for when it finds nothing."""

    shape: CompiledRule
    value: Any


@dataclass(frozen=True, slots=True)
class ItemList(CompiledRule):
    """A list of items, each filled by steps of its own."""

    select: CompiledExpression
    steps: tuple[FieldRule, ...]
    name: str
    judge: Judge | None = None
    """Decides which items are achieved, if the connector file says so."""


@dataclass(frozen=True, slots=True)
class ImpliedFramework(CompiledRule):
    """The framework of a level that is there."""

    name: str


@dataclass(frozen=True, slots=True)
class FieldRule:
    """One target and how it is filled."""

    parents: tuple[str, ...]
    name: str
    shape: CompiledRule
    reads_other_targets: bool
    """Filled after the others, because it reads a table at the date of another target."""


def nested_rules(shape: CompiledRule) -> Iterator[CompiledRule]:
    """Yield a shape and those inside it that look at the same node."""
    yield shape
    if isinstance(shape, Conditional | WithDefault):
        yield from nested_rules(shape.shape)
    elif isinstance(shape, FirstOf):
        for inner in shape.shapes:
            yield from nested_rules(inner)


def apply_rules(
    steps: Iterable[FieldRule], node: Any, context: Context, state: MappingState, prefix: str = ""
) -> None:
    """Fill ``state.values``, or raise :class:`FieldRejected`."""
    values = state.values
    try:
        for step in steps:
            value = step.shape.run(node, context, state)
            if value is not None:
                set_field(values, step.parents, step.name, value)
    except FieldRejected as error:
        if prefix:
            error.field = f"{prefix}.{error.field}"
        raise


def set_field(values: dict[str, Any], parents: tuple[str, ...], name: str, value: Any) -> None:
    """Store a value at its path, and merge texts by language with earlier ones."""
    place = values
    for part in parents:
        place = place.setdefault(part, {})
    if type(value) is dict and name in place:
        value = {**value, **place[name]}
    place[name] = value


def no_value(_node: Any, _context: Context, _state: MappingState) -> Any:
    """Return nothing. The compiler uses it for a rule that already has a finding."""
    return


def observed_by(run: Evaluate, watch: ValueObserver, *, protected: bool) -> Evaluate:
    """Return the expression, which then passes its values to ``watch``."""

    def run_(node: Any, context: Context) -> list[Any]:
        found = run(node, context)
        watch(found, protected)
        return found

    return run_


def constant(value: Any) -> CompiledRule:
    """Return the rule that gives the same value for every record."""
    return Constant(lambda _node, _context, _state: value, value)


def framework(name: str) -> CompiledRule:
    """Return the rule that sets a framework only if the record has a level."""
    return ImpliedFramework(
        lambda _node, _context, state: name if state.values.get("nqf_level") else None, name
    )


def element_text(element: Any) -> str:
    """Return the text of an element."""
    return text_of(element) if len(element) else element.text or ""


def is_empty(value: Any, nulls: frozenset[str]) -> bool:
    """Return whether a value counts as empty."""
    if type(value) is str:
        return value.strip() in nulls
    if type(value) is dict or type(value) is list or type(value) is bool:
        return False
    return text_of(value).strip() in nulls


def non_empty_texts(values: list[Any], nulls: frozenset[str]) -> list[str]:
    """Return the texts among the values, without empty ones."""
    return [
        text
        for value in values
        if not isinstance(value, dict | list) and (text := text_of(value).strip()) not in nulls
    ]


def single_value(
    select: CompiledExpression,
    conversion: Conversion,
    nulls: frozenset[str],
    target: TargetField,
    pick: str | None,
) -> CompiledRule:
    """Return the rule for one value. Without ``pick``, several values raise ``FieldRejected``.

    A country that is written several times is one value, also in capitals and small letters.
    """
    run, convert, name = select.run, conversion.convert, ".".join(target.path)
    is_country = target.cast == "country"

    def fill(node: Any, context: Context, state: MappingState) -> Any:
        found = run(node, context)
        if len(found) > 1:
            found = [value for value in found if not is_empty(value, nulls)]
            if len(found) > 1 and pick is None and not (is_country and _are_one_country(found)):
                raise FieldRejected(
                    "map",
                    name,
                    "ambiguous",
                    f"expected one value, found {len(found)}; narrow the expression or say pick",
                )
        if not found:
            return None
        value = found[-1 if pick == "last" else 0]
        if is_element(value):
            value = text_of(value)
        return None if is_empty(value, nulls) else convert(value, state)

    return SingleValue(fill, select, conversion, nulls) if pick is None else CompiledRule(fill)


def _are_one_country(values: list[Any]) -> bool:
    codes = (text_of(value).strip().upper() for value in values)
    return len({COUNTRIES.get(code, code) for code in codes}) == 1


def many_values(
    select: CompiledExpression, conversion: Conversion, nulls: frozenset[str]
) -> CompiledRule:
    """Return the rule for several values, in order and without duplicates."""
    run, convert = select.run, conversion.convert

    def collect_any(found: Iterable[Any], _context: Context, state: MappingState) -> Any:
        made: dict[Any, None] = {}
        for value in found:
            for item in value if type(value) is list else (value,):
                if (
                    item is not None
                    and not is_empty(item, nulls)
                    and (one := convert(item, state)) is not None
                ):
                    made[one] = None
        return tuple(made) or None

    collect = (
        collect_any
        if conversion.convert_text is None
        else _collect_texts(conversion.convert_text, nulls, collect_any, xml=select.kind == "xml")
    )
    return ManyValues(
        lambda node, context, state: collect_any(run(node, context), context, state),
        select,
        collect,
    )


def _collect_texts(
    read: Convert, nulls: frozenset[str], collect_any: CollectFunction, *, xml: bool
) -> CollectFunction:
    """Return a faster ``collect_any`` for elements and for lists of texts."""

    def of_json(found: Iterable[Any], context: Context, state: MappingState) -> Any:
        made: dict[Any, None] = {}
        for value in found:
            if type(value) is not str:
                return collect_any(found, context, state)
            if (text := value.strip()) not in nulls:
                made[read(text)] = None
        return tuple(made) or None

    def of_xml(found: Iterable[Any], _context: Context, _state: MappingState) -> Any:
        made: dict[Any, None] = {}
        for element in found:
            if (text := element_text(element).strip()) not in nulls:
                made[read(text)] = None
        return tuple(made) or None

    return of_xml if xml else of_json


def first_of(shapes: list[CompiledRule]) -> CompiledRule:
    """Return the rule that gives the first value of several rules."""
    fills = [shape.run for shape in shapes]

    def fill(node: Any, context: Context, state: MappingState) -> Any:
        for attempt in fills:
            if (value := attempt(node, context, state)) is not None:
                return value
        return None

    return FirstOf(fill, tuple(shapes))


def conditional(
    shape: CompiledRule,
    fits: Callable[[Any, Context], bool],
    words: tuple[tuple[str, ...], frozenset[str]] | None = None,
) -> CompiledRule:
    """Return a rule for records that fit. ``words`` is the same test, if it is that simple."""
    inner = shape.run
    return Conditional(
        lambda node, context, state: inner(node, context, state) if fits(node, context) else None,
        shape,
        fits,
        words,
    )


def with_default(shape: CompiledRule, value: Any) -> CompiledRule:
    """Return the rule with a default value."""
    inner = shape.run

    def fill(node: Any, context: Context, state: MappingState) -> Any:
        made = inner(node, context, state)
        return value if made is None else made

    return WithDefault(fill, shape, value)


def item_list(
    select: CompiledExpression, steps: list[FieldRule], name: str, judge: Judge | None = None
) -> CompiledRule:
    """Return the rule for a list of items, without empty items and those not achieved."""
    run = select.run

    def fill(node: Any, context: Context, state: MappingState) -> Any:
        made = []
        items = run(node, context)
        if judge is not None:
            items = select_achieved(items, judge, context, state.issues, name)
        for item in items:
            values: dict[str, Any] = {}
            apply_rules(
                steps,
                item,
                context,
                MappingState(values, state.lookups, state.issues, state.country),
                prefix=name,
            )
            if values:
                made.append(values)
        number_parts(made)
        return made or None

    return ItemList(fill, select, tuple(steps), name, judge)
