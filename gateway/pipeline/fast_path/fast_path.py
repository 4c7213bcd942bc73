"""Process the records of one kind on the fast path, and check what it learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import structlog

from gateway.config.connector import Stream
from gateway.config.target_fields import find_target
from gateway.harmonise.compiled_stream import CompiledKind, CompiledStream
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.values.misread_text import is_suspect
from gateway.messages.cloudevents import DocumentHeaderEncoder
from gateway.messages.event_ids import EventIds
from gateway.messages.outgoing import OutgoingRecord
from gateway.pipeline.fast_path import catalogue_plans, student_card_plans
from gateway.pipeline.fast_path.credential_plan import credential_plan
from gateway.pipeline.fast_path.entries import EntryMaker
from gateway.pipeline.fast_path.generator import (
    generate_fast,
    is_in_higher_education,
    split_steps,
)
from gateway.pipeline.fast_path.memory import Entry, Memory, NotFastError, Trials
from gateway.pipeline.fast_path.place_writer import Process, Read, generate_for_reader
from gateway.pipeline.fast_path.plan import Plan
from gateway.pipeline.fast_path.student_card_plans import Registry
from gateway.pipeline.processed_record import ProcessedRecord
from gateway.records import MALFORMED_ROW_KEY, RawRecord
from gateway.render.elm_common import ID_PREFIX_MARKER
from gateway.render.record_ids import iri_writer
from gateway.render.render import document_of

log = structlog.get_logger()

_NO_CONTEXT: Mapping[str, Any] = MappingProxyType({})
_TRIAL, _PAUSE = 1_000, 20_000
"""After a trial in which most records go the ordinary way or both ways, a pause follows."""


class FastPath:
    """The fast path of one kind of record of a stream.

    :meth:`process` returns the result of a record, or ``None`` for a record that must go the
    ordinary way. If ``trials`` is not empty then, the record had new values. Such a record goes
    both ways, and :meth:`compare` returns the result that counts.
    """

    def __init__(
        self,
        run: Callable[[RawRecord, int], ProcessedRecord | None],
        memories: tuple[Memory, ...],
        trials: Trials,
        source: str,
    ) -> None:
        self._run = run
        self.memories = memories
        self.trials = trials
        self.source = source
        """The generated code."""
        self.differences = 0
        """How often the results differed. Each one is a defect of the gateway."""
        self._tried = self._fast = 0

    def process(self, raw: RawRecord, timestamp: int) -> ProcessedRecord | None:
        """Return the result of a record, or ``None`` if the fast path does not know it.

        ``timestamp`` is the time of the raw record on its topic, in milliseconds.
        """
        tried = self._tried = self._tried + 1
        if (tried > _TRIAL or self.differences) and not self._is_worth_trying():
            return None
        try:
            result = self._run(raw, timestamp)
        except Exception:  # noqa: BLE001 - the ordinary way decides about each record that differs
            result = None
        if result is None:
            self._withdraw()
        elif not self.trials:  # a record with new values costs more than on the ordinary way
            self._fast += 1
        return result

    def compare(self, fast: ProcessedRecord, ordinary: ProcessedRecord) -> ProcessedRecord:
        """Return the ordinary result. Keep what was learned if the fast result is equal."""
        if _are_equal(fast, ordinary):
            self.trials.clear()
        else:
            self._withdraw()
            self.differences += 1
            log.error(
                "the fast path gives another result and is not used any more",
                connector=ordinary.connector,
                stream=ordinary.stream,
            )
        return ordinary

    def _is_worth_trying(self) -> bool:
        """Return whether most records were fast. Otherwise, wait for some time and try again."""
        if self.differences:
            return False
        if self._fast * 2 < _TRIAL and self._tried < _TRIAL + _PAUSE:
            return False
        self._tried = self._fast = 0
        return True

    def _withdraw(self) -> None:
        for entries, key in self.trials:
            entries.pop(key, None)
        self.trials.clear()


def _are_equal(one: ProcessedRecord, other: ProcessedRecord) -> bool:
    def compared(result: ProcessedRecord) -> tuple[Any, ...]:
        records = [
            (each.topic, each.key, each.value, each.headers, each.partition, each.timestamp)
            for each in result.outgoing
        ]
        return (
            records, result.outcome, result.reason, result.field, result.issues,
            result.table_versions, result.unmapped_values, result.missing_fields,
        )  # fmt: skip

    return compared(one) == compared(other)


class DocumentSettings(NamedTuple):
    """The settings of a worker on which documents and their headers depend."""

    event_ids: EventIds
    loq_version: str
    """The ELM version of catalogue entries."""
    audience_key: bytes
    """The key of pseudonyms on the student-card topics."""
    id_key: bytes
    """The key of the ids of credentials."""


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What the fast path of a kind of record is built from."""

    harmoniser: Harmoniser
    name: str
    stream: Stream
    compiled: CompiledStream
    kind: CompiledKind
    plan: Plan


