"""The result of processing one raw record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.messages.outgoing import OutgoingRecord
from gateway.observability import metrics

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord


@dataclass(slots=True)
class ProcessedRecord:
    """What one raw record became. Everything but ``outgoing`` is counted once it is committed."""

    outgoing: list[OutgoingRecord]
    connector: str
    stream: str
    outcome: str
    reason: str = ""
    field: str = ""
    counts_as_received: bool = False
    """An operator asked for it, no registry served it: counted as received here, so that the outcomes still sum up."""
    issues: tuple[str, ...] = ()
    table_versions: tuple[tuple[str, str, str], ...] = ()
    """Table versions read: country, table, version."""
    unmapped_values: tuple[tuple[str, str], ...] = ()
    """Values no table knows: country, table."""


CountKey = tuple[
    str,
    str,
    str,
    str,
    str,
    bool,
    tuple[str, ...],
    tuple[tuple[str, str, str], ...],
    tuple[tuple[str, str], ...],
]
"""All of a result that is counted: most results of a batch are of a few kinds."""


count_key: Callable[[ProcessedRecord], CountKey] = attrgetter(
    "connector",
    "stream",
    "outcome",
    "reason",
    "field",
    "counts_as_received",
    "issues",
    "table_versions",
    "unmapped_values",
)


ProcessRecord = Callable[["ConsumerRecord"], ProcessedRecord]
"""Pure and total: a raw record from the topic to what is to be written."""


def count_results(kinds: Mapping[CountKey, int]) -> None:
    """Add committed results to the metrics, by kind, so that the hot path pays little."""
    for (
        connector,
        stream,
        outcome,
        reason,
        topic_partition,
        asked,
        issues,
        used,
        missing,
    ), number in kinds.items():
        metrics.RECORDS.labels(connector, stream, outcome).inc(number)
        if asked:
            metrics.RECEIVED.labels(connector, stream).inc(number)
        if reason:
            metrics.REJECTIONS.labels(connector, stream, reason, topic_partition).inc(number)
        for code in issues:
            metrics.ISSUES.labels(connector, stream, code).inc(number)
        for labels in used:
            metrics.TABLE_LOOKUPS.labels(*labels).inc(number)
        for unmapped in missing:
            metrics.UNMAPPED.labels(*unmapped).inc(number)
