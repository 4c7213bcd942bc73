"""Read a period of the past again while live polling continues.

A backfill is a second cursor, which is a note in the state of the stream. The records of a page,
their digests and the new position are written in ONE transaction, as for a poll. A backfill that
was interrupted therefore continues at its position and writes nothing twice. It uses the client of
the connector, so the rate limits of the registry hold for polls and backfills together. It starts
no request during a live poll of the connector.
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
from gateway.fetch.loops import institutions_of
from gateway.observability import metrics
from gateway.pipeline.deletion_guard import DeletionGuard
from gateway.pipeline.deletion_note import forget_withheld
from gateway.pipeline.page_writer import PageWrite, PollResult, select_changes, write_page
from gateway.pipeline.poll import PollContext
from gateway.pipeline.stream_state import StreamState, decode_state
from gateway.pipeline.version_order import VersionOrder

NOTE_NAME = "backfill"
DELETIONS_NOTE = "deletions/backfill"
"""The note about deletions that a backfill withholds, apart from those of the polls."""
MAX_WAIT_FOR_LIVE_POLL_SECONDS = 30.0
"""The longest time that a backfill waits for live polls. Without a limit, a connector that is
always polled would block its backfill."""


class BackfillProgress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The progress of a backfill, stored next to the cursor of the stream.

    ``begin`` and ``end`` are the requested period. Everything before ``done`` is durable.
    ``start``, ``until`` and ``position`` describe the window that is being read.
    """

    id: str
    begin: datetime
    end: datetime
    done: datetime
    state: Literal["running", "done", "cancelled"] = "running"
    start: datetime | None = None
    until: datetime | None = None
    position: str = ""
    watermark: datetime | None = None
    """The newest change in the window that is being read."""
    received: int = 0
    written: int = 0
    pages: int = 0

    @property
    def ratio(self) -> float:
        """The share of the period that is done, from 0 to 1.

        Inside a window, the share follows the change times of its records.
        """
        reached = min(max(self.done, self.watermark or self.done), self.end)
        return 1.0 if self.state == "done" else (reached - self.begin) / (self.end - self.begin)


@dataclass(slots=True)
class LivePollGate:
    """A gate that lets the live polls of one connector go first.

    Live polls pass at any time, and backfills only while there is no live poll.
    """

    _live: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def live_poll(self) -> Iterator[None]:
        """Hold backfills back while the context is open."""
        self._live += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._live -= 1
            if not self._live:
                self._idle.set()

    async def wait_until_idle(self, seconds: float = MAX_WAIT_FOR_LIVE_POLL_SECONDS) -> None:
        """Return when no live poll is running, or after ``seconds``."""
        if self._live:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), seconds)


