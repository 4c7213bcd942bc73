"""Read one stream of one registry: loops, then time windows, then pages, then records.

This module stores nothing. Each page carries the position from which a restart resumes. The caller
uses that position only after the page is durable.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gateway.config.connector import Connector, Push, Stream
from gateway.config.requests import Cursor
from gateway.errors import RetryLater, StreamHalted
from gateway.fetch import off_loop, paging
from gateway.fetch.change_times import EPOCH, usable_watermark
from gateway.fetch.decode.schema_check import SchemaChecker
from gateway.fetch.detail_requests import DetailFetcher
from gateway.fetch.expression_cache import ExpressionCache
from gateway.fetch.join import RecordJoiner
from gateway.fetch.loop_progress import LOOP_VALUE_MISSING, LoopProgress
from gateway.fetch.loops import LoopIteration, LoopValues, iterations_digest, loop_iterations
from gateway.fetch.page_records import PageRecords
from gateway.fetch.page_requester import HalveWindow, PageRequester, RestartWindow
from gateway.fetch.pager_factory import streaming_record_path
from gateway.fetch.read_position import ReadPosition, TimeWindow, decode_position, halve_window
from gateway.fetch.record_fields import record_fields
from gateway.fetch.record_selector import RecordSelector
from gateway.fetch.refused_records import NOTHING_SKIPPED, RefusedRecords, SkippedRecords
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.reply_parts import split_reply
from gateway.fetch.request_runner import OnReply, RequestRunner
from gateway.fetch.stored_context import request_secrets, unread_names, without_values
from gateway.fetch.stream_errors import reading_errors
from gateway.records import RawRecord

MAX_WINDOW_RESTARTS = 5
"""The number of times a window is read again because records left it meanwhile."""
_SCAN = Cursor(scan=True)


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Records that the caller makes durable together.

    ``position`` is where a restart resumes inside the window. It is blank after the last page. For
    a change feed, the last page carries the start of the next poll. ``watermark`` is the newest
    change on the page. ``complete`` ends a full scan: a record that the scan did not return no
    longer exists, unless its loop value was skipped. ``several_pages`` says that at least one list
    of the scan came in several pages, so that records could move between them.

    ``in_doubt`` says that pages may lack changes, so that the next poll must ask for them again.

    ``loop_values`` are the loop values of the records, empty without loops. ``skipped`` are listed
    records whose own request the registry refused; they still exist. ``empty_loop`` is the name of
    a loop that has no value, so that nothing was read.
    """

    records: tuple[RawRecord, ...]
    position: str
    last: bool
    watermark: datetime | None = None
    complete: bool = False
    several_pages: bool = False
    loop_values: tuple[str, ...] = ()
    skipped: SkippedRecords = NOTHING_SKIPPED
    empty_loop: str = ""
    in_doubt: bool = False


async def read_pages(
    connector: Connector,
    stream_name: str,
    window: TimeWindow,
    client: RegistryClient,
    *,
    position: str | None = None,
    subjects: LoopValues | None = None,
    progress: LoopProgress | None = None,
    on_reply: OnReply | None = None,
) -> AsyncIterator[RecordPage]:
    """Yield the pages of a stream for a window, starting at ``position``.

    Raises :class:`~gateway.errors.RetryLater` or :class:`~gateway.errors.StreamHalted`; earlier
    pages stay valid. ``subjects`` are the values of outer loops that the gateway itself stores.

    A record does not contain loop values that no rule reads, because they may be personal.

    With ``progress``, each loop value is read from its own position, and a value that cannot be
    read is skipped. Without it, every value is read for ``window``, and each failure is raised.

    ``on_reply`` sees the documents of each reply before the gateway adds anything to them.
    """
    with reading_errors(f"{connector.connector}.{stream_name}"):
        reader = _StreamReader(connector, stream_name, client, progress, on_reply)
        unread = unread_names(connector.streams[stream_name])
        async for page in reader.read(window, decode_position(position), subjects):
            yield replace(page, records=without_values(page.records, unread)) if unread else page