def build_fast_path(
    harmoniser: Harmoniser, stream: str, kind: CompiledKind, settings: DocumentSettings
) -> FastPath | None:
    """Return the fast path of a kind of record, or ``None`` if there is none."""
    compiled = harmoniser.compiled_stream(stream)
    plan = _plan(harmoniser, stream, kind.emits, settings)
    if (
        compiled is None
        or plan is None
        or compiled.find_country is not None
        or kind.skip
        or harmoniser.tables is None
    ):
        return None
    around = _Surroundings(
        harmoniser, stream, harmoniser.connector.streams[stream], compiled, kind, plan
    )
    try:
        return _build(around, settings.event_ids)
    except NotFastError:
        return None


def _plan(
    harmoniser: Harmoniser, stream: str, emits: str, settings: DocumentSettings
) -> Plan | None:
    """Return the plan of the documents of a type of record, or ``None`` if there is none."""
    connector = harmoniser.connector
    if emits == "credential" and harmoniser.tables is not None:
        template = connector.streams[stream].iri
        return credential_plan(harmoniser, template, settings.id_key, settings.audience_key)
    if make_entry := catalogue_plans.PLANS.get(emits):
        return make_entry(settings.loq_version)
    if make_event := student_card_plans.PLANS.get(emits):
        registry = Registry(connector.connector, connector.country, settings.audience_key)
        return make_event(registry)
    return None


def _build(around: _Surroundings, event_ids: EventIds) -> FastPath:
    kind, plan = around.kind, around.plan
    maker = EntryMaker(around.harmoniser, around.name, kind.emits, kind.record, plan)
    trials: Trials = []
    memories = _memories(around, maker, trials)
    provenance = Memory("provenance", (), maker.provenance_entry, trials)
    names = {
        "known_provenance": provenance.entries.get,
        "learn_provenance": lambda key: provenance.learn(key, *key),
        "periods": maker.periods,
        "status_period_of": maker.status_period,
        "award_periods": maker.award_periods,
        "is_suspect": is_suspect,
        "join": b"".join,
        "MARKER": ID_PREFIX_MARKER,
        "finish": _finisher(around, event_ids),
    }
    title = f"fast path of {around.harmoniser.connector.connector}.{around.name}.{kind.emits}"
    process, source = generate_fast(
        plan, kind.steps, kind.record, memories, names, title, xml=around.compiled.payload == "xml"
    )
    reader = None
    if around.compiled.payload == "json" and kind.judge is None:
        reader = generate_for_reader(plan, kind.steps, kind.record, memories, names, title)
    run = _runner(around, process, reader)
    return FastPath(run, (*memories.values(), provenance), trials, source)


