"""Stop a stream whose records are all rejected, before its rejections fill up and take away what stood.

A page's new records are judged before they are written. While nearly none is accepted they are counted over pages and restarts, as a
note beside the cursor that moves in the transaction of the page. The page that reaches the limit is not written: the cursor stays
before it, and what stands on the topics stays. The stream is tried again as every halted one is, so that it goes on by itself once the
registry, the connector or its tables are mended; ``gateway resume`` lets it go on as it is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import StreamHalted
from gateway.observability import metrics
from gateway.records import RawRecord, Rejected, Withheld

if TYPE_CHECKING:
    from gateway.pipeline.stream_state import RawEntry, StreamState

NOTE_NAME = "rejecting"
REASON = "all_rejected"
ACCEPTED_SHARE_DIVISOR = 20
"""A page counts as accepted when more than one in so many of its new records is; fewer are what a broken format lets slip through."""
RECORDS_PER_YIELD = 50
"""After so many records the event loop gets its turn: heartbeats, and the other streams."""

PreviewRecord = Callable[[RawRecord], object]
"""What a record would become: a ``Rejected``, a ``Withheld``, or anything else when it is accepted."""


class RejectionStreak(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename={"allowed_by_operator": "let_through"},
):
    """What is kept beside the cursor: how many were rejected since one page was accepted, and what follows from it."""

    count: int = 0
    stopped: bool = False
    allowed_by_operator: bool = False
    """An operator said that it is right so: nothing stops until a page is accepted again."""


@dataclass(frozen=True, slots=True)
class PageOutcome:
    """How the new records of a page would end."""

    accepted: bool
    rejected: int
    reason: str
    """The commonest reason and its field."""


def read_streak(ledger: StreamState) -> RejectionStreak:
    """Return what an open stream's note says; an empty one when there is none."""
    note = ledger.notes.get(NOTE_NAME)
    return msgspec.json.decode(note, type=RejectionStreak) if note else RejectionStreak()


async def preview_page(entries: Iterable[RawEntry], judge: PreviewRecord) -> PageOutcome:
    """Judge records until enough are accepted, which is soon where all is well. Deletions and withheld records say nothing."""
    raws = [entry.raw for entry in entries if entry.raw.body is not None]
    enough, accepted = len(raws) // ACCEPTED_SHARE_DIVISOR + 1, 0
    reasons: Counter[str] = Counter()
    for number, raw in enumerate(raws, 1):
        outcome = judge(raw)
        if isinstance(outcome, Rejected):
            reasons[f"{outcome.reason} in {outcome.field or 'the whole record'}"] += 1
        elif not isinstance(outcome, Withheld):
            accepted += 1
            if accepted >= enough:
                return PageOutcome(accepted=True, rejected=reasons.total(), reason="")
        if number % RECORDS_PER_YIELD == 0:
            await asyncio.sleep(0)
    first = reasons.most_common(1)
    return PageOutcome(
        accepted=False, rejected=reasons.total(), reason=first[0][0] if first else ""
    )


@dataclass(slots=True)
class RejectionGuard:
    """Watches one stream; ``limit`` rejected in a row stop it, and 0 never does."""

    preview: PreviewRecord
    limit: int

    async def check_page(
        self, ledger: StreamState, entries: Iterable[RawEntry]
    ) -> Mapping[str, bytes | None]:
        """Return what is to be kept once these are written: to be written in the same transaction.

        Raises :class:`~gateway.errors.Halt` when they are not to be written; the note that says so is durable then.
        """
        streak = read_streak(ledger)
        verdict = await preview_page(entries, self.preview)
        if verdict.accepted:
            set_stopped_metric(ledger, stopped=False)
            return {} if streak == RejectionStreak() else {NOTE_NAME: None}
        if not verdict.rejected:
            return {}
        count = streak.count + verdict.rejected
        if not self.limit or streak.allowed_by_operator or count < self.limit:
            set_stopped_metric(ledger, stopped=False)
            return {NOTE_NAME: _encode(msgspec.structs.replace(streak, count=count, stopped=False))}
        if not streak.stopped:
            await ledger.write(
                [], None, notes={NOTE_NAME: _encode(msgspec.structs.replace(streak, stopped=True))}
            )
        set_stopped_metric(ledger, stopped=True)
        raise StreamHalted(
            REASON,
            f"{count} records in a row would be rejected, most of this page as {verdict.reason}; the page was not written, the cursor "
            f"stands before it; mend the registry, the connector or its tables, or let them be rejected: "
            f"`gateway resume {ledger.connector} {ledger.stream}`",
        )


async def allow_rejections(ledger: StreamState) -> None:
    """Let a stream that was stopped go on, whatever is rejected, until a page is accepted again; another one is left as it is."""
    streak = read_streak(ledger)
    if streak.stopped:
        await ledger.write(
            [],
            None,
            notes={
                NOTE_NAME: _encode(
                    msgspec.structs.replace(streak, stopped=False, allowed_by_operator=True)
                )
            },
        )
        set_stopped_metric(ledger, stopped=False)


def set_stopped_metric(ledger: StreamState, *, stopped: bool) -> None:
    """Say in metrics whether the stream was stopped."""
    metrics.ALL_REJECTED.labels(ledger.connector, ledger.stream).set(int(stopped))


def _encode(note: RejectionStreak) -> bytes:
    return msgspec.json.encode(note)
