"""Write what a rule reads from a record as the key of a memory."""

from __future__ import annotations

from typing import Any

from gateway.config.target_fields import find_target
from gateway.harmonise.mapping.code_generator import CodeWriter
from gateway.harmonise.mapping.code_scope import Scope
from gateway.harmonise.mapping.rule_functions import (
    CompiledRule,
    Conditional,
    Constant,
    FieldRule,
    FirstOf,
    ImpliedFramework,
    ManyValues,
    SingleValue,
    WithDefault,
    nested_rules,
)
from gateway.harmonise.mapping.rule_shapes import context_name, is_direct_list
from gateway.pipeline.fast_path import memory

_FUNCTIONS = (
    "key_of_value",
    "key_of_list",
    "key_of_found",
    "key_of_mapped",
    "key_of_element",
    "key_of_elements",
    "key_of_labelled",
)


class KeyWriter(CodeWriter):
    """Writes the code that reads the elements of keys. A value that two rules read is read once."""

    def __init__(self, record_type: type[Any], *, xml: bool) -> None:
        super().__init__(xml=xml)
        self._record_type = record_type
        self._selected: dict[tuple[type, str], str] = {}
        """The variables of values that are parts of keys, by their expressions."""
        self._conditions: dict[tuple[tuple[str, ...], frozenset[str]], str] = {}
        self.bound |= {name: getattr(memory, name) for name in _FUNCTIONS}

    def _key_elements(self, step: FieldRule, scope: Scope) -> list[str]:
        """Write the variables of what a rule reads, and return them."""
        if not self._reads_scalars(step):
            labelled = self._labelled_element(step.shape, scope)
            return [labelled or self._mapped_element(step)]
        elements = []
        for shape in nested_rules(step.shape):
            if isinstance(shape, SingleValue | ManyValues):
                selected = type(shape), shape.select.text
                if selected not in self._selected:
                    self._selected[selected] = self._selected_element(shape, scope)
                elements.append(self._selected[selected])
            elif isinstance(shape, Conditional):
                elements.append(self._key_condition(shape, scope))
        return elements

    def _key_condition(self, shape: Conditional, scope: Scope) -> str:
        """Return the expression or the variable that says whether a record fits a condition."""
        if shape.words is None:
            return f"{self.bind('condition_of', shape.fits)}(node, context)"
        if shape.words not in self._conditions:
            self.bind_path(shape, scope)
            variable = self.unique_name(f"{self._field}_fits")
            self.emit(f"{variable} = {self._condition(shape, scope)}")
            self._conditions[shape.words] = variable
        return self._conditions[shape.words]

    def _reads_scalars(self, step: FieldRule) -> bool:
        """Return whether all that a rule reads are texts and numbers of its own."""
        target = find_target(self._record_type, ".".join((*step.parents, step.name)))
        known = (
            SingleValue,
            ManyValues,
            FirstOf,
            Conditional,
            WithDefault,
            Constant,
            ImpliedFramework,
        )
        return target.value_type != "languages" and all(
            isinstance(shape, known) for shape in nested_rules(step.shape)
        )

    def _labelled_element(self, shape: CompiledRule, scope: Scope) -> str:
        """Write the variable of the labels and texts of a language map in XML, if they are all."""
        if not (self._xml and isinstance(shape, ManyValues) and shape.label):
            return ""
        if not is_direct_list(shape.select):
            return ""
        self.bind_path(shape, scope)
        value = self.unique_name(f"{self._field}_texts")
        found = self._child_expression(shape.select.direct_path[0], scope)
        # The name is in bytes, because lxml would encode a text each time.
        self.emit(f"{value} = key_of_labelled({found}, {shape.label.encode()!r})")
        return value

    def _mapped_element(self, step: FieldRule) -> str:
        value = self.unique_name(f"{self._field}_value")
        apply = self.bind("apply", step.shape.run)
        mapped = f"{apply}(node, context, State({{}}, lookups, issues, country))"
        self.emit(f"{value} = key_of_mapped({mapped})")
        return value

    def _selected_element(self, shape: SingleValue | ManyValues, scope: Scope) -> str:
        value = self.unique_name(f"{self._field}_found")
        if name := context_name(shape.select):
            self.emit(f"{value} = context.get({name!r})")
            return value
        if shape.select.direct_path is None or (self._xml and shape.select.direct_path[2]):
            find = self.bind("find", shape.select.run)
            self.emit(f"{value} = key_of_found({find}(node, context))")
            return value
        self.bind_path(shape, scope)
        if self._xml and shape.select.direct_path[1] is None:
            key_of = "key_of_elements" if isinstance(shape, ManyValues) else "key_of_element"
            found = self._child_expression(shape.select.direct_path[0], scope)
            self.emit(f"{value} = {key_of}({found})")
            return value
        if self._xml:
            tags, attribute, _ = shape.select.direct_path
            # The name is in bytes, because lxml would encode a text each time.
            self.emit(f"{value} = {scope.places[tags]}.get({attribute.encode()!r})")
            with self.emit_block(f"if {value} is not None and type({value}) is not str:"):
                self.emit("return None")
            return value
        found = self._json_member(shape.select.direct_path, scope)
        if isinstance(shape, ManyValues):
            self.emit(f"{value} = key_of_list({found})")
            return value
        self.emit(f"{value} = {found}")
        with self.emit_block(f"if type({value}) is not str and {value} is not None:"):
            self.emit(f"{value} = key_of_value({value})")
        return value
