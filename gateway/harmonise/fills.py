"""The closures rules become: how a value is found, told from nothing, and handed to its conversion.

The commonest shapes, one key or a path of keys in JSON and a path of children or an attribute in XML, have a way of their own:
each child list of an XML element is made once a record, and a text that is plain already is taken as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from gateway.harmonise.scalars import CastError, Convert, clean
from gateway.language.expressions import Context, Run, Select, is_element, text_of
from gateway.records import Issue, Lookup


class Refused(Exception):
    """One target cannot be filled, so the record is rejected."""

    def __init__(self, stage: str, field: str, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.stage, self.field, self.reason, self.detail = stage, field, reason, detail


@dataclass(slots=True)
class State:
    """What is collected for one record."""

    values: dict[str, Any] = field(default_factory=dict)
    lookups: list[Lookup] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    index: dict[Any, dict[str, list[Any]]] = field(default_factory=dict)

    def children(self, node: Any) -> dict[str, list[Any]]:
        """Return an element's children by tag; each element is walked once a record."""
        index = self.index.get(node)
        if index is None:
            index = self.index[node] = {}
            for child in node:
                tag = child.tag
                if tag in index:
                    index[tag].append(child)
                else:
                    index[tag] = [child]
        return index


Fill = Callable[[Any, Context, State], Any]
Tabled = Callable[[Any, State], Any]
"""A function of a value and the record's state; ``None`` means nothing is known."""
MANY_RULES = 3
"""From so many rules on an element, its children are walked once instead of once a rule."""
Watch = Callable[[list[Any], bool], None]
"""Told what each expression of a rule found, and whether the rule protects a personal value."""


@dataclass(frozen=True, slots=True)
class Step:
    """One target and how it is filled."""

    parents: tuple[str, ...]
    name: str
    fill: Fill
    late: bool
    """Filled after the others, because it reads a table at the date of another target."""


def apply(steps: Iterable[Step], node: Any, context: Context, state: State, prefix: str = "") -> None:
    """Fill ``state.values``; raises :class:`Refused`."""
    values = state.values
    try:
        for step in steps:
            value = step.fill(node, context, state)
            if value is None:
                continue
            parents, name = step.parents, step.name
            place = values
            for part in parents:
                place = place.setdefault(part, {})
            if type(value) is dict and name in place:
                value = {**value, **place[name]}
            place[name] = value
    except Refused as error:
        if prefix:
            error.field = f"{prefix}.{error.field}"
        raise


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


def framework(name: str) -> Fill:
    """Say a framework only of a level that is there."""
    return lambda _node, _context, state: name if state.values.get("nqf_level") else None


def plainly(finish: Convert, name: str) -> Tabled:
    """Return a conversion that needs nothing but the value; a value that cannot be read refuses the record."""

    def convert(value: Any, _state: State) -> Any:
        try:
            return finish(value)
        except CastError as error:
            raise Refused("map", name, error.reason, f"expected {error.expected}") from None

    return convert


def plain_text(name: str) -> Tabled:
    """Return the conversion to text, for text that is trimmed already."""

    def convert(value: str, _state: State) -> Any:
        if value.isascii() and value.isprintable():
            return value
        try:
            return clean(value)
        except CastError as error:
            raise Refused("map", name, error.reason, f"expected {error.expected}") from None

    return convert


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


@dataclass(frozen=True, slots=True)
class Conversion:
    """From a found value to a target's: ``of`` takes anything, ``text`` takes trimmed text that says something."""

    of: Tabled
    text: Tabled
    numbers: bool = False
    """Whether JSON numbers may go to ``of`` at once."""
    plain: bool = False
    """Whether plain text stays as it is."""


def single(select: Select, conversion: Conversion, nulls: frozenset[str], name: str, pick: str | None, *, indexed: bool) -> Fill:
    """Return how one value is found; several are ambiguous unless ``pick`` says which.

    ``indexed``: so many rules read the same element that walking its children once pays.
    """
    slow = _any_single(select.run, conversion.of, nulls, name, pick)
    if pick is not None or select.route is None:
        return slow
    if select.kind == "xml":
        return (_xml_indexed if indexed else _xml_single)(select.route, conversion.text, nulls, slow)
    return _json_single(select.route, conversion, nulls, slow)


def _any_single(run: Run, convert: Tabled, nulls: frozenset[str], name: str, pick: str | None) -> Fill:
    def fill(node: Any, context: Context, state: State) -> Any:
        found = run(node, context)
        if not found:
            return None
        if len(found) > 1:
            found = [value for value in found if not empty(value, nulls)]
            if not found:
                return None
            if len(found) > 1 and pick is None:
                raise Refused("map", name, "ambiguous", f"expected one value, found {len(found)}; narrow the expression or say pick")
            value = found[-1 if pick == "last" else 0]
        else:
            value = found[0]
        if is_element(value):
            value = text_of(value)
        return None if empty(value, nulls) else convert(value, state)

    return fill


