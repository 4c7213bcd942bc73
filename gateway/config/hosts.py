"""Judge where the host of an address leads, in every spelling that a resolver accepts.

``2852039166``, ``0xa9.254.43518``, ``[::ffff:169.254.169.254]`` and ``169.254.169.254.`` are one
address. A check that compares texts would miss most of them. This module asks no name server: the
caller judges the addresses of a name with :func:`address_kind` when it connects.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import unquote


class HostKind(StrEnum):
    """Where a host leads."""

    INVALID = "invalid"
    """Neither a name nor an address, or a number that programs read in different ways."""
    METADATA = "metadata"
    """The metadata service of a cloud, which gives credentials to every caller."""
    LINK_LOCAL = "link-local"
    UNSPECIFIED = "unspecified"
    MULTICAST = "multicast"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    PUBLIC = "public"
    NAME = "name"
    """A name of the DNS. Only its addresses tell where it leads."""


NEVER_CALLED = frozenset(
    {
        HostKind.INVALID,
        HostKind.METADATA,
        HostKind.LINK_LOCAL,
        HostKind.UNSPECIFIED,
        HostKind.MULTICAST,
    }
)
"""Kinds of hosts that are no registry's. The gateway sends nothing to them."""

_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "localhost6", "ip6-localhost"})
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "instance-data"})
_METADATA = frozenset(
    map(ip_address, ("169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254"))
)
_DANGER = list(HostKind)
"""The kinds, the most dangerous first. An address with several readings is the first of its kinds.
"""

_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_LONGEST_HOST = 253
_LONGEST_TEXT = 3 * _LONGEST_HOST
"""Each sign of a host may be percent-encoded."""
_IPV4_BITS = 32
_LABELS_OF_IPV4 = 4

_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_SHARED = IPv4Network("100.64.0.0/10")
_BROADCAST = IPv4Address("255.255.255.255")
_EMBEDDING = (
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # translated
    (IPv6Network("::/96"), 0),  # compatible
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("64:ff9b:1::/48"), 0),  # NAT64 with a prefix of 96 bits inside one network
    (IPv6Network("2002::/16"), 80),  # 6to4
)
"""IPv6 networks whose addresses hold an IPv4 address, and the bits behind it."""
_TEREDO = IPv6Network("2001::/32")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


def host_kind(host: str) -> HostKind:
    """Return where the host of a URL leads, without a name server.

    ``host`` may have brackets, a zone, a final dot, percent-encoding, capitals and wide digits.
    """
    text = _plain(host)
    if text is None:
        return HostKind.INVALID
    if ":" in text:
        try:
            return address_kind(IPv6Address(text.partition("%")[0]))
        except ValueError:
            return HostKind.INVALID
    if len(text) > _LONGEST_HOST or not _NAME.fullmatch(text):
        return HostKind.INVALID
    if text in _LOOPBACK_NAMES or text.endswith(".localhost"):
        return HostKind.LOOPBACK
    if text in _METADATA_NAMES:
        return HostKind.METADATA
    if not _NUMBER.fullmatch(text.rpartition(".")[2]):
        return HostKind.NAME
    kinds = {address_kind(address) for address in _ipv4_readings(text)}
    return min(kinds or {HostKind.INVALID}, key=_DANGER.index)


def address_kind(address: IPv4Address | IPv6Address) -> HostKind:
    """Return the kind of an address, such as one that a name server gave for a name.

    An IPv6 address that leads to an IPv4 address has the kind of that address.
    """
    if isinstance(address, IPv4Address):
        return _own_kind(address)
    address = IPv6Address(int(address))  # without a zone
    for network, bits_behind in _EMBEDDING:
        if address in network and int(address) > 1:  # ``::`` and ``::1`` hold none
            return _own_kind(IPv4Address(int(address) >> bits_behind & 0xFFFF_FFFF))
    kinds = {_own_kind(address), *map(_own_kind, _tunnelled(address))}
    return min(kinds, key=_DANGER.index)


def is_plain_spelling(host: str) -> bool:
    """Return whether every program reads the host alike: a plain name or a usual address.

    ``127.1`` and ``0300.1`` are addresses to some programs, and names or errors to others.
    """
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return host_kind(host) is HostKind.NAME or host.rstrip(".").lower() in _LOOPBACK_NAMES
    return "%" not in host


def _plain(host: str) -> str | None:
    """Return a host in small ASCII letters without brackets and final dot, or ``None``."""
    if len(host) > _LONGEST_TEXT:
        return None
    text = host
    while (decoded := unquote(text)) != text:
        text = decoded
    text = unicodedata.normalize("NFKC", text).casefold().replace("。", ".")
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if not text.isascii():
        try:
            text = text.encode("idna").decode()
        except UnicodeError:
            return None
    return text.removesuffix(".")


def _ipv4_readings(text: str) -> Iterator[IPv4Address]:
    """Yield the addresses that programs read from numbers: with octal parts, and without."""
    labels = text.split(".")
    if len(labels) > _LABELS_OF_IPV4 or not all(map(_NUMBER.fullmatch, labels)):
        return
    for octal in (True, False):
        try:
            *parts, last = [_number(label, octal=octal) for label in labels]
        except ValueError:
            continue
        rest = _IPV4_BITS - 8 * len(parts)
        if last < 1 << rest and all(part < 1 << 8 for part in parts):
            shifts = range(24, -1, -8)
            high = sum(part << shift for part, shift in zip(parts, shifts, strict=False))
            yield IPv4Address(high | last)


def _number(label: str, *, octal: bool) -> int:
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8 if octal and label.startswith("0") else 10)


def _tunnelled(address: IPv6Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 address at the end of a tunnel: Teredo or ISATAP."""
    number = int(address)
    if address in _TEREDO:
        yield IPv4Address(~number & 0xFFFF_FFFF)
    if number >> 32 & 0xFFFF_FFFF in _ISATAP:
        yield IPv4Address(number & 0xFFFF_FFFF)


def _own_kind(address: IPv4Address | IPv6Address) -> HostKind:
    if address in _METADATA:
        return HostKind.METADATA
    if address.is_link_local:
        return HostKind.LINK_LOCAL
    if address.is_multicast or address == _BROADCAST:
        return HostKind.MULTICAST
    if address.is_loopback:
        return HostKind.LOOPBACK
    if isinstance(address, IPv4Address):
        if address in _THIS_NETWORK:
            return HostKind.UNSPECIFIED
        return HostKind.PRIVATE if address.is_private or address in _SHARED else HostKind.PUBLIC
    if address.is_unspecified:
        return HostKind.UNSPECIFIED
    is_private = address.is_private or address.is_site_local
    return HostKind.PRIVATE if is_private else HostKind.PUBLIC
