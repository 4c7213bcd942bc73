"""Open an HTTP port so that strangers cannot use up the file descriptors of the process.

A port has few connections. When a new one arrives at a full port, the connection that has waited
longest for a request is closed. Each part of a call has a time: the TLS handshake, the head, the
reply, and the wait for the next call. The handler itself bounds the time of the body.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.observability import metrics

HEAD_SECONDS = 10.0
"""For the TLS handshake, and for a head from its first byte to its last."""
IDLE_SECONDS = 75.0
"""Between two calls on one connection. Prometheus calls every 15 to 60 seconds."""
REPLY_SECONDS = 20.0
LINGER_SECONDS = 2.0
"""The gateway reads and drops the rest of a body that it did not want, so that the caller sees the
reply."""
MAX_CONNECTIONS = 256
MAX_HEADERS = 64
"""A head takes at most this number times 8 kB, and each waiting connection may hold one."""
DESCRIPTOR_SHARE = 4
"""A port takes at most this part of the file descriptors of the process."""
_VERSIONS = (aiohttp.HttpVersion10, aiohttp.HttpVersion11)
_ACCEPT_BATCH = 32
"""The event loop opens that many connections before it closes the ones that are too many."""
_BACKLOG = 512


class _ProtocolErrors(logging.Filter):
    """Drop the records about calls that are not HTTP. Their callers get status 400."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is about an error of the gateway."""
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


_logger = logging.getLogger("gateway.http_port")
_logger.addFilter(_ProtocolErrors())


def build_runner(app: web.Application, **options: Any) -> web.AppRunner:
    """Return a runner for the sites of a bounded port."""
    app.middlewares.insert(0, _mark_phases)
    return web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        logger=_logger,
        keepalive_timeout=IDLE_SECONDS,
        lingering_time=LINGER_SECONDS,
        max_headers=MAX_HEADERS,
        **options,
    )


