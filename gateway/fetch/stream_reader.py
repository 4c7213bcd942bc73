"""Read one stream of one registry: loops → windows → pages → records.

Nothing is remembered here: a page carries the position from which a restart goes on, and that position is only the caller's once the
page is durable.
"""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gateway.config.connector import Connector, Push, Stream
from gateway.config.expressions.compiler import SelectError
from gateway.config.requests import Cursor
from gateway.errors import GatewayError, Halt, RetryLater
from gateway.fetch import paging
from gateway.fetch.decode.schema_check import Checker
from gateway.fetch.detail_requests import Expander
from gateway.fetch.export import exported
from gateway.fetch.join import joined
from gateway.fetch.loops import Subjects, Turn, turns
from gateway.fetch.pager_factory import cut_place, pager_of
from gateway.fetch.record_selector import Expressions, Item, Selector
from gateway.fetch.registry_client import Client
from gateway.fetch.request_runner import Answered, Dialogue
from gateway.records import Raw

PAGE_RECORDS = 1_000
MOST_MOVES = 5
"""How often one reading of a window is begun again because records left it meanwhile."""
_SCAN = Cursor(scan=True)


@dataclass(frozen=True, slots=True)
class Window:
    """The time a poll asks about: ``since`` (``None``: from the beginning) up to ``until``."""

    since: datetime | None
    until: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Records to be made durable together.

    ``position`` is where a restart goes on inside the window, blank after the last page, except for a change feed: there the last
    page carries the place the next poll starts from. ``watermark`` is the newest change on the page. ``complete`` closes a full scan:
    what was not seen in it is gone.
    """

    raws: tuple[Raw, ...]
    position: str
    last: bool
    watermark: datetime | None = None
    complete: bool = False


async def pages(
    connector: Connector,
    stream_name: str,
    window: Window,
    client: Client,
    *,
    position: str | None = None,
    subjects: Subjects | None = None,
) -> AsyncIterator[Page]:
    """Give the pages of a stream for a window, from ``position`` on.

    Raises :class:`~gateway.errors.RetryLater` or :class:`~gateway.errors.Halt`; what was given before stays valid. ``subjects`` are the
    values of outer loops whose source the gateway itself keeps.
    """
    try:
        reader = _StreamReader(connector, stream_name, client)
        async for page in reader.read(window, _decoded(position), subjects):
            yield page
    except GatewayError:
        raise
    except SelectError as error:
        raise Halt("EXPRESSION", f"{connector.connector}.{stream_name}: {error}; its replies changed, or the file is wrong") from None
    except Exception as error:  # noqa: BLE001 - a reply nobody foresaw stops its stream, never the worker; its text may hold a payload
        raise Halt("UNEXPECTED", f"{connector.connector}.{stream_name}: {_where(error)}; please report it") from None


def _where(error: Exception) -> str:
    """Return what went wrong and where, without the error's text."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = next((frame for frame in reversed(frames) if "gateway" in frame.filename), frames[-1])
    return f"{type(error).__name__} in {Path(ours.filename).name}:{ours.lineno}"


def _decoded(position: str | None) -> dict[str, Any]:
    try:
        found = json.loads(position) if position else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Halt("CURSOR_INVALID", "the stored position was not written by this release; run the release that wrote it")
    return found


@dataclass(slots=True)
class _Place:
    """Where the reading stands, as written into positions."""

    turn: int = 0
    windows: list[Window] = field(default_factory=list)
    pager: paging.State | None = None
    skip: int = 0
    digest: str = ""
    resumed: bool = False

    def encode(self, count: int, feed: str) -> str:
        state = {
            "turn": self.turn,
            "turns": count,
            "windows": [[w.since and w.since.isoformat(), w.until.isoformat()] for w in self.windows],
            "pager": self.pager,
            "skip": self.skip,
            "digest": self.digest if self.skip else "",
            "feed": feed,
        }
        return json.dumps({key: value for key, value in state.items() if value}, separators=(",", ":"))

    @classmethod
    def decode(cls, state: Mapping[str, Any], count: int, window: Window) -> _Place:
        if not state or int(state.get("turns", 0)) != count:
            return cls(windows=[window])
        windows = [Window(datetime.fromisoformat(s) if s else None, datetime.fromisoformat(u)) for s, u in state.get("windows", ())]
        return cls(int(state.get("turn", 0)), windows or [window], state.get("pager"), int(state.get("skip", 0)), state.get("digest", ""))


