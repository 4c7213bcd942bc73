"""Read one stream of one registry: loops, then time windows, then pages, then records.

This module stores nothing. Each page carries the position from which a restart resumes. The caller
uses that position only after the page is durable.
"""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gateway.config.connector import Connector, Push, Stream
from gateway.config.expressions.compiler import EvaluationError
from gateway.config.requests import Cursor
from gateway.errors import GatewayError, RetryLater, StreamHalted
from gateway.fetch import paging
from gateway.fetch.decode.schema_check import SchemaChecker
from gateway.fetch.detail_requests import DetailFetcher
from gateway.fetch.export import run_export
from gateway.fetch.join import join_records
from gateway.fetch.loops import LoopIteration, LoopValues, loop_iterations
from gateway.fetch.pager_factory import build_pager, streaming_record_path
from gateway.fetch.read_position import ReadPosition, TimeWindow, decode_position
from gateway.fetch.record_selector import ExpressionCache, RecordSelector, SelectedNode
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.reply_parts import split_reply, streamed_count
from gateway.fetch.request_runner import RequestResult, RequestRunner
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
    longer exists.
    """

    records: tuple[RawRecord, ...]
    position: str
    last: bool
    watermark: datetime | None = None
    complete: bool = False


async def read_pages(
    connector: Connector,
    stream_name: str,
    window: TimeWindow,
    client: RegistryClient,
    *,
    position: str | None = None,
    subjects: LoopValues | None = None,
) -> AsyncIterator[RecordPage]:
    """Yield the pages of a stream for a window, starting at ``position``.

    Raises :class:`~gateway.errors.RetryLater` or :class:`~gateway.errors.StreamHalted`; earlier
    pages stay valid. ``subjects`` are the values of outer loops that the gateway itself stores.
    """
    try:
        reader = _StreamReader(connector, stream_name, client)
        async for page in reader.read(window, decode_position(position), subjects):
            yield page
    except GatewayError:
        raise
    except EvaluationError as error:
        raise StreamHalted(
            "EXPRESSION",
            f"{connector.connector}.{stream_name}: {error}; "
            "its replies changed, or the file is wrong",
        ) from None
    except Exception as error:  # noqa: BLE001 - stop the stream, not the worker
        raise StreamHalted(
            "UNEXPECTED",
            f"{connector.connector}.{stream_name}: {_error_location(error)}; please report it",
        ) from None


def _error_location(error: Exception) -> str:
    """Return the type and place of an error, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = next((frame for frame in reversed(frames) if "gateway" in frame.filename), frames[-1])
    return f"{type(error).__name__} in {Path(ours.filename).name}:{ours.lineno}"


