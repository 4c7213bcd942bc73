"""Refuse connections to addresses that are no registry's, after the name was resolved.

A name of the DNS may lead to the metadata service of a cloud, and it may lead elsewhere a moment
later. The guard therefore judges the addresses of a name before it connects. It judges the address
of the finished connection again, before the first byte is sent.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import httpcore2
import httpx2

from gateway.config.hosts import NEVER_CALLED, HostKind, address_kind, host_kind


class AddressRefused(httpcore2.ConnectError):
    """The host of a request leads to an address that the gateway never calls."""

    def __init__(self, kind: HostKind) -> None:
        super().__init__(f"the host leads to an address that is {kind}")
        self.kind = kind


class GuardedNetwork(httpcore2.AsyncNetworkBackend):
    """A network backend that connects only to addresses a registry may have."""

    def __init__(self, network: httpcore2.AsyncNetworkBackend) -> None:
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of the library
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to a host, and raise :class:`AddressRefused` for an address of another kind."""
        _judge(host_kind(host))
        for address in await _addresses(host, port):
            _judge(_kind_of(address))
        stream = await self._network.connect_tcp(host, port, timeout, local_address, socket_options)
        peer = stream.get_extra_info("server_addr")
        try:
            _judge(_kind_of(peer[0]) if peer else HostKind.INVALID)
        except AddressRefused:
            await stream.aclose()
            raise
        return stream

    async def sleep(self, seconds: float) -> None:
        """Wait between two attempts."""
        await self._network.sleep(seconds)


def guarded_transport(**options: Any) -> httpx2.AsyncHTTPTransport:
    """Return the transport of an HTTP client whose connections pass the guard."""
    transport = httpx2.AsyncHTTPTransport(**options)
    pool = transport._pool  # noqa: SLF001 - the library has no option for the network
    pool._network_backend = GuardedNetwork(pool._network_backend)  # noqa: SLF001
    return transport


def refused_kind(error: BaseException) -> HostKind | None:
    """Return the kind of the address because of which a request was refused, or ``None``."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, AddressRefused):
        cause = cause.__cause__ or cause.__context__
    return cause.kind if cause else None


def address_words(kind: HostKind) -> str:
    """Return a kind of address in words."""
    return "the metadata service of a cloud" if kind is HostKind.METADATA else str(kind)


async def _addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a name, and none for a host that does not resolve."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        pass
    else:
        return []
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []  # The library reports it.
    return [str(address[0]) for *_, address in found]


def _kind_of(address: str) -> HostKind:
    try:
        return address_kind(ip_address(address.partition("%")[0]))
    except ValueError:
        return HostKind.INVALID


def _judge(kind: HostKind) -> None:
    if kind in NEVER_CALLED:
        raise AddressRefused(kind)
