"""Rules written out as Python: one function a kind of record, compiled once when the connector loads.

What is written is what the closures of :mod:`gateway.harmonise.mapping.rule_functions` mean, for values as they mostly are: one text by a plain path, in
place, without a call. Whatever is otherwise (two values, an object where a text was expected, markup inside a text, an XPath or
JMESPath that is no plain path) goes to the closure of that one rule. A value that cannot be read raises
:class:`~gateway.harmonise.values.text.CastError` or :class:`~gateway.harmonise.mapping.rule_functions.Refused`; the caller then asks the closures, which say
of which field.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gateway.config.expressions.compiler import Select
from gateway.harmonise.mapping import generated_code_runtime
from gateway.harmonise.mapping.rule_functions import (
    Constant,
    Defaulted,
    First,
    Framework,
    Guarded,
    Items,
    Several,
    Shape,
    Single,
    State,
    Step,
    apply,
    parts_of,
    put,
)
from gateway.harmonise.values.text import clean

Run = Callable[..., dict[str, Any]]
Path = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Generated:
    """The function of a kind of record: ``run(node, context, lookups, issues, hidden)`` gives the values.

    ``hidden`` says whether ASCII texts of the payload may hold what no one can see (:func:`~gateway.harmonise.values.payload.hidden`), and
    ``source`` is what it was made of.
    """

    run: Run
    source: str


def generate(steps: Sequence[Step], *, xml: bool, title: str) -> Generated:
    """Write and compile the function of a list of steps. ``title`` names it in tracebacks."""
    writer = _Writer(xml=xml)
    writer.function(steps)
    source = "\n".join(writer.lines) + "\n"
    return Generated(compiled(source, writer.bound, title)["run"], source)


def compiled(source: str, bound: dict[str, Any], title: str) -> dict[str, Any]:
    """Return the names a generated source defines. Nothing of a payload is ever in a source: names and literals come from the rules."""
    file = f"<{title}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope = dict(bound)
    exec(compile(source, file, "exec"), scope)  # noqa: S102 - our own text; literals of a connector file go through repr()
    return scope


@dataclass(slots=True)
class _Scope:
    """The record, or an item inside it: its node, where its values go, and the places inside it that have a name already."""

    node: str
    values: str
    state: str
    places: dict[Path, str] = field(default_factory=dict)
    children: dict[Path, str] = field(default_factory=dict)
    stores: dict[tuple[str, ...], str] = field(default_factory=dict)
    apart: frozenset[tuple[str, ...]] = frozenset()
    """Targets that several rules fill together: texts by language as a whole and one by one."""


class _Writer:
    def __init__(self, *, xml: bool) -> None:
        self._xml = xml
        self.lines: list[str] = []
        self.bound: dict[str, Any] = {
            "State": State, "apply": apply, "put": put, "clean": clean, "EMPTY": generated_code_runtime.EMPTY, "AMBIGUOUS": generated_code_runtime.AMBIGUOUS,
            "children": generated_code_runtime.children, "below": generated_code_runtime.below, "placed": generated_code_runtime.placed, "chosen": generated_code_runtime.chosen,
        }  # fmt: skip
        self._indent = 0
        self._count = 0

    # lines and names --------------------------------------------------------------------------------------------------------------

    def _line(self, text: str) -> None:
        self.lines.append("    " * self._indent + text)

    @contextmanager
    def _block(self, head: str) -> Iterator[None]:
        self._line(head)
        self._indent += 1
        before = len(self.lines)
        yield
        if len(self.lines) == before:
            self._line("pass")
        self._indent -= 1

    def _name(self, word: str) -> str:
        self._count += 1
        return f"{word}_{self._count}"

    def _bind(self, word: str, value: Any) -> str:
        name = self._name(word)
        self.bound[name] = value
        return name

    def _literal(self, value: Any) -> str:
        return repr(value) if type(value) in {str, int, bool, type(None)} else self._bind("constant", value)

    # a function, a scope, a step --------------------------------------------------------------------------------------------------

    def function(self, steps: Sequence[Step]) -> None:
        """Write the whole."""
        with self._block("def run(node, context, lookups, issues, hidden=True):"):
            self._line("values = {}")
            if not self._xml:
                with self._block("if type(node) is not dict:"):
                    self._line(f"apply({self._bind('steps', steps)}, node, context, State(values, lookups, issues))")
                    self._line("return values")
            self._steps(steps, "node", "values")
            self._line("return values")

    def _steps(self, steps: Sequence[Step], node: str, values: str) -> None:
        scope = _Scope(node, values, f"State({values}, lookups, issues)", apart=_apart(steps))
        if any(map(_needs_state, (step.shape for step in steps))):
            state = self._name("state")
            self._line(f"{state} = {scope.state}")
            scope.state = state
        for shape in (inner for step in steps for inner in parts_of(step.shape)):
            self._open(shape, scope)
        above = [step.parents[:length] for step in steps for length in range(1, len(step.parents) + 1)]
        for parents in above:
            if parents not in scope.stores and above.count(parents) > 1 and not _beside(scope.apart, parents):
                scope.stores[parents] = self._name("_".join(parents))
                self._line(f"{scope.stores[parents]} = None")
        for step in steps:
            self._line(f"# {'.'.join((*step.parents, step.name))}")
            self._step(step, scope)

    def _step(self, step: Step, scope: _Scope) -> None:
        if isinstance(step.shape, Constant):
            if step.shape.value is not None:
                self._store(step, scope, self._literal(step.shape.value))
        elif isinstance(step.shape, Framework):
            with self._block(f'if {scope.values}.get("nqf_level"):'):
                self._store(step, scope, repr(step.shape.name))
        else:
            self._value(step.shape, scope)
            with self._block("if v is not None:"):
                self._store(step, scope, "v")

    def _store(self, step: Step, scope: _Scope, value: str) -> None:
        if _beside(scope.apart, (*step.parents, step.name)):
            self._line(f"put({scope.values}, {step.parents!r}, {step.name!r}, {value})")
            return
        known = next(
            step.parents[:length] for length in range(len(step.parents), -1, -1) if not length or step.parents[:length] in scope.stores
        )
        self._ensure(known, scope)
        name, *inner = (*step.parents[len(known) :], step.name)
        for part in reversed(inner):  # places that nobody else fills
            value = f"{{{part!r}: {value}}}"
        self._line(f"{scope.stores.get(known, scope.values)}[{name!r}] = {value}")

    def _ensure(self, parents: tuple[str, ...], scope: _Scope) -> None:
        if not parents:
            return
        here, above = scope.stores[parents], scope.stores.get(parents[:-1], scope.values)
        with self._block(f"if {here} is None:"):
            self._ensure(parents[:-1], scope)
            self._line(f"{here} = {above}.setdefault({parents[-1]!r}, {{}})")

    # one value, which ends in v -----------------------------------------------------------------------------------------------------

    def _value(self, shape: Shape, scope: _Scope) -> None:
        if isinstance(shape, Constant):
            self._line(f"v = {self._literal(shape.value)}")
        elif isinstance(shape, First):
            self._line("v = None")
            for inner in shape.shapes:
                with self._block("if v is None:"):
                    self._value(inner, scope)
        elif isinstance(shape, Guarded):
            self._line("v = None")
            with self._block(f"if {self._bind('fits', shape.fits)}({scope.node}, context):"):
                self._value(shape.shape, scope)
        elif isinstance(shape, Defaulted):
            self._value(shape.shape, scope)
            with self._block("if v is None:"):
                self._line(f"v = {self._literal(shape.value)}")
        elif isinstance(shape, Single) and (variable := _variable(shape.select)):
            self._line(f"v = context.get({variable!r})")
            self._text_or_else(shape, scope, kept=True)
        elif isinstance(shape, Single) and shape.select.route is not None:
            (self._xml_single if self._xml else self._json_single)(shape, scope)
        elif isinstance(shape, Several | Items) and _listed(shape.select):
            self._found(shape, scope)
        else:
            self._slowly(shape, scope)

    def _slowly(self, shape: Shape, scope: _Scope) -> None:
        self._line(f"v = {self._bind('fill', shape.fill)}({scope.node}, context, {scope.state})")

    def _json_single(self, shape: Single, scope: _Scope) -> None:
        *above, key = shape.select.route
        self._line(f"v = {scope.places[tuple(above)]}.get({key!r})")
        self._text_or_else(shape, scope)

    def _text_or_else(self, shape: Single, scope: _Scope, *, kept: bool = False) -> None:
        with self._block("if type(v) is str:"):
            self._convert(shape, scope, kept=kept)
        takes = shape.conversion.takes
        if takes is not None and shape.nulls == {""}:
            with self._block(f"elif type(v) is {takes.__name__}:"):
                if shape.conversion.wraps is not None:
                    self._line(f"v = {self._bind('number', shape.conversion.wraps)}(v)")
        with self._block("elif v is not None:"):
            self._slowly(shape, scope)

    def _xml_single(self, shape: Single, scope: _Scope) -> None:
        tags, attribute, own_text = shape.select.route
        if own_text:
            self._slowly(shape, scope)
        elif attribute is not None:
            self._line(f"v = {scope.places[tags]}.get({attribute.encode()!r})")  # bytes: lxml would encode a text each time
            self._text_or_else(shape, scope)
        else:
            self._line(f"f = {self._child(tags, scope)}")
            with self._block("if f is None:"):
                self._line("v = None")
            with self._block("elif type(f) is list or len(f):"):
                self._slowly(shape, scope)
            with self._block("else:"):
                self._line("v = f.text")
                with self._block("if v is not None:"):
                    self._convert(shape, scope)

    def _convert(self, shape: Single, scope: _Scope, *, kept: bool = False) -> None:
        """Write what becomes of a text ``v``; one that was ``kept`` is of the context, so nothing is known of it."""
        conversion = shape.conversion
        self._line("v = v.strip()")
        with self._block("if not v:" if shape.nulls == {""} else f"if v in {self._bind('nulls', shape.nulls)}:"):
            self._line("v = None")
        if conversion.plain:
            with self._block(f"elif not v.isascii() or {'' if kept else 'hidden and '}not v.isprintable():"):
                self._line("v = clean(v)")
            return
        with self._block("else:"):
            if conversion.known is not None:
                self._line(f"row = {self._bind('known', conversion.known)}.get(v)")
                with self._block("if row is None:"):
                    self._line(f"v = {self._bind('convert', conversion.of)}(v, {scope.state})")
                with self._block("else:"):
                    self._line("v = row[0]")
                    self._line("lookups.append(row[1])")
            elif conversion.read is not None:
                self._line(f"v = {self._bind('read', conversion.read)}(v)")
            else:
                self._line(f"v = {self._bind('convert', conversion.of)}(v, {scope.state})")

    def _found(self, shape: Several | Items, scope: _Scope) -> None:
        """Everything a path finds, as ``f``; then what becomes of it."""
        if self._xml:
            tags = shape.select.route[0]
            self._line(f"f = {self._child(tags, scope)}")
        else:
            *above, key = shape.select.route
            self._line(f"f = {scope.places[tuple(above)]}.get({key!r})")
        with self._block("if f is None:"):
            self._line("v = None")
        if self._xml and len(shape.select.route[0]) > 1:
            with self._block("elif f is AMBIGUOUS:"):
                self._slowly(shape, scope)
        with self._block("else:"):
            if isinstance(shape, Several):
                collect = self._bind("collect", shape.collect)
                self._line(f"v = {collect}(f if type(f) is list else (f,), context, {scope.state})")
            else:
                self._items(shape)

    def _items(self, shape: Items) -> None:
        made, item, values = self._name("made"), self._name("item"), self._name("values")
        self._line(f"{made} = []")
        with self._block(f"for {item} in f if type(f) is list else (f,):"):
            self._line(f"{values} = {{}}")
            if self._xml:
                self._steps(shape.steps, item, values)
            else:
                with self._block(f"if type({item}) is dict:"):
                    self._steps(shape.steps, item, values)
                with self._block(f"elif {item} is not None:"):
                    self._line(f"apply({self._bind('steps', shape.steps)}, {item}, context, State({values}, lookups, issues))")
            with self._block(f"if {values}:"):
                self._line(f"{made}.append({values})")
        self._line(f"v = {made} or None")

    # places -------------------------------------------------------------------------------------------------------------------------

    def _open(self, shape: Shape, scope: _Scope) -> None:
        """Give the place that a shape looks into a name, and all above it."""
        if not isinstance(shape, Single | Several | Items) or shape.select.route is None:
            return
        if self._xml:
            tags, attribute, _ = shape.select.route
            if attribute is not None:
                self._place(tags, scope)
            elif tags:
                self._children(tags[:-1], scope)
        else:
            self._object(tuple(shape.select.route[:-1]), scope)

    def _object(self, path: Path, scope: _Scope) -> None:
        if path in scope.places:
            return
        if not path:
            scope.places[path] = scope.node
            return
        self._object(path[:-1], scope)
        name = scope.places[path] = self._name("at")
        self._line(f"{name} = {scope.places[path[:-1]]}.get({path[-1]!r})")
        with self._block(f"if type({name}) is not dict:"):
            self._line(f"{name} = EMPTY")

    def _place(self, tags: Path, scope: _Scope) -> None:
        if tags in scope.places:
            return
        if not tags:
            scope.places[tags] = scope.node
            return
        self._children(tags[:-1], scope)
        name = scope.places[tags] = self._name("at")
        self._line(f"{name} = placed({self._child(tags, scope)})")

    def _children(self, tags: Path, scope: _Scope) -> None:
        if tags in scope.children:
            return
        if tags:
            self._children(tags[:-1], scope)
        name = scope.children[tags] = self._name("children")
        self._line(f"{name} = " + (f"below({self._child(tags, scope)})" if tags else f"children({scope.node})"))

    def _child(self, tags: Path, scope: _Scope) -> str:
        if not tags:
            return scope.node
        tag, key, value = tags[-1]
        found = f"{scope.children[tags[:-1]]}.get({tag!r})"
        return found if key is None else f"chosen({found}, {key.encode()!r}, {value!r})"


def _needs_state(shape: Shape) -> bool:
    """Whether even the commonest value of a shape needs a state."""
    return any(
        isinstance(part, Several)
        or type(part) is Shape
        or (isinstance(part, Single) and ((part.select.route is None and not _variable(part.select)) or _converts_with_state(part)))
        for part in parts_of(shape)
    )


def _converts_with_state(shape: Single) -> bool:
    return shape.conversion.read is None and shape.conversion.known is None


def _variable(select: Select) -> str:
    """Return the name when an expression is nothing but ``$name``."""
    return next(iter(select.variables)) if select.plain and select.route is None and len(select.variables) == 1 else ""


def _listed(select: Select) -> bool:
    """Whether everything an expression finds is at hand: the value of a key, or the children of a tag."""
    if select.route is None:
        return False
    return select.kind != "xml" or bool(select.route[0] and select.route[1] is None and not select.route[2])


def _apart(steps: Sequence[Step]) -> frozenset[tuple[str, ...]]:
    whole = [(*step.parents, step.name) for step in steps]
    inside = [parents[:length] for parents in (step.parents for step in steps) for length in range(1, len(parents) + 1)]
    return frozenset(path for path in whole if path in inside)


def _beside(apart: frozenset[tuple[str, ...]], path: tuple[str, ...]) -> bool:
    return any(path[: len(whole)] == whole for whole in apart)
