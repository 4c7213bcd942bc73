"""Forward a push message to the worker that owns its connector.

A load balancer does not know which worker owns a connector, so a message may reach any worker. A
worker that is not the owner asks the other workers in turn. They answer 421 if they are not the
owner either. The first other answer is returned to the caller. While a connector moves, no worker
owns it. The caller then receives ``busy`` in the form of its connector, with ``Retry-After``. The
owner checks the credentials, as it does for messages that reach it directly.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

FORWARDED_HEADER = "X-Gateway-Forwarded"
"""The sender of a forwarded message: ``peer`` or ``sibling``. A message from a ``peer`` may be
forwarded again, to another process under the same parent."""
STATUS_NOT_OWNER = 421
"""Misdirected Request: this worker does not own the connector."""
RESPONSE_TIMEOUT_SECONDS = 40.0
"""Longer than the owner may need to store a message."""
CONNECT_TIMEOUT_SECONDS = 2.0
_HOP_BY_HOP_HEADERS = frozenset(
    {
        "host",
        "content-length",
        # The body is decompressed already.
        "content-encoding",
        "transfer-encoding",
        "connection",
        "expect",
        FORWARDED_HEADER.lower(),
    }
)


@dataclass(frozen=True, slots=True)
class PeerForwarder:
    """The other workers that may own a connector.

    ``addresses`` are URLs; a host name may have several addresses. ``sockets`` is the folder with
    the Unix sockets of the processes under the same parent.
    """

    addresses: tuple[str, ...] = ()
    sockets: Path | None = None
    """A folder with the sockets ``push-*.sock`` of all processes of one parent."""
    own_socket_name: str = ""
    """The file name of this process's own socket in ``sockets``."""

    async def forward(self, request: web.Request, body: bytes) -> web.Response | None:
        """Return the answer of the owner, or ``None`` if no reachable worker owns the connector."""
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _HOP_BY_HOP_HEADERS
        }
        for socket_path in self._sibling_sockets():
            if answer := await _forward_to(
                "http://process",
                request,
                headers | {FORWARDED_HEADER: "sibling"},
                body,
                socket_path,
            ):
                return answer
        for address in () if FORWARDED_HEADER in request.headers else self.addresses:
            for url in await _resolve_addresses(address):
                if answer := await _forward_to(
                    url, request, headers | {FORWARDED_HEADER: "peer"}, body
                ):
                    return answer
        return None

    def _sibling_sockets(self) -> Iterable[Path]:
        return (
            sorted(
                path
                for path in self.sockets.glob("push-*.sock")
                if path.name != self.own_socket_name
            )
            if self.sockets
            else ()
        )


async def _forward_to(
    url: str,
    request: web.Request,
    headers: Mapping[str, str],
    body: bytes,
    socket_path: Path | None = None,
) -> web.Response | None:
    connector = (
        aiohttp.UnixConnector(str(socket_path))
        if socket_path
        else aiohttp.TCPConnector(force_close=True)
    )
    limit = aiohttp.ClientTimeout(total=RESPONSE_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=limit, auto_decompress=False
            ) as session,
            session.request(
                request.method,
                f"{url}{request.path_qs}",
                headers=headers,
                data=body,
                allow_redirects=False,
            ) as reply,
        ):
            if reply.status == STATUS_NOT_OWNER:
                return None
            reply_headers = {
                name: value
                for name, value in reply.headers.items()
                if name.lower() not in _HOP_BY_HOP_HEADERS | {"date", "server"}
            }
            return web.Response(status=reply.status, body=await reply.read(), headers=reply_headers)
    except (aiohttp.ClientError, OSError, TimeoutError):
        # The worker may have stopped. The registry repeats a message that was not acknowledged.
        return None


async def _resolve_addresses(address: str) -> list[str]:
    """Return one URL for each address of a host name, for example for each pod of a service.

    An ``https`` address is returned unchanged, because its certificate is valid for the name.
    """
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)
    if parts.scheme == "https":
        return [address.rstrip("/")]
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            resolved = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
    except (OSError, TimeoutError):
        return []
    names = sorted({str(entry[4][0]) for entry in resolved})
    return [f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}" for name in names]
