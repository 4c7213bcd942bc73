"""A fuzz target: the addresses in connector files and in replies."""

from __future__ import annotations

import contextlib
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx2
from pydantic import TypeAdapter

from gateway.config.addresses import (
    is_loopback,
    validate_iri,
    validate_link_host,
)
from gateway.config.hosts import NEVER_CALLED, HostKind, address_kind, host_kind
from gateway.config.types import HttpUrl
from gateway.errors import StreamError
from gateway.fetch.http.connection import origin
from gateway.fetch.paging.links import join_link, link
from gateway.fetch.safe_links import host_origin, safe_url
from tests.support.fuzz_budget import within_budget

_URL: TypeAdapter[str] = TypeAdapter(HttpUrl)
PAGE = "https://registry.example/api/awards?page=1"
ALLOWED = frozenset(map(origin, (PAGE, "https://files.example:8443", "http://127.0.0.1:80")))


@within_budget
def addresses(data: bytes) -> None:
    """Read a text as an address of a file and as a link of a reply.

    No accepted address may lead elsewhere than the file allows, as the HTTP client reads it.
    """
    text = data.decode("utf-8", "replace")
    _host(text)
    with contextlib.suppress(ValueError):
        validate_iri(text)
    with contextlib.suppress(ValueError):
        _registry_url(_URL.validate_python(text))
    with contextlib.suppress(ValueError):
        origin_of_host = host_origin(validate_link_host(text), PAGE)
        assert origin_of_host.startswith("https://") or is_loopback(
            urlsplit(origin_of_host).hostname or ""
        )
    _link(text)
    found = link([text], "next")
    if found is not None:
        _link(found)


def _host(text: str) -> None:
    """A host that the resolver of the machine reads as a number is never taken for a name."""
    kind = host_kind(text)
    with contextlib.suppress(OSError, ValueError):
        address = ip_address(socket.inet_aton(text))
        assert kind is not HostKind.NAME, text
        if address_kind(address) in NEVER_CALLED:
            assert kind in NEVER_CALLED, (text, kind)


def _registry_url(url: str) -> None:
    parts = urlsplit(url)
    assert parts.scheme in {"http", "https"}, url
    assert host_kind(parts.hostname or "") not in NEVER_CALLED, url
    assert parts.scheme == "https" or is_loopback(parts.hostname or ""), url
    with contextlib.suppress(httpx2.InvalidURL):
        assert host_kind(httpx2.URL(url).host) not in NEVER_CALLED, url


def _link(text: str) -> None:
    for keep in (None, "query", "path"):
        try:
            called = safe_url(join_link(PAGE, text, keep), ALLOWED, PAGE, "x")  # type: ignore[arg-type]
        except StreamError as error:
            assert error.reason in {"CURSOR_FOREIGN", "URL_INVALID"}
            continue
        with contextlib.suppress(httpx2.InvalidURL):
            sent = httpx2.URL(called)
            port = sent.port or {"https": 443, "http": 80}[sent.scheme]
            assert f"{sent.scheme}://{sent.host}:{port}" in ALLOWED, (text, called)
            assert not sent.userinfo, called


SEEDS = [
    text.encode()
    for text in (
        *("https://registry.example/api", "http://127.0.0.1:80/a", "registry.example", "127.1"),
        *(
            "2852039166",
            "0xa9.254.43518",
            "[::ffff:169.254.169.254]",
            "169.254.169.254.",
            "0251.0376.1",
        ),
        *(
            "https://registry.example:443/a?b=c#d",
            "//files.example:8443/x",
            "?page=2",
            "../awards/2;a=b",
        ),
        *(
            "https://user:p@registry.example/",
            "https://registry.example\\@evil.example/",
            "https://\u212aey.example/",
        ),
        *(
            "http://registry.example/api",
            "http://[fe80::1%25eth0]/",
            "https://xn--mller-kva.example.",
            "localhost",
        ),
        *(
            '<?page=2>; rel="next"',
            '<https://evil.example/>; rel=next, <https://registry.example/>; rel="last next"',
        ),
        *(
            "https://1.1.1.1@169.254.169.254/",
            "http://0/",
            "https://\uff11\uff16\uff19.254.169.254/",
            "urn:a:{id}",
        ),
    )
]
WORDS = [
    *(
        "https://",
        "http://",
        "registry.example",
        "files.example:8443",
        "169.254.169.254",
        "127.0.0.1",
        "//",
        "@",
    ),
    *(
        ":443",
        ":0",
        "%2e",
        "%40",
        "[::",
        "]",
        "\\\\",
        "#",
        "\\x09",
        "0x",
        "\\xe3\\x80\\x82",
        "xn--",
        "; rel=next",
        "<",
        ">",
    ),
]
