"""Decide which addresses from replies the gateway calls, and with which scheme.

A link may lead only to an origin that the connector file names. The gateway never follows one over
plain HTTP to another machine, because it sends its credentials along.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, Never
from urllib.parse import SplitResult, urlsplit, urlunsplit

from gateway.config.addresses import is_loopback
from gateway.errors import StreamHalted
from gateway.fetch.http.connection import bracketed, origin

_DEFAULT_PORTS = {"https": 443, "http": 80}


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: int

    @property
    def has_default_port(self) -> bool:
        return self.port == _DEFAULT_PORTS.get(self.scheme, 0)

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.has_default_port else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


def host_origin(host: str, base: str) -> str:
    """Return the origin of an entry under ``hosts``: https, or http for this machine alone."""
    url = host if "://" in host else f"{urlsplit(base).scheme}://{host}"
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        port = f":{parts.port}" if parts.port not in {None, 80} else ""
        url = f"https://{bracketed(parts.hostname or '')}{port}"
    return origin(url)


def safe_url(url: str, allowed: Collection[str], base: str, where: str) -> str:
    """Return the address to call for a URL: its own, or the same over https.

    ``allowed`` are the origins that the connector names, and ``base`` is its address. ``where``
    begins the text of an error. Raise ``CURSOR_FOREIGN`` for any other origin, and ``URL_INVALID``
    for a text that is no address.
    """
    try:
        parts = urlsplit(url)
        is_plain = "@" not in parts.netloc and "\\" not in url
        if is_plain and origin(url) in allowed:
            return url.partition("#")[0]
        link = _Origin(
            parts.scheme,
            _ascii_host(parts.hostname or ""),
            parts.port or _DEFAULT_PORTS.get(parts.scheme, 0),
        )
    except (ValueError, UnicodeError):
        _refuse_form(where, "its host or port is not valid")
    if "\\" in url.partition("?")[0]:
        _refuse_form(where, "it contains a backslash")
    if f"{link.scheme}://{link.host}:{link.port}" in allowed:
        return _with_origin(parts, link)
    if link.scheme == "http":
        for text in allowed:
            candidate = _parse_origin(text)
            same_port = parts.port == candidate.port
            if (
                candidate.scheme == "https"
                and candidate.host == link.host
                and (same_port or (link.port, candidate.port) == (80, 443))
            ):
                return _with_origin(parts, candidate)
    raise _foreign(link, _parse_origin(origin(base)), where)


def _parse_origin(text: str) -> _Origin:
    scheme, _, rest = text.partition("://")
    host, _, port = rest.rpartition(":")
    return _Origin(scheme, host, int(port))


def _ascii_host(host: str) -> str:
    host = host.rstrip(".")
    return host if host.isascii() else host.encode("idna").decode()


def _with_origin(parts: SplitResult, target: _Origin) -> str:
    """Return a URL at an origin, without a user, a password and a fragment."""
    return urlunsplit((target.scheme, target.netloc, parts.path, parts.query, ""))


def _refuse_form(where: str, problem: str) -> Never:
    raise StreamHalted(
        "URL_INVALID",
        f"{where}: the link to the next reply cannot be called, because {problem}",
    ) from None


def _foreign(link: _Origin, base: _Origin, where: str) -> StreamHalted:
    differing = [name for name in ("scheme", "host") if getattr(link, name) != getattr(base, name)]
    if link.port != base.port and not (link.has_default_port and base.has_default_port):
        differing.append("port")
    differences = " and ".join(
        [", ".join(differing[:-1]), differing[-1]] if differing[1:] else differing
    )
    return StreamHalted(
        "CURSOR_FOREIGN",
        f"{where}: the next request would go to {link}, which is not one of this connector's "
        f"hosts. It differs from {base} in {differences}. "
        "If it is an inner name of the same registry, follow a part of its links only, such as "
        "`next_url: {from: next, keep: query}`. If it is another host of the registry that "
        "answers over https, add that host to `hosts`",
    )