def max_connections() -> int:
    """Return how many connections a port may have."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft < 0 else max(8, min(MAX_CONNECTIONS, soft // DESCRIPTOR_SHARE))


class BoundedSite(web.BaseSite):
    """A TCP port of a runner of :func:`build_runner`.

    ``port_name`` is the label of its metrics. ``tls`` returns the context of a new connection.
    """

    def __init__(
        self,
        runner: web.AppRunner,
        host: str,
        port: int,
        *,
        port_name: str,
        tls: Callable[[], ssl.SSLContext] | None = None,
        reuse_port: bool | None = None,
    ) -> None:
        super().__init__(runner)
        self._host, self._port, self._reuse_port = host, port, reuse_port
        self._connections = _Connections(port_name, max_connections())
        self._tls = tls

    @property
    def name(self) -> str:
        """The address that was asked for."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}"

    async def start(self) -> None:
        """Open the port. Raises :class:`OSError` if that is not possible."""
        await super().start()
        server = await asyncio.get_running_loop().create_server(
            self._build_connection,
            self._host,
            self._port,
            backlog=_ACCEPT_BATCH,
            reuse_port=self._reuse_port,
        )
        self._server = server
        for listening in server.sockets:
            with socket.fromfd(listening.fileno(), listening.family, listening.type) as duplicate:
                duplicate.listen(_BACKLOG)

    def _build_connection(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None  # noqa: S101 - BaseSite refuses a runner without one
        return _Connection(self._connections, server(), self._tls() if self._tls else None)


class _Connections:
    """The open connections of one port."""

    def __init__(self, port_name: str, limit: int) -> None:
        self._port_name, self._limit = port_name, limit
        self._open: set[_Connection] = set()
        self._waiting: dict[_Connection, None] = {}
        """The connections without a call in progress, in the order in which they began to wait."""

    def add(self, connection: _Connection) -> bool:
        """Return whether there is room, after the oldest waiting connection has given way."""
        if len(self._open) >= self._limit:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                self.count("full")
                return False
            oldest.drop("full")
        self._open.add(connection)
        self._waiting[connection] = None
        return True

    def remove(self, connection: _Connection) -> None:
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def set_waiting(self, connection: _Connection, *, waiting: bool) -> None:
        self._waiting.pop(connection, None)
        if waiting and connection in self._open:
            self._waiting[connection] = None

    def count(self, reason: str) -> None:
        metrics.CONNECTIONS_DROPPED.labels(self._port_name, reason).inc()


class _Connection(asyncio.Protocol):
    """One connection: counts it, limits its times, and passes everything to aiohttp."""

    def __init__(
        self,
        connections: _Connections,
        handler: web.RequestHandler,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._connections, self._handler, self._tls = connections, handler, tls
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._is_idle = False
        self._is_connected = False
        """Whether aiohttp knows the connection. During a TLS handshake it does not."""
        self._early_data = b""

    # --- phases

    def begin_call(self) -> None:
        """Stop the time of the head, because it is complete. The handler bounds the rest."""
        self._is_idle = False
        self._connections.set_waiting(self, waiting=False)
        self._set_timer(None)

    def begin_reply(self) -> None:
        """Start the time of the reply. The next call may follow."""
        self._is_idle = True
        self._connections.set_waiting(self, waiting=True)
        self._set_timer(REPLY_SECONDS)

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = None if seconds is None else loop.call_later(seconds, self._on_timeout)

    def _on_timeout(self) -> None:
        if self._is_idle and self._transport and not self._transport.get_write_buffer_size():
            self._timer = None  # The reply is sent. aiohttp closes idle connections.
            return
        self.drop("slow")

    def drop(self, reason: str) -> None:
        """Close the connection at once, without the bytes that are not sent yet."""
        self._connections.count(reason)
        self._forget()
        if self._transport is not None:
            self._transport.abort()

    def _forget(self) -> None:
        self._connections.remove(self)
        self._set_timer(None)

    # --- the protocol of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._connections.add(self):
            self._transport.abort()
            return
        self._set_timer(HEAD_SECONDS)
        if self._tls is None:
            self._connect_handler()
        else:
            self._handshake = asyncio.create_task(self._shake_hands(self._tls))

    def _connect_handler(self) -> None:
        assert self._transport is not None  # noqa: S101 - connection_made has set it
        self._is_connected = True
        self._handler.connection_made(self._transport)

    async def _shake_hands(self, tls: ssl.SSLContext) -> None:
        plain = self._transport
        assert plain is not None  # noqa: S101 - connection_made has set it
        loop = asyncio.get_running_loop()
        try:
            encrypted = await loop.start_tls(
                plain, self, tls, server_side=True, ssl_handshake_timeout=HEAD_SECONDS
            )
        except OSError:
            encrypted = None  # No TLS, or no certificate that the port accepts.
        if encrypted is None or encrypted.is_closing():
            self._forget()
            plain.abort()
            return
        self._transport = encrypted
        self._connect_handler()
        if self._early_data:
            self._handler.data_received(self._early_data)
            self._early_data = b""

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        if self._is_connected:
            self._handler.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._is_connected:
            self._early_data += data
            return
        if self._is_idle:
            self._is_idle = False
            self._set_timer(HEAD_SECONDS)
        self._handler.data_received(data)

    def eof_received(self) -> None:
        if self._is_connected:
            self._handler.eof_received()

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()


def _wrong_version() -> web.Response:
    """Refuse a call of another version, whose rules of framing differ."""
    reply = web.Response(status=505, text="call this port with HTTP/1.1 or HTTP/1.0\n")
    reply.force_close()
    return reply


@web.middleware
async def _mark_phases(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Tell the connection when a call begins and when its reply is ready."""
    connection = request.transport.get_protocol() if request.transport else None
    if not isinstance(connection, _Connection):
        return await handler(request)
    connection.begin_call()
    try:
        if request.version not in _VERSIONS:
            return _wrong_version()
        return await handler(request)
    finally:
        connection.begin_reply()
