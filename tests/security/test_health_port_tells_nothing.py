"""Ask the health port about persons, without and with its token."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.errors import UsageError
from gateway.observability.health_server import HealthServer
from gateway.settings import Settings

TOKEN = "a token for tests only"
NUMBER = "010190-901A"
PATH = f"/explain?connector=c&id={NUMBER}"


def ask(
    heads: Sequence[bytes], *, target: str = PATH, token: str = TOKEN, **settings: object
) -> tuple[list[tuple[int, bytes]], list[str]]:
    """Send raw heads after the request line.

    Return status and body of each reply, and the ids that were explained.
    """
    explained: list[str] = []

    async def explain(_connector: str, native_id: str) -> str:
        explained.append(native_id)
        if native_id != NUMBER:
            raise UsageError("no record")
        return "Record: a diploma"

    async def call(port: int, head: bytes) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {target} HTTP/1.1\r\n".encode() + head + b"Connection: close\r\n\r\n")
        reply = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return int(reply.split()[1]), reply.partition(b"\r\n\r\n")[2]

    async def go() -> list[tuple[int, bytes]]:
        options = Settings(metrics_port=0, health_token=token, **settings)
        async with HealthServer(options, explain=explain) as server:
            port = int(server.url.rsplit(":", 1)[1])
            return [await call(port, head) for head in heads]

    return asyncio.run(go()), explained


def basic(text: str) -> bytes:
    return b"Authorization: Basic " + base64.b64encode(text.encode()) + b"\r\n"


LOCAL = b"Host: localhost\r\n"
BEARER = f"Authorization: Bearer {TOKEN}\r\n".encode()


@pytest.mark.parametrize(
    "credentials",
    [
        b"",
        b"Authorization: Bearer\r\n",
        b"Authorization: Bearer a token for tests onl\r\n",
        b"Authorization: Bearer a token for tests only.\r\n",
        b"Authorization: Bearer \xff\xfe\r\n",
        b"Authorization: Basic \xff\r\n",
        b"Authorization: Basic " + b"A" * 4000 + b"\r\n",
        b"Authorization: " + TOKEN.encode() + b"\r\n",
        b"Cookie: token=" + TOKEN.encode() + b"\r\n",
        basic(f"{TOKEN}:"),
        basic(TOKEN),
        basic("someone:wrong"),
    ],
)
def test_caller_without_the_token_learns_nothing(credentials: bytes) -> None:
    known, explained = ask([LOCAL + credentials])
    unknown, _ = ask([LOCAL + credentials], target=f"/explain?connector=c&id={NUMBER[:-1]}B")
    assert known == unknown
    assert known[0][0] == 401
    assert explained == []


def test_two_credentials_are_not_accepted() -> None:
    replies, explained = ask([LOCAL + BEARER + b"Authorization: Bearer other\r\n"])
    assert replies[0][0] in {400, 401}
    assert explained == []


def test_port_without_a_token_explains_no_record() -> None:
    for credentials in (b"", BEARER, b"Authorization: Bearer \r\n", basic("a:")):
        (known,), explained = ask([LOCAL + credentials], token="")
        (unknown,), _ = ask(
            [LOCAL + credentials], token="", target="/explain?connector=c&id=another"
        )
        assert known == unknown
        assert known[0] == 403
        assert b"GATEWAY_HEALTH_TOKEN" in known[1]
        assert explained == []


def test_holder_of_the_token_reads_an_explanation() -> None:
    replies, explained = ask([LOCAL + BEARER, LOCAL + basic(f"any:{TOKEN}")])
    assert [status for status, _ in replies] == [200, 200]
    assert b"a diploma" in replies[0][1]
    assert explained == [NUMBER, NUMBER]


def test_token_file_is_read_for_each_call(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    replies, _ = ask([LOCAL + BEARER], token="", health_token_file=path)
    assert replies[0][0] == 200


@pytest.mark.parametrize("token", ["short", "0123456789abcde"])
def test_token_that_can_be_guessed_stops_the_start(token: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"GATEWAY_HEALTH_TOKEN: .*use 16 or more"):
        ask([], token=token)
    for text in ("", token):
        (tmp_path / "token").write_text(text)
        with pytest.raises(UsageError, match="GATEWAY_HEALTH_TOKEN_FILE"):
            ask([], token="", health_token_file=tmp_path / "token")
    with pytest.raises(UsageError, match="cannot be read"):
        ask([], token="", health_token_file=tmp_path / "absent")


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example",
        "attacker.example:9464",
        "localhost.attacker.example",
        "127.0.0.1.attacker.example",
        "127.0.0.1@attacker.example",
        "attacker.example#localhost",
        "localhost, attacker.example",
        "2130706433",
        "0x7f.1",
        "[::1",
        "",
    ],
)
@pytest.mark.parametrize("target", [PATH, "/"])
def test_unknown_host_reads_no_page(host: str, target: str) -> None:
    replies, explained = ask([f"Host: {host}\r\n".encode() + BEARER], target=target)
    assert replies[0][0] in {400, 421}
    assert explained == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:9464",
        "[::1]:9464",
        "10.2.3.4",
        "localhost",
        "LocalHost.:80",
        socket.gethostname(),
        "status.gateway.example",
    ],
)
def test_known_host_reads_the_page(host: str) -> None:
    replies, _ = ask(
        [f"Host: {host}\r\n".encode() + BEARER],
        health_hosts="other.example, Status.Gateway.example",
    )
    assert replies[0][0] == 200


@pytest.mark.parametrize("target", ["/livez", "/readyz", "/metrics"])
def test_probes_and_metrics_are_served_under_any_host(target: str) -> None:
    replies, _ = ask(
        [b"Host: gateway.monitoring.svc:9464\r\n", b"Host: 10.1.2.3:9464\r\n"], target=target
    )
    assert [status for status, _ in replies] == [200, 200]


def test_call_without_a_host_reads_no_page() -> None:
    replies, _ = ask([BEARER])
    assert replies[0][0] in {400, 421}


def test_status_page_offers_the_form_only_with_a_token() -> None:
    assert b"/explain" in ask([LOCAL], target="/")[0][0][1]
    assert b"/explain" not in ask([LOCAL], target="/", token="")[0][0][1]
