"""Registries that call us: one door per worker process, open for all push connectors; what another worker owns is passed on to it.

A message is acknowledged after its records and their digests are in one committed Kafka transaction, as a polled page is. A second
message with the same content changes nothing, so a caller may repeat what it was not told about.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from aiohttp import web

from gateway.config.connector import Connector
from gateway.errors import StreamHalted, Unavailable
from gateway.fetch.http.lease import Lease, UnlimitedLease
from gateway.fetch.push_receiver import PushReceiver
from gateway.fetch.secrets import Secrets
from gateway.records import RawRecord
from gateway.settings import Settings
from gateway.worker.push_forwarding import FORWARDED_HEADER, STATUS_NOT_OWNER, PeerForwarder
from gateway.worker.push_streams import PushConnector

log = structlog.get_logger()


@dataclass(slots=True)
class PushServer:
    """The HTTP server callers reach, in every worker that polls: it answers for what it owns, and passes on the rest.

    ``tenure`` says whether this worker still owns what it was given. With ``beside``, the folder of a parent's sockets, all its
    processes listen on the same port, and each on a socket of its own too, where the others reach it.
    """

    settings: Settings
    tenure: Lease = field(default_factory=UnlimitedLease)
    socket_folder: Path | None = None
    url: str = ""
    _all_receivers: dict[str, PushReceiver] = field(default_factory=dict)
    """By path: the push connectors of the configuration, whoever owns them."""
    _owned_receivers: dict[str, PushReceiver] = field(default_factory=dict)
    _runner: web.AppRunner | None = None

    async def start(self, connectors: Iterable[Connector], secrets: Secrets) -> None:
        """Listen for all push connectors among these; where there are none, nothing listens. May be called again with others."""
        self._all_receivers = {
            one.push.path: PushReceiver(one, secrets, _reject_store)
            for one in connectors
            if one.push is not None
        }
        if self._all_receivers:
            await self._listen()
        else:
            await self.close()

    async def serve_connector(
        self, connector: Connector, secrets: Secrets, inbox: PushConnector
    ) -> None:
        """Receive for a connector until cancelled."""
        receiver = PushReceiver(connector, secrets, inbox.store)
        path = receiver.push_config.path
        if path in self._owned_receivers:
            raise Unavailable(
                f"{connector.connector}: another connector already receives at {path}; give each its own push.path"
            )
        self._owned_receivers[path] = receiver
        try:
            await self._listen()
            log.info("receiving", connector=connector.connector, path=path)
            await asyncio.Event().wait()
        finally:
            del self._owned_receivers[path]
            if not self._owned_receivers and not self._all_receivers:
                await self.close()

    async def _handle(self, request: web.Request) -> web.Response:
        receiver = self._owned_receivers.get(request.path)
        if receiver is not None and self.tenure.is_valid:
            return await receiver.handle(request)
        receiver = receiver or self._all_receivers.get(request.path)
        if receiver is None:
            return web.Response(status=404)
        if request.headers.get(FORWARDED_HEADER) == "sibling":
            return web.Response(status=STATUS_NOT_OWNER)
        return await self._forward(request, receiver)

    async def _forward(self, request: web.Request, receiver: PushReceiver) -> web.Response:
        """Return what the owner answers, else ``busy``. A certificate cannot be passed on: only the owner can take such a call."""
        if receiver.push_config.client_certificate is None:
            try:
                async with asyncio.timeout(receiver.push_config.limits.timeout.total_seconds()):
                    body = await receiver.body(request)
            except (TimeoutError, ConnectionError, StreamHalted):
                return receiver.refused_response("LIMIT_BYTES")
            if answer := await self._peers().forward(request, body):
                return answer
        if FORWARDED_HEADER in request.headers:
            return web.Response(status=STATUS_NOT_OWNER)
        return receiver.busy_response()

    def _peers(self) -> PeerForwarder:
        addresses = tuple(filter(None, map(str.strip, self.settings.receive_peers.split(","))))
        return PeerForwarder(
            addresses, self.socket_folder, self._socket.name if self._socket else ""
        )

    @property
    def _socket(self) -> Path | None:
        return self.socket_folder / f"push-{os.getpid()}.sock" if self.socket_folder else None

    async def _listen(self) -> None:
        if self._runner is not None:
            return
        app = web.Application()
        app.router.add_post("/{path:.*}", self._handle)
        runner = self._runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(
                runner,
                self.settings.receive_host,
                self.settings.receive_port,
                reuse_port=bool(self.socket_folder) or None,
            ).start()
            host, port = runner.addresses[0][:2]
            if self._socket:
                await web.UnixSite(runner, self._socket).start()
        except OSError as error:
            await self.close()
            where = f"{self.settings.receive_host}:{self.settings.receive_port}"
            raise Unavailable(
                f"cannot receive on {where}: {error.strerror}; set GATEWAY_RECEIVE_PORT"
            ) from None
        self.url = f"http://{host}:{port}"
        log.info("receiving port open", url=self.url)

    async def close(self) -> None:
        """Close the port."""
        runner, self._runner = self._runner, None
        self.url = ""
        if runner is not None:
            await runner.cleanup()


async def _reject_store(_raws: Sequence[RawRecord]) -> None:
    raise AssertionError  # pragma: no cover - who does not own a connector stores nothing
