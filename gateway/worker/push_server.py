"""Receive the messages of registries that push records.

Each worker process opens one port for all push connectors. It forwards messages for connectors that
another worker owns. A message is acknowledged after its records and their digests are committed in
one Kafka transaction, as for a polled page. A repeated message with the same content changes
nothing, so a caller may repeat a message that was not acknowledged.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog
from aiohttp import web

from gateway.config.connector import Connector
from gateway.errors import Unavailable
from gateway.fetch.http.lease import Lease, UnlimitedLease
from gateway.fetch.push_admission import PushAdmission
from gateway.fetch.push_receiver import PushReceiver, ignore_expectation
from gateway.fetch.secrets import Secrets
from gateway.observability.bounded_port import BoundedSite, build_runner
from gateway.records import RawRecord
from gateway.settings import Settings
from gateway.worker.push_forwarding import FORWARDED_HEADER, STATUS_NOT_OWNER, PeerForwarder
from gateway.worker.push_streams import PushConnector
from gateway.worker.push_tls import PushTls, read_authorities

log = structlog.get_logger()


@dataclass(slots=True)
class PushServer:
    """The HTTP server for push messages of one worker process.

    ``lease`` shows whether this worker still owns its connectors. ``socket_folder`` is the folder
    with the sockets of several processes under one parent. All these processes listen on the same
    port. Each also listens on its own socket, at which the other processes reach it.
    """

    settings: Settings
    lease: Lease = field(default_factory=UnlimitedLease)
    socket_folder: Path | None = None
    may_serve_later: Callable[[], bool] = lambda: False
    """Whether a connector is not loaded, so that an unknown path may be the path of it."""
    url: str = ""
    _all_receivers: dict[str, PushReceiver] = field(default_factory=dict)
    """The push connectors of the configuration, by path, regardless of their owner."""
    _owned_receivers: dict[str, PushReceiver] = field(default_factory=dict)
    _admission: PushAdmission = field(default_factory=PushAdmission)
    _runner: web.AppRunner | None = None

    async def start(self, connectors: Iterable[Connector], secrets: Secrets) -> None:
        """Listen for the push connectors among ``connectors``.

        The port is closed if there are none. May be called again with other connectors. Raises
        :class:`~gateway.errors.Unavailable` if the port cannot be opened.
        """
        self._all_receivers = {
            connector.push.path: PushReceiver(
                connector, secrets, _reject_store, admission=self._admission
            )
            for connector in connectors
            if connector.push is not None
        }
        if self._all_receivers:
            await self._listen()
        else:
            await self.close()

    async def serve_connector(
        self, connector: Connector, secrets: Secrets, push_connector: PushConnector
    ) -> None:
        """Receive messages for a connector until cancelled.

        Raises :class:`~gateway.errors.Unavailable` if another connector uses the same path.
        """
        receiver = PushReceiver(connector, secrets, push_connector.store, admission=self._admission)
        path = receiver.push_config.path
        if path in self._owned_receivers:
            raise Unavailable(
                f"{connector.connector}: another connector already receives at {path}; "
                "give each connector its own push.path"
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
        if receiver is not None and self.lease.is_valid:
            return await receiver.handle(request)
        receiver = receiver or self._all_receivers.get(request.path)
        if receiver is None:
            # A registry may give up after 404, but it sends the message again after 503.
            return web.Response(status=503 if self.may_serve_later() else 404)
        if request.headers.get(FORWARDED_HEADER) == "sibling":
            return web.Response(status=STATUS_NOT_OWNER)
        return await self._forward(request, receiver)

    async def _forward(self, request: web.Request, receiver: PushReceiver) -> web.Response:
        """Return the answer of the owner, or ``busy``.

        A call with a client certificate is forwarded on this machine only, because the owner cannot
        verify a certificate that another machine has seen.
        """
        peers = self._peers()
        if receiver.push_config.client_certificate is not None:
            peers = replace(peers, addresses=())

        async def forward(request: web.Request, body: bytes) -> web.Response:
            answer = await peers.forward(request, body)
            return answer or self._no_owner_response(request, receiver)

        return await receiver.answer_with(request, forward)

    @staticmethod
    def _no_owner_response(request: web.Request, receiver: PushReceiver) -> web.Response:
        if FORWARDED_HEADER in request.headers:
            return web.Response(status=STATUS_NOT_OWNER)
        return receiver.busy_response()

    def _read_authorities(self) -> tuple[bytes, ...]:
        return read_authorities({**self._all_receivers, **self._owned_receivers}.values())

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
        tls = None
        if self.settings.receive_cert_file:
            tls = PushTls(self.settings, self._read_authorities)
            tls.context()
        app = web.Application()
        app.router.add_post("/{path:.*}", self._handle, expect_handler=ignore_expectation)
        runner = self._runner = build_runner(app, auto_decompress=False)
        await runner.setup()
        try:
            await BoundedSite(
                runner,
                self.settings.receive_host,
                self.settings.receive_port,
                port_name="push",
                tls=tls.context if tls else None,
                reuse_port=bool(self.socket_folder) or None,
            ).start()
            host, port = runner.addresses[0][:2]
            if self._socket:
                await web.UnixSite(runner, self._socket).start()
        except OSError as error:
            await self.close()
            address = f"{self.settings.receive_host}:{self.settings.receive_port}"
            raise Unavailable(
                f"cannot receive on {address}: {error.strerror}; set GATEWAY_RECEIVE_PORT"
            ) from None
        self.url = f"{'https' if tls else 'http'}://{host}:{port}"
        log.info("receiving port open", url=self.url)

    async def close(self) -> None:
        """Close the port."""
        runner, self._runner = self._runner, None
        self.url = ""
        if runner is not None:
            await runner.cleanup()


async def _reject_store(_raws: Sequence[RawRecord]) -> None:
    raise AssertionError  # pragma: no cover - only the owner of a connector stores records
