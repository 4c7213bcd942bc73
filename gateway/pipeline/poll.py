"""Ask a registry for what is new and write it down: cursor → window → pages → one transaction each.

A page's raw records, their digests and the new position are written in ONE transaction, so a crash at any moment leaves the
stream either before the page or after it. A page that cannot be read moves nothing. A page of more than
``TRANSACTION_RECORDS`` records is written in several transactions and the position moves with the last one: the digests of the
first ones make a second reading of them ``unchanged``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta

import msgspec

from gateway import fetch
from gateway.config.connector import Connector
from gateway.config.requests import Cursor as CursorRule
from gateway.fetch import RecordPage, TimeWindow
from gateway.fetch.registry_client import RegistryClient
from gateway.messages.cloudevents import DELETED_DIGEST
from gateway.observability import metrics
from gateway.pipeline.digest_table import DigestTable
from gateway.pipeline.page_writer import PollResult, select_changes, write_page_entries
from gateway.pipeline.rejection_guard import RejectionGuard
from gateway.pipeline.stream_state import RawEntry, StreamState
from gateway.records import RawRecord

ZERO = timedelta(0)


class StreamCursor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a stream stands, as stored on ``gateway.cursors.v1``.

    ``since``: everything the registry changed before it is durable. ``start``, ``until`` and ``position``: the window that is
    being read and the page inside it where a restart resumes. ``watermark``: the newest change seen in that window.
    """

    since: datetime | None = None
    start: datetime | None = None
    until: datetime | None = None
    position: str = ""
    watermark: datetime | None = None


def windows(rule: CursorRule, cursor: StreamCursor, now: datetime) -> Iterator[TimeWindow]:
    """Cut the time from the cursor to ``now`` into the windows the stream asks for.

    An interrupted window comes first and unchanged, so that its page position stays meaningful.
    """
    until = now - rule.delay
    since = cursor.since
    if cursor.position and cursor.until:
        yield TimeWindow(since=cursor.start, until=cursor.until)
        since = cursor.until
    start = since - rule.overlap if since else rule.start_at
    if rule.window is None or start is None:
        if start is None or start < until:
            yield TimeWindow(since=start, until=until)
        return
    while start < until:
        end = min(start + rule.window, until)
        yield TimeWindow(since=start, until=end)
        start = end


async def poll_once(
    connector: Connector,
    name: str,
    client: RegistryClient,
    ledger: StreamState,
    now: datetime,
    should_continue: Callable[[], bool] = lambda: True,
    *,
    rejection_guard: RejectionGuard | None = None,
) -> PollResult:
    """Read one stream up to ``now``, or until a page after which ``go_on`` says no. Whatever the answer counts is durable.

    ``watch`` stops it before a page when its records are all rejected.
    """
    rule = connector.streams[name].cursor or CursorRule(scan=True)
    tally = PollResult(seen_ids=DigestTable(0) if rule.scan and rule.complete else None)
    await (
        client.wait_for_lease()
    )  # before fencing: who has lost the connector must not fence who has it now
    stored = await ledger.open()
    tally.takeover_number = ledger.takeover_number
    cursor = msgspec.json.decode(stored, type=StreamCursor) if stored else StreamCursor()
    for window in windows(rule, cursor, now):
        resume = "" if rule.scan else cursor.position
        async for page in fetch.read_pages(connector, name, window, client, position=resume):
            cursor = advance_cursor(
                cursor,
                window,
                page,
                uses_watermark=rule.field is not None,
                clock_ahead=client.clock_ahead,
            )
            await _write_page(ledger, page, cursor, tally, rejection_guard)
            if not should_continue():
                return tally
        metrics.CURSOR_TIMESTAMP.labels(connector.connector, name).set(
            (cursor.since or window.until).timestamp()
        )
    metrics.LAST_SUCCESS.labels(connector.connector, name).set(now.timestamp())
    return tally


def advance_cursor(
    cursor: StreamCursor,
    window: TimeWindow,
    page: RecordPage,
    *,
    uses_watermark: bool,
    clock_ahead: timedelta = ZERO,
) -> StreamCursor:
    """Return the cursor after ``page``: inside the window, or past it when this was its last page.

    Where our own clock says how far was read, and it is ``ahead`` of the registry's, the cursor stays behind by as much: what the
    registry changes before that time has not been served yet.
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
        return StreamCursor(since=max(filter(None, (cursor.since, watermark)), default=None))
    return StreamCursor(
        since=window.until - clock_ahead, position=page.position
    )  # only a change feed has a place to go on from


async def _write_page(
    ledger: StreamState,
    page: RecordPage,
    cursor: StreamCursor,
    tally: PollResult,
    rejection_guard: RejectionGuard | None,
) -> None:
    """Write a page: its new and changed records, what a complete scan no longer shows, and the cursor with the last part."""
    entries, unchanged = select_changes(page.records, ledger.digests)
    notes = await rejection_guard.check_page(ledger, entries) if rejection_guard else {}
    received = len(page.records)
    if tally.seen_ids is not None:
        tally.seen_ids.add_ids(raw.native_id for raw in page.records)
    if page.complete and tally.seen_ids is not None:
        gone = await asyncio.to_thread(
            missing_from_scan, ledger, tally.seen_ids
        )  # a large registry takes seconds, and heartbeats do not wait
        entries += gone
        received += len(gone)
    await write_page_entries(
        ledger,
        entries,
        tally,
        received=received,
        unchanged=unchanged,
        cursor=msgspec.json.encode(cursor),
        notes=notes,
    )


def missing_from_scan(ledger: StreamState, seen: Collection[str]) -> list[RawEntry]:
    """Return deletions for known records that a complete scan did not show."""
    return [
        RawEntry(
            RawRecord(
                connector=ledger.connector,
                stream=ledger.stream,
                native_id=native_id,
                body=None,
                written_before=True,
            ),
            DELETED_DIGEST,
            None,
        )
        for native_id, value in ledger.digests.iter_items()
        if value[:16] != DELETED_DIGEST and native_id not in seen
    ]