class _StreamReader:
    def __init__(self, connector: Connector, name: str, client: RegistryClient) -> None:
        self._connector = connector
        self._stream: Stream = connector.streams[name]
        self._cursor = self._stream.cursor or _SCAN
        self._client = client
        block = connector.protocol
        expressions = ExpressionCache(block.namespaces)
        where = f"{connector.connector}.{name}"
        self._where = where
        self._dialogue = RequestRunner(
            connector,
            client,
            expressions,
            where,
            client.now,
            streaming_record_path(connector, self._stream),
        )
        self._selector = RecordSelector(
            connector.connector, name, self._stream, expressions, client.secrets
        )
        self._expander = DetailFetcher(self._stream, self._dialogue, self._selector)
        self._max_records = block.limits.max_records
        self._push = isinstance(block, Push)
        self._feed = ""
        initial_cursor = self._cursor.feed or self._stream.paging.cursor
        self._first_cursor_value = (
            {"cursor": initial_cursor.first}
            if initial_cursor and initial_cursor.first is not None
            else {}
        )
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
                "PROTOCOL", f"{self._where}: this registry calls us; it is not polled"
            )
        self._feed = str(state.get("feed", ""))
        iterations = await loop_iterations(
            self._stream, self._dialogue, self._client, subjects, self._read_related_stream
        )
        if not iterations:
            # Without an iteration nothing was read, so no record counts as deleted.
            yield RecordPage((), "", last=True)
            return
        place = ReadPosition.decode(state, len(iterations), window)
        place.resumed = (place.iteration_index, place.pager, place.already_written) != (0, None, 0)
        while place.iteration_index < len(iterations):
            while place.windows:
                async for page in self._read_window(iterations, place):
                    yield page
                place.windows.pop(0)
                place.pager, place.already_written = None, 0
            place.iteration_index += 1
            place.windows = [window]

    async def _read_related_stream(self, name: str) -> list[RawRecord]:
        """Read another stream of this connector now, because a loop iterates over its records."""
        cursor = self._connector.streams[name].cursor or _SCAN
        window = TimeWindow(cursor.start_at, self._client.now())
        reader = _StreamReader(self._connector, name, self._client)
        return [
            raw
            async for page in reader.read(window, {}, None)
            for raw in page.records
            if raw.body is not None
        ]

    async def _read_window(
        self, iterations: list[LoopIteration], place: ReadPosition
    ) -> AsyncIterator[RecordPage]:
        """Read the position's first window and halve it as often as the registry requires."""
        restarted, moved = False, 0
        while True:
            try:
                async for page in self._read_window_pages(iterations, place):
                    yield page
            except _HalveWindow:
                place.windows[:1] = self._split_window(place.windows[0])
                place.pager, place.already_written = None, 0
            except _RestartWindow:
                if restarted:
                    raise RetryLater(
                        "CURSOR_EXPIRED",
                        f"{self._where}: the registry asks twice to start the window again",
                    ) from None
                restarted, place.pager, place.already_written = True, None, 0
            except paging.WindowShrunk:
                moved += 1
                if moved > MAX_WINDOW_RESTARTS:
                    raise RetryLater(
                        "PAGES_MOVED",
                        f"{self._where}: records leave the window faster than it can be read",
                    ) from None
                place.pager, place.already_written = None, 0  # unchanged records are skipped
            else:
                return

    def _split_window(self, window: TimeWindow) -> list[TimeWindow]:
        if window.since is None:
            raise StreamHalted(
                "WINDOW_TOO_SMALL",
                f"{self._where}: too many results, and the window has no start; set cursor.start",
            )
        half = (window.until - window.since) / 2
        if half < self._cursor.smallest:
            raise StreamHalted(
                "WINDOW_TOO_SMALL",
                f"{self._where}: too many results even within {window.until - window.since}",
            )
        middle = (window.since + half).replace(microsecond=0)
        return [TimeWindow(window.since, middle), TimeWindow(middle, window.until)]

    async def _read_window_pages(
        self, iterations: list[LoopIteration], place: ReadPosition
    ) -> AsyncIterator[RecordPage]:
        turn, window = iterations[place.iteration_index], place.windows[0]
        already_written, digest = place.already_written, place.digest
        steps = self._pager(window)(place.pager)
        ask = next(steps)
        while True:
            answered = await self._ask(ask, turn, window)
            if answered.outcome == "halve_window":
                raise _HalveWindow
            if answered.outcome == "restart_window":
                raise _RestartWindow
            if self._checker is not None:
                self._checker.check(answered.reading)
            items = [] if ask.probe else self._select_items(answered, turn)
            before, after = self._feed, self._feed_position_after(items)
            self._feed = after
            following = self._next_page_request(steps, answered, items)
            if not ask.probe:
                place.pager, place.already_written, place.digest = ask.state, 0, answered.digest
                raws = await self._to_raw_records(items, answered, turn)
                if already_written and digest == answered.digest:
                    raws, place.already_written = (
                        islice(raws, already_written, None),
                        already_written,
                    )
                already_written = 0
                for part, final in split_reply(raws):
                    place.already_written += len(part)
                    position = self._position_after_page(place, following) if final else place
                    last = (
                        final
                        and following is None
                        and len(place.windows) == 1
                        and place.iteration_index == len(iterations) - 1
                    )
                    yield self._page(
                        part,
                        position.encode(len(iterations), after if final else before),
                        last=last,
                        resumed=place.resumed,
                    )
            answered.close()
            if following is None:
                return
            ask = following

    def _select_items(self, answered: RequestResult, turn: LoopIteration) -> list[SelectedNode]:
        items = [
            item
            for document in answered.reading.documents
            for item in self._selector.items(document, turn.context)
        ]
        if self._stream.paging.atom and self._feed:
            known = [
                number
                for number, item in enumerate(items)
                if self._selector.position(item) == self._feed
            ]
            items = items[known[-1] + 1 :] if known else items
        if len(items) + streamed_count(answered) > self._max_records:
            raise StreamHalted(
                "LIMIT_RECORDS",
                f"{self._where}: more than {self._max_records} records in one reply",
            )
        return items

    def _feed_position_after(self, items: list[SelectedNode]) -> str:
        if self._cursor.feed is None or not items:
            return self._feed
        return self._selector.position(items[-1]) or self._feed

    def _next_page_request(
        self, steps: paging.PageSteps, answered: RequestResult, items: list[SelectedNode]
    ) -> paging.PageRequest | None:
        documents = answered.reading.documents
        if not documents:
            return None

        def content() -> str:
            state = hashlib.sha256()
            for item in items:
                state.update(self._selector.body(item))
            for document in documents:
                if document.streamed_records is not None:
                    state.update(document.streamed_records.digest().encode())
            return state.hexdigest()

        seen = paging.PageReply(
            documents[0].root,
            answered.url,
            len(items) + streamed_count(answered),
            content,
            answered.links,
        )
        try:
            return steps.send(seen)
        except StopIteration:
            return None

    @staticmethod
    def _position_after_page(
        place: ReadPosition, following: paging.PageRequest | None
    ) -> ReadPosition:
        """Return where a restart resumes after everything up to here is durable."""
        if following is not None:
            return replace(
                place, windows=list(place.windows), pager=following.state, already_written=0
            )
        if len(place.windows) > 1:
            return replace(place, windows=place.windows[1:], pager=None, already_written=0)
        return replace(
            place,
            iteration_index=place.iteration_index + 1,
            windows=[],
            pager=None,
            already_written=0,
        )

    def _page(
        self, raws: list[RawRecord], position: str, *, last: bool, resumed: bool
    ) -> RecordPage:
        if last:
            position = json.dumps({"feed": self._feed}) if self._feed else ""
        watermark = max(
            (raw.changed_at for raw in raws if raw.changed_at is not None), default=None
        )
        complete = last and self._cursor.scan and self._cursor.complete and not resumed
        return RecordPage(tuple(raws), position, last, watermark, complete)

    async def _ask(
        self, ask: paging.PageRequest, turn: LoopIteration, window: TimeWindow
    ) -> RequestResult:
        values = {
            **self._first_cursor_value,
            **turn.values,
            **self._time_values(window),
            **ask.variables,
        }
        if self._cursor.feed and "cursor" not in ask.variables and self._feed:
            values["cursor"] = self._feed
        more: dict[str, Any] = {
            "base": turn.base,
            "line": turn.connection,
            "separator": turn.separator,
        }
        if self._stream.export is not None:
            return await run_export(
                self._stream.export, self._dialogue, values, self._stream.decode, more
            )
        if self._stream.request is None:
            raise AssertionError
        following = (
            self._stream.paging.cursor
            and "cursor" in ask.variables
            and self._stream.paging.cursor.request
        )
        return await self._dialogue.send(
            following or self._stream.request,
            values,
            decode_steps=self._stream.decode,
            url=ask.url,
            **more,
        )

    def _time_values(self, window: TimeWindow) -> dict[str, Any]:
        zone = ZoneInfo(self._cursor.zone)
        since = window.since
        if since is not None and not self._cursor.inclusive:
            since -= timedelta(seconds=1)
        return {
            "since": since and since.astimezone(zone),
            "until": window.until.astimezone(zone),
            "now": self._client.now().astimezone(zone),
        }

    async def _to_raw_records(
        self, items: list[SelectedNode], answered: RequestResult, turn: LoopIteration
    ) -> Iterator[RawRecord]:
        """Return an iterator over the records of a reply. Streamed records are parsed lazily."""
        if answered.reading.context:
            items = [
                replace(item, context={**item.context, **answered.reading.context})
                for item in items
            ]
        if self._stream.expand is not None:
            items = await self._expander.fetch_details(items, turn)
        if self._stream.join:
            items = await join_records(self._stream.join, items, answered, self._dialogue, turn)
        whole = (item for item in items)
        pieces = (
            item
            for document in answered.reading.documents
            for item in self._selector.streamed_items(document, turn.context)
        )
        return (raw for item in chain(whole, pieces) for raw in self._selector.to_raw_records(item))

    def _pager(self, window: TimeWindow) -> paging.Pager:
        if self._cursor.feed and self._stream.paging.none:
            return paging.ChangeFeed(lambda: self._feed)
        feed = self._feed if self._cursor.feed else ""
        return build_pager(
            self._stream.paging,
            self._dialogue.expressions,
            self._payload_kind_of(),
            window.since,
            feed,
        )

    def _payload_kind_of(self) -> Callable[[Any], str]:
        table = any(
            step == "csv" or getattr(step, "csv", None) is not None for step in self._stream.decode
        )
        return lambda root: "xml" if hasattr(root, "iterchildren") else "csv" if table else "json"


class _HalveWindow(Exception):
    """The registry requires a smaller window."""


class _RestartWindow(Exception):
    """The registry no longer accepts the paging position."""
