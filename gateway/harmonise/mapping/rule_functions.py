"""What a rule does, twice: as closures that are called rule by rule, and as shapes that :mod:`gateway.harmonise.mapping.code_generator` writes out.

The closures are the meaning of the language; they take every value there is. A shape says no more than what its closure does in the
commonest case, so that generated code can do that in place and call the closure for anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.config.expressions.compiler import Context, Run, Select, is_element, text_of
from gateway.harmonise.values.text import Convert
from gateway.records import Issue, Lookup


class Refused(Exception):
    """One target cannot be filled, so the record is rejected."""

    def __init__(self, stage: str, field: str, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.stage, self.field, self.reason, self.detail = stage, field, reason, detail


@dataclass(slots=True)
class State:
    """What is collected for one record, or for one item inside it."""

    values: dict[str, Any] = field(default_factory=dict)
    lookups: list[Lookup] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)


Fill = Callable[[Any, Context, State], Any]
Collect = Callable[[Iterable[Any], Context, State], Any]
Tabled = Callable[[Any, State], Any]
"""A function of a value and the record's state; ``None`` means nothing is known."""
Watch = Callable[[list[Any], bool], None]
"""Told what each expression of a rule found, and whether the rule protects a personal value."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """From a found value to a target's. ``of`` takes anything; the others are as good for trimmed text that says something."""

    of: Tabled
    read: Convert | None = None
    """The same without a state, where none is needed; raises :class:`~gateway.harmonise.values.text.CastError`."""
    plain: bool = False
    """Whether text that is clean stays as it is."""
    known: dict[str, tuple[Any, Lookup]] | None = None
    """Codes of a table of the connector's own that were converted before, each with its value and its row."""
    takes: type[Any] | None = None
    """A JSON type beside text that is read at once: ``int`` or ``bool``."""
    wraps: Convert | None = None
    """What makes the target's value of it, where it is not that already."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A rule, as far as generated code need not know more."""

    fill: Fill


@dataclass(frozen=True, slots=True)
class Constant(Shape):
    """The same value for every record."""

    value: Any


@dataclass(frozen=True, slots=True)
class Single(Shape):
    """One value by a plain path or from the context."""

    select: Select
    conversion: Conversion
    nulls: frozenset[str]


@dataclass(frozen=True, slots=True)
class Several(Shape):
    """Everything a plain path finds, put together by ``collect``: a list of values, a text in several languages."""

    select: Select
    collect: Collect


@dataclass(frozen=True, slots=True)
class First(Shape):
    """The first of several that finds something."""

    shapes: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Guarded(Shape):
    """A rule for records that fit."""

    shape: Shape
    fits: Callable[[Any, Context], bool]


@dataclass(frozen=True, slots=True)
class Defaulted(Shape):
    """A rule, and a value for when it finds nothing."""

    shape: Shape
    value: Any


