"""Registries that call us: one door per worker process, open for the push connectors that this worker owns.

A message is acknowledged after its records and their digests are in one committed Kafka transaction, as a polled page is. A second
message with the same content changes nothing, so a caller may repeat what it was not told about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from aiohttp import web

from gateway.errors import Unavailable
from gateway.fetch.push import Receiver
from gateway.fetch.secrets import Secrets
from gateway.harmonise.subjects import Subjects
from gateway.keys import SUPPRESSION, keys_of
from gateway.language.connector import Connector
from gateway.poll import changes, split
from gateway.publish.ledger import Ledger
from gateway.records import Raw
from gateway.settings import Settings
from gateway.watch import metrics, tracing

log = structlog.get_logger()


@dataclass(slots=True)
class Inbox:
    """Makes the records of one push connector durable. :meth:`store` is what a :class:`~gateway.fetch.push.Receiver` is given."""

    settings: Settings
    connector: Connector
    _ledgers: dict[str, Ledger] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def store(self, raws: Sequence[Raw]) -> None:
        """Return once every record is committed; raises when one is not, and then the caller sends the message again."""
        async with self._turn:
            for name in dict.fromkeys(raw.stream for raw in raws):
                with tracing.polling(self.connector.connector, name):
                    await self._write(name, [raw for raw in raws if raw.stream == name])

    async def _write(self, stream: str, raws: list[Raw]) -> None:
        ledger = self._ledgers.setdefault(stream, Ledger(self.settings, self.connector.connector, stream, self._subjects()))
        await ledger.open()
        entries, unchanged = changes(raws, ledger.known)
        for part in split(entries):
            await ledger.write(part, None)
        metrics.RECEIVED.labels(self.connector.connector, stream).inc(len(raws))
        if unchanged:
            metrics.RECORDS.labels(self.connector.connector, stream, "unchanged").inc(unchanged)

    def _subjects(self) -> Subjects:
        return Subjects(self.connector, keys_of(self.settings).of(SUPPRESSION))

    async def close(self) -> None:
        """Let go of the producers."""
        for ledger in self._ledgers.values():
            await ledger.close()


@dataclass(slots=True)
class Door:
    """The HTTP server callers reach. It listens while at least one connector is open; other paths answer 404."""

    settings: Settings
    url: str = ""
    _receivers: dict[str, Receiver] = field(default_factory=dict)
    _runner: web.AppRunner | None = None

    async def serve(self, connector: Connector, secrets: Secrets) -> None:
        """Receive for a connector until cancelled."""
        inbox = Inbox(self.settings, connector)
        receiver = Receiver(connector, secrets, inbox.store)
        path = receiver.rule.path
        if path in self._receivers:
            raise Unavailable(f"{connector.connector}: another connector already receives at {path}; give each its own push.path")
        self._receivers[path] = receiver
        try:
            await self._listen()
            log.info("receiving", connector=connector.connector, path=path)
            await asyncio.Event().wait()
        finally:
            del self._receivers[path]
            if not self._receivers:
                await self._close()
            await inbox.close()

    async def _handle(self, request: web.Request) -> web.Response:
        receiver = self._receivers.get(request.path)
        return await receiver.handle(request) if receiver else web.Response(status=404)

    async def _listen(self) -> None:
        if self._runner is not None:
            return
        app = web.Application()
        app.router.add_post("/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.settings.receive_host, self.settings.receive_port)
        try:
            await site.start()
        except OSError as error:
            where = f"{self.settings.receive_host}:{self.settings.receive_port}"
            raise Unavailable(f"cannot receive on {where}: {error.strerror}; set GATEWAY_RECEIVE_PORT") from None
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def _close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
