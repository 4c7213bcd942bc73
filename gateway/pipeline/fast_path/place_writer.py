"""Generate the function of the fast path that takes values from the accelerator's JSON reader.

It does the same as the function of :mod:`~gateway.pipeline.fast_path.generator`, without a parsed
record. It returns ``None`` for each record for which a rule needs more than the value of its path,
and for values that were not seen before. The other function then processes the record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.accelerator import json_reader
from gateway.harmonise.mapping.code_scope import NodePath, Scope
from gateway.harmonise.mapping.generated_code_runtime import compile_source
from gateway.harmonise.mapping.rule_functions import (
    CompiledRule,
    Conditional,
    FieldRule,
    ManyValues,
    SingleValue,
)
from gateway.harmonise.mapping.rule_shapes import context_name
from gateway.pipeline.fast_path.generator import _FastWriter as FastWriter
from gateway.pipeline.fast_path.memory import Memory, NotFastError
from gateway.pipeline.fast_path.plan import Group, Plan
from gateway.pipeline.processed_record import ProcessedRecord

Read = Callable[[bytes], tuple[Any, ...] | None]
Process = Callable[..., ProcessedRecord | None]


def generate_for_reader(
    plan: Plan,
    steps: Sequence[FieldRule],
    record_type: type[Any],
    memories: Mapping[str, Memory],
    names: Mapping[str, Any],
    title: str,
) -> tuple[Read, Process] | None:
    """Return the reader of a kind of record, and the function of the values that it reads.

    Return ``None`` without the accelerator, and if a rule always needs the parsed record.
    """
    writer = _PlaceWriter(plan, record_type, memories, names, xml=False)
    try:
        writer.function(steps)
        read = json_reader(tuple(writer.places))
    except (NotFastError, ValueError):  # one place may be inside another one
        return None
    if read is None:
        return None
    source = "\n".join(writer.lines) + "\n"
    process: Any = compile_source(source, writer.bound, title)["process"]
    return None if "node" in process.__code__.co_names else (read, process)


class _PlaceWriter(FastWriter):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.places: dict[NodePath, str] = {}
        """The variables of the values that the function reads, by their paths."""
        self._calls_rarely = False
        self.unique_name("found_values")

    def function(self, steps: Sequence[FieldRule]) -> None:
        """Write the function for all steps of a kind of record."""
        super().function(steps)
        variables = ", ".join((*self.places.values(), "hidden"))
        self.lines[:1] = [
            "def process(raw, found_values, context, root, prefix):",
            f"    {variables}, = found_values",
        ]

    def _json_member(self, path: Sequence[Any], scope: Scope) -> str:
        if scope.node != "node":
            return super()._json_member(path, scope)
        place = tuple(path)
        if place not in self.places:
            self.places[place] = self.unique_name("_".join(("found", *place)))
        return self.places[place]

    def _bind_json_object(self, path: NodePath, scope: Scope) -> None:
        if scope.node != "node":
            super()._bind_json_object(path, scope)

    def _emit_text_or_fallback(
        self, shape: SingleValue, scope: Scope, *, from_context: bool = False
    ) -> None:
        self._calls_rarely = True
        super()._emit_text_or_fallback(shape, scope, from_context=from_context)
        self._calls_rarely = False

    def _emit_rule_call(self, shape: CompiledRule, scope: Scope) -> None:
        if scope.node != "node":
            super()._emit_rule_call(shape, scope)
        elif self._calls_rarely:
            self.emit("return None")
        else:
            raise NotFastError

    def _condition(self, shape: Conditional, scope: Scope) -> str:
        if scope.node != "node":
            return super()._condition(shape, scope)
        if shape.words is None:
            raise NotFastError
        path, words = shape.words
        value = self._json_member(path, scope)
        with self.emit_block(f"if type({value}) is not str:"):
            self.emit("return None")
        return f"{value}.strip() in {self.bind('words_of', words)}"

    def _key_condition(self, shape: Conditional, scope: Scope) -> str:
        if shape.words is None:
            raise NotFastError
        return super()._key_condition(shape, scope)

    def _mapped_element(self, step: FieldRule) -> str:
        """Refuse a rule whose value is the key, because the rule needs the parsed record."""
        raise NotFastError(step.name)

    def _selected_element(self, shape: SingleValue | ManyValues, scope: Scope) -> str:
        if shape.select.direct_path is None and not context_name(shape.select):
            raise NotFastError
        return super()._selected_element(shape, scope)

    def _emit_learning(self, groups: Sequence[Group]) -> None:
        entries = " and ".join(f"{group.name}_entry" for group in groups)
        with self.emit_block(f"if lookups or issues or not ({entries or 'True'}):"):
            self.emit("return None")
