"""Keep the HTTP connections of each institution apart from those of the others."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from gateway.certificates.renewal import current_context

MAX_IDLE_CLIENTS = 32
"""More clients than this are kept only while they send requests."""

ClientKey = tuple[ssl.SSLContext | None, str]
"""The TLS context of a client and the institution that it serves."""


@dataclass(slots=True, eq=False)
class _PooledClient:
    """A client, the context of its connections, and the number of requests that use it."""

    client: httpx2.AsyncClient
    context: ssl.SSLContext | None
    users: int = 0


class ClientPool:
    """The HTTP clients of one registry: one for each institution and TLS context.

    ``open_client`` creates a client. A client that was not used for long is closed when there are
    many. A renewed certificate needs a new client, and the earlier one is closed after its last
    request.
    """

    def __init__(self, open_client: Callable[[ssl.SSLContext | None], httpx2.AsyncClient]) -> None:
        self._open_client = open_client
        self._clients: OrderedDict[ClientKey, _PooledClient] = OrderedDict()
        self._replaced: set[_PooledClient] = set()

    @asynccontextmanager
    async def client(self, key: ClientKey) -> AsyncIterator[httpx2.AsyncClient]:
        """Provide the client of one institution until the end of the block."""
        context = current_context(key[0])
        pooled = self._clients.get(key)
        if pooled is None or pooled.context is not context:
            if pooled is not None:
                self._replaced.add(pooled)
            pooled = self._clients[key] = _PooledClient(self._open_client(context), context)
        self._clients.move_to_end(key)
        pooled.users += 1
        try:
            yield pooled.client
        finally:
            pooled.users -= 1
            await self._close_idle()

    async def aclose(self) -> None:
        """Close all clients."""
        clients = [*self._clients.values(), *self._replaced]
        self._clients, self._replaced = OrderedDict(), set()
        for pooled in clients:
            await pooled.client.aclose()

    async def _close_idle(self) -> None:
        for pooled in [pooled for pooled in self._replaced if not pooled.users]:
            self._replaced.discard(pooled)
            await pooled.client.aclose()
        if len(self._clients) <= MAX_IDLE_CLIENTS:
            return
        key = next((key for key, pooled in self._clients.items() if not pooled.users), None)
        if key is not None:
            await self._clients.pop(key).client.aclose()


def no_cookies() -> CookieJar:
    """Return a jar that accepts nothing, for a client that several requests share."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))