def _memories(around: _Surroundings, maker: EntryMaker, trials: Trials) -> dict[str, Memory]:
    plan, kind = around.plan, around.kind
    _, grouped = split_steps(plan, kind.steps)
    level_steps = [] if is_in_higher_education(kind.steps) else grouped.get("level", [])
    memories = {}
    for group in plan.groups:
        if not grouped[group.name] and not group.allows(kind.record(id="")):
            raise NotFastError
        fields = tuple(".".join((*step.parents, step.name)) for _, step in grouped[group.name])
        if any(find_target(kind.record, name).personal for name in fields):
            raise NotFastError
        more = level_steps if group.judge == "credits" else ()
        memories[group.name] = Memory(
            group.name, fields, maker.group_maker(group, grouped[group.name], more), trials
        )
    for presence in plan.presences:
        memories[presence.name] = Memory(
            presence.name, presence.fields, maker.presence_maker(presence), trials
        )
    return memories


def _runner(
    around: _Surroundings, process: Process, reader: tuple[Read, Process] | None
) -> Callable[[RawRecord, int], ProcessedRecord | None]:
    """Return the function that parses a raw record and runs the generated function.

    ``reader`` is tried first: the accelerator's reader, and the function of what it reads.
    """
    harmoniser, compiled = around.harmoniser, around.compiled
    parse, hidden = compiled.parse_payload, compiled.may_hold_invisible_text
    context_of, variables = compiled.context, compiled.variables
    is_table, is_xml = compiled.payload == "csv", compiled.payload == "xml"
    root_of = iri_writer(around.harmoniser.connector.connector, around.stream.iri)
    identify, judge = around.plan.identify, around.kind.judge
    read, process_values = reader or (None, process)

    def run(raw: RawRecord, timestamp: int) -> ProcessedRecord | None:
        native_id = raw.native_id
        if raw.change_time_problem or raw.corrects_event_id:
            return None
        if (raw.context or native_id[0] == "?") and harmoniser.reject_unidentified(raw):
            return None
        if read is not None and raw.media_type == compiled.media_type:
            found = read(raw.body or b"")
            if found is not None:
                root, prefix = root_of(native_id) if identify is None else identify(raw, timestamp)
                context = context_of(raw) if variables else _NO_CONTEXT
                result = process_values(raw, found, context, root, prefix)
                if result is not None:
                    return result
        node = parse(raw)
        if (not is_xml and type(node) is not dict) or (is_table and MALFORMED_ROW_KEY in node):
            return None
        if judge is not None and judge(node, context_of(raw) if variables else _NO_CONTEXT):
            return None
        root, prefix = root_of(native_id) if identify is None else identify(raw, timestamp)
        context = context_of(raw) if variables else _NO_CONTEXT
        return process(raw, node, context, root, prefix, hidden(raw))

    return run


def _finisher(
    around: _Surroundings, event_ids: EventIds
) -> Callable[[RawRecord, bytes, bytes, Entry], ProcessedRecord]:
    """Return the function that adds headers to a document."""
    connector, stream, topic = around.harmoniser.connector.connector, around.name, around.plan.topic
    headers = DocumentHeaderEncoder(connector, stream, document_of(topic, "", b""), event_ids)
    second_topic = around.plan.second_topic
    encoders = {
        is_there: DocumentHeaderEncoder(
            connector, stream, document_of(second_topic, "", b"" if is_there else None), event_ids
        )
        for is_there in (True, False)
        if second_topic
    }

    def finish(
        raw: RawRecord, key: bytes, value: bytes, shared: Entry, second: bytes | None = None
    ) -> ProcessedRecord:
        provenance, issues, table_versions = shared
        outgoing = [OutgoingRecord(topic, key, value, headers(raw, key, value, provenance))]
        if second_topic:
            second_headers = encoders[second is not None](raw, key, second, provenance)
            outgoing.append(OutgoingRecord(second_topic, key, second, second_headers))
        return ProcessedRecord(
            outgoing, connector, stream, "accepted", issues=issues, table_versions=table_versions
        )

    return finish