def _json_single(  # noqa: C901 - the hot path, one closure a shape
    route: tuple[str, ...], conversion: Conversion, nulls: frozenset[str], slow: Fill
) -> Fill:
    *parents, key = route
    convert, of = conversion.text, conversion.of
    numbers = conversion.numbers and nulls == {""}

    def finish(node: Any, value: Any, context: Context, state: State) -> Any:
        kind = type(value)
        if kind is str:
            value = value.strip()
            return None if value in nulls else convert(value, state)
        if numbers and (kind is int or kind is float):
            return of(value, state)
        return slow(node, context, state)

    if not parents and conversion.plain:

        def one_text(node: Any, context: Context, state: State) -> Any:
            value = node.get(key) if type(node) is dict else None
            if type(value) is not str:
                return None if value is None else finish(node, value, context, state)
            value = value.strip()
            if value in nulls:
                return None
            return value if value.isascii() and value.isprintable() else convert(value, state)

        return one_text
    if not parents:

        def one(node: Any, context: Context, state: State) -> Any:
            value = node.get(key) if type(node) is dict else None
            return None if value is None else finish(node, value, context, state)

        return one
    if len(parents) == 1:
        parent = parents[0]

        def two(node: Any, context: Context, state: State) -> Any:
            inner = node.get(parent) if type(node) is dict else None
            value = inner.get(key) if type(inner) is dict else None
            return None if value is None else finish(node, value, context, state)

        return two

    def several(node: Any, context: Context, state: State) -> Any:
        here = node
        for name in route:
            here = here.get(name) if type(here) is dict else None
            if here is None:
                return None
        return finish(node, here, context, state)

    return several


def _text_at(attribute: str | None, convert: Tabled, nulls: frozenset[str]) -> Callable[[Any, State], Any]:
    def text_at(here: Any, state: State) -> Any:
        text = here.get(attribute) if attribute is not None else (text_of(here) if len(here) else here.text)
        if text is None:
            return None
        text = text.strip()
        return None if text in nulls else convert(text, state)

    return text_at


def _xml_single(route: Any, convert: Tabled, nulls: frozenset[str], slow: Fill) -> Fill:
    tags, attribute, own_text = route
    if own_text:
        return slow
    text_at = _text_at(attribute, convert, nulls)

    def fill(node: Any, context: Context, state: State) -> Any:
        here = node
        for tag, key, value in tags:
            found = list(here.iterchildren(tag)) if key is None else [one for one in here.iterchildren(tag) if one.get(key) == value]
            if not found:
                return None
            if len(found) > 1:
                return slow(node, context, state)
            here = found[0]
        return text_at(here, state)

    return fill


def _xml_indexed(  # noqa: C901 - the hot path, one closure a shape
    route: Any, convert: Tabled, nulls: frozenset[str], slow: Fill
) -> Fill:
    tags, attribute, own_text = route
    if own_text:
        return slow

    text_at = _text_at(attribute, convert, nulls)
    if len(tags) == 1 and tags[0][1] is None:
        only = tags[0][0]

        def child(node: Any, context: Context, state: State) -> Any:
            found = (state.index.get(node) or state.children(node)).get(only)
            if found is None:
                return None
            return text_at(found[0], state) if len(found) == 1 else slow(node, context, state)

        return child

    def fill(node: Any, context: Context, state: State) -> Any:
        here = node
        for tag, key, value in tags:
            found = (state.index.get(here) or state.children(here)).get(tag)
            if found is None:
                return None
            if key is not None:
                found = [one for one in found if one.get(key) == value]
                if not found:
                    return None
            if len(found) > 1:
                return slow(node, context, state)
            here = found[0]
        return text_at(here, state)

    return fill


def nodes(select: Select, *, indexed: bool) -> Callable[[Any, Context, State], list[Any]]:
    """Return how a list of nodes is found; children of an XML element come from the record's index."""
    if indexed and select.kind == "xml" and select.route is not None:
        tags, attribute, own_text = select.route
        if len(tags) == 1 and tags[0][1] is None and attribute is None and not own_text:
            tag = tags[0][0]
            return lambda node, _context, state: state.children(node).get(tag, [])
    run = select.run
    return lambda node, context, _state: run(node, context)


def many(select: Select, convert: Tabled, nulls: frozenset[str], *, indexed: bool) -> Fill:
    """Return how several values are found, each once, in order."""
    find = nodes(select, indexed=indexed)

    def fill(node: Any, context: Context, state: State) -> Any:
        made: dict[Any, None] = {}
        for value in find(node, context, state):
            for item in value if type(value) is list else (value,):
                if item is not None and not empty(item, nulls) and (one := convert(item, state)) is not None:
                    made[one] = None
        return tuple(made) or None

    return fill


def first(fills: list[Fill]) -> Fill:
    """Return the first of several ways that finds something."""

    def fill(node: Any, context: Context, state: State) -> Any:
        for attempt in fills:
            if (value := attempt(node, context, state)) is not None:
                return value
        return None

    return fill
