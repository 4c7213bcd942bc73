"""Check that each credential says when it was achieved.

A registry also holds failed examinations, courses in progress and study rights of people who left.
The gateway cannot know which of its records are awards, so the connector file has to say it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.config.achievement import Achievement
from gateway.config.connector import Connector, Stream
from gateway.config.rules import MappingRule, Rules
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import Finding
from gateway.harmonise.tables.compiled_tables import Tables

MISSING = "achieved-missing"
"""The code of a finding about a credential or a part without ``achieved``."""
_WRITE = (
    "write achieved: {path: STATUS, is: [passed], not: [failed]} with the words of the registry, "
    'or achieved: {always: "why every record is an award"}'
)


def findings(
    connector: Connector, document: YamlDocument, _tables: Tables | None
) -> Iterator[Finding]:
    """Yield a finding for each credential, and each part of one, that may publish a failure."""
    for name, stream in connector.streams.items():
        place: DocumentPath = ("streams", name)
        yield from _missing(document, stream, place)
        for inner, rules in _conditions(stream):
            yield from _questionable(document, (*place, *inner), rules)
        if stream.achieved and "credential" not in {
            stream.emits,
            *(kind.emits for kind in stream.kinds.values()),
        }:
            yield document.make_finding(
                "achieved-unused",
                (*place, "achieved"),
                f"a {stream.emits.replace('_', ' ')} is never achieved; leave it out",
                severity="warning",
            )


def _missing(document: YamlDocument, stream: Stream, place: DocumentPath) -> Iterator[Finding]:
    if _written(document, (*place, "emits")) is None:
        return  # the finding about the missing type comes first
    if stream.kinds:
        for kind_name, kind in stream.kinds.items():
            if kind.skip or (kind.emits or stream.emits) != "credential":
                continue
            kind_place = (*place, "kinds", kind_name)
            if not _has_condition(document, kind_place, place):
                yield _missing_finding(document, kind_place)
            yield from _parts(document, kind.map, (*kind_place, "map"))
    elif stream.emits == "credential" and not _has_condition(document, place):
        yield _missing_finding(document, (*place, "emits"))
    yield from _parts(document, stream.map, (*place, "map"))


def _has_condition(document: YamlDocument, *places: DocumentPath) -> bool:
    """Return whether a block has a condition, which may contain a mistake of its own."""
    return any(_written(document, (*place, "achieved")) for place in places)


def _missing_finding(document: YamlDocument, place: DocumentPath) -> Finding:
    return document.make_finding(
        MISSING,
        place,
        "'achieved' is missing: a registry may also hold results that were failed, "
        f"not finished or given up, and the gateway would publish them; {_WRITE}",
    )


def _parts(document: YamlDocument, rules: Rules, place: DocumentPath) -> Iterator[Finding]:
    """Yield a finding for each list of parts without a condition."""
    pending = [((*place, "parts"), rules["parts"])] if "parts" in rules else []
    for where, rule in pending:
        if rule.each is not None and not _has_condition(document, where):
            yield document.make_finding(
                MISSING,
                where,
                "'achieved' is missing next to each and map: a failed part would be published "
                f"with its credits; {_WRITE}",
            )
        pending += [
            ((*where, "first_of", index), inner) for index, inner in enumerate(rule.first_of or ())
        ]


def _conditions(stream: Stream) -> Iterator[tuple[DocumentPath, tuple[Achievement, ...]]]:
    yield ("achieved",), stream.achieved
    yield from _part_conditions(("map",), stream.map)
    for name, kind in stream.kinds.items():
        yield ("kinds", name, "achieved"), kind.achieved
        yield from _part_conditions(("kinds", name, "map"), kind.map)


def _part_conditions(
    place: DocumentPath, rules: Rules
) -> Iterator[tuple[DocumentPath, tuple[Achievement, ...]]]:
    parts: MappingRule | None = rules.get("parts")
    if parts is not None:
        yield (*place, "parts", "achieved"), parts.achieved


def _questionable(
    document: YamlDocument, place: DocumentPath, rules: tuple[Achievement, ...]
) -> Iterator[Finding]:
    """Yield a finding for a condition that is not decided yet, or that accepts unknown values."""
    for index, rule in enumerate(rules):
        here = place if len(rules) == 1 else (*place, index)
        if any("TODO" in text for text in (rule.always, rule.path, *rule.is_, *rule.not_) if text):
            yield document.make_finding(
                "achieved-todo", here, f"decide which records are an award; {_WRITE}"
            )
        elif rule.not_ and not rule.is_:
            yield document.make_finding(
                "achieved-open",
                here,
                "every value that not does not list counts as an award, also an unknown one; "
                "list the values of an award under is",
                severity="warning",
            )


def _written(document: YamlDocument, place: DocumentPath) -> Any:
    """Return the value that the file has at a place, or ``None``."""
    value: Any = document.value
    for part in place:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value