@dataclass(frozen=True, slots=True)
class Items(Shape):
    """A list of items, each filled by steps of its own."""

    select: Select
    steps: tuple[Step, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Framework(Shape):
    """The framework of a level that is there."""

    name: str


@dataclass(frozen=True, slots=True)
class Step:
    """One target and how it is filled."""

    parents: tuple[str, ...]
    name: str
    shape: Shape
    late: bool
    """Filled after the others, because it reads a table at the date of another target."""


def parts_of(shape: Shape) -> Iterator[Shape]:
    """Yield a shape and those inside it that look at the same node."""
    yield shape
    if isinstance(shape, Guarded | Defaulted):
        yield from parts_of(shape.shape)
    elif isinstance(shape, First):
        for inner in shape.shapes:
            yield from parts_of(inner)


def apply(steps: Iterable[Step], node: Any, context: Context, state: State, prefix: str = "") -> None:
    """Fill ``state.values``; raises :class:`Refused`."""
    values = state.values
    try:
        for step in steps:
            value = step.shape.fill(node, context, state)
            if value is not None:
                put(values, step.parents, step.name, value)
    except Refused as error:
        if prefix:
            error.field = f"{prefix}.{error.field}"
        raise


def put(values: dict[str, Any], parents: tuple[str, ...], name: str, value: Any) -> None:
    """Put a value in its place; texts by language go together with those that are there."""
    place = values
    for part in parents:
        place = place.setdefault(part, {})
    if type(value) is dict and name in place:
        value = {**value, **place[name]}
    place[name] = value


def nothing(_node: Any, _context: Context, _state: State) -> Any:
    """Find nothing; stands where a rule is a finding already."""
    return


def watched(run: Run, watch: Watch, *, protected: bool) -> Run:
    """Tell somebody what an expression finds."""

    def run_(node: Any, context: Context) -> list[Any]:
        found = run(node, context)
        watch(found, protected)
        return found

    return run_


def constant(value: Any) -> Shape:
    """Return the rule that gives the same value for every record."""
    return Constant(lambda _node, _context, _state: value, value)


def framework(name: str) -> Shape:
    """Say a framework only of a level that is there."""
    return Framework(lambda _node, _context, state: name if state.values.get("nqf_level") else None, name)


def text_in(element: Any) -> str:
    """Return the text of an element."""
    return text_of(element) if len(element) else element.text or ""


def empty(value: Any, nulls: frozenset[str]) -> bool:
    """Whether a value says nothing."""
    if type(value) is str:
        return value.strip() in nulls
    if type(value) is dict or type(value) is list or type(value) is bool:
        return False
    return text_of(value).strip() in nulls


def texts(values: list[Any], nulls: frozenset[str]) -> list[str]:
    """Return the texts among values, without those that say nothing."""
    return [text for value in values if not isinstance(value, dict | list) and (text := text_of(value).strip()) not in nulls]


def single(select: Select, conversion: Conversion, nulls: frozenset[str], name: str, pick: str | None) -> Shape:
    """Return how one value is found; several are ambiguous unless ``pick`` says which."""
    run, convert = select.run, conversion.of

    def fill(node: Any, context: Context, state: State) -> Any:
        found = run(node, context)
        if len(found) > 1:
            found = [value for value in found if not empty(value, nulls)]
            if len(found) > 1 and pick is None:
                raise Refused("map", name, "ambiguous", f"expected one value, found {len(found)}; narrow the expression or say pick")
        if not found:
            return None
        value = found[-1 if pick == "last" else 0]
        if is_element(value):
            value = text_of(value)
        return None if empty(value, nulls) else convert(value, state)

    return Single(fill, select, conversion, nulls) if pick is None else Shape(fill)


def many(select: Select, conversion: Conversion, nulls: frozenset[str]) -> Shape:
    """Return how several values are found, each once, in order."""
    run, convert = select.run, conversion.of

    def gather(found: Iterable[Any], _context: Context, state: State) -> Any:
        made: dict[Any, None] = {}
        for value in found:
            for item in value if type(value) is list else (value,):
                if item is not None and not empty(item, nulls) and (one := convert(item, state)) is not None:
                    made[one] = None
        return tuple(made) or None

    collect = gather if conversion.read is None else _collected(conversion.read, nulls, gather, xml=select.kind == "xml")
    return Several(lambda node, context, state: gather(run(node, context), context, state), select, collect)


def _collected(read: Convert, nulls: frozenset[str], gather: Collect, *, xml: bool) -> Collect:
    """Return the same as ``gather``, for elements and for lists of nothing but texts."""

    def of_json(found: Iterable[Any], context: Context, state: State) -> Any:
        made: dict[Any, None] = {}
        for value in found:
            if type(value) is not str:
                return gather(found, context, state)
            if (text := value.strip()) not in nulls:
                made[read(text)] = None
        return tuple(made) or None

    def of_xml(found: Iterable[Any], _context: Context, _state: State) -> Any:
        made: dict[Any, None] = {}
        for element in found:
            if (text := text_in(element).strip()) not in nulls:
                made[read(text)] = None
        return tuple(made) or None

    return of_xml if xml else of_json


def first(shapes: list[Shape]) -> Shape:
    """Return the first of several ways that finds something."""
    fills = [shape.fill for shape in shapes]

    def fill(node: Any, context: Context, state: State) -> Any:
        for attempt in fills:
            if (value := attempt(node, context, state)) is not None:
                return value
        return None

    return First(fill, tuple(shapes))


def guarded(shape: Shape, fits: Callable[[Any, Context], bool]) -> Shape:
    """Return a rule for records that fit."""
    inner = shape.fill
    return Guarded(lambda node, context, state: inner(node, context, state) if fits(node, context) else None, shape, fits)


def defaulted(shape: Shape, value: Any) -> Shape:
    """Return a rule with a value for when it finds nothing."""
    inner = shape.fill

    def fill(node: Any, context: Context, state: State) -> Any:
        made = inner(node, context, state)
        return value if made is None else made

    return Defaulted(fill, shape, value)


def items(select: Select, steps: list[Step], name: str) -> Shape:
    """Return a list of items; an item of which nothing is known is left out."""
    run = select.run

    def fill(node: Any, context: Context, state: State) -> Any:
        made = []
        for item in run(node, context):
            values: dict[str, Any] = {}
            apply(steps, item, context, State(values, state.lookups, state.issues), prefix=name)
            if values:
                made.append(values)
        return made or None

    return Items(fill, select, tuple(steps), name)
