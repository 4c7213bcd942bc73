"""Read a span of the past once more, beside live polling: a second cursor, kept as a note in the stream's ledger.

A page's records, their digests and the place the backfill has come to are written in ONE transaction, like a page of a poll, so a
backfill that is killed goes on where it stood and writes nothing twice. It asks through the connector's own client, so the
registry's limits hold over both; it starts no request while a live poll of the connector is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from gateway import fetch
from gateway.config.connector import Connector
from gateway.errors import UsageError
from gateway.fetch import RecordPage, TimeWindow
from gateway.fetch.registry_client import RegistryClient
from gateway.observability import metrics
from gateway.pipeline.page_writer import PollResult, select_changes, write_page_entries
from gateway.pipeline.stream_state import StreamState

NOTE_NAME = "backfill"
MAX_WAIT_FOR_LIVE_POLL_SECONDS = 30.0
"""So long a backfill lets live polls go first; streams that are always being polled would stop it for ever."""


class BackfillProgress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a backfill stands, as kept with the stream's cursor: ``begin`` and ``end`` as asked, ``done`` how far everything is durable."""

    id: str
    begin: datetime
    end: datetime
    done: datetime
    state: Literal["running", "done", "cancelled"] = "running"
    start: datetime | None = None
    until: datetime | None = None
    position: str = ""
    watermark: datetime | None = None
    """The newest change seen in the window that is being read."""
    received: int = 0
    written: int = 0
    pages: int = 0

    @property
    def ratio(self) -> float:
        """How much of the span is done, 0 to 1; inside a window, as far as its records show."""
        reached = min(max(self.done, self.watermark or self.done), self.end)
        return 1.0 if self.state == "done" else (reached - self.begin) / (self.end - self.begin)


@dataclass(slots=True)
class LivePollGate:
    """Who calls one registry now: live polls at any time, backfills when none is under way."""

    _live: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def live_poll(self) -> Iterator[None]:
        """Stand for a live poll."""
        self._live += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._live -= 1
            if not self._live:
                self._idle.set()

    async def wait_until_idle(self, seconds: float = MAX_WAIT_FOR_LIVE_POLL_SECONDS) -> None:
        """Return when no live poll is under way, or after ``seconds``."""
        if self._live:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), seconds)


def parse_date_or_datetime(text: str, zone: str, *, end: bool = False) -> datetime:
    """Return the moment a date or a date with time means; a bare date is midnight in ``zone``, and as an end its whole day is meant.

    Raises :class:`~gateway.errors.UsageError`.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text}: not a date; write 2024-01-31 or 2024-01-31T12:00:00+01:00"
        ) from None
    if "T" not in text and " " not in text:
        found = datetime.combine(found.date() + timedelta(days=int(end)), time())
    return (found if found.tzinfo else found.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def cursor_timezone(connector: Connector, stream: str) -> str:
    """Return the zone in which a stream's dates are meant."""
    cursor = connector.streams[stream].cursor
    return cursor.zone if cursor else "UTC"


def unsupported_reason(connector: Connector, stream: str) -> str:
    """Return why a stream cannot be backfilled, in one line; empty when it can."""
    rule = connector.streams[stream].cursor
    if connector.push is not None:
        return f"{stream}: the registry calls us; ask it to send its records again"
    if rule is None or rule.scan:
        return f"{stream}: every poll reads everything, so there is nothing to backfill"
    if rule.feed is not None:
        return f"{stream}: a change feed cannot be asked by date"
    return ""


def current_progress(ledger: StreamState) -> BackfillProgress | None:
    """Return the last backfill of an open stream, whatever became of it."""
    note = ledger.notes.get(NOTE_NAME)
    return msgspec.json.decode(note, type=BackfillProgress) if note else None


async def start_backfill(
    ledger: StreamState, backfill_id: str, start: datetime, end: datetime
) -> str:
    """Write down that a backfill is to run; return why not, in one line. The same one asked again changes nothing."""
    await ledger.open()
    before = current_progress(ledger)
    if before and before.id == backfill_id:
        return ""
    if before and before.state == "running":
        return f"a backfill from {before.begin:%Y-%m-%d} to {before.end:%Y-%m-%d} is running; cancel it first"
    await save_progress(ledger, BackfillProgress(id=backfill_id, begin=start, end=end, done=start))
    return ""


async def cancel_backfill(ledger: StreamState) -> BackfillProgress | None:
    """Write down that the backfill has ended; return it, or ``None`` when none was running. What it wrote stays."""
    await ledger.open()
    progress = current_progress(ledger)
    if progress is None or progress.state != "running":
        return None
    ended = msgspec.structs.replace(progress, state="cancelled")
    await save_progress(ledger, ended)
    return ended


