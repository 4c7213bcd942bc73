"""What all stand-in registries share: a loopback server, a ledger, misbehaviour on request, and controls under ``/_control``.

::

    GET  /_control                                what is there, what was served
    GET  /_control/ledger?stream=…                every record of every well-formed reply, in order
    GET  /_control/arrivals                       when each request arrived, in seconds of a steady clock, in order
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


class Registry(ABC):
    """A registry on loopback. An asynchronous context manager; ``url`` is known once it is started."""

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
        """Add records now; returns their identifiers."""
        return self._stock(stream).add(count)

    def change(self, stream: str, *, id: str | None = None, count: int = 1) -> list[str]:  # noqa: A002
        """Change one named record, or the ``count`` left alone longest."""
        return self._stock(stream).change(id=id, count=count)

    def delete(self, stream: str, *, id: str | None = None, count: int = 1) -> list[str]:  # noqa: A002
        """Delete one named record, or the ``count`` left alone longest."""
        return self._stock(stream).delete(id=id, count=count)

    def misbehave(self, kind: Kind, **details: Any) -> Misbehaviour:
        """Misbehave as :class:`Trouble` describes."""
        self._troubles.append(trouble := Misbehaviour(kind, **details))
        return trouble

    def stop_misbehaving(self) -> None:
        """Answer well from now on."""
        self._troubles.clear()

    @property
    def record_count(self) -> int:
        """How many records stand now, in all streams."""
        return sum(map(len, self.stocks.values()))

    def current_digests(self, stream: str) -> dict[str, str]:
        """Give the digest of every record that stands now, by identifier: what a reader that has caught up must know."""
        stock = self._stock(stream)
        return {
            stock.name(entry.number): digest(self.content(stream, entry))
            for entry in stock
            if not entry.deleted
        }

    # --- what a registry is made of
    @abstractmethod
    def content(self, stream: str, entry: StoredEntry) -> bytes:
        """Give one record exactly as it stands in a reply."""

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """Give the registry's own routes."""

    def serve_records(
        self, stream: str, entries: list[StoredEntry], trouble: Misbehaviour | None
    ) -> list[bytes]:
        """Give the contents of a reply, and enter them in the ledger unless trouble will keep them from arriving."""
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

    def next_misbehaviour(self, stream: str) -> Misbehaviour | None:
        """Give the misbehaviour that strikes this request, if any."""
        self.requests[stream] += 1
        self.arrivals.append(time.monotonic())
        return next((trouble for trouble in self._troubles if trouble.applies_to(stream)), None)

    async def reply(
        self, request: web.Request, trouble: Misbehaviour | None, good: web.Response
    ) -> web.StreamResponse:
        """Send what was prepared, or what the trouble makes of it."""
        return (
            good
            if trouble is None or trouble.kind in HANDLED_BY_SERVICE
            else await respond(trouble, request, good)
        )

    # --- life
    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Self:
        """Listen; port 0 takes a free one."""
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
                f"a stand-in registry cannot listen on {host}:{port}: {error.strerror}; choose another port"
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
        words = await request.json() if request.can_read_body else {}
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
            return web.json_response(control(**words))
        except (KeyError, TypeError, ValueError) as error:
            return web.json_response(
                {"error": str(error.args[0] if error.args else error)}, status=400
            )
