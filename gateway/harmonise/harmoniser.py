"""Raw record in, harmonised record or a reason out: pure, total, and decided at load.

``Harmoniser(raw)`` never raises: whatever the bytes are, the answer is :class:`~gateway.records.Accepted`,
:class:`~gateway.records.Rejected` or :class:`~gateway.records.Withheld`. No network, clock, environment or file is touched.

The rules of a kind of record are compiled once and can be run in two ways with one outcome: as generated code, which every record goes
through, and rule by rule (:meth:`Harmoniser.rule_by_rule`), which explanations go through, and records that cannot be harmonised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.config.connector import Connector, Stream, payload_kind
from gateway.config.expressions.compiler import SelectError
from gateway.config.expressions.conditions import matcher
from gateway.config.target_fields import REQUIRED, record_type
from gateway.errors import ConfigError, Finding
from gateway.harmonise.mapping.code_generator import Run, generate
from gateway.harmonise.mapping.rule_compiler import Compiler, Problem, Surroundings
from gateway.harmonise.mapping.rule_functions import Refused, State, Step, Watch, apply
from gateway.harmonise.quality_assurance import Providers
from gateway.harmonise.record_rules import enrich
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.values.payload import PayloadError, hidden, json_value, xml_element
from gateway.harmonise.values.text import CastError
from gateway.records import BAD_ID, CONFLICT, NO_ID, Accepted, Issue, Lookup, Outcome, Provenance, Raw, Rejected, Withheld

_NO_CONTEXT: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Program:
    """The compiled rules of one kind of record."""

    emits: str
    record: type[Any]
    steps: tuple[Step, ...]
    run: Run
    source: str
    skip: str = ""


class Harmoniser:
    """Harmonises the raw records of one connector. Build it once; it is safe to share.

    Without ``tables`` no level and no credits are judged: records hold what was mapped.
    """

    def __init__(
        self,
        connector: Connector,
        tables: Tables | None,
        *,
        pseudonym_key: bytes,
        providers: Providers | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.connector = connector
        self._digest = connector.digest
        self._tables = tables
        self._tables_digest = tables.digest if tables is not None else ""
        self.providers = providers
        """The trusted providers as they are known now; whoever reads their topic puts a newer view here."""
        self._streams: dict[str, StreamPrograms] = {}
        problems: list[Problem] = []
        for name, stream in connector.streams.items():
            made = StreamPrograms(Surroundings(connector, stream, tables, pseudonym_key), watch)
            problems += [
                Problem(problem.code, ("streams", name, *problem.place), problem.message, problem.column) for problem in made.problems
            ]
            self._streams[name] = made
        if problems:
            raise ConfigError(
                [
                    Finding(connector.connector, 0, 0, problem.code, ".".join(map(str, problem.place)), problem.message)
                    for problem in problems
                ]
            )

    def __call__(self, raw: Raw) -> Outcome:
        """Return how the record ends."""
        return self._ending(raw, self._harmonise)

    def rule_by_rule(self, raw: Raw) -> Outcome:
        """Return the same as a call, found in the slow way: one rule after another."""
        return self._ending(raw, self._slowly)

    def code(self, stream: str) -> str:
        """Return the Python that the rules of a stream became."""
        return self._streams[stream].code()

    def _ending(self, raw: Raw, way: Callable[[Raw, Program, Any, StreamPrograms], Outcome]) -> Outcome:
        try:
            return self._begin(raw, way)
        except Refused as error:
            return self._rejected(error.stage, error.field, error.reason, error.detail)
        except PayloadError as error:
            return self._rejected("decode", "", error.reason, f"expected {error.detail}")
        except SelectError as error:
            return self._rejected("map", "", "expression_failed", str(error))
        except Exception as error:  # noqa: BLE001 - the promise is that no record stops the stream; the type says where to look
            return self._rejected("map", "", "internal_error", type(error).__name__)

    def _rejected(self, stage: str, field: str, reason: str, detail: str = "") -> Rejected:
        return Rejected(
            stage=stage, field=field, reason=reason, detail=detail, config_digest=self._digest, tables_digest=self._tables_digest
        )

    def _begin(self, raw: Raw, way: Callable[[Raw, Program, Any, StreamPrograms], Outcome]) -> Outcome:
        programs = self._streams.get(raw.stream)
        if programs is None:
            return self._rejected("map", "", "unknown_stream", "expected a stream of the connector file")
        if raw.body is None:
            return Withheld(reason="deleted")
        if raw.native_id.startswith(BAD_ID):
            return self._rejected("map", "id", "invalid", "expected a native id of at most 255 characters that people can see")
        if raw.native_id.startswith(NO_ID):
            return self._rejected("map", "id", "missing", "expected a native id where the stream's id looks")
        if CONFLICT in raw.context:
            detail = f"expected one content for one id and version; the digests are {raw.context[CONFLICT]}"
            return self._rejected("map", "id", "conflict", detail)
        program = programs.of(raw.kind)
        if program is None:
            return self._rejected("map", "kind", "unknown_kind", "expected a kind under kinds; add it, or skip it with a reason")
        if program.skip:
            return self._rejected("map", "kind", "kind_skipped", program.skip)
        return way(raw, program, programs.read(raw), programs)

    def _harmonise(self, raw: Raw, program: Program, node: Any, programs: StreamPrograms) -> Outcome:
        lookups: list[Lookup] = []
        issues: list[Issue] = []
        try:
            context = programs.context(raw) if programs.variables else _NO_CONTEXT
            values = program.run(node, context, lookups, issues, programs.hidden(raw))
            return self._accept(raw, program, values, lookups, issues)
        except (CastError, Refused):
            return self._slowly(raw, program, node, programs)

    def _slowly(self, raw: Raw, program: Program, node: Any, programs: StreamPrograms) -> Outcome:
        state = State()
        apply(program.steps, node, programs.context(raw), state)
        return self._accept(raw, program, state.values, state.lookups, state.issues)

    def _accept(self, raw: Raw, program: Program, values: dict[str, Any], found: list[Lookup], noted: list[Issue]) -> Outcome:
        values.setdefault("id", raw.native_id)
        if raw.changed_at is not None:
            values.setdefault("changed_at", raw.changed_at)
        for name in REQUIRED[program.emits]:
            if not values.get(name):
                return self._rejected("map", name, "missing", "expected a value; the registry sent none where the rule looks")
        lookups, issues = tuple(found), tuple(noted)
        if self._tables is not None:
            answer = enrich(values, country=self.connector.country, emits=program.emits, tables=self._tables)
            if isinstance(answer, Rejected):
                return self._rejected(answer.stage, answer.field, answer.reason, answer.detail)
            values, more_lookups, more_issues = answer
            lookups += more_lookups
            issues += more_issues
        try:
            record = msgspec.convert(values, type=program.record)
        except msgspec.ValidationError as error:
            return self._rejected("map", _place_of(error), "wrong_type", "expected what gateway/records.py says of this field")
        if program.emits in {"student_status", "card"} and not record.esc_agreement:
            return Withheld(reason="no_agreement")
        quality: dict[str, str] = {}
        if self.providers is not None:
            record, quality = self.providers.assess(record)
        return Accepted(
            record=record,
            provenance=Provenance(
                connector=raw.connector,
                stream=raw.stream,
                config_digest=self._digest,
                tables_digest=self._tables_digest,
                lookups=lookups,
                issues=issues,
                quality_assurance=quality,
            ),
        )


class StreamPrograms:
    """The programs of one stream, one a kind."""

    def __init__(self, around: Surroundings, watch: Watch | None = None) -> None:
        stream = around.stream
        self.payload = payload_kind(around.connector, stream)
        self.media_type = "application/xml" if self.payload == "xml" else "application/json"
        compiler = Compiler(around, watch)
        self._kinds: list[tuple[Any, Program]] = []
        self._known: dict[str, Program | None] = {}
        self._single: Program | None = None
        if stream.kinds:
            for name, kind in stream.kinds.items():
                emits = kind.emits or stream.emits
                place = ("kinds", name, "map")
                own = compiler.steps(kind.map, record_type(emits), place) if not kind.skip else []
                shared = {target: rule for target, rule in stream.map.items() if target not in kind.map}
                common = compiler.steps(shared, record_type(emits), ("map",)) if not kind.skip else []
                steps = sorted((*common, *own), key=lambda step: step.late)
                self._kinds.append((matcher((name,)), self._program(emits, steps, f"{around.title}.{name}", kind.skip or "")))
        else:
            steps = compiler.steps(stream.map, record_type(stream.emits), ("map",))
            self._single = self._program(stream.emits, steps, around.title)
        self.problems = list(dict.fromkeys(compiler.problems))
        self.reads = frozenset(compiler.reads)
        self.variables = frozenset(compiler.variables)

    def _program(self, emits: str, steps: list[Step], title: str, skip: str = "") -> Program:
        made = generate(steps, xml=self.payload == "xml", title=f"rules of {title}")
        return Program(emits, record_type(emits), tuple(steps), made.run, made.source, skip)

    def code(self) -> str:
        """Return the generated code of every kind."""
        programs = [self._single] if self._single is not None else [program for _, program in self._kinds if not program.skip]
        return "\n\n".join(program.source for program in programs if program is not None)

    def of(self, kind: str) -> Program | None:
        """Return the program for a kind of record."""
        if self._single is not None:
            return self._single
        if kind not in self._known:
            if len(self._known) > 1_000:  # noqa: PLR2004 - kinds come from payloads: do not let them fill the memory
                self._known.clear()
            self._known[kind] = next((program for fits, program in self._kinds if fits(kind)), None)
        return self._known[kind]

    def read(self, raw: Raw) -> Any:
        """Return the payload as expressions read it."""
        if raw.media_type != self.media_type:
            raise PayloadError("wrong_media_type", f"{self.media_type}, as decode says")
        return xml_element(raw.body or b"") if self.payload == "xml" else json_value(raw.body or b"")

    def hidden(self, raw: Raw) -> bool:
        """Whether ASCII texts of the payload may hold what no one can see."""
        return hidden(raw.body or b"", xml=self.payload == "xml")

    @staticmethod
    def context(raw: Raw) -> dict[str, Any]:
        """Return what rules read as ``$name``."""
        return {**raw.context, "native_id": raw.native_id, "kind": raw.kind, "version": raw.version}


def problems(connector: Connector, stream: Stream, tables: Tables | None, key: bytes) -> tuple[list[Problem], frozenset[str]]:
    """Return what is wrong with a stream's rules, and the names of the payload they read."""
    made = StreamPrograms(Surroundings(connector, stream, tables, key))
    return made.problems, made.reads


def _place_of(error: msgspec.ValidationError) -> str:
    _, _, place = str(error).rpartition("`$.")
    return place.rstrip("`") if place and len(place) < 80 else ""  # noqa: PLR2004


__all__ = ["Harmoniser", "problems"]
