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

FORWARDED = "X-Gateway-Forwarded"
"""Who passed a call on: a ``peer``, then another process under the same parent may still be asked, or such a ``sibling``."""
NOT_HERE = 421
"""Misdirected Request: the connector is polled elsewhere."""
ANSWER_SECONDS = 40.0
"""Longer than an owner may take to store a message."""
CONNECT_SECONDS = 2.0
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "expect", FORWARDED.lower()})


@dataclass(frozen=True, slots=True)
class Peers:
    """The other workers: by address, where a name stands for all its addresses, and by socket, under the same parent."""

    addresses: tuple[str, ...] = ()
    sockets: Path | None = None
    """A folder that holds the sockets ``push-*.sock`` of all processes of one parent."""
    own: str = ""
    """The name of our own socket there."""

    async def ask(self, request: web.Request, body: bytes) -> web.Response | None:
        """Return the owner's answer, or ``None`` when no worker that can be reached owns the connector."""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OURS}
        for where in self._siblings():
            if answer := await _send("http://process", request, headers | {FORWARDED: "sibling"}, body, where):
                return answer
        for address in () if FORWARDED in request.headers else self.addresses:
            for url in await _each(address):
                if answer := await _send(url, request, headers | {FORWARDED: "peer"}, body):
                    return answer
        return None

    def _siblings(self) -> Iterable[Path]:
        return sorted(one for one in self.sockets.glob("push-*.sock") if one.name != self.own) if self.sockets else ()


async def _send(url: str, request: web.Request, headers: Mapping[str, str], body: bytes, where: Path | None = None) -> web.Response | None:
    connector = aiohttp.UnixConnector(str(where)) if where else aiohttp.TCPConnector(force_close=True)
    limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS, connect=CONNECT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit, auto_decompress=False) as session,
            session.request(request.method, f"{url}{request.path_qs}", headers=headers, data=body, allow_redirects=False) as reply,
        ):
            if reply.status == NOT_HERE:
                return None
            kept = {name: value for name, value in reply.headers.items() if name.lower() not in _OURS | {"date", "server"}}
            return web.Response(status=reply.status, body=await reply.read(), headers=kept)
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None  # it may be gone, or about to say who owns the connector; the caller repeats what was not acknowledged


async def _each(address: str) -> list[str]:
    """Return one URL for each address that a name stands for: a headless service names every pod."""
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)
    if parts.scheme == "https":
        return [address.rstrip("/")]  # a certificate is for a name
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return []
    names = sorted({str(one[4][0]) for one in found})
    return [f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}" for name in names]
