"""The result of processing one raw record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.messages.outgoing import Outgoing
from gateway.observability import metrics

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord


@dataclass(slots=True)
class Result:
    """What one raw record became. Everything but ``outgoing`` is counted once it is committed."""

    outgoing: list[Outgoing]
    connector: str
    stream: str
    outcome: str
    reason: str = ""
    field: str = ""
    asked: bool = False
    """An operator asked for it, no registry served it: counted as received here, so that the outcomes still sum up."""
    issues: tuple[str, ...] = ()
    used: tuple[tuple[str, str, str], ...] = ()
    """Table versions read: country, table, version."""
    missing: tuple[tuple[str, str], ...] = ()
    """Values no table knows: country, table."""


Kind = tuple[str, str, str, str, str, bool, tuple[str, ...], tuple[tuple[str, str, str], ...], tuple[tuple[str, str], ...]]
"""All of a result that is counted: most results of a batch are of a few kinds."""


kind: Callable[[Result], Kind] = attrgetter("connector", "stream", "outcome", "reason", "field", "asked", "issues", "used", "missing")


Process = Callable[["ConsumerRecord"], Result]
"""Pure and total: a raw record from the topic to what is to be written."""


def count(kinds: Mapping[Kind, int]) -> None:
    """Add committed results to the metrics, by kind, so that the hot path pays little."""
    for (connector, stream, outcome, reason, place, asked, issues, used, missing), number in kinds.items():
        metrics.RECORDS.labels(connector, stream, outcome).inc(number)
        if asked:
            metrics.RECEIVED.labels(connector, stream).inc(number)
        if reason:
            metrics.REJECTIONS.labels(connector, stream, reason, place).inc(number)
        for code in issues:
            metrics.ISSUES.labels(connector, stream, code).inc(number)
        for labels in used:
            metrics.TABLE_LOOKUPS.labels(*labels).inc(number)
        for unmapped in missing:
            metrics.UNMAPPED.labels(*unmapped).inc(number)
