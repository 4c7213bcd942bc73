"""Count the records that a stream does not write to the raw topic.

The harmonise stage counts all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.messages.topics import RAW
from gateway.observability import metrics
from gateway.pipeline.id_claims import REASON, ClaimedEntries, is_of_another_stream
from gateway.records import Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.pipeline.raw_entry import RawEntry
    from gateway.pipeline.stream_state import StreamState

TOO_LARGE = Rejected(
    stage="size",
    field="body",
    reason="too_large",
    detail=f"larger than max.message.bytes of {RAW.name}",
)


def count_suppressed(state: StreamState, suppressed: int, *, without_raw_record: int) -> None:
    """Count suppressed records.

    ``without_raw_record`` of them are not written to the raw topic. They count as deleted here.
    """
    if suppressed:
        metrics.SUPPRESSED.labels(state.connector, state.stream).inc(suppressed)
    if without_raw_record:
        metrics.RECORDS.labels(state.connector, state.stream, "deleted").inc(without_raw_record)


def count_written(state: StreamState, entries: Sequence[RawEntry], *, rejected: int) -> None:
    """Count the records on the raw topic; ``rejected`` entries have a rejection in their place.

    The harmonise stage counts the erasures that a person asked for.
    """
    number = sum(entry.raw.erasure != "asked" for entry in entries) - rejected
    if number:
        metrics.RAW_WRITTEN.labels(state.connector, state.stream).inc(number)


def count_received(state: StreamState, received: int, *, unchanged: int) -> None:
    """Count the records of a registry, once their write is durable."""
    metrics.RECEIVED.labels(state.connector, state.stream).inc(received)
    if unchanged:
        metrics.RECORDS.labels(state.connector, state.stream, "unchanged").inc(unchanged)


def count_claimed(state: StreamState, claimed: ClaimedEntries) -> int:
    """Count the records whose id another stream holds, and return how many were rejected."""
    if claimed.deleted:
        metrics.RECORDS.labels(state.connector, state.stream, "deleted").inc(claimed.deleted)
    rejected = sum(is_of_another_stream(entry.digest) for entry in claimed.entries)
    count_rejected(state, REASON, "id", rejected)
    return rejected


def count_rejected(state: StreamState, reason: str, field: str, number: int) -> None:
    """Count records that the poller has rejected."""
    if number:
        metrics.RECORDS.labels(state.connector, state.stream, "rejected").inc(number)
        metrics.REJECTIONS.labels(state.connector, state.stream, reason, field).inc(number)
