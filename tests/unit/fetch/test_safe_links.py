"""Addresses from replies: which of them are called, and over which scheme."""

from __future__ import annotations

import pytest

from gateway.errors import StreamHalted
from gateway.fetch.http.transport import origin
from gateway.fetch.safe_links import host_origin, safe_url

BASE = "https://api.office.example/v2"


def call(url: str, base: str = BASE, hosts: tuple[str, ...] = ()) -> str:
    allowed = {origin(base), *(host_origin(host, base) for host in hosts)}
    return safe_url(url, allowed, base, "office.awards")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.office.example/v2/a?page=2", "https://api.office.example/v2/a?page=2"),
        ("http://api.office.example/v2/a?page=2", "https://api.office.example/v2/a?page=2"),
        ("http://api.office.example:80/a", "https://api.office.example/a"),
        ("http://api.office.example:443/a", "https://api.office.example/a"),
        ("https://api.office.example:443/a", "https://api.office.example:443/a"),
        ("http://API.Office.Example/a", "https://api.office.example/a"),
        ("http://api.office.example./a", "https://api.office.example/a"),
        ("HTTP://api.office.example/a", "https://api.office.example/a"),
        ("http://user:word@api.office.example/a#top", "https://api.office.example/a"),
        ("https://user:word@api.office.example/a", "https://api.office.example/a"),
        ("https://api.office.example/a?q=x\\y", "https://api.office.example/a?q=x\\y"),
    ],
)
def test_link_to_the_own_host_is_called_over_https(url, expected):
    assert call(url) == expected


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://backend:8080/secret", "scheme, host and port"),
        ("https://evil.example/secret", "host"),
        ("https://api.office.example@evil.example/secret", "host"),
        ("https://api.office.example.evil.example/secret", "host"),
        ("http://api.office.example:8080/secret", "scheme and port"),
        ("https://api.office.example:8443/secret", "port"),
        ("ftp://api.office.example/secret", "scheme"),
        ("https://аpi.office.example/secret", "host"),  # a Cyrillic letter
    ],
)
def test_link_to_another_origin_is_refused_and_the_difference_named(url, named):
    with pytest.raises(StreamHalted) as caught:
        call(url)
    assert caught.value.reason == "CURSOR_FOREIGN"
    assert f"from https://api.office.example in {named}." in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.office.example\\@evil.example/secret",
        "https://[::1/a",
        "https://a:99999/",
        "https:\\x",
    ],
)
def test_link_that_is_no_address_is_refused(url):
    with pytest.raises(StreamHalted) as caught:
        call(url)
    assert caught.value.reason == "URL_INVALID"


def test_link_is_never_downgraded():
    local = "http://127.0.0.1:8080/api"
    assert call("http://127.0.0.1:8080/api/2", local) == "http://127.0.0.1:8080/api/2"
    with pytest.raises(StreamHalted):
        call("https://127.0.0.1:8080/api/2", local)
    with pytest.raises(StreamHalted):
        call("http://localhost:8080/api/2", local)


@pytest.mark.parametrize("host", ["files.office.example", "http://files.office.example"])
@pytest.mark.parametrize("base", [BASE, "http://127.0.0.1:8080/api"])
def test_further_host_is_called_over_https_whatever_the_file_says(host, base):
    assert call("http://files.office.example/a", base, (host,)) == "https://files.office.example/a"
    assert host_origin(host, base) == "https://files.office.example:443"


def test_port_of_another_registry_host_is_kept():
    assert call("http://b.example:8443/a", hosts=("b.example:8443",)) == "https://b.example:8443/a"
    assert call("http://[::1]:9/a", hosts=("http://[::1]:9",)) == "http://[::1]:9/a"


@pytest.mark.parametrize("base", ["http://127.0.0.1/x", "https://registry.example/x"])
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("[2001:db8::1]", "https://[2001:db8::1]:443"),
        ("[2001:db8::1]:8080", "https://[2001:db8::1]:8080"),
        ("http://[2001:db8::1]:8080", "https://[2001:db8::1]:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_ipv6_address_of_a_host_keeps_its_brackets(base: str, host: str, expected: str) -> None:
    assert host_origin(host, base) == expected
    assert safe_url(f"{expected}/a", {host_origin(host, base)}, base, "x") == f"{expected}/a"
