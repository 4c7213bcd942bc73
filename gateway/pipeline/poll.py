"""Poll a registry for new and changed records, and write them page by page.

The cursor determines the windows of time, and each window is read in pages. One transaction
contains the raw records of a page, their digests and the new cursor. After a crash the
stream is therefore either before the page or after it. A page that cannot be read changes
nothing.

A page of more than ``TRANSACTION_RECORDS`` records needs several transactions. The last one
moves the cursor. If the page is read again, the records that are already written count as
``unchanged``. See docs/decisions/0008.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from gateway import fetch
from gateway.config.connector import Connector
from gateway.config.requests import Cursor as CursorRule
from gateway.fetch import RecordPage, TimeWindow
from gateway.fetch.change_times import FUTURE_TOLERANCE, before_clock_change, time_granularity
from gateway.fetch.loop_progress import LoopProgress
from gateway.fetch.loops import institutions_of
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.stored_context import equal_loop_names
from gateway.observability import metrics
from gateway.pipeline.deletion_guard import DeletionGuard
from gateway.pipeline.deletion_note import set_withheld_metric
from gateway.pipeline.digest_table import DigestTable
from gateway.pipeline.loop_positions import changed_notes, load_positions
from gateway.pipeline.page_writer import PageWrite, PollResult, select_changes, write_page
from gateway.pipeline.raw_entry import RawEntry
from gateway.pipeline.rejection_guard import RejectionGuard
from gateway.pipeline.scan_contents import ScanContents
from gateway.pipeline.scan_deletions import (
    ScanDeletions,
    count_unproven_scan,
    deletions_after_scan,
)
from gateway.pipeline.stream_state import StreamState, decode_state
from gateway.pipeline.version_order import VersionOrder
from gateway.records import MISSING_ID_PREFIX

ZERO = timedelta(0)


@dataclass(frozen=True, slots=True)
class PollContext:
    """One stream of a connector, the client that reads it and the state that keeps it."""

    connector: Connector
    stream: str
    client: RegistryClient
    stream_state: StreamState


class StreamCursor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The cursor of a stream, as stored on ``gateway.cursors.v1``.

    - ``since``: All changes of the registry before this time are durable.
    - ``start`` and ``until``: These are the limits of the window that is being read.
    - ``position``: A restart resumes at this page of the window.
    - ``watermark``: This is the newest change time in that window so far.
    """

    since: datetime | None = None
    start: datetime | None = None
    until: datetime | None = None
    position: str = ""
    watermark: datetime | None = None


def windows(rule: CursorRule, cursor: StreamCursor, now: datetime) -> Iterator[TimeWindow]:
    """Yield the windows from the cursor to ``now``, in the size that the stream configures.

    An interrupted window comes first and unchanged. Its page position is valid for this
    window only. A cursor in the future is not trusted, so reading begins at the start.
    """
    until = now - rule.delay
    since = cursor.since
    if cursor.position and cursor.until:
        yield TimeWindow(since=cursor.start, until=cursor.until)
        since = cursor.until
    if rule.scan or (since and since > until + FUTURE_TOLERANCE):
        since = None  # A scan reads everything.
    start = since - _overlap(rule, since) if since else rule.start_at
    if rule.window is None or start is None:
        if start is None or start < until:
            yield TimeWindow(since=start, until=until)
        return
    while start < until:
        end = min(start + rule.window, until)
        yield TimeWindow(since=start, until=end)
        start = end


def _overlap(rule: CursorRule, watermark: datetime) -> timedelta:
    """Return the time before the watermark that is read again."""
    if rule.field is None:
        return rule.overlap
    return max(rule.overlap, time_granularity(watermark, ZoneInfo(rule.zone)))


