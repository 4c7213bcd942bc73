"""Provide the common base of all local registries.

Each registry is a server on the loopback interface. It keeps a ledger of the records that it
served. It can misbehave on request, and it offers these controls.

::

    GET  /_control                   Return the streams and the counts of served records.
    GET  /_control/ledger?stream=…   Return all records in well-formed replies, in order.
    GET  /_control/arrivals          Return the monotonic time of each request in seconds, in order.
    POST /_control/add       {stream, count}
    POST /_control/change    {stream, count | id}
    POST /_control/delete    {stream, count | id}
    POST /_control/misbehave {kind, times, stream, skip, seconds, status}
    POST /_control/behave
"""

from __future__ import annotations

import dataclasses
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from gateway.errors import Unavailable
from gateway.local.registries.misbehaviour import (
    HANDLED_BY_SERVICE,
    SERVES_NOTHING,
    Kind,
    Misbehaviour,
    respond,
)
from gateway.local.registries.record_store import RecordStore, ServedRecord, StoredEntry, digest

BIG_REQUEST = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class ServedPage:
    """The contents of one page, and what the registry says about the pages."""

    contents: list[bytes]
    pages: int
    has_more: bool


class Registry(ABC):
    """A registry on the loopback interface.

    It is an asynchronous context manager. ``url`` is set when the registry has started.
    """

    def __init__(self, stocks: dict[str, RecordStore]) -> None:
        self.stocks = stocks
        self.url = ""
        self.ledger: list[ServedRecord] = []
        self.requests: Counter[str] = Counter()
        self.arrivals: list[float] = []
        self._troubles: list[Misbehaviour] = []
        self._runner: web.AppRunner | None = None

    # --- controls
    def add(self, stream: str, count: int = 1) -> list[str]:
        """Add records with the present time of change, and return their identifiers."""
        return self._stock(stream).add(count)

    def change(self, stream: str, *, id: str | None = None, count: int = 1) -> list[str]:  # noqa: A002
        """Change one named record, or the ``count`` records with the oldest change."""
        return self._stock(stream).change(id=id, count=count)

    def delete(self, stream: str, *, id: str | None = None, count: int = 1) -> list[str]:  # noqa: A002
        """Delete one named record, or the ``count`` records with the oldest change."""
        return self._stock(stream).delete(id=id, count=count)

    def misbehave(self, kind: Kind, **details: Any) -> Misbehaviour:
        """Start a misbehaviour. ``details`` are the fields of :class:`Misbehaviour`."""
        self._troubles.append(trouble := Misbehaviour(kind, **details))
        return trouble

    def stop_misbehaving(self) -> None:
        """End all misbehaviours."""
        self._troubles.clear()

    @property
    def record_count(self) -> int:
        """The number of records in all streams, without deleted ones."""
        return sum(map(len, self.stocks.values()))

    def current_digests(self, stream: str) -> dict[str, str]:
        """Return the digest of each current record by identifier.

        A client that has caught up must have exactly these records.
        """
        stock = self._stock(stream)
        return {
            stock.name(entry.number): digest(self.content(stream, entry))
            for entry in stock
            if not entry.deleted
        }

    # --- content
    @abstractmethod
    def content(self, stream: str, entry: StoredEntry) -> bytes:
        """Return the bytes of one record exactly as a reply contains them."""

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the registry itself, without the controls."""

    def serve_records(
        self, stream: str, entries: list[StoredEntry], trouble: Misbehaviour | None
    ) -> list[bytes]:
        """Return the contents of a reply.

        The method also adds them to the ledger, unless ``trouble`` prevents their arrival.
        """
        name = self._stock(stream).name
        contents = [self.content(stream, entry) for entry in entries]
        if trouble is not None and (
            trouble.kind not in HANDLED_BY_SERVICE or trouble.kind in SERVES_NOTHING
        ):
            return contents
        self.ledger.extend(
            ServedRecord(
                stream, name(entry.number), entry.version, "" if entry.deleted else digest(content)
            )
            for entry, content in zip(entries, contents, strict=True)
        )
        return contents

    def serve_page(
        self,
        stream: str,
        entries: list[StoredEntry],
        page: int,
        size: int,
        trouble: Misbehaviour | None,
    ) -> ServedPage:
        """Return the requested page of ``entries``, or the wrong page that ``trouble`` describes.

        Pages begin at 1. The method also adds the contents to the ledger.
        """
        if trouble and trouble.kind == "shrunk_list":
            entries = entries[: len(entries) // 3]
        if trouble and trouble.kind == "capped_page":
            size = min(size, max(1, size // 2))
        pages = max(1, -(-len(entries) // size))
        shown_page, has_more = page, page < pages
        match trouble.kind if trouble else "":
            case "repeated_page":
                shown_page = max(1, page - 1)
            case "loop":
                shown_page, has_more = (page - 1) % pages + 1, True
            case "last_page_again":
                shown_page, has_more = min(page, pages), True
            case "empty_page":
                shown_page, has_more = pages + 1, True
        shown = entries[(shown_page - 1) * size : shown_page * size]
        return ServedPage(self.serve_records(stream, shown, trouble), pages, has_more)

    def next_misbehaviour(self, stream: str) -> Misbehaviour | None:
        """Count a request, and return the misbehaviour that applies to it, or ``None``."""
        self.requests[stream] += 1
        self.arrivals.append(time.monotonic())
        return next((trouble for trouble in self._troubles if trouble.applies_to(stream)), None)

    async def reply(
        self, request: web.Request, trouble: Misbehaviour | None, good: web.Response
    ) -> web.StreamResponse:
        """Send the prepared reply, or the faulty reply that ``trouble`` describes."""
        return (
            good
            if trouble is None or trouble.kind in HANDLED_BY_SERVICE
            else await respond(trouble, request, good)
        )

    # --- start and stop
    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Self:
        """Start to listen. Port 0 selects a free port.

        Raise ``Unavailable`` when the registry cannot listen on the address.
        """
        app = web.Application(client_max_size=BIG_REQUEST)
        app.add_routes([*self.routes(), *self._controls()])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise Unavailable(
                f"a demo registry cannot listen on {host}:{port}: {error.strerror}; "
                "choose another port"
            ) from error
        self.url = f"http://{host}:{self._runner.addresses[0][1]}"
        return self

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        return self if self._runner is not None else await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _stock(self, stream: str) -> RecordStore:
        if stream not in self.stocks:
            raise KeyError(f"no stream {stream!r}; expected one of {', '.join(self.stocks)}")
        return self.stocks[stream]

    def _controls(self) -> list[web.RouteDef]:
        return [
            web.get("/_control", self._state),
            web.get("/_control/ledger", self._ledger),
            web.get("/_control/arrivals", self._request_log),
            web.post("/_control/{what}", self._control),
        ]

    async def _state(self, _: web.Request) -> web.Response:
        served = Counter(entry.stream for entry in self.ledger)
        return web.json_response(
            {
                "streams": {
                    name: {
                        "records": len(stock),
                        "served": served[name],
                        "requests": self.requests[name],
                    }
                    for name, stock in self.stocks.items()
                },
                "troubles": [dataclasses.asdict(trouble) for trouble in self._troubles],
            }
        )

    async def _ledger(self, request: web.Request) -> web.Response:
        stream = request.query.get("stream")
        return web.json_response(
            [dataclasses.asdict(entry) for entry in self.ledger if stream in (None, entry.stream)]
        )

    async def _request_log(self, _: web.Request) -> web.Response:
        return web.json_response(self.arrivals)

    async def _control(self, request: web.Request) -> web.Response:
        arguments = await request.json() if request.can_read_body else {}
        controls: dict[str, Callable[..., Any]] = {
            "add": self.add,
            "change": self.change,
            "delete": self.delete,
            "misbehave": lambda **details: dataclasses.asdict(self.misbehave(**details)),
            "behave": self.stop_misbehaving,
        }
        control = controls.get(request.match_info["what"])
        if control is None:
            return web.json_response(
                {"error": f"no such control; expected one of {', '.join(controls)}"}, status=404
            )
        try:
            return web.json_response(control(**arguments))
        except (KeyError, TypeError, ValueError) as error:
            return web.json_response(
                {"error": str(error.args[0] if error.args else error)}, status=400
            )
