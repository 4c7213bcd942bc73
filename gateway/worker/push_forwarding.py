"""A call that reached a worker which does not own its connector goes on to the one that does.

Any worker may be called: a load balancer knows nothing of ownership. Whoever is not the owner asks the others, which say 421 when they
are not the owner either, and passes on the owner's answer. Where none owns the connector at this moment, because it is moving, the
caller is told ``busy`` in its own form, with ``Retry-After``. Credentials are checked by the owner, as if it had been called itself.
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
"""Who passed a call on: a ``peer``, then another process under the same parent may still be asked, or such a ``sibling``."""
STATUS_NOT_OWNER = 421
"""Misdirected Request: the connector is polled elsewhere."""
RESPONSE_TIMEOUT_SECONDS = 40.0
"""Longer than an owner may take to store a message."""
CONNECT_TIMEOUT_SECONDS = 2.0
_HOP_BY_HOP_HEADERS = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "expect",
        FORWARDED_HEADER.lower(),
    }
)


@dataclass(frozen=True, slots=True)
class PeerForwarder:
    """The other workers: by address, where a name stands for all its addresses, and by socket, under the same parent."""

    addresses: tuple[str, ...] = ()
    sockets: Path | None = None
    """A folder that holds the sockets ``push-*.sock`` of all processes of one parent."""
    own_socket_name: str = ""
    """The name of our own socket there."""

    async def forward(self, request: web.Request, body: bytes) -> web.Response | None:
        """Return the owner's answer, or ``None`` when no worker that can be reached owns the connector."""
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
                one for one in self.sockets.glob("push-*.sock") if one.name != self.own_socket_name
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
            kept = {
                name: value
                for name, value in reply.headers.items()
                if name.lower() not in _HOP_BY_HOP_HEADERS | {"date", "server"}
            }
            return web.Response(status=reply.status, body=await reply.read(), headers=kept)
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None  # it may be gone, or about to say who owns the connector; the caller repeats what was not acknowledged


async def _resolve_addresses(address: str) -> list[str]:
    """Return one URL for each address that a name stands for: a headless service names every pod."""
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)
    if parts.scheme == "https":
        return [address.rstrip("/")]  # a certificate is for a name
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
    except (OSError, TimeoutError):
        return []
    names = sorted({str(one[4][0]) for one in found})
    return [f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}" for name in names]
