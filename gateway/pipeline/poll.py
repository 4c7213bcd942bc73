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
from gateway.fetch import Page, Window
from gateway.fetch.registry_client import Client
from gateway.messages.cloudevents import GONE
from gateway.observability import metrics
from gateway.pipeline.digest_table import Known
from gateway.pipeline.page_writer import Tally, changes, write_parts
from gateway.pipeline.rejection_guard import Watch
from gateway.pipeline.stream_state import Entry, Ledger
from gateway.records import Raw

NONE = timedelta(0)


class Cursor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a stream stands, as stored on ``gateway.cursors.v1``.

    ``since``: everything the registry changed before it is durable. ``start``, ``until`` and ``position``: the window that is
    being read and the page inside it where a restart resumes. ``watermark``: the newest change seen in that window.
    """

    since: datetime | None = None
    start: datetime | None = None
    until: datetime | None = None
    position: str = ""
    watermark: datetime | None = None


def windows(rule: CursorRule, cursor: Cursor, now: datetime) -> Iterator[Window]:
    """Cut the time from the cursor to ``now`` into the windows the stream asks for.

    An interrupted window comes first and unchanged, so that its page position stays meaningful.
    """
    until = now - rule.delay
    since = cursor.since
    if cursor.position and cursor.until:
        yield Window(since=cursor.start, until=cursor.until)
        since = cursor.until
    start = since - rule.overlap if since else rule.start_at
    if rule.window is None or start is None:
        if start is None or start < until:
            yield Window(since=start, until=until)
        return
    while start < until:
        end = min(start + rule.window, until)
        yield Window(since=start, until=end)
        start = end


async def poll_once(
    connector: Connector,
    name: str,
    client: Client,
    ledger: Ledger,
    now: datetime,
    go_on: Callable[[], bool] = lambda: True,
    *,
    watch: Watch | None = None,
) -> Tally:
    """Read one stream up to ``now``, or until a page after which ``go_on`` says no. Whatever the answer counts is durable.

    ``watch`` stops it before a page when its records are all rejected.
    """
    rule = connector.streams[name].cursor or CursorRule(scan=True)
    tally = Tally(seen=Known(0) if rule.scan and rule.complete else None)
    await client.allowed()  # before fencing: who has lost the connector must not fence who has it now
    stored = await ledger.open()
    tally.opened = ledger.opened
    cursor = msgspec.json.decode(stored, type=Cursor) if stored else Cursor()
    for window in windows(rule, cursor, now):
        resume = "" if rule.scan else cursor.position
        async for page in fetch.pages(connector, name, window, client, position=resume):
            cursor = advance(cursor, window, page, watermarked=rule.field is not None, ahead=client.ahead)
            await _write(ledger, page, cursor, tally, watch)
            if not go_on():
                return tally
        metrics.CURSOR_TIMESTAMP.labels(connector.connector, name).set((cursor.since or window.until).timestamp())
    metrics.LAST_SUCCESS.labels(connector.connector, name).set(now.timestamp())
    return tally


def advance(cursor: Cursor, window: Window, page: Page, *, watermarked: bool, ahead: timedelta = NONE) -> Cursor:
    """Return the cursor after ``page``: inside the window, or past it when this was its last page.

    Where our own clock says how far was read, and it is ``ahead`` of the registry's, the cursor stays behind by as much: what the
    registry changes before that time has not been served yet.
    """
    watermark = max(filter(None, (cursor.watermark, page.watermark)), default=None)
    if not page.last:
        return Cursor(since=cursor.since, start=window.since, until=window.until, position=page.position, watermark=watermark)
    if watermarked:
        return Cursor(since=max(filter(None, (cursor.since, watermark)), default=None))
    return Cursor(since=window.until - ahead, position=page.position)  # only a change feed has a place to go on from


async def _write(ledger: Ledger, page: Page, cursor: Cursor, tally: Tally, watch: Watch | None) -> None:
    """Write a page: its new and changed records, what a complete scan no longer shows, and the cursor with the last part."""
    entries, unchanged = changes(page.raws, ledger.known)
    notes = await watch.notes(ledger, entries) if watch else {}
    received = len(page.raws)
    if tally.seen is not None:
        tally.seen.add(raw.native_id for raw in page.raws)
    if page.complete and tally.seen is not None:
        gone = await asyncio.to_thread(vanished, ledger, tally.seen)  # a large registry takes seconds, and heartbeats do not wait
        entries += gone
        received += len(gone)
    await write_parts(ledger, entries, tally, received=received, unchanged=unchanged, cursor=msgspec.json.encode(cursor), notes=notes)


def vanished(ledger: Ledger, seen: Collection[str]) -> list[Entry]:
    """Return deletions for known records that a complete scan did not show."""
    return [
        Entry(Raw(connector=ledger.connector, stream=ledger.stream, native_id=native_id, body=None, again=True), GONE, None)
        for native_id, value in ledger.known.pairs()
        if value[:16] != GONE and native_id not in seen
    ]
