"""Where a host leads, in every spelling that a resolver accepts."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from gateway.config.hosts import (
    NEVER_CALLED,
    HostKind,
    address_kind,
    host_kind,
    is_plain_spelling,
)

CLOUD_METADATA = [
    "169.254.169.254",
    "169.254.169.254.",
    "2852039166",
    "0xa9fea9fe",
    "0XA9.0xFE.43518",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    "0169.0254.0169.0254",
    "[::ffff:169.254.169.254]",
    "::ffff:a9fe:a9fe",
    "::a9fe:a9fe",
    "::ffff:0:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:5601:5601",
    "2001:db8::5efe:a9fe:a9fe",
    "%31%36%39.254.169.254",
    "%2531%2536%2539.254.169.254",
    "１６９．２５４．１６９．２５４",
    "169。254｡169．254",
    "①⑥⑨.254.169.254",
    "169.254\u00ad.169\u200b.254",
    "metadata.google.internal",
    "METADATA.google.internal.",
    "fd00:ec2::254",
    "[fd00:ec2::254%25eth0]",
]
OTHERS = {
    HostKind.LINK_LOCAL: ["169.254.1", "0xa9fe0001", "fe80::1", "[fe80::1%25eth0]", "FE80::1%1"],
    HostKind.LOOPBACK: [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "017700000001",
        "2130706433",
        "0127.1",
        "::1",
        "[0:0::0:1]",
        "::ffff:127.0.0.1",
        "localhost",
        "LocalHost.",
        "registry.localhost",
        "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    ],
    HostKind.UNSPECIFIED: ["0", "0.0.0.0", "00.0", "0x0", "0.1", "::", "[::]", "::ffff:0.0.0.0"],  # noqa: S104
    HostKind.MULTICAST: ["224.1", "239.255.255.250", "255.255.255.255", "4294967295", "ff02::1"],
    HostKind.PRIVATE: ["10.1", "172.16.0.1", "192.168.257", "100.64.0.1", "fd12::1", "fec0::1"],
    HostKind.PUBLIC: ["8.8.8.8", "134744072", "2620:fe::fe", "::ffff:8.8.8.8", "64:ff9b::808:808"],
    HostKind.NAME: [
        "registry.example",
        "REGISTRY.example.",
        "xn--bcher-kva.example",
        "bücher.example",
    ],
    HostKind.INVALID: [
        "",
        ".",
        "*",
        "*.registry.example",
        "a..b",
        "256.1.1.1",
        "4294967296",
        "1.2.3.4.5",
        "registry.1",
        "registry.0x1",
        "user@registry.example",
        "registry.example/path",
        "registry.example\\169.254.169.254",
        "registry.example%00",
        "registry\texample",
        "%ff",
        "[::1",
        "fe80:::1",
        "%25" * 5_000,
        "a" * 100_000,
    ],
}


@pytest.mark.parametrize("host", CLOUD_METADATA)
def test_host_kind_finds_the_metadata_service_in_every_spelling(host: str) -> None:
    assert host_kind(host) is HostKind.METADATA
    assert host_kind(host) in NEVER_CALLED


@pytest.mark.parametrize(
    ("host", "kind"), [(host, kind) for kind, hosts in OTHERS.items() for host in hosts]
)
def test_host_kind_names_the_kind_of_every_other_host(host: str, kind: HostKind) -> None:
    assert host_kind(host) is kind


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2852039166", "0251.0376.43518", "10.1"])
def test_host_kind_agrees_with_the_resolver_of_this_machine(host: str) -> None:
    resolved = socket.inet_ntoa(socket.inet_aton(host))
    assert host_kind(host) is address_kind(ip_address(resolved))


def test_address_kind_ignores_the_zone_of_a_resolved_address() -> None:
    assert address_kind(ip_address("fd00:ec2::254%eth0")) is HostKind.METADATA
    assert address_kind(ip_address("fe80::1%2")) is HostKind.LINK_LOCAL


@pytest.mark.parametrize("host", ["registry.example", "localhost", "127.0.0.1", "2001:db8::1"])
def test_plain_spelling_takes_names_and_usual_addresses(host: str) -> None:
    assert is_plain_spelling(host)


@pytest.mark.parametrize("host", ["127.1", "0127.0.0.1", "2130706433", "127.0.0.1.", "fe80::1%1"])
def test_plain_spelling_refuses_what_programs_read_differently(host: str) -> None:
    assert not is_plain_spelling(host)