class _StreamReader:
    def __init__(
        self,
        connector: Connector,
        name: str,
        client: RegistryClient,
        progress: LoopProgress | None = None,
        on_reply: OnReply | None = None,
    ) -> None:
        self._connector = connector
        self._stream: Stream = connector.streams[name]
        self._cursor = self._stream.cursor or _SCAN
        self._client = client
        block = connector.protocol
        expressions = ExpressionCache(block.namespaces)
        self._where = where = f"{connector.connector}.{name}"
        self._runner = RequestRunner(
            connector,
            client,
            expressions,
            where,
            client.now,
            streaming_record_path(connector, self._stream),
        )
        if on_reply is not None:
            self._runner.on_reply = on_reply
        self._selector = RecordSelector(
            connector.connector, name, self._stream, expressions, client.secrets, client.now
        )
        self._cursor_zone = ZoneInfo(self._cursor.zone)
        self._refused = refused = RefusedRecords(where, self._cursor.scan)
        self._push = isinstance(block, Push)
        self._requester = PageRequester(
            self._stream,
            self._cursor,
            self._runner,
            client,
            record_fields(connector, self._stream),
        )
        self._page_records = PageRecords(
            self._stream,
            self._selector,
            self._requester,
            DetailFetcher(self._stream, self._runner, self._selector, refused),
            RecordJoiner(self._stream.join, self._runner, self._selector, refused),
            block.limits.max_records,
            where,
        )
        self._progress = progress
        self._several_pages = False
        self._proved_empty = True
        self._loops_are_proved = True
        self._newest_change: datetime | None = None
        self._iterations_digest = ""
        rule = self._stream.schema_
        self._checker = (
            SchemaChecker(rule, Path(connector.folder), connector.connector, name)
            if rule and rule.mode != "off"
            else None
        )

    async def read(
        self, window: TimeWindow, state: Mapping[str, Any], subjects: LoopValues | None
    ) -> AsyncIterator[RecordPage]:
        if self._push:
            raise StreamHalted(
                "PROTOCOL",
                f"{self._where}: this registry sends its records to the gateway; it is not polled",
            )
        self._requester.feed = str(state.get("feed", ""))
        empty_loops: list[str] = []
        iterations = await loop_iterations(
            self._stream,
            self._runner,
            self._client,
            subjects,
            self._read_related_stream,
            self._progress.is_new if self._progress else None,
            self._note_unproved_loop,
            empty_loops.append,
        )
        if not iterations:
            yield RecordPage((), "", last=True, empty_loop=empty_loops[0])
            return
        if progress := self._progress:
            progress.begin(value for each in iterations for value in each.identities)
            iterations.sort(key=lambda each: progress.is_postponed(each.identities))
        self._iterations_digest = iterations_digest(iterations, self._progress)
        place = ReadPosition.decode(state, self._iterations_digest, len(iterations))
        place.resumed = (place.iteration_index, place.pager, place.already_written) != (0, None, 0)
        failure: RetryLater | StreamHalted | None = None
        ended = False
        while place.iteration_index < len(iterations):
            iteration = iterations[place.iteration_index]
            place.windows = place.windows or self._windows(iteration, window)
            try:
                async for page in self._read_iteration(iterations, place):
                    ended = page.last
                    yield page
            except (RetryLater, StreamHalted) as error:
                if self._progress is None:
                    raise
                self._progress.skip(iteration.identities, error)
                failure = error
                place.pager, place.already_written, place.windows = None, 0, []
            place.iteration_index += 1
        if self._progress:
            self._progress.finish(failure)
        if not ended:  # The last value was skipped, but the values before it were read.
            yield self._page([], "", iterations[-1], window, last=True, resumed=place.resumed)

    def _windows(self, iteration: LoopIteration, window: TimeWindow) -> list[TimeWindow]:
        if self._progress is None or not iteration.identities:
            return [window]
        return list(self._progress.windows(iteration.identities))

    async def _read_iteration(
        self, iterations: list[LoopIteration], place: ReadPosition
    ) -> AsyncIterator[RecordPage]:
        """Read all windows of one iteration."""
        if self._progress is None and not self._proved_empty:
            self._loops_are_proved = False  # One scan covers all iterations.
        self._newest_change, self._proved_empty = None, True
        if self._progress is not None:
            self._requester.in_doubt = False
        self._refused.begin(resumed=place.resumed)
        while place.windows:
            async for page in self._read_window(iterations, place):
                yield page
            place.windows.pop(0)
            place.pager, place.already_written = None, 0

    def _note_end(self, iteration: LoopIteration, until: datetime) -> None:
        """Note the new position of an iteration, or raise when each record of it was refused."""
        self._refused.require_success()
        if self._progress is None or not iteration.identities:
            return
        skew = self._client.clock_ahead_of([iteration.institution])
        if self._refused.is_held or self._is_in_doubt:
            self._progress.hold(iteration.identities)
        else:
            self._progress.complete(iteration.identities, self._newest_change, until - skew, skew)
        if not self._proved_empty:
            self._progress.unproven.update(map(self._progress.key, iteration.identities))

    async def _read_related_stream(self, name: str) -> list[RawRecord]:
        """Read another stream of this connector now, because a loop iterates over its records."""
        cursor = self._connector.streams[name].cursor or _SCAN
        window = TimeWindow(cursor.start_at, self._client.now())
        reader = _StreamReader(self._connector, name, self._client)
        records: list[RawRecord] = []
        async for page in reader.read(window, {}, None):
            records += [raw for raw in page.records if raw.body is not None]
            unread = page.skipped.reasons or (page.last and cursor.scan and not page.complete)
            if unread and cursor.complete:
                self._note_unproved_loop()
        return records

    def _note_unproved_loop(self, missing: int = 0) -> None:
        """Note that the list of loop values is not complete, so missing records may exist."""
        self._loops_are_proved = False
        if self._progress and missing:
            self._progress.skipped[LOOP_VALUE_MISSING] += missing

    async def _read_window(
        self, iterations: list[LoopIteration], place: ReadPosition
    ) -> AsyncIterator[RecordPage]:
        """Read the position's first window and halve it as often as the registry requires."""
        restarted, moved = False, 0
        while True:
            try:
                async for page in self._read_window_pages(iterations, place):
                    yield page
            except HalveWindow:
                place.windows[:1] = halve_window(
                    place.windows[0], self._cursor.smallest, self._where
                )
                place.pager, place.already_written = None, 0
            except RestartWindow:
                if restarted:
                    raise RetryLater(
                        "CURSOR_EXPIRED",
                        f"{self._where}: the registry asks twice to start the window again; "
                        "the next poll starts it again",
                    ) from None
                restarted, place.pager, place.already_written = True, None, 0
            except paging.WindowShrunk:
                moved += 1
                if moved > MAX_WINDOW_RESTARTS:
                    raise RetryLater(
                        "PAGES_MOVED",
                        f"{self._where}: records leave the window faster than it can be read; "
                        "the next poll reads it again",
                    ) from None
                place.pager, place.already_written = None, 0  # unchanged records are skipped
            else:
                return

    async def _read_window_pages(
        self, iterations: list[LoopIteration], place: ReadPosition
    ) -> AsyncIterator[RecordPage]:
        turn, window = iterations[place.iteration_index], place.windows[0]
        place.secrets = request_secrets(self._stream, turn, self._client)
        already_written, digest, pages = place.already_written, place.digest, 0
        steps = self._requester.pager(window)(place.pager)
        ask = next(steps)
        while True:
            answered = await self._requester.ask(ask, turn, window)
            if self._checker is not None:
                await off_loop.run(answered.is_large, self._checker.check, answered.reading)
            if not answered.reading.documents and not answered.proves_empty:
                self._proved_empty = False
            items, proved = await off_loop.run(
                answered.is_large, self._page_records.select, ask, answered, turn
            )
            self._proved_empty &= proved
            before = self._requester.feed
            after = self._requester.feed = self._page_records.feed_position_after(items)
            following = self._requester.next_page_request(steps, answered, items)
            if following is None and not answered.proves_empty:
                self._proved_empty = False
            if not ask.probe:
                pages += 1
                self._several_pages = self._several_pages or pages > 1
                place.pager, place.already_written, place.digest = ask.state, 0, answered.digest
                raws = await self._page_records.to_raw_records(items, answered, turn)
                if already_written and digest == answered.digest:
                    raws = islice(raws, already_written, None)
                    place.already_written = already_written
                already_written = 0
                for part, final in split_reply(raws):
                    place.already_written += len(part)
                    position = place.after_page(following) if final else place
                    ends_iteration = final and following is None and len(place.windows) == 1
                    page = self._page(
                        part,
                        position.encode(self._iterations_digest, after if final else before),
                        turn,
                        window,
                        last=ends_iteration and place.iteration_index == len(iterations) - 1,
                        resumed=place.resumed,
                    )
                    if ends_iteration:
                        self._note_end(turn, window.until)
                    yield page
                    await asyncio.sleep(0)  # A caller that writes nothing does not wait either.
            answered.close()
            if following is None:
                return
            ask = following

    def _page(
        self,
        raws: list[RawRecord],
        position: str,
        iteration: LoopIteration,
        window: TimeWindow,
        *,
        last: bool,
        resumed: bool,
    ) -> RecordPage:
        if last:
            feed = self._requester.feed
            position = json.dumps({"feed": feed}) if feed else ""
        times = self._selector.change_times
        # Alone, a value of a loop may have too few records to judge the form of their times.
        if times and self._cursor.field and not resumed and (last or self._progress is None):
            times.require_readable(self._where, at_least=1 if last else 2)
        # A change time that has not been reached yet says nothing about earlier changes.
        changes = (
            usable_watermark(raw.changed_at, raw.changed_latest, self._cursor_zone)
            for raw in raws
            if raw.changed_at is not None and EPOCH < raw.changed_at <= window.until
        )
        watermark = max(changes, default=None)
        self._newest_change = max(filter(None, (self._newest_change, watermark)), default=None)
        return RecordPage(
            tuple(raws),
            position,
            last,
            watermark,
            last and self._is_complete_scan(resumed=resumed),
            self._several_pages,
            iteration.identities,
            self._refused.take(),
            in_doubt=self._is_in_doubt,
        )

    @property
    def _is_in_doubt(self) -> bool:
        """Whether changes may be missing, so that the cursor must not pass them."""
        return self._requester.in_doubt and not self._cursor.scan

    def _is_complete_scan(self, *, resumed: bool) -> bool:
        proved = self._loops_are_proved and (self._progress is not None or self._proved_empty)
        return self._cursor.scan and self._cursor.complete and proved and not resumed
