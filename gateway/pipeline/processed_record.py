"""Represent and count the result of processing one raw record."""

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
    """The outgoing records of one raw record, with the fields that are counted.

    The counts are added to the metrics after the commit.
    """

    outgoing: list[OutgoingRecord]
    connector: str
    stream: str
    outcome: str
    reason: str = ""
    """Why the record is rejected, or withheld and therefore deleted."""
    field: str = ""
    counts_as_received: bool = False
    """True if an operator caused the record, which no registry sent.

    It then counts as received here, so that received records equal the sum of outcomes.
    """
    issues: tuple[str, ...] = ()
    table_versions: tuple[tuple[str, str, str], ...] = ()
    """Table versions that were used: country, table, version."""
    unmapped_values: tuple[tuple[str, str], ...] = ()
    """Country and table of each value that the table does not contain."""
    missing_fields: tuple[str, ...] = ()
    """The fields that LOQ requires and that an incomplete catalogue entry lacks."""


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
    tuple[str, ...],
]
"""The counted fields of a result. Most results of a batch share a few keys."""


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
    "missing_fields",
)


ProcessRecord = Callable[["ConsumerRecord"], ProcessedRecord]
"""A function from a raw record to its result, without side effects and without exceptions."""


def count_results(counts: Mapping[CountKey, int]) -> None:
    """Add committed results to the metrics.

    Equal results are counted together, because a counter per record would be slow.
    """
    for (
        connector,
        stream,
        outcome,
        reason,
        field,
        counts_as_received,
        issues,
        table_versions,
        unmapped_values,
        missing_fields,
    ), count in counts.items():
        metrics.RECORDS.labels(connector, stream, outcome).inc(count)
        metrics.HARMONISED.labels(connector, stream).inc(count)
        if counts_as_received:
            # A command wrote the record, and commands have no metrics of their own.
            metrics.RECEIVED.labels(connector, stream).inc(count)
            metrics.RAW_WRITTEN.labels(connector, stream).inc(count)
        if reason and outcome == "deleted":
            metrics.WITHHELD.labels(connector, stream, reason).inc(count)
        elif reason:
            metrics.REJECTIONS.labels(connector, stream, reason, field).inc(count)
        for code in issues:
            metrics.ISSUES.labels(connector, stream, code).inc(count)
        for labels in table_versions:
            metrics.TABLE_LOOKUPS.labels(*labels).inc(count)
        for country_and_table in unmapped_values:
            metrics.UNMAPPED.labels(*country_and_table).inc(count)
        for missing in missing_fields:
            metrics.INCOMPLETE_ENTRIES.labels(connector, stream, missing).inc(count)
