"""Whom a raw record is about, as keyed hashes: the rules for the holder's identifiers alone, whatever else the record holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.config.connector import Connector, Stream
from gateway.config.expressions.compiler import text_of
from gateway.config.rules import MappingRule, pseudonym_kinds
from gateway.harmonise.harmoniser import CompiledStream
from gateway.harmonise.mapping.rule_compiler import RuleContext
from gateway.harmonise.mapping.rule_functions import FieldRejected, MappingState, apply_rules
from gateway.harmonise.pseudonyms import pseudonymiser
from gateway.harmonise.values.payload import PayloadError
from gateway.harmonise.values.text import CastError
from gateway.records import RawRecord

ESI = "esi"
IDENTIFIERS = ("holder.esi", "holder.pseudonym")


class DataSubjectFinder:
    """Finds the persons in raw records of one connector, under each of ``keys``. Total: what cannot be read names nobody."""

    def __init__(self, connector: Connector, keys: tuple[bytes, ...]) -> None:
        self._connector = connector
        self._keys = keys
        self._esi = [pseudonymiser(key, "", ESI) for key in keys]
        self._programs: dict[str, list[CompiledStream]] = {}

    def __call__(self, raw: RawRecord) -> frozenset[str]:
        """Return the ids of everybody the record names."""
        if raw.body is None:
            return frozenset()
        if raw.stream not in self._programs:
            self._programs[raw.stream] = self._compiled(raw.stream)
        programs = self._programs[raw.stream]
        return frozenset(
            found
            for state in _evaluate_each_rule(programs, raw)
            for found in self._subject_ids(state)
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
    """Finds what a raw record says of a person: the values of every rule that protects them. Total, like :class:`Subjects`."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._found: list[str] = []

    def __call__(self, raw: RawRecord) -> list[str]:
        """Return the values as the registry wrote them."""
        self._found = []
        stream = self._connector.streams.get(raw.stream)
        if raw.body is not None and stream is not None:
            programs = CompiledStream(
                RuleContext(self._connector, stream, None, bytes(32)), self._watch
            )
            for _ in _evaluate_each_rule([programs], raw):
                pass
        return self._found

    def _watch(self, found: list[Any], protected: bool) -> None:
        if protected:
            self._found += [
                text_of(value).strip() for value in found if not isinstance(value, dict | list)
            ]


def _evaluate_each_rule(programs: list[CompiledStream], raw: RawRecord) -> Iterator[MappingState]:
    """Yield what each rule of each program gives by itself: one that cannot be read does not hide the others. The payload is read once."""
    chosen = [program for one in programs if (program := one.for_kind(raw.kind)) is not None]
    if not chosen:
        return
    try:
        node, context = programs[0].parse_payload(raw), programs[0].context(raw)
    except PayloadError:
        return
    for step in (step for program in chosen for step in program.steps):
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
    """Return the stream with the rules that name its holder, and no other."""
    kinds = {
        name: kind.model_copy(update={"map": _identifier_rules(kind.map)})
        for name, kind in stream.kinds.items()
    }
    return stream.model_copy(update={"map": _identifier_rules(stream.map), "kinds": kinds})


def identifier_kinds(connectors: Iterable[Connector]) -> set[tuple[str, str]]:
    """Return the countries and kinds of the identifiers that connectors find persons by; a European Student Identifier has no country."""
    found = set()
    for connector in connectors:
        for stream in connector.streams.values():
            for rules in (stream.map, *(kind.map for kind in stream.kinds.values())):
                for name, rule in _identifier_rules(rules).items():
                    found |= (
                        {("", ESI)}
                        if name == "holder.esi"
                        else {(connector.country[:2], kind) for kind in pseudonym_kinds(rule)}
                    )
    return found


def _identifier_rules(rules: Mapping[str, MappingRule]) -> dict[str, MappingRule]:
    return {name: rule for name, rule in rules.items() if name in IDENTIFIERS}
