"""Keep the HTTP connections of each institution apart from those of the others."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

MAX_IDLE_CLIENTS = 32
"""More clients than this are kept only while they send requests."""

ClientKey = tuple[ssl.SSLContext | None, str]
"""The TLS context of a client and the institution that it serves."""


class ClientPool:
    """The HTTP clients of one registry: one for each institution and TLS context.

    ``open_client`` creates a client. A client that was not used for long is closed when there are
    many.
    """

    def __init__(self, open_client: Callable[[ssl.SSLContext | None], httpx2.AsyncClient]) -> None:
        self._open_client = open_client
        self._clients: OrderedDict[ClientKey, httpx2.AsyncClient] = OrderedDict()
        self._users: dict[ClientKey, int] = {}

    @asynccontextmanager
    async def client(self, key: ClientKey) -> AsyncIterator[httpx2.AsyncClient]:
        """Provide the client of one institution until the end of the block."""
        if key not in self._clients:
            self._clients[key] = self._open_client(key[0])
        self._clients.move_to_end(key)
        self._users[key] = self._users.get(key, 0) + 1
        try:
            yield self._clients[key]
        finally:
            self._users[key] -= 1
            await self._close_idle()

    async def aclose(self) -> None:
        """Close all clients."""
        clients, self._clients = list(self._clients.values()), OrderedDict()
        for client in clients:
            await client.aclose()

    async def _close_idle(self) -> None:
        if len(self._clients) <= MAX_IDLE_CLIENTS:
            return
        key = next((key for key in self._clients if not self._users[key]), None)
        if key is not None:
            await self._clients.pop(key).aclose()
            self._users.pop(key, None)


def no_cookies() -> CookieJar:
    """Return a jar that accepts nothing, for a client that several requests share."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))