async def poll_once(
    context: PollContext,
    now: datetime,
    should_continue: Callable[[], bool] = lambda: True,
    *,
    rejection_guard: RejectionGuard | None = None,
) -> PollResult:
    """Read one stream up to ``now`` and return the counts of its durable records.

    The poll stops early after a page if ``should_continue`` returns false. A
    ``rejection_guard`` may raise :class:`~gateway.errors.StreamHalted` before a page is
    written, and withheld deletions raise it after the last page. Other errors come from
    :func:`gateway.fetch.read_pages` and :meth:`StreamState.write`.
    """
    connector, client, stream_state = context.connector, context.client, context.stream_state
    stream = connector.streams[context.stream]
    rule = stream.cursor or CursorRule(scan=True)
    contents = ScanContents(equal_loop_names(stream)) if rule.scan else None
    result = PollResult(seen_ids=contents.seen if contents and rule.complete else None)
    # Wait before fencing, because a worker that lost the lease must not fence the new owner.
    await client.wait_for_lease()
    stored = await stream_state.open()
    result.takeover_number = stream_state.takeover_number
    cursor = decode_state(stored, StreamCursor, stream_state) if stored else StreamCursor()
    begun = cursor
    stream_state.reply_changes.begin(stream_state)
    if stream.for_each and not rule.feed:
        progress = _loop_progress(stream_state, rule, cursor, now)
        plan: Iterable[TimeWindow] = [TimeWindow(since=cursor.since, until=now - rule.delay)]
    else:
        progress, plan = None, windows(rule, cursor, now)
    writer = _PageStep(
        context,
        rule,
        result,
        rejection_guard,
        DeletionGuard.of_stream(stream_state, stream, first_read=cursor.since is None),
        progress,
        contents,
    )
    set_withheld_metric(stream_state)
    asked, held = False, None
    for window in plan:
        resume = "" if rule.scan else cursor.position
        pages = fetch.read_pages(
            connector,
            context.stream,
            window,
            client,
            position=resume,
            progress=progress,
            on_reply=stream_state.reply_changes.note,
        )
        async for page in pages:
            result.empty_loop = page.empty_loop
            if (page.skipped.is_held or page.in_doubt) and held is None:
                held = begun if rule.feed else StreamCursor(since=cursor.since)
            cursor = held or advance_cursor(
                cursor,
                window,
                page,
                uses_watermark=rule.field is not None,
                clock_ahead=client.clock_ahead_of(institutions_of(stream)),
            )
            if progress and page.last:
                cursor = msgspec.structs.replace(cursor, since=progress.common_since())
            await writer.write(page, cursor)
            if not should_continue():
                return result
        asked = True
        metrics.CURSOR_TIMESTAMP.labels(connector.connector, context.stream).set(
            (cursor.since or window.until).timestamp()
        )
    if progress:
        result.skipped, result.loop_values = dict(progress.skipped), progress.values
    if asked:
        stream_state.older_contents.end_reading()
        await writer.deletion_guard.finish(compares_scans=result.seen_ids is not None)
    if asked:  # A poll that asks nothing proves nothing.
        metrics.LAST_SUCCESS.labels(connector.connector, context.stream).set(now.timestamp())
    return result


def _loop_progress(
    stream_state: StreamState, rule: CursorRule, cursor: StreamCursor, now: datetime
) -> LoopProgress:
    """Return the progress of a stream with loops, from the notes next to its cursor.

    An earlier release stored one cursor for all values. Then every value continues from it.
    """
    positions = load_positions(stream_state.notes)
    return LoopProgress(
        stream_state.loop_secret,
        {} if positions is None else positions,
        lambda position: list(windows(rule, StreamCursor(since=position), now)),
        cursor.since if positions is None else None,
        uses_watermark=rule.field is not None,
        postponed=stream_state.skipped_loop_values,
    )


def advance_cursor(
    cursor: StreamCursor,
    window: TimeWindow,
    page: RecordPage,
    *,
    uses_watermark: bool,
    clock_ahead: timedelta = ZERO,
) -> StreamCursor:
    """Return the cursor after ``page``: inside the window, or after it for its last page.

    Without a watermark, the clock of the gateway determines the cursor. It may be ahead of
    the registry's clock by ``clock_ahead``. The cursor then stays behind by the same time.
    Otherwise the next poll could miss changes.
    """
    watermark = max(filter(None, (cursor.watermark, page.watermark)), default=None)
    if not page.last:
        return StreamCursor(
            since=cursor.since,
            start=window.since,
            until=window.until,
            position=page.position,
            watermark=watermark,
        )
    if uses_watermark:
        since = max(filter(None, (cursor.since, watermark)), default=None)
        if since is not None:
            since = before_clock_change(since, window.until - clock_ahead, clock_ahead)
        return StreamCursor(since=since)
    # After its last page, only a change feed has a position to continue from.
    return StreamCursor(since=window.until - clock_ahead, position=page.position)