def parse_date_or_datetime(text: str, zone: str, *, end: bool = False) -> datetime:
    """Return the time in UTC that a date, or a date with a time, means.

    A date is midnight in ``zone``. With ``end`` it is the midnight after that day. Raises
    :class:`~gateway.errors.UsageError` if ``text`` is not a date.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text}: not a date; write 2024-01-31 or 2024-01-31T12:00:00+01:00"
        ) from None
    if "T" not in text and " " not in text:
        parsed = datetime.combine(parsed.date() + timedelta(days=int(end)), time())
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def cursor_timezone(connector: Connector, stream: str) -> str:
    """Return the time zone of the dates of a stream."""
    cursor = connector.streams[stream].cursor
    return cursor.zone if cursor else "UTC"


def unsupported_reason(connector: Connector, stream: str) -> str:
    """Return why a stream cannot be backfilled, in one line.

    The text is empty if it can.
    """
    rule = connector.streams[stream].cursor
    if connector.push is not None:
        return f"{stream}: the registry pushes its records; ask it to send its records again"
    if rule is None or rule.scan:
        return f"{stream}: every poll reads everything, so there is nothing to backfill"
    if rule.feed is not None:
        return f"{stream}: a change feed cannot be asked by date"
    return ""


def current_progress(stream_state: StreamState) -> BackfillProgress | None:
    """Return the progress of the last backfill of an open stream, in any state."""
    note = stream_state.notes.get(NOTE_NAME)
    return decode_state(note, BackfillProgress, stream_state) if note else None


async def start_backfill(
    stream_state: StreamState, backfill_id: str, start: datetime, end: datetime
) -> str:
    """Store a new backfill. Return why it was refused, in one line, or an empty text.

    A second call with the same ``backfill_id`` changes nothing.
    """
    await stream_state.open()
    before = current_progress(stream_state)
    if before and before.id == backfill_id:
        return ""
    if before and before.state == "running":
        return (
            f"a backfill from {before.begin:%Y-%m-%d} to {before.end:%Y-%m-%d} "
            "is running; cancel it first"
        )
    await save_progress(
        stream_state, BackfillProgress(id=backfill_id, begin=start, end=end, done=start)
    )
    return ""


async def cancel_backfill(stream_state: StreamState) -> BackfillProgress | None:
    """Store that the running backfill was cancelled, and return it.

    Return ``None`` if no backfill was running. Written records stay.
    """
    await stream_state.open()
    progress = current_progress(stream_state)
    if progress is None or progress.state != "running":
        return None
    ended = msgspec.structs.replace(progress, state="cancelled")
    await save_progress(stream_state, ended)
    await forget_withheld(stream_state, DELETIONS_NOTE)
    return ended


async def save_progress(stream_state: StreamState, progress: BackfillProgress) -> None:
    """Store the progress of a backfill durably."""
    await stream_state.write([], None, notes={NOTE_NAME: msgspec.json.encode(progress)})


async def run_backfill(
    context: PollContext,
    live_poll_gate: LivePollGate,
    write_lock: asyncio.Lock,
    should_continue: Callable[[], bool],
) -> BackfillProgress | None:
    """Continue the backfill of a stream and return its progress, which is durable.

    Returns when the backfill is done, or after a page when ``should_continue`` returns false.
    ``write_lock`` is held while records of the stream are written. Raises the errors of a poll.
    From a page with too many deletions on, it only counts them, and raises
    :class:`~gateway.errors.StreamHalted` at the end.
    """
    connector, name, stream_state = context.connector, context.stream, context.stream_state
    await stream_state.open()
    result = PollResult(takeover_number=stream_state.takeover_number)
    progress = current_progress(stream_state)
    if progress is None or progress.state != "running":
        return progress
    deletion_guard = DeletionGuard.of_stream(
        stream_state, connector.streams[name], note_name=DELETIONS_NOTE
    )
    try:
        for window in remaining_windows(connector, name, progress):
            pages = fetch.read_pages(
                connector, name, window, context.client, position=progress.position
            )
            async with contextlib.aclosing(pages):  # type: ignore[type-var]
                while should_continue() and (
                    next_page := await _next_page(pages, stream_state, live_poll_gate)
                ):
                    page, ids_written_during_request = next_page
                    async with write_lock:
                        progress = await _write_page(
                            stream_state,
                            page,
                            ids_written_during_request,
                            advance_progress(progress, window, page),
                            result,
                            deletion_guard,
                            VersionOrder.of_client(
                                context.client,
                                stream_state.older_contents,
                                in_order=False,
                                institutions=institutions_of(connector.streams[name]),
                            ),
                        )
                    update_metric(connector.connector, name, progress)
                    if page.last:
                        break
                else:
                    return progress
    finally:
        stream_state.written_ids = None
    stream_state.older_contents.end_reading()
    await deletion_guard.finish(compares_scans=False)
    progress = msgspec.structs.replace(progress, state="done", done=progress.end)
    await save_progress(stream_state, progress)
    update_metric(connector.connector, name, progress)
    return progress


def remaining_windows(
    connector: Connector, name: str, progress: BackfillProgress
) -> Iterator[TimeWindow]:
    """Yield the windows of the rest of the period.

    An interrupted window comes first and is unchanged.
    """
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
    """Return the progress after ``page``.

    After the last page of a window, the progress is at the end of that window. A local clock that
    is ahead does no harm here. Records that the registry has not served yet come after the live
    cursor, too.
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
    """Set the metric of the progress of a backfill."""
    metrics.BACKFILL_RATIO.labels(connector, stream).set(progress.ratio)


async def _next_page(
    pages: AsyncIterator[RecordPage], stream_state: StreamState, live_poll_gate: LivePollGate
) -> tuple[RecordPage, set[str]] | None:
    """Return the next page and the ids that were written during its request.

    The page may contain an older state of these records. Return ``None`` after the last page.
    """
    await live_poll_gate.wait_until_idle()
    ids_written_during_request: set[str] = set()
    stream_state.written_ids = ids_written_during_request
    page = await anext(pages, None)
    return (page, ids_written_during_request) if page is not None else None


async def _write_page(
    stream_state: StreamState,
    page: RecordPage,
    ids_written_during_request: set[str],
    progress: BackfillProgress,
    result: PollResult,
    deletion_guard: DeletionGuard,
    order: VersionOrder,
) -> BackfillProgress:
    """Write a page and the progress behind it.

    Records that a live poll wrote meanwhile are newer, so they are not overwritten. A page with
    withheld deletions is not written.
    """
    changes, _ = select_changes(
        [raw for raw in page.records if raw.native_id not in ids_written_during_request],
        stream_state.digests,
        order=order,
    )
    stream_state.written_ids = None
    entries = await deletion_guard.filter_page(changes)
    if deletion_guard.withheld_ids:
        await deletion_guard.count_page()
        return progress
    received = len(page.records)
    progress = msgspec.structs.replace(
        progress,
        received=progress.received + received,
        written=progress.written + len(entries),
        pages=progress.pages + 1,
    )
    note = {NOTE_NAME: msgspec.json.encode(progress)}
    before = result.received
    page_write = PageWrite(entries, received, received - len(entries), notes=note)
    await write_page(stream_state, page_write, result)
    metrics.BACKFILL_RECORDS.labels(stream_state.connector, stream_state.stream).inc(
        result.received - before
    )
    return progress
