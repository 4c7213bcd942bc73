"""Hold connections open at both ports, as strangers may; the ports must answer others."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest
from prometheus_client import CollectorRegistry, Gauge

from gateway.config.loading import load_connector
from gateway.observability import bounded_port, metrics
from gateway.observability.health_server import HealthServer
from gateway.settings import Settings
from gateway.worker.push_server import PushServer

ROOT = Path(__file__).parents[2]
HALF_HEAD = b"POST /emrex/results HTTP/1.1\r\nHost: x\r\nX-Half: "


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_port, "HEAD_SECONDS", 1.5)
    monkeypatch.setattr(bounded_port, "REPLY_SECONDS", 0.6)
    monkeypatch.setattr(bounded_port, "IDLE_SECONDS", 0.6)
    monkeypatch.setattr(bounded_port, "MAX_CONNECTIONS", 20)


@contextlib.asynccontextmanager
async def open_port(
    name: str, registry: CollectorRegistry = metrics.REGISTRY
) -> AsyncIterator[tuple[str, str]]:
    """Open a port; yield its URL and a path that answers 200."""
    settings = Settings(metrics_port=0, receive_port=0)
    if name == "health":
        async with HealthServer(settings, registry=registry) as server:
            yield server.url, "/livez"
        return
    push_server = PushServer(settings)
    await push_server.start([load_connector(ROOT / "connectors" / "eu-emrex.yaml")], {}.__getitem__)
    try:
        yield push_server.url, "/emrex/other"
    finally:
        await push_server.close()


async def ask(url: str) -> tuple[int, float]:
    """Return the status of a call on a new connection, and its seconds."""
    began = time.monotonic()
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:
        return (await client.get(url)).status_code, time.monotonic() - began


async def connect(url: str, first: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    port = int(url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    return reader, writer


async def is_closed(reader: asyncio.StreamReader, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            while await reader.read(65536):
                pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def run(scenario: Callable[[str, str], object], name: str, **options: object) -> None:
    async def go() -> None:
        async with open_port(name, **options) as (url, path):  # type: ignore[arg-type]
            await scenario(url, path)  # type: ignore[misc]

    asyncio.run(go())


@pytest.mark.parametrize("name", ["health", "push"])
@pytest.mark.parametrize(
    "first", [b"", HALF_HEAD, b"G", b"GET /livez HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01"]
)
def test_port_answers_others_while_it_is_full_of_half_calls(name: str, first: bytes) -> None:
    async def scenario(url: str, path: str) -> None:
        held = [await connect(url, first) for _ in range(60)]
        for _ in range(3):
            status, seconds = await ask(url + path)
            assert status == (200 if name == "health" else 405)
            assert seconds < 1
        assert all([await is_closed(reader, 5) for reader, _ in held])
        for _, writer in held:
            writer.close()

    run(scenario, name)


@pytest.mark.parametrize("name", ["health", "push"])
def test_head_that_arrives_byte_by_byte_is_given_up(name: str) -> None:
    async def scenario(url: str, _path: str) -> None:
        reader, writer = await connect(url, HALF_HEAD)

        async def trickle() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        assert await is_closed(reader, 4)
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)

    run(scenario, name)


def test_second_head_on_a_connection_is_given_up_too() -> None:
    async def scenario(url: str, _path: str) -> None:
        reader, writer = await connect(url, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"ok\n")
        writer.write(b"GET /livez HTTP/1.1\r\nX-Half: ")
        assert await is_closed(reader, 4)

    run(scenario, "health")


def test_idle_connection_is_closed() -> None:
    async def scenario(url: str, _path: str) -> None:
        reader, _ = await connect(url, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"ok\n")
        assert await is_closed(reader, 4)

    run(scenario, "health")


def test_reader_that_takes_no_reply_is_dropped() -> None:
    registry = CollectorRegistry()
    large = Gauge("gateway_large", "Large", ["name"], registry=registry)
    for number in range(20_000):
        large.labels(f"{number:0200}").set(1)

    async def scenario(url: str, _path: str) -> None:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", int(url.rsplit(":", 1)[1])))
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        counter = metrics.CONNECTIONS_DROPPED.labels("health", "slow")
        before = counter._value.get()
        async with asyncio.timeout(5):
            while counter._value.get() == before:
                await asyncio.sleep(0.05)
        slow.close()

    run(scenario, "health", registry=registry)


def test_calls_on_one_connection_are_answered_in_turn() -> None:
    async def scenario(url: str, _path: str) -> None:
        call = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        reader, writer = await connect(url, call * 3)
        for _ in range(3):
            assert b"200 OK" in await reader.readuntil(b"ok\n")
        await asyncio.sleep(0.4)
        writer.write(call)
        assert b"200 OK" in await reader.readuntil(b"ok\n")
        writer.close()

    run(scenario, "health")


def test_probe_is_answered_between_large_pages() -> None:
    registry = CollectorRegistry()
    large = Gauge("gateway_large", "Large", ["name"], registry=registry)
    for number in range(5_000):
        large.labels(str(number)).set(1)

    async def scenario(url: str, path: str) -> None:
        call = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        flood = [await connect(url, call) for _ in range(15)]
        status, seconds = await ask(url + path)
        assert (status, seconds < 1) == (200, True)
        for reader, writer in flood:
            assert b"gateway_large" in await asyncio.wait_for(reader.read(), 10)
            writer.close()

    run(scenario, "health", registry=registry)


def test_port_takes_a_share_of_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_port, "MAX_CONNECTIONS", 256)
    for soft, share in ((256, 64), (1024, 256), (1_048_576, 256), (resource.RLIM_INFINITY, 256)):
        monkeypatch.setattr(resource, "getrlimit", lambda _kind, soft=soft: (soft, soft))
        assert bounded_port.max_connections() == share
