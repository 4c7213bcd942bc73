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
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.config.connector import Connector
from gateway.config.expressions.compiler import EvaluationError
from gateway.errors import ConfigError, Finding
from gateway.harmonise.compiled_stream import CompiledKind, CompiledStream
from gateway.harmonise.mapping.achievement import NOT_ACHIEVED, Shortfall
from gateway.harmonise.mapping.language_maps import LANGUAGE_UNKNOWN
from gateway.harmonise.mapping.record_country import RecordCountry
from gateway.harmonise.mapping.rule_context import RuleContext, RuleProblem
from gateway.harmonise.mapping.rule_functions import (
    FieldRejected,
    MappingState,
    ValueObserver,
    apply_rules,
)
from gateway.harmonise.providers import Providers
from gateway.harmonise.record_gaps import missing_id_detail, note_gaps
from gateway.harmonise.record_rules import apply_record_rules
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.institutions import complete_country
from gateway.harmonise.type_mismatch import describe_mismatch
from gateway.harmonise.values.payload import PayloadError, row_defect
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
_RunMapping = Callable[[RawRecord, CompiledKind, Any, CompiledStream, RecordCountry], Outcome]


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
        self._country = RecordCountry(connector.country)
        self.tables = tables
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

    def compiled_stream(self, name: str) -> CompiledStream | None:
        """Return the compiled rules of a stream, or ``None`` if there is no such stream."""
        return self._streams.get(name)

    def _run_guarded(self, raw: RawRecord, run_mapping: _RunMapping) -> Outcome:
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

    def _select_and_run(self, raw: RawRecord, run_mapping: _RunMapping) -> Outcome:
        programs = self._streams.get(raw.stream)
        if programs is None:
            return self._rejected(
                "map", "", "unknown_stream", "expected a stream of the connector file"
            )
        if raw.body is None:
            return Withheld(reason="deleted")
        doubtful = raw.context or raw.native_id.startswith(MISSING_ID_PREFIX)
        if doubtful and (rejected := self.reject_unidentified(raw)) is not None:
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
        if programs.payload == "csv" and (defect := row_defect(node)):
            return self._rejected("decode", "", "malformed_row", defect)
        if program.judge is not None:
            context = programs.context(raw) if programs.variables else _NO_CONTEXT
            if shortfall := program.judge(node, context):
                return self._not_an_award(shortfall)
        find_country = programs.find_country
        if find_country is None:
            return run_mapping(raw, program, node, programs, self._country)
        country = find_country(node, programs.context(raw))
        return self._run_in_country(raw, run_mapping, program, node, programs, country)

    def _run_in_country(
        self,
        raw: RawRecord,
        run_mapping: _RunMapping,
        program: CompiledKind,
        node: Any,
        programs: CompiledStream,
        country: RecordCountry,
    ) -> Outcome:
        """Run the rules for a record of a source of several countries."""
        try:
            outcome = run_mapping(raw, program, node, programs, country)
        except FieldRejected as error:
            outcome = self._rejected(error.stage, error.field, error.reason, error.detail)
        if isinstance(outcome, Rejected):
            return msgspec.structs.replace(outcome, country=country.tables)
        return outcome

    def reject_unidentified(self, raw: RawRecord) -> Rejected | None:
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
        self,
        raw: RawRecord,
        program: CompiledKind,
        node: Any,
        programs: CompiledStream,
        country: RecordCountry,
    ) -> Outcome:
        lookups: list[Lookup] = []
        issues = list(country.issues)
        try:
            context = programs.context(raw) if programs.variables else _NO_CONTEXT
            hidden = programs.may_hold_invisible_text(raw)
            values = program.run(node, context, lookups, issues, hidden, country.tables)
            return self._finish(raw, program, values, lookups, issues, country)
        except (CastError, FieldRejected):
            return self._run_rules(raw, program, node, programs, country)

    def _run_rules(
        self,
        raw: RawRecord,
        program: CompiledKind,
        node: Any,
        programs: CompiledStream,
        country: RecordCountry,
    ) -> Outcome:
        state = MappingState(issues=list(country.issues), country=country.tables)
        apply_rules(program.steps, node, programs.context(raw), state)
        return self._finish(raw, program, state.values, state.lookups, state.issues, country)

    def _finish(
        self,
        raw: RawRecord,
        program: CompiledKind,
        values: dict[str, Any],
        found: list[Lookup],
        collected_issues: list[Issue],
        country: RecordCountry,
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
        if self.tables is not None:
            answer = apply_record_rules(
                values, country=country.tables, emits=program.emits, tables=self.tables
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
        record, quality, listed, body_issues = self.identify_institution(record, country.known)
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
                country="" if country is self._country else country.tables,
            ),
        )

    def identify_institution(
        self, record: Record, country: str
    ) -> tuple[Record, dict[str, str], tuple[Lookup, ...], tuple[Issue, ...]]:
        """Return the record with its institution completed, its quality, lookups and issues.

        An institution without a country is in ``country``, if that is not empty.
        """
        if country:
            record = complete_country(record, country)
        listed: tuple[Lookup, ...] = ()
        if self.tables is not None:
            record, listed = self.tables.institutions.complete_record(record)
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
