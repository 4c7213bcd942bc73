"""Check the addresses in a connector file: where they may lead, and how they are written."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

from gateway.config.hosts import NEVER_CALLED, HostKind, host_kind, is_plain_spelling

_KIND_WORDS = {HostKind.METADATA: "the metadata service of a cloud"}
NO_LINK_HOST = (
    "'{}' is no host; write its name alone, such as files.office.example, "
    "or https://files.office.example:8443"
)
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")


def validate_registry_url(url: str) -> str:
    """Return the URL, or raise an error when it is not safe for personal data and passwords.

    The host must be the one that a reader of the file sees. A URL that crosses a network needs
    https. Loopback needs none, because it leads to a simulated registry or a local proxy.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(
            "the address has no valid host and port; write it like https://registry.example/api"
        ) from None
    _refuse_user(parts)
    if port == 0:
        raise ValueError("port 0 cannot be called; write 1 to 65535, or leave it out")
    validate_registry_host(host)
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(
            "http is not encrypted; write https, "
            "or reach the registry through a proxy on this machine (http://127.0.0.1)"
        )
    return url


def validate_iri(iri: str) -> str:
    """Return an IRI that the gateway publishes, or raise an error when it holds a password."""
    _refuse_user(urlsplit(iri.replace("{id}", "1")))
    return iri


def _refuse_user(parts: SplitResult) -> None:
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "an address must not hold a user or a password; use auth with {secret: NAME}"
        )


def validate_registry_host(host: str) -> None:
    """Raise ``ValueError`` for a host that is no registry's, or whose spelling is not plain."""
    kind = host_kind(host)
    if kind in NEVER_CALLED - {HostKind.INVALID}:
        raise ValueError(
            f"this host is not a registry's, because its address is {_KIND_WORDS.get(kind, kind)}; "
            "write the registry's own"
        )
    if _parse_ip_address(host) is None and not _HOST.fullmatch(host):
        raise ValueError(
            "the host is not a plain name; write it in letters a-z, digits and hyphens, "
            "and an international name in its xn-- form"
        )
    if not is_plain_spelling(host):
        raise ValueError(
            "the host is a number that programs read in different ways; write its name, "
            "or its address in the usual form, such as 192.0.2.7"
        )


def validate_link_host(host: str) -> str:
    """Return an entry under ``hosts``, or raise an error when the gateway must not call it.

    ``gateway check`` also demands https and refuses a path.
    """
    url = host if "://" in host else f"https://{host}"
    try:
        parts = urlsplit(url)
        name, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(NO_LINK_HOST.format(host)) from None
    _refuse_user(parts)
    has_blank = re.search(r"\s", host) is not None
    is_web = parts.scheme in {"https", "http"}
    if has_blank or not is_web or not name or "*" in name or port == 0:
        raise ValueError(NO_LINK_HOST.format(host))
    validate_registry_host(name)
    return host


def is_loopback(host: str) -> bool:
    """Return whether a host name is this machine, so that no network can read the requests."""
    address = _parse_ip_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _parse_ip_address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
