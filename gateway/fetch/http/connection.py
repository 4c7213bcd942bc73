"""Define who receives credentials: the connections of a registry and of its institutions.

Each institution has a connection of its own. It holds the credentials, the client certificate, the
cookies and the origins of this institution, and nothing of another one.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from urllib.parse import urlsplit

from gateway.fetch.http.auth import Auth, NoAuth
from gateway.fetch.http.circuit_breaker import WHOLE_REGISTRY, BreakerScope


@dataclass(frozen=True, slots=True)
class Origins:
    """The origins to which the requests of one connection may go.

    Those in ``own`` receive credentials and cookies. Those in ``further`` receive neither.
    """

    own: frozenset[str] = frozenset()
    further: frozenset[str] = frozenset()

    @property
    def all(self) -> frozenset[str]:
        """All origins that may be called."""
        return self.own | self.further

    def __contains__(self, url: str) -> bool:
        """Return whether a URL may be called."""
        return origin(url) in self.all

    def receive_credentials(self, url: str) -> bool:
        """Return whether a request to a URL may carry credentials."""
        return origin(url) in self.own


@dataclass(frozen=True, slots=True)
class Connection:
    """The credentials and the TLS context for one party, and the side of the registry it concerns.

    A registry has several connections when its institutions or loop values fail independently.
    ``plain_tls`` has the same trusted authorities as ``tls``, and no client certificate.
    """

    auth: Auth = field(default_factory=NoAuth)
    tls: ssl.SSLContext | None = None
    scope: BreakerScope = WHOLE_REGISTRY
    origins: Origins | None = None
    """``None`` means the origins of the client."""
    plain_tls: ssl.SSLContext | None = None
    cookies: CookieJar = field(default_factory=CookieJar, compare=False, repr=False)
    """The cookies of this party alone."""


def origin(url: str) -> str:
    """Return the scheme, the host and the port of a URL, normalised for comparison."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return f"{parts.scheme}://{bracketed((parts.hostname or '').lower())}:{port}"


def bracketed(host: str) -> str:
    """Return a host in the form of a URL, where an IPv6 address has brackets."""
    return f"[{host}]" if ":" in host else host