@dataclass(frozen=True, slots=True)
class _PageStep:
    """The step of a poll that writes one page, with the guards of the stream."""

    context: PollContext
    rule: CursorRule
    result: PollResult
    rejection_guard: RejectionGuard | None
    deletion_guard: DeletionGuard
    progress: LoopProgress | None
    contents: ScanContents | None

    async def write(self, page: RecordPage, cursor: StreamCursor) -> None:
        """Write the new and changed records of a page, and the cursor.

        After the last page of a complete scan, also write deletions for the missing records. Of a
        page with too many deletions, a scan writes the rest, because the next scan shows the page
        again. Otherwise neither the page nor a later one is written.
        """
        stream_state, result = self.context.stream_state, self.result
        loop_key = self.progress.record_key(page.loop_values) if self.progress else b""
        changes, unchanged = select_changes(
            page.records, stream_state.digests, loop_key, self._version_order(), self.contents
        )
        entries = await self.deletion_guard.filter_page(changes)
        if self.deletion_guard.withheld_ids and not self.rule.scan:
            await self.deletion_guard.count_page()
            return
        unchanged += len(changes) - len(entries)
        notes: dict[str, bytes | None] = {}
        if self.rejection_guard:
            notes |= await self.rejection_guard.check_page(stream_state, entries)
        if self.rejection_guard is None or self.rejection_guard.page_is_good:
            notes |= stream_state.reply_changes.accept()
        received = len(page.records)
        self._count_unread(page)
        if self.progress and page.last:
            notes |= changed_notes(self.progress.new_positions(), stream_state.notes)
        if self.contents is not None:
            self.contents.add_ids(page.skipped.native_ids)
            self._count_repeated_ids(self.contents)
            if page.last:
                ended = self._ended_conflicts(self.contents)
                entries += ended
                received += len(ended)
            if page.last and result.seen_ids is not None:
                deletions = await self._scan_deletions(page, result.seen_ids)
                entries += deletions.entries
                received += len(deletions.entries)
                notes |= deletions.notes
        page_write = PageWrite(entries, received, unchanged, msgspec.json.encode(cursor), notes)
        await write_page(stream_state, page_write, result)

    def _version_order(self) -> VersionOrder:
        return VersionOrder.of_client(
            self.context.client,
            self.context.stream_state.older_contents,
            in_order=self.rule.feed is not None,
            institutions=institutions_of(self.context.connector.streams[self.context.stream]),
        )

    def _ended_conflicts(self, contents: ScanContents) -> list[RawEntry]:
        """Return the contents of which the whole scan showed no other one, in place of conflicts.

        While a loop value was not read, it may be the one that has the other content.
        """
        if self.progress and self.progress.unread_record_keys():
            return []
        return list(contents.held.values())

    def _count_repeated_ids(self, contents: ScanContents) -> None:
        """Count the contents that differ from an earlier one of the same id in this scan.

        Either the record changed during the scan, or the id is not unique.
        """
        state, repeated = self.context.stream_state, contents.repeated
        if repeated:
            metrics.REPEATED_IDS.labels(state.connector, state.stream).inc(repeated)
            contents.repeated = 0

    def _count_unread(self, page: RecordPage) -> None:
        """Count the records of a page whose id or whose own reply could not be read."""
        state, result = self.context.stream_state, self.result
        result.unreadable_ids += sum(
            raw.native_id.startswith(MISSING_ID_PREFIX) for raw in page.records
        )
        result.unreadable_ids += page.skipped.unknown_ids
        result.skipped_records.update(page.skipped.reasons)
        for reason in page.skipped.reasons:
            metrics.RECORDS_SKIPPED.labels(state.connector, state.stream, reason).inc()

    async def _scan_deletions(self, page: RecordPage, seen_ids: DigestTable) -> ScanDeletions:
        """Return what the end of a scan proves about the records that it did not show."""
        if not page.complete:
            count_unproven_scan(self.deletion_guard.stream_state, "incomplete")
            return ScanDeletions()
        return await deletions_after_scan(
            self.deletion_guard,
            seen_ids,
            several_pages=page.several_pages,
            unreadable_ids=self.result.unreadable_ids,
            unread_loops=self.progress.unread_record_keys() if self.progress else frozenset(),
        )