async def save_progress(ledger: StreamState, progress: BackfillProgress) -> None:
    """Make where a backfill stands durable."""
    await ledger.write([], None, notes={NOTE_NAME: msgspec.json.encode(progress)})


async def run_backfill(
    connector: Connector,
    name: str,
    client: RegistryClient,
    ledger: StreamState,
    traffic: LivePollGate,
    write_lock: asyncio.Lock,
    should_continue: Callable[[], bool],
) -> BackfillProgress | None:
    """Go on with the stream's backfill until it is done or, after a page, ``go_on`` says no. Whatever the answer counts is durable.

    ``turn`` is held by whoever writes records of the stream. Raises what a poll raises.
    """
    await ledger.open()
    tally = PollResult(takeover_number=ledger.takeover_number)
    progress = current_progress(ledger)
    if progress is None or progress.state != "running":
        return progress
    try:
        for window in remaining_windows(connector, name, progress):
            pages = fetch.read_pages(connector, name, window, client, position=progress.position)
            async with contextlib.aclosing(pages):  # type: ignore[type-var]
                while should_continue() and (found := await _next_page(pages, ledger, traffic)):
                    page, ids_written_during_request = found
                    async with write_lock:
                        progress = await _write_page(
                            ledger,
                            page,
                            ids_written_during_request,
                            advance_progress(progress, window, page),
                            tally,
                        )
                    update_metric(connector.connector, name, progress)
                    if page.last:
                        break
                else:
                    return progress
    finally:
        ledger.written_ids = None
    progress = msgspec.structs.replace(progress, state="done", done=progress.end)
    await save_progress(ledger, progress)
    update_metric(connector.connector, name, progress)
    return progress


def remaining_windows(
    connector: Connector, name: str, progress: BackfillProgress
) -> Iterator[TimeWindow]:
    """Cut what is left of the span into the windows the stream asks for; an interrupted one comes first and unchanged."""
    rule = connector.streams[name].cursor
    length = rule.window if rule else None
    start = progress.done
    if progress.position and progress.until:
        yield TimeWindow(since=progress.start, until=progress.until)
        start = progress.until
    while start < progress.end:
        until = min(start + length, progress.end) if length else progress.end
        yield TimeWindow(since=start, until=until)
        start = until


def advance_progress(
    progress: BackfillProgress, window: TimeWindow, page: RecordPage
) -> BackfillProgress:
    """Return where the backfill stands after ``page``: inside the window, or past it when this was its last page.

    A clock of ours that is ahead does no harm here: what the registry did not serve yet comes after the live cursor, too.
    """
    if page.last:
        return msgspec.structs.replace(
            progress, done=window.until, start=None, until=None, position="", watermark=None
        )
    watermark = max(filter(None, (progress.watermark, page.watermark)), default=None)
    return msgspec.structs.replace(
        progress,
        start=window.since,
        until=window.until,
        position=page.position,
        watermark=watermark,
    )


def update_metric(connector: str, stream: str, progress: BackfillProgress) -> None:
    """Say in metrics how far a backfill has come."""
    metrics.BACKFILL_RATIO.labels(connector, stream).set(progress.ratio)


async def _next_page(
    pages: AsyncIterator[RecordPage], ledger: StreamState, traffic: LivePollGate
) -> tuple[RecordPage, set[str]] | None:
    """Return the next page and what was written while it was asked for; it may show an older state of that."""
    await traffic.wait_until_idle()
    ids_written_during_request: set[str] = set()
    ledger.written_ids = ids_written_during_request
    page = await anext(pages, None)
    return (page, ids_written_during_request) if page is not None else None


async def _write_page(
    ledger: StreamState,
    page: RecordPage,
    ids_written_during_request: set[str],
    progress: BackfillProgress,
    tally: PollResult,
) -> BackfillProgress:
    """Write a page and where the backfill stands behind it; what live polling wrote meanwhile is newer and stays."""
    entries, _ = select_changes(
        [raw for raw in page.records if raw.native_id not in ids_written_during_request],
        ledger.digests,
    )
    ledger.written_ids = None
    received = len(page.records)
    progress = msgspec.structs.replace(
        progress,
        received=progress.received + received,
        written=progress.written + len(entries),
        pages=progress.pages + 1,
    )
    note = {NOTE_NAME: msgspec.json.encode(progress)}
    before = tally.received
    await write_page_entries(
        ledger, entries, tally, received=received, unchanged=received - len(entries), notes=note
    )
    metrics.BACKFILL_RECORDS.labels(ledger.connector, ledger.stream).inc(tally.received - before)
    return progress
