"""Call the push port as a stranger: odd heads, bodies that never end, forms of many fields."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import logging
import tempfile
import textwrap
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest

from gateway.config.loading import load_connector
from gateway.errors import StreamHalted
from gateway.fetch import push_admission
from gateway.fetch.http import body as bodies
from gateway.fetch.push_receiver import PushReceiver
from gateway.settings import Settings
from gateway.worker.push_server import PushServer
from tests.support.certificates import SERVER

CONNECTOR = """
language: 1
connector: {name}
country: EU
title: A test
owner: {{name: A, contact: a@example.org}}
push:
  path: /{name}
  limits: {{max_response: 1MB, timeout: 5s, concurrency: 2}}
  refused: {{status: 400, body: "{{reason}}"}}
  {block}
streams:
  things:
    emits: qualification
    records: items
    id: id
    tests: [{{name: shape, given: {{}}, expect_some: {{}}}}]
"""
BLOCKS = {
    "bearer": "auth: {bearer: {token: {secret: token}}}",
    "basic": "auth: {basic: {username: user, password: {secret: token}}}",
    "key": "auth: {api_key: {header: X-Key, value: {secret: token}}}",
    "query": "auth: {api_key: {query: key, value: {secret: token}}}",
    "open": "busy: {status: 503}",
    "form": "fields: [doc, code]",
}
SECRETS = {"token": b"a-secret"}
RIGHT = b"Authorization: Bearer a-secret\r\n"
BODY = b'{"items": [{"id": "1"}]}'
Scenario = Callable[[int], Awaitable[None]]


class Inbox:
    def __init__(self) -> None:
        self.records = 0

    async def store(self, raws) -> None:
        self.records += len(raws)


def serve(folder: Path, scenario: Scenario) -> int:
    """Serve a connector of each kind; return how many records they received."""

    async def go() -> int:
        server, inbox = PushServer(Settings(receive_port=0)), Inbox()
        connectors = []
        for name, block in BLOCKS.items():
            file = folder / f"{name}.yaml"
            file.write_text(textwrap.dedent(CONNECTOR.format(name=name, block=block)))
            connectors.append(load_connector(file))
        await server.start(connectors, SECRETS.__getitem__)
        serving = [
            asyncio.create_task(server.serve_connector(one, SECRETS.__getitem__, inbox))
            for one in connectors
        ]
        await asyncio.sleep(0)
        try:
            await scenario(int(server.url.rsplit(":", 1)[1]))
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            await server.close()
        return inbox.records

    return asyncio.run(go())


@contextlib.asynccontextmanager
async def connection(
    port: int, sent: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        yield reader, writer
    finally:
        writer.close()


async def ask(port: int, sent: bytes, seconds: float = 3) -> tuple[int, bytes]:
    """Return status and body of the first reply; 0 if the port closed the connection."""
    async with connection(port, sent) as (reader, _):
        async with asyncio.timeout(seconds):
            head = b""
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                head = await reader.readuntil(b"\r\n\r\n")
            if not head:
                return 0, b""
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ),
                0,
            )
            return int(head.split()[1]), await reader.readexactly(length)


def post(path: str, head: bytes = b"", body: bytes = BODY, length: int | None = None) -> bytes:
    count = len(body) if length is None else length
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {count}\r\n".encode()
        + head
        + b"\r\n"
        + body
    )


ODD_HEADS = {
    "bytes in Authorization": (post("/bearer", b"Authorization: Bearer \xff\xfe\r\n"), {401}),
    "bytes in Basic": (post("/basic", b"Authorization: Basic \xff\xfe\r\n"), {401}),
    "no base64 in Basic": (post("/basic", b"Authorization: Basic !!!!\r\n"), {401}),
    "bytes in a key": (post("/key", b"X-Key: \xc3\x28\r\n"), {401}),
    "bytes in a query": (post("/query?key=%ff%fe"), {401}),
    "two Authorizations": (post("/bearer", RIGHT + b"Authorization: Bearer no\r\n"), {400}),
    "two keys in the query": (post("/query?key=a-secret&key=no"), {400}),
    "two keys": (post("/key", b"X-Key: no\r\nX-Key: a-secret\r\n"), {400}),
    "long Authorization": (
        post("/bearer", b"Authorization: Bearer " + b"a" * 60_000 + b"\r\n"),
        {400, 431},
    ),
    "long path": (post("/" + "a" * 60_000), {400, 414}),
    "many headers": (post("/bearer", b"".join(b"X-%d: 1\r\n" % n for n in range(500))), {400, 431}),
    "65 headers": (post("/bearer", b"".join(b"X-%d: 1\r\n" % n for n in range(65))), {400, 431}),
    "half an address in Host": (b"POST /open HTTP/1.1\r\nHost: [\r\n\r\n", {400}),
    "no port in Host": (b"POST /open HTTP/1.1\r\nHost: a@b:c\r\n\r\n", {400}),
    "large port in Host": (b"POST /open HTTP/1.1\r\nHost: x:99999\r\n\r\n", {400}),
    "bytes in Host": (b"POST /open HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n", {400}),
    "two Hosts": (b"POST /open HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", {400}),
    "no Host": (b"POST /open HTTP/1.1\r\n\r\n", {400}),
    "NUL in a header": (post("/bearer", b"X-Odd: a\0b\r\n"), {400}),
    "folded header": (post("/bearer", b"X-Odd: a\r\n b\r\n"), {400, 401}),
    "header without a name": (post("/bearer", b": a\r\n"), {400}),
    "header with a blank name": (post("/bearer", b"X Odd: a\r\n"), {400}),
    "bare CR": (post("/bearer", b"X-Odd: a\rb\r\n"), {400}),
    "bytes in the path": (b"POST /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404}),
    "text in the path": ("POST /å HTTP/1.1\r\nHost: x\r\n\r\n".encode(), {400, 404}),
    "bad escapes in the path": (post("/%zz%"), {404}),
    "escaped NUL in the path": (post("/bearer%00"), {404}),
    "escaped bytes in the path": (post("/%ff%fe"), {404}),
    "path of another host": (post("http://other.example/none"), {400, 404}),
    "no path": (b"POST  HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
    "no HTTP": (b"hello\r\n\r\n", {400}),
    "HTTP of another version": (b"POST /bearer HTTP/9.9\r\nHost: x\r\n\r\n", {400, 505}),
    "preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 404, 405, 505}),
    "TLS on a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
    "CONNECT": (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404, 405}),
    "GET": (b"GET /bearer HTTP/1.1\r\nHost: x\r\n\r\n", {405}),
    "unknown method": (b"STEAL /bearer HTTP/1.1\r\nHost: x\r\n\r\n", {400, 405}),
    "both framings": (
        post("/open", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        {400},
    ),
    "two lengths": (post("/open", b"Content-Length: 3\r\n"), {400}),
    "negative length": (b"POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", {400}),
    "signed length": (b"POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}", {400}),
    "endless length": (post("/open", b"", b"", 10**30), {400}),
    "large length": (post("/open", b"", b"", 10**15), {400}),
    "bad chunk": (
        b"POST /open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        {400},
    ),
    "negative chunk": (
        b"POST /open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n\r\n",
        {400},
    ),
    "chunk longer than it says": (
        b"POST /open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}{}\r\n\r\n",
        {400},
    ),
    "compressed framing": (
        (
            b"POST /open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
            b"2\r\n{}\r\n0\r\n\r\n"
        ),
        {400},
    ),
    "trailers without end": (
        b"POST /open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
        + b"X-A: 1\r\n" * 100_000,
        {400},
    ),
    "unknown framing": (
        b"POST /open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n{}",
        {400},
    ),
    "no gzip": (post("/open", b"Content-Encoding: gzip\r\n"), {400}),
    "cut gzip": (post("/open", b"Content-Encoding: gzip\r\n", gzip.compress(BODY)[:-9]), {400}),
    "two codings": (
        post("/open", b"Content-Encoding: gzip\r\n" * 2, gzip.compress(gzip.compress(BODY))),
        {400},
    ),
    "rest after deflate": (post("/open", b"Content-Encoding: deflate\r\n", b"x" * 90), {400}),
    "unknown coding": (post("/open", b"Content-Encoding: odd\r\n", b"\0\1"), {400, 415}),
    "unknown Expect": (post("/open", b"Expect: a reply\r\n"), {417}),
    "upgrade": (post("/bearer", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), {400, 401}),
}


@pytest.mark.parametrize("name", ODD_HEADS)
def test_odd_head_is_answered_with_one_error(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sent, expected = ODD_HEADS[name]

    async def scenario(port: int) -> None:
        status, body = await ask(port, sent)
        assert status in expected
        assert b"Traceback" not in body
        assert (await ask(port, post("/bearer", RIGHT)))[0] == 200

    with caplog.at_level(logging.INFO):
        assert serve(tmp_path, scenario) == 1
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    ("path", "head", "status"),
    [
        ("/bearer", b"", 401),
        ("/bearer", b"Authorization: Bearer wrong\r\n", 401),
        ("/basic", b"", 401),
        ("/key", b"X-Key: wrong\r\n", 401),
        ("/query", b"", 401),
        ("/none", b"", 404),
        ("/form", b"Content-Type: multipart/form-data; boundary=x\r\n", 400),
        ("/form", b"Content-Type: application/json\r\n", 400),
    ],
)
def test_call_is_refused_before_its_body(
    path: str, head: bytes, status: int, tmp_path: Path
) -> None:
    async def scenario(port: int) -> None:
        for expect in (b"", b"Expect: 100-continue\r\n"):
            began = time.monotonic()
            assert (await ask(port, post(path, head + expect, b"", 900_000)))[0] == status
            assert time.monotonic() - began < 2

    assert serve(tmp_path, scenario) == 0


def test_body_that_is_announced_as_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        reply = await ask(port, post("/bearer", RIGHT, b"", 1_000_001))
        assert reply == (400, b"LIMIT_BYTES")

    assert serve(tmp_path, scenario) == 0


def test_caller_that_waits_for_permission_gets_it_after_its_credentials(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        async with connection(
            port, post("/bearer", RIGHT + b"Expect: 100-continue\r\n", b"", len(BODY))
        ) as (reader, writer):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(BODY)
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")

    assert serve(tmp_path, scenario) == 1


def test_compressed_body_is_read(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        for coding, body in (("gzip", gzip.compress(BODY)), ("deflate", zlib.compress(BODY))):
            head = f"Content-Encoding: {coding}\r\n".encode()
            assert (await ask(port, post("/open", head, body)))[0] == 200

    assert serve(tmp_path, scenario) == 2


def test_decompressed_body_is_counted(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        packed = zlib.compress(b" " * 50_000_000, 9)
        sent = post("/open", b"Content-Encoding: deflate\r\n", packed)
        assert await ask(port, sent) == (400, b"LIMIT_BYTES")

    assert serve(tmp_path, scenario) == 0


@pytest.mark.parametrize("element", [b"<a/>", b"<a x='1'/>", b"<a>b</a>", b"<a><b/></a>"])
def test_packed_document_of_many_elements_is_refused_before_it_is_built(element: bytes) -> None:
    emrex = load_connector(Path(__file__).parents[2] / "connectors" / "eu-emrex.yaml")
    secrets = {"eu-emrex/result-services.pem": SERVER.pem, "eu-emrex/id_key": b"k" * 32}
    receiver = PushReceiver(emrex, secrets.__getitem__, Inbox().store)
    document = b"<e>" + element * (16_000_000 // len(element)) + b"</e>"
    packed = base64.b64encode(gzip.compress(document)).decode()
    form = urlencode({"elmo": packed}).encode()
    began = time.process_time()
    with pytest.raises(StreamHalted) as refused:
        receiver.read_records(form, {}, "http://x/emrex/results")
    assert refused.value.reason == "LIMIT_DECODED"
    assert time.process_time() - began < 2


def test_message_that_does_not_fit_the_disk_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "IN_MEMORY", 10)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))

    async def scenario(port: int) -> None:
        assert (await ask(port, post("/open")))[0] == 503

    assert serve(tmp_path, scenario) == 0


@pytest.mark.parametrize("pause", [0.02, 60])
def test_slow_body_is_given_up(
    pause: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_admission, "GRACE_SECONDS", 0.5)

    async def scenario(port: int) -> None:
        async with connection(port, post("/open", b"", b"[", 900_000)) as (reader, writer):

            async def trickle() -> None:
                while True:
                    writer.write(b" ")
                    await asyncio.sleep(pause)

            trickling = asyncio.create_task(trickle())
            reply = await asyncio.wait_for(reader.readuntil(b"SLOW"), 3)
            trickling.cancel()
            assert reply.startswith(b"HTTP/1.1 400")

    assert serve(tmp_path, scenario) == 0


def test_slow_strangers_keep_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_admission, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(push_admission, "MIN_BYTES_PER_SECOND", 1)

    async def scenario(port: int) -> None:
        async with contextlib.AsyncExitStack() as stack:
            held = [
                await stack.enter_async_context(
                    connection(port, post("/open", b"", b"[" * 100, 900_000))
                )
                for _ in range(2)
            ]
            await asyncio.sleep(0.4)
            assert (await ask(port, post("/open")))[0] == 200
            assert (await held[0][0].readuntil(b"\r\n")).startswith(b"HTTP/1.1 503")

    assert serve(tmp_path, scenario) == 1


def test_more_bodies_than_allowed_wait_and_are_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_admission, "SLOT_WAIT_SECONDS", 0.1)

    async def scenario(port: int) -> None:
        async with contextlib.AsyncExitStack() as stack:
            held = [
                await stack.enter_async_context(
                    connection(port, post("/bearer", RIGHT, BODY[:1], len(BODY)))
                )
                for _ in range(2)
            ]
            await asyncio.sleep(0.1)
            assert (await ask(port, post("/bearer", RIGHT)))[0] == 503
            assert (await ask(port, post("/bearer")))[0] == 401
            held[0][1].write(BODY[1:])
            assert (await held[0][0].readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
            assert (await ask(port, post("/bearer", RIGHT)))[0] == 200

    assert serve(tmp_path, scenario) == 2


def test_bodies_of_strangers_share_a_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_admission, "STRANGER_BYTES", 700_000)
    large = b'{"items": [{"id": "2"}], "x": "' + b"x" * 600_000 + b'"}'

    async def scenario(port: int) -> None:
        async with connection(port, post("/open", b"", large[:-9], len(large))) as (reader, writer):
            await asyncio.sleep(0.2)
            form = b"Content-Type: application/x-www-form-urlencoded\r\n"
            assert (await ask(port, post("/form", form, b"doc=" + b"a" * 200_000)))[0] == 503
            assert (await ask(port, post("/bearer", RIGHT)))[0] == 200
            writer.write(large[-9:])
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        assert (await ask(port, post("/open")))[0] == 200

    assert serve(tmp_path, scenario) == 3


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"&a" * 400_000, b"LIMIT_FIELDS"),
        (b"doc=1&" * 2_000, b"LIMIT_FIELDS"),
        (b"&" * 1_000_000, b"LIMIT_FIELDS"),
        (b"doc=1&doc=2", b"FIELD_REPEATED"),
        (b"doc=1&d%6Fc=2", b"FIELD_REPEATED"),
        (b"doc=1&code=2&code=2", b"FIELD_REPEATED"),
        (b"code=1", b"FIELD_MISSING"),
        (b"%" * 900_000, b"FIELD_MISSING"),
        (b"", b"FIELD_MISSING"),
    ],
)
def test_form_with_odd_fields_is_refused_at_once(
    body: bytes, reason: bytes, tmp_path: Path
) -> None:
    async def scenario(port: int) -> None:
        began = time.monotonic()
        assert await ask(port, post("/form", b"", body)) == (400, reason)
        assert time.monotonic() - began < 2

    assert serve(tmp_path, scenario) == 0
