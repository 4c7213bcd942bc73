"""Ask a registry for what is new and write it down: cursor → window → pages → one transaction each.

A page's raw records, their digests and the new position are written in ONE transaction, so a crash at any moment leaves the
stream either before the page or after it. A page that cannot be read moves nothing. A page of more than
``TRANSACTION_RECORDS`` records is written in several transactions and the position moves with the last one: the digests of the
first ones make a second reading of them ``unchanged``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec
from msgspec.structs import replace

from gateway import fetch
from gateway.config.connector import Connector
from gateway.config.requests import Cursor as CursorRule
from gateway.fetch import Page, Window
from gateway.fetch.registry_client import Client
from gateway.messages.cloudevents import GONE, digest
from gateway.observability import metrics
from gateway.pipeline.digest_table import Known
from gateway.pipeline.rejection_guard import Watch
from gateway.pipeline.stream_state import Entry, Ledger
from gateway.records import CONFLICT, Raw

TRANSACTION_RECORDS = 1_000
TRANSACTION_BYTES = 4 * 1024 * 1024
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


@dataclass(slots=True)
class Tally:
    """What one poll received and how it went on; counts durable records only."""

    received: int = 0
    unchanged: int = 0
    written: int = 0
    pages: int = 0
    opened: int = 0
    """Which time of the ledger's being taken this belongs to."""
    seen: Known | None = None
    """The ids that a scan has shown so far; ``None`` where nobody will ask for what it did not show."""


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


async def write_parts(
    ledger: Ledger,
    entries: list[Entry],
    tally: Tally,
    *,
    received: int,
    unchanged: int,
    cursor: bytes | None = None,
    notes: Mapping[str, bytes | None] = MappingProxyType({}),
) -> None:
    """Write what is new of a page in as few transactions as hold it; the position, cursor or note, moves with the last."""
    parts = list(split(entries)) or [[]]
    for part in parts[:-1]:
        await ledger.write(part, None, opened=tally.opened)
        _count(ledger, tally, received=len(part), written=len(part))
    await ledger.write(parts[-1], cursor, notes=notes, opened=tally.opened)
    before = sum(map(len, parts[:-1]))
    _count(ledger, tally, received=received - before, written=len(parts[-1]), unchanged=unchanged)
    tally.pages += 1


def changes(raws: Iterable[Raw], known: Mapping[str, bytes]) -> tuple[list[Entry], int]:
    """Split a page into entries worth writing and the number of records that say nothing new.

    A record older than the one already known is not new: a registry that serves an old version after a newer one must not
    turn a credential back. Of two versions on one page the later one stands for both; of two contents of one version, neither.
    """
    entries: dict[str, Entry] = {}
    twice: set[str] = set()
    unchanged = 0
    for raw in raws:
        entry = Entry(raw, digest(raw), raw.changed_at)
        previous, stands = entries.get(raw.native_id), known.get(raw.native_id)
        before = previous.value if previous else stands
        if before is not None and not entry.supersedes(before):
            unchanged += 1
            continue
        if previous:
            unchanged += 1
            twice.add(raw.native_id)
            if contradict(previous.raw, raw):
                entry = _contradiction(previous, entry)
        entries[raw.native_id] = entry if stands is None else replace(entry, raw=replace(entry.raw, again=True))
    for name in twice:
        if entries[name].digest == known.get(name, b"")[:16]:  # the one that came last is the one that stands
            del entries[name]
            unchanged += 1
    return list(entries.values()), unchanged


def contradict(one: Raw, other: Raw) -> bool:
    """Return whether two different contents call themselves the same version of a record, and nothing says which is the later."""
    same = one.version == other.version and one.changed_at == other.changed_at
    return bool(same and other.version and one.body is not None and other.body is not None)


def _contradiction(one: Entry, other: Entry) -> Entry:
    """Return the entry to be rejected in place of both: only the registry knows which of them is right."""
    digests = f"{one.digest.hex()} and {other.digest.hex()}"
    raw = replace(other.raw, context={**other.raw.context, CONFLICT: digests})
    return Entry(raw, digest(raw), raw.changed_at)


def vanished(ledger: Ledger, seen: Collection[str]) -> list[Entry]:
    """Return deletions for known records that a complete scan did not show."""
    return [
        Entry(Raw(connector=ledger.connector, stream=ledger.stream, native_id=native_id, body=None, again=True), GONE, None)
        for native_id, value in ledger.known.pairs()
        if value[:16] != GONE and native_id not in seen
    ]


def split(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Cut entries into parts that fit one transaction."""
    part: list[Entry] = []
    size = 0
    for entry in entries:
        length = len(entry.raw.body or b"")
        if part and (len(part) >= TRANSACTION_RECORDS or size + length > TRANSACTION_BYTES):
            yield part
            part, size = [], 0
        part.append(entry)
        size += length
    if part:
        yield part


def _count(ledger: Ledger, tally: Tally, *, received: int, written: int, unchanged: int = 0) -> None:
    tally.received += received
    tally.written += written
    tally.unchanged += unchanged
    metrics.RECEIVED.labels(ledger.connector, ledger.stream).inc(received)
    if unchanged:
        metrics.RECORDS.labels(ledger.connector, ledger.stream, "unchanged").inc(unchanged)
