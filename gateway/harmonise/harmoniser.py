"""Harmonise raw records with rules that are compiled at load.

A call of a :class:`Harmoniser` never raises. It returns :class:`~gateway.records.Accepted`,
:class:`~gateway.records.Rejected` or :class:`~gateway.records.Withheld`. It does not use the
network, a clock, the environment or a file.

The compiled rules of a kind of record run in two ways with the same outcome. Generated code handles
each record first. If it fails, the rules run one by one
(:meth:`Harmoniser.harmonise_with_rules`), so that the rejection names the field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.config.connector import Connector, Stream, payload_format
from gateway.config.expressions.compiler import EvaluationError
from gateway.config.expressions.conditions import text_matcher
from gateway.config.target_fields import REQUIRED, record_type
from gateway.errors import ConfigError, Finding
from gateway.harmonise.mapping.achievement import NOT_ACHIEVED, Judge, Shortfall
from gateway.harmonise.mapping.code_generator import MapFunction, generate
from gateway.harmonise.mapping.language_maps import LANGUAGE_UNKNOWN
from gateway.harmonise.mapping.rule_compiler import RuleCompiler
from gateway.harmonise.mapping.rule_context import RuleContext, RuleProblem
from gateway.harmonise.mapping.rule_functions import (
    FieldRejected,
    FieldRule,
    MappingState,
    ValueObserver,
    apply_rules,
)
from gateway.harmonise.quality_assurance import Providers
from gateway.harmonise.record_gaps import missing_id_detail, note_gaps
from gateway.harmonise.record_rules import apply_record_rules
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.type_mismatch import describe_mismatch
from gateway.harmonise.values.payload import (
    PayloadError,
    json_value,
    may_hold_invisible_text,
    xml_element,
)
from gateway.harmonise.values.text import CastError
from gateway.records import (
    CONFLICT_CONTEXT_KEY,
    INVALID_ID_PREFIX,
    MISSING_ID_PREFIX,
    UNREADABLE_CONTEXT_KEY,
    Accepted,
    Issue,
    Lookup,
    Outcome,
    Provenance,
    RawRecord,
    Record,
    Rejected,
    Withheld,
)

_NO_CONTEXT: Mapping[str, Any] = MappingProxyType({})


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


class Harmoniser:
    """The harmoniser of one connector. Build it once and share it.

    Without ``tables``, the rules for levels and credits do not run. Records then hold only mapped
    values. Rules that do not compile raise :class:`~gateway.errors.ConfigError`.
    """

    def __init__(
        self,
        connector: Connector,
        tables: Tables | None,
        *,
        pseudonym_key: bytes,
        providers: Providers | None = None,
        on_value: ValueObserver | None = None,
    ) -> None:
        self.connector = connector
        self._digest = connector.digest
        self._tables = tables
        self._tables_digest = tables.digest if tables is not None else ""
        self.providers = providers
        """The trusted providers. The reader of their topic replaces this view."""
        self._streams: dict[str, CompiledStream] = {}
        problems: list[RuleProblem] = []
        for name, stream in connector.streams.items():
            made = CompiledStream(RuleContext(connector, stream, tables, pseudonym_key), on_value)
            problems += [
                RuleProblem(
                    problem.code, ("streams", name, *problem.place), problem.message, problem.column
                )
                for problem in made.problems
                if problem.blocks
            ]
            self._streams[name] = made
        if problems:
            raise ConfigError(
                [
                    Finding(
                        connector.connector,
                        0,
                        0,
                        problem.code,
                        ".".join(map(str, problem.place)),
                        problem.message,
                    )
                    for problem in problems
                ]
            )

    def __call__(self, raw: RawRecord) -> Outcome:
        """Return the outcome of a record: accepted, rejected or withheld."""
        return self._run_guarded(raw, self._harmonise)

    def harmonise_with_rules(self, raw: RawRecord) -> Outcome:
        """Return the same outcome as a call, but run the rules one by one, which is slower."""
        return self._run_guarded(raw, self._run_rules)

    def generated_code(self, stream: str) -> str:
        """Return the Python code generated from the rules of a stream."""
        return self._streams[stream].code()

    def _run_guarded(
        self,
        raw: RawRecord,
        run_mapping: Callable[[RawRecord, CompiledKind, Any, CompiledStream], Outcome],
    ) -> Outcome:
        try:
            return self._select_and_run(raw, run_mapping)
        except FieldRejected as error:
            return self._rejected(error.stage, error.field, error.reason, error.detail)
        except PayloadError as error:
            return self._rejected("decode", "", error.reason, f"expected {error.detail}")
        except EvaluationError as error:
            return self._rejected("map", "", "expression_failed", str(error))
        except Exception as error:  # noqa: BLE001 - no record may stop the stream
            return self._rejected("map", "", "internal_error", type(error).__name__)

    def _rejected(self, stage: str, field: str, reason: str, detail: str = "") -> Rejected:
        return Rejected(
            stage=stage,
            field=field,
            reason=reason,
            detail=detail,
            config_digest=self._digest,
            tables_digest=self._tables_digest,
        )

    def _select_and_run(
        self,
        raw: RawRecord,
        run_mapping: Callable[[RawRecord, CompiledKind, Any, CompiledStream], Outcome],
    ) -> Outcome:
        programs = self._streams.get(raw.stream)
        if programs is None:
            return self._rejected(
                "map", "", "unknown_stream", "expected a stream of the connector file"
            )
        if raw.body is None:
            return Withheld(reason="deleted")
        doubtful = raw.context or raw.native_id.startswith(MISSING_ID_PREFIX)
        if doubtful and (rejected := self._reject_unidentified(raw)) is not None:
            return rejected
        program = programs.for_kind(raw.kind)
        if program is None:
            return self._rejected(
                "map",
                "kind",
                "unknown_kind",
                "expected a kind under kinds; add it, or skip it with a reason",
            )
        if program.skip:
            return self._rejected("map", "kind", "kind_skipped", program.skip)
        node = programs.parse_payload(raw)
        if program.judge is not None:
            context = programs.context(raw) if programs.variables else _NO_CONTEXT
            if shortfall := program.judge(node, context):
                return self._not_an_award(shortfall)
        return run_mapping(raw, program, node, programs)

    def _reject_unidentified(self, raw: RawRecord) -> Rejected | None:
        """Return the rejection of a record that the poller could not identify or read."""
        if raw.native_id.startswith(INVALID_ID_PREFIX):
            return self._rejected(
                "map",
                "id",
                "invalid",
                "expected one text or number of at most 255 characters that people can see",
            )
        if raw.native_id.startswith(MISSING_ID_PREFIX):
            expressions = self.connector.streams[raw.stream].id
            return self._rejected("map", "id", "missing", missing_id_detail(raw, expressions))
        if CONFLICT_CONTEXT_KEY in raw.context:
            detail = (
                "expected one content for one id and version: add to id what tells the records "
                "apart, or name the version or changed_at; "
                f"the digests are {raw.context[CONFLICT_CONTEXT_KEY]}"
            )
            return self._rejected("map", "id", "conflict", detail)
        if UNREADABLE_CONTEXT_KEY in raw.context:
            detail = (
                f"expected values that can be stored, but {raw.context[UNREADABLE_CONTEXT_KEY]} "
                "has a character that has no form in UTF-8, cannot be part of a request, has "
                "another type than its expression needs, or finds several joined records for one"
            )
            return self._rejected("decode", "", "unreadable", detail)
        return None

    def _not_an_award(self, shortfall: Shortfall) -> Outcome:
        """Return the outcome of a record that is no award, or that perhaps is none."""
        if shortfall.reason == NOT_ACHIEVED:
            return Withheld(reason=shortfall.reason, detail=shortfall.detail)
        return self._rejected("map", "achieved", shortfall.reason, shortfall.detail)

    def _harmonise(
        self, raw: RawRecord, program: CompiledKind, node: Any, programs: CompiledStream
    ) -> Outcome:
        lookups: list[Lookup] = []
        issues: list[Issue] = []
        try:
            context = programs.context(raw) if programs.variables else _NO_CONTEXT
            values = program.run(
                node, context, lookups, issues, programs.may_hold_invisible_text(raw)
            )
            return self._finish(raw, program, values, lookups, issues)
        except (CastError, FieldRejected):
            return self._run_rules(raw, program, node, programs)

    def _run_rules(
        self, raw: RawRecord, program: CompiledKind, node: Any, programs: CompiledStream
    ) -> Outcome:
        state = MappingState()
        apply_rules(program.steps, node, programs.context(raw), state)
        return self._finish(raw, program, state.values, state.lookups, state.issues)

    def _finish(
        self,
        raw: RawRecord,
        program: CompiledKind,
        values: dict[str, Any],
        found: list[Lookup],
        collected_issues: list[Issue],
    ) -> Outcome:
        values.setdefault("id", raw.native_id)
        if raw.changed_at is not None:
            values.setdefault("changed_at", raw.changed_at)
        if raw.change_time_problem or (program.expects_kind and "kind" not in values):
            note_gaps(raw, values, collected_issues, expects_kind=program.expects_kind)
        for name in program.required:
            if not values.get(name):
                return self._rejected("map", name, *_explain_missing(name, collected_issues))
        lookups, issues = tuple(found), tuple(collected_issues)
        if self._tables is not None:
            answer = apply_record_rules(
                values, country=self.connector.country, emits=program.emits, tables=self._tables
            )
            if isinstance(answer, Rejected):
                return self._rejected(answer.stage, answer.field, answer.reason, answer.detail)
            values, more_lookups, more_issues = answer
            lookups += more_lookups
            issues += more_issues
        try:
            record = msgspec.convert(values, type=program.record)
        except msgspec.ValidationError as error:
            return self._rejected("map", *describe_mismatch(program.record, error))
        if program.emits in {"student_status", "card"} and not record.esc_agreement:
            return Withheld(reason="no_agreement")
        record, quality, listed, body_issues = self._identify_institution(record)
        return Accepted(
            record=record,
            provenance=Provenance(
                connector=raw.connector,
                stream=raw.stream,
                config_digest=self._digest,
                tables_digest=self._tables_digest,
                lookups=lookups + listed,
                issues=issues + body_issues,
                quality_assurance=quality,
            ),
        )

    def _identify_institution(
        self, record: Record
    ) -> tuple[Record, dict[str, str], tuple[Lookup, ...], tuple[Issue, ...]]:
        """Return the record with its institution completed, its quality, lookups and issues."""
        listed: tuple[Lookup, ...] = ()
        if self._tables is not None:
            record, listed = self._tables.institutions.complete_record(record)
        if self.providers is None:
            return record, {}, listed, ()
        record, quality, issues = self.providers.assess_record(record)
        return record, quality, listed, issues


def _explain_missing(name: str, issues: Sequence[Issue]) -> tuple[str, str]:
    """Return why a required target has no value: the reason, and a text for a person."""
    for issue in issues:
        if issue.field == name and issue.code == LANGUAGE_UNKNOWN:
            text = (
                f"expected a text in a known language; {issue.message}. If you know the language "
                "of such texts, write it under `languages.otherwise`"
            )
            return issue.code, text
    return "missing", "expected a value; the registry sent none where the rule looks"


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

    def code(self) -> str:
        """Return the generated code of every kind."""
        programs = (
            [self._single]
            if self._single is not None
            else [program for _, program in self._kinds if not program.skip]
        )
        return "\n\n".join(program.source for program in programs if program is not None)

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


__all__ = ["Harmoniser", "find_rule_problems"]
