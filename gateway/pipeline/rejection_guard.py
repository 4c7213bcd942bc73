"""Stop a stream when nearly all of its new records would be rejected.

Otherwise the rejections would remove documents that are already published. The poller
harmonises the new records of a page before it writes them. While nearly none is accepted,
it counts the rejections across pages and restarts. The count is a note next to the cursor,
which is written in the transaction of the page.

The page that reaches the limit is not written. The cursor stays before it, and published
documents remain. Like every halted stream, the stream is retried. It continues on its own
once the registry, the connector or its tables are fixed. ``gateway resume`` accepts the
rejections. See docs/decisions/0032.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import StreamHalted
from gateway.harmonise.mapping.achievement import NOT_ACHIEVED
from gateway.observability import metrics
from gateway.pipeline.stream_state import decode_state
from gateway.records import RawRecord, Rejected, Withheld

if TYPE_CHECKING:
    from gateway.pipeline.raw_entry import RawEntry
    from gateway.pipeline.stream_state import StreamState

NOTE_NAME = "rejecting"
REASON = "all_rejected"
ACCEPTED_SHARE_DIVISOR = 20
"""A page counts as accepted if more than one in 20 of its new records is accepted.

A few records may be accepted even if the registry has changed its format.
"""
RECORDS_PER_YIELD = 50
"""Number of records after which heartbeats and other streams may run on the event loop."""

PreviewRecord = Callable[[RawRecord], object]
"""Return the result of a record: ``Rejected``, ``Withheld``, or any other value if accepted."""


class RejectionStreak(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename={"allowed_by_operator": "let_through"},
):
    """The note next to the cursor about rejections since the last accepted page."""

    count: int = 0
    stopped: bool = False
    allowed_by_operator: bool = False
    """True after ``gateway resume``. The stream is not stopped before the next accepted page."""


@dataclass(frozen=True, slots=True)
class PageOutcome:
    """The results that the new records of a page would have."""

    accepted: bool
    rejected: int
    reason: str
    """The most frequent reason and its field."""


def read_streak(stream_state: StreamState) -> RejectionStreak:
    """Return the note of an open stream, or an empty one if there is none."""
    note = stream_state.notes.get(NOTE_NAME)
    return decode_state(note, RejectionStreak, stream_state) if note else RejectionStreak()


async def preview_page(entries: Iterable[RawEntry], preview: PreviewRecord) -> PageOutcome:
    """Return whether a page counts as accepted, without writing it.

    The preview stops as soon as enough records are accepted. Deletions and withheld records
    do not count. A known record that is no longer an award counts as rejected, because its
    document is withdrawn. A renamed field could otherwise withdraw every award.
    """
    raws = [entry.raw for entry in entries if entry.raw.body is not None]
    needed, accepted = len(raws) // ACCEPTED_SHARE_DIVISOR + 1, 0
    reasons: Counter[str] = Counter()
    for number, raw in enumerate(raws, 1):
        outcome = preview(raw)
        if isinstance(outcome, Rejected):
            reasons[f"{outcome.reason} in {outcome.field or 'the whole record'}"] += 1
        elif isinstance(outcome, Withheld) and outcome.reason == NOT_ACHIEVED:
            if raw.written_before:
                reasons[f"{NOT_ACHIEVED} in achieved"] += 1
        elif not isinstance(outcome, Withheld):
            accepted += 1
            if accepted >= needed:
                return PageOutcome(accepted=True, rejected=reasons.total(), reason="")
        if number % RECORDS_PER_YIELD == 0:
            await asyncio.sleep(0)
    most_frequent = reasons.most_common(1)
    return PageOutcome(
        accepted=False,
        rejected=reasons.total(),
        reason=most_frequent[0][0] if most_frequent else "",
    )


@dataclass(slots=True)
class RejectionGuard:
    """A guard that stops a stream after ``limit`` rejections in a row; 0 turns it off."""

    preview: PreviewRecord
    limit: int
    page_is_good: bool = True
    """Whether the last page was accepted, or had no new record."""

    async def check_page(
        self, stream_state: StreamState, entries: Iterable[RawEntry]
    ) -> Mapping[str, bytes | None]:
        """Return the notes that the caller writes in the same transaction as ``entries``.

        Raises :class:`~gateway.errors.StreamHalted` if the entries must not be written. The
        note that records the stop is then durable.
        """
        streak = read_streak(stream_state)
        outcome = await preview_page(entries, self.preview)
        self.page_is_good = outcome.accepted or not outcome.rejected
        if outcome.accepted:
            set_stopped_metric(stream_state, stopped=False)
            return {} if streak == RejectionStreak() else {NOTE_NAME: None}
        if not outcome.rejected:
            return {}
        count = streak.count + outcome.rejected
        if not self.limit or streak.allowed_by_operator or count < self.limit:
            set_stopped_metric(stream_state, stopped=False)
            return {NOTE_NAME: _encode(msgspec.structs.replace(streak, count=count, stopped=False))}
        if not streak.stopped:
            await stream_state.write(
                [], None, notes={NOTE_NAME: _encode(msgspec.structs.replace(streak, stopped=True))}
            )
        set_stopped_metric(stream_state, stopped=True)
        raise StreamHalted(
            REASON,
            f"{count} records in a row would be rejected, most of this page as {outcome.reason}; "
            "the page was not written, and the cursor is before it; "
            "fix the registry, the connector or its tables, or accept the rejections with "
            f"`gateway resume {stream_state.connector} {stream_state.stream}`",
        )


async def allow_rejections(stream_state: StreamState) -> None:
    """Let a stopped stream continue with rejections until the next accepted page.

    A stream that is not stopped stays unchanged.
    """
    streak = read_streak(stream_state)
    if streak.stopped:
        await stream_state.write(
            [],
            None,
            notes={
                NOTE_NAME: _encode(
                    msgspec.structs.replace(streak, stopped=False, allowed_by_operator=True)
                )
            },
        )
        set_stopped_metric(stream_state, stopped=False)


def set_stopped_metric(stream_state: StreamState, *, stopped: bool) -> None:
    """Report in the metrics whether the guard has stopped the stream."""
    metrics.ALL_REJECTED.labels(stream_state.connector, stream_state.stream).set(int(stopped))


def _encode(note: RejectionStreak) -> bytes:
    return msgspec.json.encode(note)
