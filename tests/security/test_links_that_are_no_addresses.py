"""Read addresses from replies that nobody can call: a clear reason, and no word about a defect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.errors import StreamError
from gateway.fetch.http.redaction import redact_url
from gateway.pipeline.page_writer import PollResult
from gateway.settings import Settings
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream

TARGETS = [
    "http://127.0.0.1:99999/r",
    "http://127.0.0.1:-1/r",
    "http://127.0.0.1:port/r",
    "http://127.0.0.1:٣٣/r",
    "http://127.0.0.1:8_0/r",
    "http://127.0.0.1:65536/r",
    "http://127.0.0.1:1:2/r",
    "https://[::1/r",
    "https://[::1]x/r",
    "https://[zz]/r",
    "https://[127.0.0.1]/r",
    "//:/r",
    "://",
    "http:",
    "https://",
    "https:///r",
    "http://%zz/r",
    "http://a..b/r",
    "http://" + "a" * 70 + ".example/r",
    "http://xn--/r",
    "http://\u2025/r",
    "http://\ud800/r",
    "http://a b/r",
    "http://127.0.0.1\t:1/r",
    "mailto:someone@registry.example",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "h\x00ttp://127.0.0.1/r",
    "http://127.0.0.1:0/r",
    "\\\\server\\share",
    "http://user:p@ss@127.0.0.1:x/r",
    "/r\ud800",
    "/r?x=\ud800",
    "/" + "a" * 70_000,
    "http://[fe80::1%25eth0]/r",
    "http://127.0.0.1:+80/r",
]
IDS = [ascii(target)[:40] for target in TARGETS]


def outcome(route: Any, text: str) -> StreamError | PollResult:
    return poll_route(route, text, MemoryStreamState())


def check(found: StreamError | PollResult) -> None:
    if isinstance(found, StreamError):
        assert found.reason not in {"UNEXPECTED", "EXPRESSION"}, str(found)
        assert "report" not in str(found)
        assert "Error" not in str(found)
        assert str(found).isprintable(), ascii(str(found))


@pytest.mark.parametrize("keep", ["", "query", "path"])
@pytest.mark.parametrize("target", TARGETS, ids=IDS)
def test_next_url_that_is_no_address_has_a_clear_reason(target: str, keep: str):
    def route(_path: str, _query: dict[str, str]) -> Any:
        return {"items": [item(1)], "next": target}

    more = f"{{from: next, keep: {keep}}}" if keep else "next"
    check(outcome(route, stream("", f"paging: {{next_url: {more}}}\ncursor: scan")))


@pytest.mark.parametrize("target", TARGETS, ids=IDS)
def test_link_header_that_is_no_address_has_a_clear_reason(target: str):
    body = json.dumps({"items": [item(1)]}).encode()

    def route(_path: str, _query: dict[str, str]) -> Any:
        async def write(_asked: object, writer: Any) -> None:
            link = target.encode("utf-8", "surrogatepass").replace(b"\n", b"")
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b'Link: <%b>; rel="next"\r\nContent-Length: %d\r\n\r\n%b' % (link, len(body), body)
            )

        return write

    check(outcome(route, stream("", "paging: link_header\ncursor: scan")))


@pytest.mark.parametrize("target", TARGETS, ids=IDS)
def test_location_that_is_no_address_has_a_clear_reason(target: str):
    def route(_path: str, _query: dict[str, str]) -> Any:
        async def write(_asked: object, writer: Any) -> None:
            location = target.encode("utf-8", "surrogatepass")
            writer.write(
                b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % location
            )

        return write

    found = outcome(route, stream("", "paging: none\ncursor: scan"))
    assert isinstance(found, StreamError)
    check(found)


@pytest.mark.parametrize("redirects", [False, True])
@pytest.mark.parametrize("target", TARGETS, ids=IDS)
def test_file_of_an_export_that_is_no_address_has_a_clear_reason(target: str, redirects: bool):
    def route(path: str, _query: dict[str, str]) -> Any:
        if path == "/jobs":
            return {"id": "7"}
        if path == "/jobs/7":
            return {"state": "done", "output": [{"url": "/file" if redirects else target}]}

        async def write(_asked: object, writer: Any) -> None:
            location = target.encode("utf-8", "surrogatepass")
            writer.write(
                b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % location
            )

        return write

    export = (
        "    export: {start: {post: /jobs}, keep: {job: id}, status: {get: '/jobs/{job}'}, "
        "state: state, pending: [running], done: [done], files: 'output[].url'}\n"
    )
    text = stream("", "cursor: scan").replace("    request: {get: /r, query: {}}\n", export)
    found = outcome(route, text)
    assert isinstance(found, StreamError)
    check(found)


@pytest.mark.parametrize(
    "peers",
    [
        "http://peer:99999",
        "http://peer:x",
        "http://[::1",
        "peer:9465",
        "http://",
        "http://a:1,http://b:0",
        "ftp://peer",
    ],
)
def test_address_of_a_peer_that_is_none_is_refused_at_the_start(peers: str):
    with pytest.raises(ValidationError, match="expected addresses such as"):
        Settings(receive_peers=peers)


@pytest.mark.parametrize(
    "peers", ["", "http://gateway-receive:9465", " http://[::1]:1 , https://peer.example/ ,"]
)
def test_addresses_of_peers_are_accepted(peers: str):
    assert Settings(receive_peers=peers).receive_peers == peers


@pytest.mark.parametrize("target", TARGETS, ids=IDS)
def test_address_without_values_is_made_of_any_text(target: str):
    assert "p@ss" not in redact_url(target)
