"""Check that each cast of ``as`` can read what the cast before it gives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import re2

from gateway.check.model_walk import walk_values
from gateway.config.connector import Connector
from gateway.config.rules import Cast
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import Finding
from gateway.harmonise.tables.compiled_tables import Tables

_NUMBER, _DAY, _MOMENT, _TRUTH = "a number", "a day", "a moment", "true or false"
_RESULTS = {
    **dict.fromkeys(("integer", "decimal", "duration"), _NUMBER),
    **dict.fromkeys(("date", "partial", "period", "epoch_date", "epoch_ms_date"), _DAY),
    **dict.fromkeys(("datetime", "epoch", "epoch_ms"), _MOMENT),
    "boolean": _TRUTH,
}
"""What a cast gives, by its name; all other casts give a text."""
_CODES = frozenset({"language", "country", "duration"})
_NO_TIMES = _CODES | {
    *("integer", "decimal", "boolean", "base64", "isced_f", "url", "period"),
    *("epoch", "epoch_ms", "epoch_date", "epoch_ms_date"),
}
_NO_TRUTHS = _NO_TIMES - {"boolean"} | {
    *("text", "trim", "collapse", "upper", "lower", "match", "date", "partial", "datetime"),
}
_UNREADABLE = {_NUMBER: _CODES, _DAY: _NO_TIMES, _MOMENT: _NO_TIMES, _TRUTH: _NO_TRUTHS}
"""The casts that can read no such value."""


def findings(
    connector: Connector, document: YamlDocument, _tables: Tables | None
) -> Iterator[Finding]:
    """Yield a finding for a chain that can give no value, and a pattern with several groups."""
    for name, stream in connector.streams.items():
        for place, value in walk_values(stream, ("streams", name)):
            chain = getattr(value, "as_", None)
            if isinstance(chain, tuple):
                yield from _unreadable_results(document, (*place, "as"), chain)
                yield from _several_groups(document, (*place, "as"), chain)


def _unreadable_results(
    document: YamlDocument, place: DocumentPath, chain: tuple[Cast, ...]
) -> Iterator[Finding]:
    for index, (before, cast) in enumerate(pairwise(chain), 1):
        first, second = _name(before), _name(cast)
        result = _RESULTS.get(first, "")
        if second in _UNREADABLE.get(result, ()):
            yield document.make_finding(
                "wrong-cast",
                (*place, index),
                f"{second} cannot read {result}, which is the result of {first}; "
                "leave one of them out, or change their order",
                key=False,
            )
        elif result and second == "match":
            yield document.make_finding(
                "wrong-cast",
                (*place, index),
                f"match reads {result} here, and not the registry's text, because {first} "
                f"stands before it; write match first and {first} after it",
                key=False,
                severity="warning",
            )


def _several_groups(
    document: YamlDocument, place: DocumentPath, chain: tuple[Cast, ...]
) -> Iterator[Finding]:
    for index, cast in enumerate(chain):
        number = re2.compile(cast.match).groups if cast.match is not None else 0
        if number > 1:
            yield document.make_finding(
                "ambiguous-match",
                (*place, index),
                f"the pattern has {number} groups, and its one group is the value; "
                "write the others as (?:…)",
                key=False,
            )


def _name(cast: Cast) -> str:
    return cast.simple or cast.kind
