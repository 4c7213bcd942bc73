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


def count_claimed(state: StreamState, claimed: ClaimedEntries) -> None:
    """Count the records whose id another stream holds."""
    if claimed.deleted:
        metrics.RECORDS.labels(state.connector, state.stream, "deleted").inc(claimed.deleted)
    rejected = sum(is_of_another_stream(entry.digest) for entry in claimed.entries)
    count_rejected(state, REASON, "id", rejected)


def count_rejected(state: StreamState, reason: str, field: str, number: int) -> None:
    """Count records that the poller has rejected."""
    if number:
        metrics.RECORDS.labels(state.connector, state.stream, "rejected").inc(number)
        metrics.REJECTIONS.labels(state.connector, state.stream, reason, field).inc(number)
