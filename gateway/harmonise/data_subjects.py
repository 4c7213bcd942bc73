"""Find the data subjects of a raw record, as pseudonyms.

Only the rules for the holder's identifiers run. The other rules of the stream do not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.config.connector import Connector, Stream
from gateway.config.expressions.compiler import text_of
from gateway.config.rules import MappingRule, pseudonym_kinds
from gateway.harmonise.compiled_stream import CompiledStream
from gateway.harmonise.mapping.rule_context import RuleContext
from gateway.harmonise.mapping.rule_functions import FieldRejected, MappingState, apply_rules
from gateway.harmonise.pseudonyms import pseudonymiser
from gateway.harmonise.values.payload import PayloadError
from gateway.harmonise.values.text import CastError
from gateway.records import RawRecord

ESI = "esi"
IDENTIFIERS = ("holder.esi", "holder.pseudonym")


class DataSubjectFinder:
    """A finder of the data subjects in the raw records of one connector.

    It returns their ids under each of ``keys``. A call never raises: an identifier that the
    gateway cannot read gives no id.
    """

    def __init__(self, connector: Connector, keys: tuple[bytes, ...]) -> None:
        self._connector = connector
        self._keys = keys
        self._esi = [pseudonymiser(key, "", ESI) for key in keys]
        self._programs: dict[str, list[CompiledStream]] = {}

    def __call__(self, raw: RawRecord) -> frozenset[str]:
        """Return the ids of all data subjects that the record names."""
        if raw.body is None:
            return frozenset()
        if raw.stream not in self._programs:
            self._programs[raw.stream] = self._compiled(raw.stream)
        programs = self._programs[raw.stream]
        return frozenset(
            subject_id
            for state in _evaluate_each_rule(programs, raw)
            for subject_id in self._subject_ids(state)
        )

    def _compiled(self, name: str) -> list[CompiledStream]:
        stream = self._connector.streams.get(name)
        if stream is None:
            return []
        only = self._connector.model_copy(update={"streams": {name: identifier_rules_only(stream)}})
        return [
            CompiledStream(RuleContext(only, only.streams[name], None, key)) for key in self._keys
        ]

    def _subject_ids(self, state: MappingState) -> Iterator[str]:
        holder = state.values.get("holder", {})
        if pseudonym := holder.get("pseudonym"):
            yield pseudonym
        if esi := holder.get("esi"):
            yield from (pseudonymise(str(esi)) for pseudonymise in self._esi)


class PersonalValueFinder:
    """A finder of the personal values in raw records: the values of each rule that protects them.

    A call never raises, as with :class:`DataSubjectFinder`.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._found: list[str] = []

    def __call__(self, raw: RawRecord) -> list[str]:
        """Return the personal values, as the registry wrote them."""
        self._found = []
        stream = self._connector.streams.get(raw.stream)
        if raw.body is not None and stream is not None:
            programs = CompiledStream(
                RuleContext(self._connector, stream, None, bytes(32)), self._collect
            )
            for _ in _evaluate_each_rule([programs], raw):
                pass
        return self._found

    def _collect(self, values: list[Any], protected: bool) -> None:
        if protected:
            self._found += [
                text_of(value).strip() for value in values if not isinstance(value, dict | list)
            ]


def _evaluate_each_rule(programs: list[CompiledStream], raw: RawRecord) -> Iterator[MappingState]:
    """Yield the state after each rule of each program, run by itself.

    A rule that fails does not hide the others. The payload is parsed once.
    """
    kinds = [kind for program in programs if (kind := program.for_kind(raw.kind)) is not None]
    if not kinds:
        return
    try:
        node, context = programs[0].parse_payload(raw), programs[0].context(raw)
    except PayloadError:
        return
    for step in (step for kind in kinds for step in kind.steps):
        state = MappingState()
        try:
            apply_rules((step,), node, context, state)
        except (
            FieldRejected,
            CastError,
            ValueError,
            TypeError,
            ArithmeticError,
            LookupError,
            AttributeError,
        ):
            continue
        yield state


def identifier_rules_only(stream: Stream) -> Stream:
    """Return the stream with only the rules that identify the holder."""
    kinds = {
        name: kind.model_copy(update={"map": _identifier_rules(kind.map)})
        for name, kind in stream.kinds.items()
    }
    return stream.model_copy(update={"map": _identifier_rules(stream.map), "kinds": kinds})


def identifier_kinds(connectors: Iterable[Connector]) -> set[tuple[str, str]]:
    """Return the country and kind of each identifier that connectors use to find data subjects.

    The country of a European Student Identifier is empty.
    """
    identifiers = set()
    for connector in connectors:
        for stream in connector.streams.values():
            for rules in (stream.map, *(kind.map for kind in stream.kinds.values())):
                for name, rule in _identifier_rules(rules).items():
                    identifiers |= (
                        {("", ESI)}
                        if name == "holder.esi"
                        else {(connector.country[:2], kind) for kind in pseudonym_kinds(rule)}
                    )
    return identifiers


def _identifier_rules(rules: Mapping[str, MappingRule]) -> dict[str, MappingRule]:
    return {name: rule for name, rule in rules.items() if name in IDENTIFIERS}
