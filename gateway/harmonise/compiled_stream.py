"""Compile the rules of a stream: one program for each kind of record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gateway.config.connector import Connector, Stream, payload_format
from gateway.config.expressions.conditions import text_matcher
from gateway.config.target_fields import REQUIRED, record_type
from gateway.harmonise.mapping.achievement import Judge
from gateway.harmonise.mapping.code_generator import MapFunction, generate
from gateway.harmonise.mapping.record_country import CountryFinder
from gateway.harmonise.mapping.rule_compiler import RuleCompiler
from gateway.harmonise.mapping.rule_context import RuleContext, RuleProblem
from gateway.harmonise.mapping.rule_functions import FieldRule, ValueObserver
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.values.payload import (
    PayloadError,
    json_value,
    may_hold_invisible_text,
    xml_element,
)
from gateway.records import RawRecord


@dataclass(frozen=True, slots=True)
class CompiledKind:
    """The compiled rules of one kind of record."""

    emits: str
    record: type[Any]
    steps: tuple[FieldRule, ...]
    run: MapFunction
    source: str
    skip: str = ""
    judge: Judge | None = None
    """Decides whether a record is an award, if the connector file says so."""
    required: tuple[str, ...] = ()
    """Targets without which a record is rejected."""
    expects_kind: bool = False
    """Whether a rule fills the kind of a credential."""


class CompiledStream:
    """The compiled rules of one stream, for each kind of record."""

    def __init__(self, rule_context: RuleContext, on_value: ValueObserver | None = None) -> None:
        stream = rule_context.stream
        self.payload = payload_format(rule_context.connector, stream)
        self.media_type = "application/xml" if self.payload == "xml" else "application/json"
        compiler = RuleCompiler(rule_context, on_value)
        self._kinds: list[tuple[Any, CompiledKind]] = []
        self._kind_cache: dict[str, CompiledKind | None] = {}
        self._single: CompiledKind | None = None
        if stream.kinds:
            for name, kind in stream.kinds.items():
                emits = kind.emits or stream.emits
                place = ("kinds", name, "map")
                own = compiler.steps(kind.map, record_type(emits), place) if not kind.skip else []
                shared = {
                    target: rule for target, rule in stream.map.items() if target not in kind.map
                }
                common = (
                    compiler.steps(shared, record_type(emits), ("map",)) if not kind.skip else []
                )
                steps = sorted((*common, *own), key=lambda step: step.reads_other_targets)
                judge = (
                    compiler.achievement(kind.achieved, ("kinds", name, "achieved"))
                    if kind.achieved
                    else compiler.achievement(stream.achieved, ("achieved",))
                )
                program = self._program(emits, steps, f"{rule_context.title}.{name}", judge)
                self._kinds.append((text_matcher((name,)), replace(program, skip=kind.skip or "")))
        else:
            steps = compiler.steps(stream.map, record_type(stream.emits), ("map",))
            judge = compiler.achievement(stream.achieved, ("achieved",))
            self._single = self._program(stream.emits, steps, rule_context.title, judge)
        self.find_country: CountryFinder | None = compiler.record_country()
        """Finds the country of a record, if the connector holds records of several countries."""
        self.problems = list(dict.fromkeys(compiler.problems))
        self.reads = frozenset(compiler.reads)
        self.variables = frozenset(compiler.variables)

    def _program(
        self, emits: str, steps: list[FieldRule], title: str, judge: Judge | None
    ) -> CompiledKind:
        made = generate(steps, xml=self.payload == "xml", title=f"rules of {title}")
        expects_kind = emits == "credential" and any(
            step.name == "kind" and not step.parents for step in steps
        )
        return CompiledKind(
            emits,
            record_type(emits),
            tuple(steps),
            made.run,
            made.source,
            judge=judge if emits == "credential" else None,
            required=REQUIRED[emits],
            expects_kind=expects_kind,
        )

    def kinds(self) -> list[CompiledKind]:
        """Return the compiled rules of every kind whose records are not skipped."""
        if self._single is not None:
            return [self._single]
        return [kind for _, kind in self._kinds if not kind.skip]

    def for_kind(self, kind: str) -> CompiledKind | None:
        """Return the compiled rules for a kind of record, or ``None`` if no kind matches."""
        if self._single is not None:
            return self._single
        if kind not in self._kind_cache:
            if len(self._kind_cache) > 1_000:  # noqa: PLR2004 - payloads choose the kinds
                self._kind_cache.clear()
            self._kind_cache[kind] = next(
                (program for fits, program in self._kinds if fits(kind)), None
            )
        return self._kind_cache[kind]

    def parse_payload(self, raw: RawRecord) -> Any:
        """Return the payload as expressions read it, or raise ``PayloadError``."""
        if raw.media_type != self.media_type:
            raise PayloadError("wrong_media_type", f"{self.media_type}, as decode says")
        return (
            xml_element(raw.body or b"") if self.payload == "xml" else json_value(raw.body or b"")
        )

    def may_hold_invisible_text(self, raw: RawRecord) -> bool:
        """Return whether ASCII texts of the payload may hold invisible characters."""
        return may_hold_invisible_text(raw.body or b"", xml=self.payload == "xml")

    @staticmethod
    def context(raw: RawRecord) -> dict[str, Any]:
        """Return the values that rules read as ``$name``."""
        return {**raw.context, "native_id": raw.native_id, "kind": raw.kind, "version": raw.version}


def find_rule_problems(
    connector: Connector, stream: Stream, tables: Tables | None, key: bytes
) -> tuple[list[RuleProblem], frozenset[str]]:
    """Return the problems of a stream's rules, and the names of the payload that they read."""
    made = CompiledStream(RuleContext(connector, stream, tables, key))
    return made.problems, made.reads
