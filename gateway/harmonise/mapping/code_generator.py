"""Generate one Python function for each kind of record, when the connector loads.

The code does the same as the closures of :mod:`gateway.harmonise.mapping.rule_functions`. It
handles the most common value, one text at a plain path, inline and without a call. It calls the
closure of the rule in all other cases. Examples are two values, an object instead of a text, markup
inside a text, or an expression that is not a plain path.

A value that no cast can convert raises :class:`~gateway.harmonise.values.text.CastError` or
:class:`~gateway.harmonise.mapping.rule_functions.FieldRejected`. The caller then runs the closures,
which name the field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gateway.harmonise.mapping.code_scope import NodePath, Scope, state_of
from gateway.harmonise.mapping.generated_code_runtime import (
    RESERVED_NAMES,
    RUNTIME_NAMES,
    compile_source,
)
from gateway.harmonise.mapping.rule_functions import (
    CompiledRule,
    Conditional,
    Constant,
    FieldRule,
    FirstOf,
    ImpliedFramework,
    ItemList,
    ManyValues,
    SingleValue,
    WithDefault,
    nested_rules,
)
from gateway.harmonise.mapping.rule_shapes import (
    context_name,
    describe_source,
    has_ordinals,
    is_direct_list,
    is_shared,
    local_name,
    needs_state,
    shared_targets,
)

MapFunction = Callable[..., dict[str, Any]]


@dataclass(frozen=True, slots=True)
class GeneratedMapper:
    """The generated function of a kind of record, and its source.

    ``run(node, context, lookups, issues, hidden, country)`` returns the values. ``hidden``: ASCII
    texts may hold invisible characters. ``country``: its tables apply.
    """

    run: MapFunction
    source: str


def generate(steps: Sequence[FieldRule], *, xml: bool, title: str) -> GeneratedMapper:
    """Generate and compile the function of a list of steps. ``title`` names it in tracebacks."""
    writer = CodeWriter(xml=xml)
    writer.function(steps)
    source = "\n".join(writer.lines) + "\n"
    return GeneratedMapper(compile_source(source, writer.bound, title)["run"], source)


class CodeWriter:
    """Writes the code of rules. ``lines`` is the code, and ``bound`` the values that it uses."""

    def __init__(self, *, xml: bool) -> None:
        self._xml = xml
        self.lines: list[str] = []
        self.bound: dict[str, Any] = dict(RUNTIME_NAMES)
        self._indent = 0
        self._names = {*RESERVED_NAMES, *self.bound}
        self._field = ""
        self._value = "value"
        """The variable that receives the value of the current rule."""
        self._found = "found"
        """The variable for what the path of the current rule selects."""

    # lines and names

    def emit(self, text: str) -> None:
        """Write one line."""
        self.lines.append("    " * self._indent + text)

    @contextmanager
    def emit_block(self, head: str) -> Iterator[None]:
        """Write the head of a block, and indent what follows."""
        self.emit(head)
        self._indent += 1
        before = len(self.lines)
        yield
        if len(self.lines) == before:
            self.emit("pass")
        self._indent -= 1

    def unique_name(self, word: str) -> str:
        """Return a variable name that begins with ``word`` and is not in use."""
        base = re.sub(r"\W+", "_", word).strip("_") or "value"
        base = f"_{base}" if base[0].isdigit() else base
        name, number = base, 1
        while name in self._names:
            number += 1
            name = f"{base}_{number}"
        self._names.add(name)
        return name

    def bind(self, verb: str, value: Any) -> str:
        """Make a value of the rule available to the generated code, named after its field."""
        name = self.unique_name(f"{verb}_{self._field}" if self._field else verb)
        self.bound[name] = value
        return name

    def _literal(self, value: Any) -> str:
        return (
            repr(value)
            if type(value) in {str, int, bool, type(None)}
            else self.bind("constant_of", value)
        )

    # a function, a scope, a rule

    def function(self, steps: Sequence[FieldRule]) -> None:
        """Write the function of all steps."""
        with self.emit_block('def run(node, context, lookups, issues, hidden=True, country=""):'):
            self.emit("values = {}")
            if not self._xml:
                with self.emit_block("if type(node) is not dict:"):
                    rules = self.bind("all_rules", steps)
                    self.emit(f"apply({rules}, node, context, {state_of('values')})")
                    self.emit("return values")
            self.emit_rules(steps, "node", "values")
            self.emit("return values")

    def emit_rules(self, steps: Sequence[FieldRule], node: str, values: str) -> Scope:
        """Write the code that fills ``values`` from ``node``, and return the variables of paths."""
        scope = Scope(node, values, state_of(values), shared_targets=shared_targets(steps))
        if any(map(needs_state, (step.shape for step in steps))):
            state = self.unique_name(f"{self._field}_state" if self._field else "state")
            self.emit(f"{state} = {scope.state}")
            scope.state = state
        for shape in (inner for step in steps for inner in nested_rules(step.shape)):
            self.bind_path(shape, scope)
        above = [
            step.parents[:length] for step in steps for length in range(1, len(step.parents) + 1)
        ]
        for parents in above:
            if (
                parents not in scope.containers
                and above.count(parents) > 1
                and not is_shared(scope.shared_targets, parents)
            ):
                scope.containers[parents] = self.unique_name("_".join((*parents, "fields")))
                self.emit(f"{scope.containers[parents]} = None")
        for step in steps:
            outer = self._field, self._value, self._found
            self._field = "_".join(filter(None, (self._field, *step.parents, step.name)))
            self._value = self.unique_name(self._field)
            self._found = f"{self._value}_nodes"
            self.emit(f"# {'.'.join((*step.parents, step.name))}{describe_source(step.shape)}")
            self._emit_rule(step, scope)
            self._field, self._value, self._found = outer
        return scope

    def _emit_rule(self, step: FieldRule, scope: Scope) -> None:
        if isinstance(step.shape, Constant):
            if step.shape.value is not None:
                self._emit_store(step, scope, self._literal(step.shape.value))
        elif isinstance(step.shape, ImpliedFramework):
            with self.emit_block(f'if {scope.values}.get("nqf_level"):'):
                self._emit_store(step, scope, repr(step.shape.name))
        else:
            self._emit_value(step.shape, scope)
            with self.emit_block(f"if {self._value} is not None:"):
                self._emit_store(step, scope, self._value)

    def _emit_store(self, step: FieldRule, scope: Scope, value: str) -> None:
        if is_shared(scope.shared_targets, (*step.parents, step.name)):
            self.emit(f"put({scope.values}, {step.parents!r}, {step.name!r}, {value})")
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
        self.emit(f"{scope.containers.get(known, scope.values)}[{name!r}] = {value}")

    def _emit_container(self, parents: tuple[str, ...], scope: Scope) -> None:
        if not parents:
            return
        here, above = scope.containers[parents], scope.containers.get(parents[:-1], scope.values)
        with self.emit_block(f"if {here} is None:"):
            self._emit_container(parents[:-1], scope)
            self.emit(f"{here} = {above}.setdefault({parents[-1]!r}, {{}})")

    # one value

    def _emit_value(self, shape: CompiledRule, scope: Scope) -> None:
        value = self._value
        if isinstance(shape, Constant):
            self.emit(f"{value} = {self._literal(shape.value)}")
        elif isinstance(shape, FirstOf):
            self.emit(f"{value} = None")
            for inner in shape.shapes:
                with self.emit_block(f"if {value} is None:"):
                    self._emit_value(inner, scope)
        elif isinstance(shape, Conditional):
            self.emit(f"{value} = None")
            with self.emit_block(f"if {self._condition(shape, scope)}:"):
                self._emit_value(shape.shape, scope)
        elif isinstance(shape, WithDefault):
            self._emit_value(shape.shape, scope)
            with self.emit_block(f"if {value} is None:"):
                self.emit(f"{value} = {self._literal(shape.value)}")
        elif isinstance(shape, SingleValue) and (variable := context_name(shape.select)):
            self.emit(f"{value} = context.get({variable!r})")
            self._emit_text_or_fallback(shape, scope, from_context=True)
        elif isinstance(shape, SingleValue) and shape.select.direct_path is not None:
            (self._xml_single if self._xml else self._json_single)(shape, scope)
        elif isinstance(shape, ManyValues | ItemList) and is_direct_list(shape.select):
            self._emit_many(shape, scope)
        else:
            self._emit_rule_call(shape, scope)

    def _condition(self, shape: Conditional, scope: Scope) -> str:
        """Return the test of a condition. It is inline for a text at a plain path."""
        fits = f"{self.bind('condition_of', shape.fits)}({scope.node}, context)"
        if shape.words is None:
            return fits
        path, words = shape.words
        value, known = self.unique_name(f"{self._field}_test"), self.bind("words_of", words)
        self.emit(f"{value} = {self._json_member(path, scope)}")
        return f"{value}.strip() in {known} if type({value}) is str else {fits}"

    def _emit_rule_call(self, shape: CompiledRule, scope: Scope) -> None:
        function = self.bind("apply", shape.run)
        self.emit(f"{self._value} = {function}({scope.node}, context, {scope.state})")

    def _json_single(self, shape: SingleValue, scope: Scope) -> None:
        self.emit(f"{self._value} = {self._json_member(shape.select.direct_path, scope)}")
        self._emit_text_or_fallback(shape, scope)

    def _emit_text_or_fallback(
        self, shape: SingleValue, scope: Scope, *, from_context: bool = False
    ) -> None:
        value = self._value
        with self.emit_block(f"if type({value}) is str:"):
            self._convert(shape, scope, from_context=from_context)
        takes = shape.conversion.accepted_json_type
        if takes is not None and shape.nulls == {""}:
            with self.emit_block(f"elif type({value}) is {takes.__name__}:"):
                if shape.conversion.wrap is not None:
                    self.emit(f"{value} = {self.bind('convert', shape.conversion.wrap)}({value})")
        with self.emit_block(f"elif {value} is not None:"):
            self._emit_rule_call(shape, scope)

    def _xml_single(self, shape: SingleValue, scope: Scope) -> None:
        value, found = self._value, self._found
        tags, attribute, own_text = shape.select.direct_path
        if own_text:
            self._emit_rule_call(shape, scope)
        elif attribute is not None:
            self.emit(
                f"{value} = {scope.places[tags]}.get({attribute.encode()!r})"
            )  # bytes: lxml would encode a text each time
            self._emit_text_or_fallback(shape, scope)
        else:
            self.emit(f"{found} = {self._child_expression(tags, scope)}")
            with self.emit_block(f"if {found} is None:"):
                self.emit(f"{value} = None")
            with self.emit_block(f"elif type({found}) is list or len({found}):"):
                self._emit_rule_call(shape, scope)
            with self.emit_block("else:"):
                self.emit(f"{value} = {found}.text")
                with self.emit_block(f"if {value} is not None:"):
                    self._convert(shape, scope)

    def _convert(self, shape: SingleValue, scope: Scope, *, from_context: bool = False) -> None:
        """Write the conversion of a text. A text from the context may hold any character."""
        value = self._value
        conversion = shape.conversion
        self.emit(f"{value} = {value}.strip()")
        with self.emit_block(
            f"if not {value}:"
            if shape.nulls == {""}
            else f"if {value} in {self.bind('null_values_of', shape.nulls)}:"
        ):
            self.emit(f"{value} = None")
        if conversion.is_plain_text:
            unprintable = f"{'' if from_context else 'hidden and '}not {value}.isprintable()"
            with self.emit_block(f"elif not {value}.isascii() or {unprintable}:"):
                self.emit(f"{value} = clean({value})")
            return
        with self.emit_block("else:"):
            if conversion.converted_codes is not None:
                codes = self.bind("codes_of", conversion.converted_codes)
                self.emit(f"{value}_code = {codes}.get({value})")
                with self.emit_block(f"if {value}_code is None:"):
                    convert = self.bind("convert", conversion.convert)
                    self.emit(f"{value} = {convert}({value}, {scope.state})")
                with self.emit_block("else:"):
                    self.emit(f"{value} = {value}_code[0]")
                    self.emit(f"lookups.append({value}_code[1])")
            elif conversion.convert_text is not None:
                self.emit(f"{value} = {self.bind('convert', conversion.convert_text)}({value})")
            else:
                self.emit(
                    f"{value} = {self.bind('convert', conversion.convert)}({value}, {scope.state})"
                )

    def _emit_many(self, shape: ManyValues | ItemList, scope: Scope) -> None:
        """Write the selection of all values of a path, and then their conversion."""
        value, found = self._value, self._found
        if self._xml:
            tags = shape.select.direct_path[0]
            self.emit(f"{found} = {self._child_expression(tags, scope)}")
        else:
            self.emit(f"{found} = {self._json_member(shape.select.direct_path, scope)}")
        with self.emit_block(f"if {found} is None:"):
            self.emit(f"{value} = None")
        if self._xml and len(shape.select.direct_path[0]) > 1:
            with self.emit_block(f"elif {found} is AMBIGUOUS:"):
                self._emit_rule_call(shape, scope)
        with self.emit_block("else:"):
            if isinstance(shape, ManyValues):
                collect = self.bind("collect", shape.collect)
                nodes = f"{found} if type({found}) is list else ({found},)"
                self.emit(f"{value} = {collect}({nodes}, context, {scope.state})")
            else:
                self._emit_item_list(shape)

    def _emit_item_list(self, shape: ItemList) -> None:
        found = self._found
        made = self.unique_name(f"{self._field}_list")
        item = self.unique_name(f"{self._field}_item")
        values = self.unique_name(f"{self._field}_values")
        self.emit(f"{made} = []")
        items = f"{found} if type({found}) is list else ({found},)"
        if shape.judge is not None:
            judge = self.bind("judge_of", shape.judge)
            items = f"achieved_items({items}, {judge}, context, issues, {shape.name!r})"
        with self.emit_block(f"for {item} in {items}:"):
            self.emit(f"{values} = {{}}")
            if self._xml:
                self.emit_rules(shape.steps, item, values)
            else:
                with self.emit_block(f"if type({item}) is dict:"):
                    self.emit_rules(shape.steps, item, values)
                with self.emit_block(f"elif {item} is not None:"):
                    rules = self.bind("rules_of", shape.steps)
                    self.emit(f"apply({rules}, {item}, context, {state_of(values)})")
            with self.emit_block(f"if {values}:"):
                self.emit(f"{made}.append({values})")
        if has_ordinals(shape.steps):
            self.emit(f"number_parts({made})")
        self.emit(f"{self._value} = {made} or None")

    # paths

    def bind_path(self, shape: CompiledRule, scope: Scope) -> None:
        """Bind the path of a shape, and each path above it, to a variable."""
        if isinstance(shape, Conditional) and shape.words is not None:
            self._bind_json_object(shape.words[0][:-1], scope)
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

    def _json_member(self, path: Sequence[Any], scope: Scope) -> str:
        """Return the expression for the value at a path. The path above is bound already."""
        *above, key = path
        return f"{scope.places[tuple(above)]}.get({key!r})"

    def _bind_json_object(self, path: NodePath, scope: Scope) -> None:
        if path in scope.places:
            return
        if not path:
            scope.places[path] = scope.node
            return
        self._bind_json_object(path[:-1], scope)
        name = scope.places[path] = self.unique_name("_".join((*map(str, path), "object")))
        self.emit(f"{name} = {scope.places[path[:-1]]}.get({path[-1]!r})")
        with self.emit_block(f"if type({name}) is not dict:"):
            self.emit(f"{name} = EMPTY")

    def _bind_xml_element(self, tags: NodePath, scope: Scope) -> None:
        if tags in scope.places:
            return
        if not tags:
            scope.places[tags] = scope.node
            return
        self._bind_xml_children(tags[:-1], scope)
        name = scope.places[tags] = self.unique_name(f"{local_name(tags[-1])}_element")
        self.emit(f"{name} = placed({self._child_expression(tags, scope)})")

    def _bind_xml_children(self, tags: NodePath, scope: Scope) -> None:
        if tags in scope.children:
            return
        if tags:
            self._bind_xml_children(tags[:-1], scope)
        parent = f"{local_name(tags[-1])}_children" if tags else f"{scope.node}_children"
        name = scope.children[tags] = self.unique_name(parent)
        self.emit(
            f"{name} = "
            + (
                f"below({self._child_expression(tags, scope)})"
                if tags
                else f"children({scope.node})"
            )
        )

    def _child_expression(self, tags: NodePath, scope: Scope) -> str:
        if not tags:
            return scope.node
        tag, key, value = tags[-1]
        found = f"{scope.children[tags[:-1]]}.get({tag!r})"
        return found if key is None else f"chosen({found}, {key.encode()!r}, {value!r})"
