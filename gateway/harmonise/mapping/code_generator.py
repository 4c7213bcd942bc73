"""Generate one Python function for each kind of record, when the connector loads.

The code does the same as the closures of :mod:`gateway.harmonise.mapping.rule_functions`. It handles
the most common value, one text at a plain path, inline and without a call. It calls the closure of
the rule in all other cases. Examples are two values, an object instead of a text, markup inside a
text, or an expression that is not a plain path.

A value that no cast can convert raises :class:`~gateway.harmonise.values.text.CastError` or
:class:`~gateway.harmonise.mapping.rule_functions.FieldRejected`. The caller then runs the closures,
which name the field.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gateway.config.expressions.compiler import CompiledExpression
from gateway.harmonise.mapping import generated_code_runtime
from gateway.harmonise.mapping.rule_functions import (
    CompiledRule,
    Conditional,
    Constant,
    FieldRule,
    FirstOf,
    ImpliedFramework,
    ItemList,
    ManyValues,
    MappingState,
    SingleValue,
    WithDefault,
    apply_rules,
    nested_rules,
    set_field,
)
from gateway.harmonise.values.text import clean_text

MapFunction = Callable[..., dict[str, Any]]
NodePath = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class GeneratedMapper:
    """The generated function of a kind of record, and its source.

    ``run(node, context, lookups, issues, hidden)`` returns the values. ``hidden`` states whether ASCII
    texts of the payload may hold invisible characters
    (:func:`~gateway.harmonise.values.payload.may_hold_invisible_text`).
    """

    run: MapFunction
    source: str


def generate(steps: Sequence[FieldRule], *, xml: bool, title: str) -> GeneratedMapper:
    """Generate and compile the function of a list of steps. ``title`` names it in tracebacks."""
    writer = _CodeWriter(xml=xml)
    writer.function(steps)
    source = "\n".join(writer.lines) + "\n"
    return GeneratedMapper(compile_source(source, writer.bound, title)["run"], source)


def compile_source(source: str, bound: dict[str, Any], title: str) -> dict[str, Any]:
    """Return the names that a generated source defines.

    The source holds names and literals of the rules, and never a part of a payload.
    """
    file = f"<{title}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope = dict(bound)
    exec(compile(source, file, "exec"), scope)  # noqa: S102 - our own text; literals of a connector file go through repr()
    return scope


@dataclass(slots=True)
class _Scope:
    """The record, or an item inside it: its node, its values, and the variables of its paths."""

    node: str
    values: str
    state: str
    places: dict[NodePath, str] = field(default_factory=dict)
    children: dict[NodePath, str] = field(default_factory=dict)
    containers: dict[tuple[str, ...], str] = field(default_factory=dict)
    shared_targets: frozenset[tuple[str, ...]] = frozenset()
    """Targets that several rules fill: texts by language, as a whole and one by one."""


class _CodeWriter:
    def __init__(self, *, xml: bool) -> None:
        self._xml = xml
        self.lines: list[str] = []
        self.bound: dict[str, Any] = {
            "State": MappingState, "apply": apply_rules, "put": set_field, "clean": clean_text, "EMPTY": generated_code_runtime.NO_CHILDREN, "AMBIGUOUS": generated_code_runtime.AMBIGUOUS_VALUES,
            "children": generated_code_runtime.children_by_tag, "below": generated_code_runtime.children_of_single, "placed": generated_code_runtime.single_or_ambiguous, "chosen": generated_code_runtime.filter_by_attribute,
        }  # fmt: skip
        self._indent = 0
        self._count = 0

    # lines and names --------------------------------------------------------------------------------------------------------------

    def _emit(self, text: str) -> None:
        self.lines.append("    " * self._indent + text)

    @contextmanager
    def _emit_block(self, head: str) -> Iterator[None]:
        self._emit(head)
        self._indent += 1
        before = len(self.lines)
        yield
        if len(self.lines) == before:
            self._emit("pass")
        self._indent -= 1

    def _unique_name(self, word: str) -> str:
        self._count += 1
        return f"{word}_{self._count}"

    def _bind(self, word: str, value: Any) -> str:
        name = self._unique_name(word)
        self.bound[name] = value
        return name

    def _literal(self, value: Any) -> str:
        return (
            repr(value)
            if type(value) in {str, int, bool, type(None)}
            else self._bind("constant", value)
        )

    # a function, a scope, a step --------------------------------------------------------------------------------------------------

    def function(self, steps: Sequence[FieldRule]) -> None:
        """Write the function of all steps."""
        with self._emit_block("def run(node, context, lookups, issues, hidden=True):"):
            self._emit("values = {}")
            if not self._xml:
                with self._emit_block("if type(node) is not dict:"):
                    self._emit(
                        f"apply({self._bind('steps', steps)}, node, context, State(values, lookups, issues))"
                    )
                    self._emit("return values")
            self._emit_rules(steps, "node", "values")
            self._emit("return values")

    def _emit_rules(self, steps: Sequence[FieldRule], node: str, values: str) -> None:
        scope = _Scope(
            node, values, f"State({values}, lookups, issues)", shared_targets=_shared_targets(steps)
        )
        if any(map(_needs_state, (step.shape for step in steps))):
            state = self._unique_name("state")
            self._emit(f"{state} = {scope.state}")
            scope.state = state
        for shape in (inner for step in steps for inner in nested_rules(step.shape)):
            self._bind_path(shape, scope)
        above = [
            step.parents[:length] for step in steps for length in range(1, len(step.parents) + 1)
        ]
        for parents in above:
            if (
                parents not in scope.containers
                and above.count(parents) > 1
                and not _is_shared(scope.shared_targets, parents)
            ):
                scope.containers[parents] = self._unique_name("_".join(parents))
                self._emit(f"{scope.containers[parents]} = None")
        for step in steps:
            self._emit(f"# {'.'.join((*step.parents, step.name))}")
            self._emit_rule(step, scope)

    def _emit_rule(self, step: FieldRule, scope: _Scope) -> None:
        if isinstance(step.shape, Constant):
            if step.shape.value is not None:
                self._emit_store(step, scope, self._literal(step.shape.value))
        elif isinstance(step.shape, ImpliedFramework):
            with self._emit_block(f'if {scope.values}.get("nqf_level"):'):
                self._emit_store(step, scope, repr(step.shape.name))
        else:
            self._emit_value(step.shape, scope)
            with self._emit_block("if v is not None:"):
                self._emit_store(step, scope, "v")

    def _emit_store(self, step: FieldRule, scope: _Scope, value: str) -> None:
        if _is_shared(scope.shared_targets, (*step.parents, step.name)):
            self._emit(f"put({scope.values}, {step.parents!r}, {step.name!r}, {value})")
            return
        known = next(
            step.parents[:length]
            for length in range(len(step.parents), -1, -1)
            if not length or step.parents[:length] in scope.containers
        )
        self._emit_container(known, scope)
        name, *inner = (*step.parents[len(known) :], step.name)
        for part in reversed(inner):  # places that nobody else fills
            value = f"{{{part!r}: {value}}}"
        self._emit(f"{scope.containers.get(known, scope.values)}[{name!r}] = {value}")

    def _emit_container(self, parents: tuple[str, ...], scope: _Scope) -> None:
        if not parents:
            return
        here, above = scope.containers[parents], scope.containers.get(parents[:-1], scope.values)
        with self._emit_block(f"if {here} is None:"):
            self._emit_container(parents[:-1], scope)
            self._emit(f"{here} = {above}.setdefault({parents[-1]!r}, {{}})")

    # one value, which ends in v -----------------------------------------------------------------------------------------------------

    def _emit_value(self, shape: CompiledRule, scope: _Scope) -> None:
        if isinstance(shape, Constant):
            self._emit(f"v = {self._literal(shape.value)}")
        elif isinstance(shape, FirstOf):
            self._emit("v = None")
            for inner in shape.shapes:
                with self._emit_block("if v is None:"):
                    self._emit_value(inner, scope)
        elif isinstance(shape, Conditional):
            self._emit("v = None")
            with self._emit_block(f"if {self._bind('fits', shape.fits)}({scope.node}, context):"):
                self._emit_value(shape.shape, scope)
        elif isinstance(shape, WithDefault):
            self._emit_value(shape.shape, scope)
            with self._emit_block("if v is None:"):
                self._emit(f"v = {self._literal(shape.value)}")
        elif isinstance(shape, SingleValue) and (variable := _context_name(shape.select)):
            self._emit(f"v = context.get({variable!r})")
            self._emit_text_or_fallback(shape, scope, from_context=True)
        elif isinstance(shape, SingleValue) and shape.select.direct_path is not None:
            (self._xml_single if self._xml else self._json_single)(shape, scope)
        elif isinstance(shape, ManyValues | ItemList) and _is_direct_list(shape.select):
            self._emit_many(shape, scope)
        else:
            self._emit_rule_call(shape, scope)

    def _emit_rule_call(self, shape: CompiledRule, scope: _Scope) -> None:
        self._emit(f"v = {self._bind('fill', shape.run)}({scope.node}, context, {scope.state})")

    def _json_single(self, shape: SingleValue, scope: _Scope) -> None:
        *above, key = shape.select.direct_path
        self._emit(f"v = {scope.places[tuple(above)]}.get({key!r})")
        self._emit_text_or_fallback(shape, scope)

    def _emit_text_or_fallback(
        self, shape: SingleValue, scope: _Scope, *, from_context: bool = False
    ) -> None:
        with self._emit_block("if type(v) is str:"):
            self._convert(shape, scope, from_context=from_context)
        takes = shape.conversion.accepted_json_type
        if takes is not None and shape.nulls == {""}:
            with self._emit_block(f"elif type(v) is {takes.__name__}:"):
                if shape.conversion.wrap is not None:
                    self._emit(f"v = {self._bind('number', shape.conversion.wrap)}(v)")
        with self._emit_block("elif v is not None:"):
            self._emit_rule_call(shape, scope)

    def _xml_single(self, shape: SingleValue, scope: _Scope) -> None:
        tags, attribute, own_text = shape.select.direct_path
        if own_text:
            self._emit_rule_call(shape, scope)
        elif attribute is not None:
            self._emit(
                f"v = {scope.places[tags]}.get({attribute.encode()!r})"
            )  # bytes: lxml would encode a text each time
            self._emit_text_or_fallback(shape, scope)
        else:
            self._emit(f"f = {self._child_expression(tags, scope)}")
            with self._emit_block("if f is None:"):
                self._emit("v = None")
            with self._emit_block("elif type(f) is list or len(f):"):
                self._emit_rule_call(shape, scope)
            with self._emit_block("else:"):
                self._emit("v = f.text")
                with self._emit_block("if v is not None:"):
                    self._convert(shape, scope)

    def _convert(self, shape: SingleValue, scope: _Scope, *, from_context: bool = False) -> None:
        """Write the conversion of a text ``v``. A text from the context may hold any character."""
        conversion = shape.conversion
        self._emit("v = v.strip()")
        with self._emit_block(
            "if not v:" if shape.nulls == {""} else f"if v in {self._bind('nulls', shape.nulls)}:"
        ):
            self._emit("v = None")
        if conversion.is_plain_text:
            with self._emit_block(
                f"elif not v.isascii() or {'' if from_context else 'hidden and '}not v.isprintable():"
            ):
                self._emit("v = clean(v)")
            return
        with self._emit_block("else:"):
            if conversion.converted_codes is not None:
                self._emit(f"row = {self._bind('known', conversion.converted_codes)}.get(v)")
                with self._emit_block("if row is None:"):
                    self._emit(f"v = {self._bind('convert', conversion.convert)}(v, {scope.state})")
                with self._emit_block("else:"):
                    self._emit("v = row[0]")
                    self._emit("lookups.append(row[1])")
            elif conversion.convert_text is not None:
                self._emit(f"v = {self._bind('read', conversion.convert_text)}(v)")
            else:
                self._emit(f"v = {self._bind('convert', conversion.convert)}(v, {scope.state})")

    def _emit_many(self, shape: ManyValues | ItemList, scope: _Scope) -> None:
        """Write the selection of all values of a path as ``f``, and then their conversion."""
        if self._xml:
            tags = shape.select.direct_path[0]
            self._emit(f"f = {self._child_expression(tags, scope)}")
        else:
            *above, key = shape.select.direct_path
            self._emit(f"f = {scope.places[tuple(above)]}.get({key!r})")
        with self._emit_block("if f is None:"):
            self._emit("v = None")
        if self._xml and len(shape.select.direct_path[0]) > 1:
            with self._emit_block("elif f is AMBIGUOUS:"):
                self._emit_rule_call(shape, scope)
        with self._emit_block("else:"):
            if isinstance(shape, ManyValues):
                collect = self._bind("collect", shape.collect)
                self._emit(f"v = {collect}(f if type(f) is list else (f,), context, {scope.state})")
            else:
                self._emit_item_list(shape)

    def _emit_item_list(self, shape: ItemList) -> None:
        made, item, values = (
            self._unique_name("made"),
            self._unique_name("item"),
            self._unique_name("values"),
        )
        self._emit(f"{made} = []")
        with self._emit_block(f"for {item} in f if type(f) is list else (f,):"):
            self._emit(f"{values} = {{}}")
            if self._xml:
                self._emit_rules(shape.steps, item, values)
            else:
                with self._emit_block(f"if type({item}) is dict:"):
                    self._emit_rules(shape.steps, item, values)
                with self._emit_block(f"elif {item} is not None:"):
                    self._emit(
                        f"apply({self._bind('steps', shape.steps)}, {item}, context, State({values}, lookups, issues))"
                    )
            with self._emit_block(f"if {values}:"):
                self._emit(f"{made}.append({values})")
        self._emit(f"v = {made} or None")

    # places -------------------------------------------------------------------------------------------------------------------------

    def _bind_path(self, shape: CompiledRule, scope: _Scope) -> None:
        """Bind the path of a shape, and each path above it, to a variable."""
        if (
            not isinstance(shape, SingleValue | ManyValues | ItemList)
            or shape.select.direct_path is None
        ):
            return
        if self._xml:
            tags, attribute, _ = shape.select.direct_path
            if attribute is not None:
                self._bind_xml_element(tags, scope)
            elif tags:
                self._bind_xml_children(tags[:-1], scope)
        else:
            self._bind_json_object(tuple(shape.select.direct_path[:-1]), scope)

    def _bind_json_object(self, path: NodePath, scope: _Scope) -> None:
        if path in scope.places:
            return
        if not path:
            scope.places[path] = scope.node
            return
        self._bind_json_object(path[:-1], scope)
        name = scope.places[path] = self._unique_name("at")
        self._emit(f"{name} = {scope.places[path[:-1]]}.get({path[-1]!r})")
        with self._emit_block(f"if type({name}) is not dict:"):
            self._emit(f"{name} = EMPTY")

    def _bind_xml_element(self, tags: NodePath, scope: _Scope) -> None:
        if tags in scope.places:
            return
        if not tags:
            scope.places[tags] = scope.node
            return
        self._bind_xml_children(tags[:-1], scope)
        name = scope.places[tags] = self._unique_name("at")
        self._emit(f"{name} = placed({self._child_expression(tags, scope)})")

    def _bind_xml_children(self, tags: NodePath, scope: _Scope) -> None:
        if tags in scope.children:
            return
        if tags:
            self._bind_xml_children(tags[:-1], scope)
        name = scope.children[tags] = self._unique_name("children")
        self._emit(
            f"{name} = "
            + (
                f"below({self._child_expression(tags, scope)})"
                if tags
                else f"children({scope.node})"
            )
        )

    def _child_expression(self, tags: NodePath, scope: _Scope) -> str:
        if not tags:
            return scope.node
        tag, key, value = tags[-1]
        found = f"{scope.children[tags[:-1]]}.get({tag!r})"
        return found if key is None else f"chosen({found}, {key.encode()!r}, {value!r})"


def _needs_state(shape: CompiledRule) -> bool:
    """Return whether the most common value of a shape needs a state."""
    return any(
        isinstance(part, ManyValues)
        or type(part) is CompiledRule
        or (
            isinstance(part, SingleValue)
            and (
                (part.select.direct_path is None and not _context_name(part.select))
                or _converts_with_state(part)
            )
        )
        for part in nested_rules(shape)
    )


def _converts_with_state(shape: SingleValue) -> bool:
    return shape.conversion.convert_text is None and shape.conversion.converted_codes is None


def _context_name(select: CompiledExpression) -> str:
    """Return the name if an expression consists of ``$name`` alone, or an empty text."""
    return (
        next(iter(select.variables))
        if select.is_direct_path and select.direct_path is None and len(select.variables) == 1
        else ""
    )


def _is_direct_list(select: CompiledExpression) -> bool:
    """Return whether an expression selects the value of a key or the children of a tag."""
    if select.direct_path is None:
        return False
    return select.kind != "xml" or bool(
        select.direct_path[0] and select.direct_path[1] is None and not select.direct_path[2]
    )


def _shared_targets(steps: Sequence[FieldRule]) -> frozenset[tuple[str, ...]]:
    whole = [(*step.parents, step.name) for step in steps]
    inside = [
        parents[:length]
        for parents in (step.parents for step in steps)
        for length in range(1, len(parents) + 1)
    ]
    return frozenset(path for path in whole if path in inside)


def _is_shared(apart: frozenset[tuple[str, ...]], path: tuple[str, ...]) -> bool:
    return any(path[: len(whole)] == whole for whole in apart)