class _StreamReader:
    def __init__(self, connector: Connector, name: str, client: Client) -> None:
        self._connector = connector
        self._stream: Stream = connector.streams[name]
        self._cursor = self._stream.cursor or _SCAN
        self._client = client
        block = connector.protocol
        expressions = Expressions(block.namespaces)
        where = f"{connector.connector}.{name}"
        self._where = where
        self._dialogue = Dialogue(connector, client, expressions, where, client.now, cut_place(connector, self._stream))
        self._selector = Selector(connector.connector, name, self._stream, expressions, client.secrets)
        self._expander = Expander(self._stream, self._dialogue, self._selector)
        self._max_records = block.limits.max_records
        self._push = isinstance(block, Push)
        self._feed = ""
        begun = self._cursor.feed or self._stream.paging.cursor
        self._first = {"cursor": begun.first} if begun and begun.first is not None else {}
        rule = self._stream.schema_
        self._checker = Checker(rule, Path(connector.folder), connector.connector, name) if rule and rule.mode != "off" else None

    async def read(self, window: Window, state: Mapping[str, Any], subjects: Subjects | None) -> AsyncIterator[Page]:
        if self._push:
            raise Halt("PROTOCOL", f"{self._where}: this registry calls us; it is not polled")
        self._feed = str(state.get("feed", ""))
        every = await turns(self._stream, self._dialogue, self._client, subjects, self._of_stream)
        if not every:
            yield Page((), "", last=True)  # nobody to ask for: nothing was seen, so nothing is gone either
            return
        place = _Place.decode(state, len(every), window)
        place.resumed = (place.turn, place.pager, place.skip) != (0, None, 0)
        while place.turn < len(every):
            while place.windows:
                async for page in self._window(every, place):
                    yield page
                place.windows.pop(0)
                place.pager, place.skip = None, 0
            place.turn += 1
            place.windows = [window]

    async def _of_stream(self, name: str) -> list[Raw]:
        """Read another stream of the same connector now, because its records are what a loop goes over."""
        cursor = self._connector.streams[name].cursor or _SCAN
        window = Window(cursor.start_at, self._client.now())
        reader = _StreamReader(self._connector, name, self._client)
        return [raw async for page in reader.read(window, {}, None) for raw in page.raws if raw.body is not None]

    async def _window(self, every: list[Turn], place: _Place) -> AsyncIterator[Page]:
        """Read the first of the place's windows, halving it as often as the registry asks."""
        restarted, moved = False, 0
        while True:
            try:
                async for page in self._pages(every, place):
                    yield page
            except _Halve:
                place.windows[:1] = self._halves(place.windows[0])
                place.pager, place.skip = None, 0
            except _Restart:
                if restarted:
                    raise RetryLater("CURSOR_EXPIRED", f"{self._where}: the registry asks twice to start the window again") from None
                restarted, place.pager, place.skip = True, None, 0
            except paging.Moved:
                moved += 1
                if moved > MOST_MOVES:
                    raise RetryLater("PAGES_MOVED", f"{self._where}: records leave the window faster than it can be read") from None
                place.pager, place.skip = None, 0  # what was read already is unchanged
            else:
                return

    def _halves(self, window: Window) -> list[Window]:
        if window.since is None:
            raise Halt("WINDOW_TOO_SMALL", f"{self._where}: too many results, and there is no start to halve from; set cursor.start")
        half = (window.until - window.since) / 2
        if half < self._cursor.smallest:
            raise Halt("WINDOW_TOO_SMALL", f"{self._where}: too many results even within {window.until - window.since}")
        middle = (window.since + half).replace(microsecond=0)
        return [Window(window.since, middle), Window(middle, window.until)]

    async def _pages(self, every: list[Turn], place: _Place) -> AsyncIterator[Page]:
        turn, window = every[place.turn], place.windows[0]
        skip, digest = place.skip, place.digest
        steps = self._pager(window)(place.pager)
        ask = next(steps)
        while True:
            answered = await self._ask(ask, turn, window)
            if answered.outcome == "halve_window":
                raise _Halve
            if answered.outcome == "restart_window":
                raise _Restart
            if self._checker is not None:
                self._checker.check(answered.reading)
            items = [] if ask.probe else self._items(answered, turn)
            before, after = self._feed, self._feed_after(items)
            self._feed = after
            following = self._following(steps, answered, items)
            if not ask.probe:
                place.pager, place.skip, place.digest = ask.state, 0, answered.digest
                raws = await self._raws(items, answered, turn)
                if skip and digest == answered.digest:
                    raws, place.skip = islice(raws, skip, None), skip
                skip = 0
                for part, final in _parts(raws):
                    place.skip += len(part)
                    position = self._onward(place, following) if final else place
                    last = final and following is None and len(place.windows) == 1 and place.turn == len(every) - 1
                    yield self._page(part, position.encode(len(every), after if final else before), last=last, resumed=place.resumed)
            answered.close()
            if following is None:
                return
            ask = following

    def _items(self, answered: Answered, turn: Turn) -> list[Item]:
        items = [item for document in answered.reading.documents for item in self._selector.items(document, turn.context)]
        if self._stream.paging.atom and self._feed:
            known = [number for number, item in enumerate(items) if self._selector.position(item) == self._feed]
            items = items[known[-1] + 1 :] if known else items
        if len(items) + _cut_count(answered) > self._max_records:
            raise Halt("LIMIT_RECORDS", f"{self._where}: more than {self._max_records} records in one reply")
        return items

    def _feed_after(self, items: list[Item]) -> str:
        if self._cursor.feed is None or not items:
            return self._feed
        return self._selector.position(items[-1]) or self._feed

    def _following(self, steps: paging.Steps, answered: Answered, items: list[Item]) -> paging.Ask | None:
        documents = answered.reading.documents
        if not documents:
            return None

        def content() -> str:
            state = hashlib.sha256()
            for item in items:
                state.update(self._selector.body(item))
            for document in documents:
                if document.cut is not None:
                    state.update(document.cut.digest().encode())
            return state.hexdigest()

        seen = paging.Seen(documents[0].root, answered.url, len(items) + _cut_count(answered), content, answered.links)
        try:
            return steps.send(seen)
        except StopIteration:
            return None

    @staticmethod
    def _onward(place: _Place, following: paging.Ask | None) -> _Place:
        """Return where a restart goes on once everything up to here is durable."""
        if following is not None:
            return replace(place, windows=list(place.windows), pager=following.state, skip=0)
        if len(place.windows) > 1:
            return replace(place, windows=place.windows[1:], pager=None, skip=0)
        return replace(place, turn=place.turn + 1, windows=[], pager=None, skip=0)

    def _page(self, raws: list[Raw], position: str, *, last: bool, resumed: bool) -> Page:
        if last:
            position = json.dumps({"feed": self._feed}) if self._feed else ""
        watermark = max((raw.changed_at for raw in raws if raw.changed_at is not None), default=None)
        complete = last and self._cursor.scan and self._cursor.complete and not resumed
        return Page(tuple(raws), position, last, watermark, complete)

    async def _ask(self, ask: paging.Ask, turn: Turn, window: Window) -> Answered:
        values = {**self._first, **turn.values, **self._times(window), **ask.variables}
        if self._cursor.feed and "cursor" not in ask.variables and self._feed:
            values["cursor"] = self._feed
        more: dict[str, Any] = {"base": turn.base, "line": turn.line, "separator": turn.separator}
        if self._stream.export is not None:
            return await exported(self._stream.export, self._dialogue, values, self._stream.decode, more)
        if self._stream.request is None:
            raise AssertionError
        following = self._stream.paging.cursor and "cursor" in ask.variables and self._stream.paging.cursor.request
        return await self._dialogue.ask(following or self._stream.request, values, chain=self._stream.decode, url=ask.url, **more)

    def _times(self, window: Window) -> dict[str, Any]:
        zone = ZoneInfo(self._cursor.zone)
        since = window.since
        if since is not None and not self._cursor.inclusive:
            since -= timedelta(seconds=1)
        return {
            "since": since and since.astimezone(zone),
            "until": window.until.astimezone(zone),
            "now": self._client.now().astimezone(zone),
        }

    async def _raws(self, items: list[Item], answered: Answered, turn: Turn) -> Iterator[Raw]:
        """Give the records of a reply; those of a document that was cut are only parsed when they are asked for."""
        if answered.reading.context:
            items = [replace(item, context={**item.context, **answered.reading.context}) for item in items]
        if self._stream.expand is not None:
            items = await self._expander.expanded(items, turn)
        if self._stream.join:
            items = await joined(self._stream.join, items, answered, self._dialogue, turn)
        whole = (item for item in items)
        pieces = (item for document in answered.reading.documents for item in self._selector.cut_items(document, turn.context))
        return (raw for item in chain(whole, pieces) for raw in self._selector.raws(item))

    def _pager(self, window: Window) -> paging.Pager:
        if self._cursor.feed and self._stream.paging.none:
            return paging.Changes(lambda: self._feed)
        feed = self._feed if self._cursor.feed else ""
        return pager_of(self._stream.paging, self._dialogue.expressions, self._kind(), window.since, feed)

    def _kind(self) -> Callable[[Any], str]:
        table = any(step == "csv" or getattr(step, "csv", None) is not None for step in self._stream.decode)
        return lambda root: "xml" if hasattr(root, "iterchildren") else "csv" if table else "json"


def _parts(raws: Iterator[Raw]) -> Iterator[tuple[list[Raw], bool]]:
    """Cut a long reply into pages of bounded size; the last one is marked, and there always is one."""
    part = list(islice(raws, PAGE_RECORDS))
    while True:
        following = list(islice(raws, PAGE_RECORDS)) if len(part) == PAGE_RECORDS else []
        yield part, not following
        if not following:
            return
        part = following


def _cut_count(answered: Answered) -> int:
    return sum(document.cut.count for document in answered.reading.documents if document.cut is not None)


class _Halve(Exception):
    """The registry asks for a smaller window."""


class _Restart(Exception):
    """The registry no longer knows the place we stood at."""
