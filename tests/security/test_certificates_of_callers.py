"""Call the push port over TLS, with the certificates of different callers."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from gateway.config.loading import load_connector
from gateway.errors import StreamHalted, Unavailable
from gateway.observability import bounded_port, metrics
from gateway.settings import Settings
from gateway.worker.push_server import PushServer
from gateway.worker.push_tls import check_client_certificate
from tests.support.certificates import AUTHORITY, CLIENT, SERVER, CertificateWithKey, make

CONNECTOR = """
language: 1
connector: {name}
country: EU
title: A test
owner: {{name: A, contact: a@example.org}}
push: {{path: /{name}, {credentials}}}
streams:
  things:
    emits: qualification
    records: items
    id: id
    tests: [{{name: shape, given: {{}}, expect_some: {{}}}}]
"""
OTHER_AUTHORITY = make("another authority", ca=True)
OTHER_CLIENT = make("another caller", OTHER_AUTHORITY)
EXPIRED = make("expired", AUTHORITY, days=-1)
SELF_SIGNED = make("gateway")
BELOW_A_CALLER = make("below", CLIENT)
SECRETS = {"one": AUTHORITY.pem, "two": OTHER_AUTHORITY.pem}


class Inbox:
    def __init__(self) -> None:
        self.records = 0

    async def store(self, raws) -> None:
        self.records += len(raws)


def write(folder: Path, certificate: CertificateWithKey) -> Settings:
    (folder / "server.crt").write_bytes(certificate.pem)
    (folder / "server.key").write_bytes(certificate.key_pem)
    return Settings(
        receive_port=0,
        receive_cert_file=folder / "server.crt",
        receive_key_file=folder / "server.key",
    )


def connector(folder: Path, name: str, credentials: str):
    file = folder / f"{name}.yaml"
    file.write_text(textwrap.dedent(CONNECTOR.format(name=name, credentials=credentials)))
    return load_connector(file)


def client(folder: Path, shown: CertificateWithKey | None = None) -> httpx2.AsyncClient:
    context = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
    if shown:
        path = folder / "client.pem"
        path.write_bytes(shown.pem + shown.key_pem)
        context.load_cert_chain(path)
    return httpx2.AsyncClient(verify=context, trust_env=False, timeout=10)


def serve(folder: Path, scenario: Callable[[str, PushServer], object]) -> int:
    """Serve three connectors, and return how many records they received."""

    async def go() -> int:
        server, inbox = PushServer(write(folder, SERVER)), Inbox()
        connectors = [
            connector(folder, "one", "client_certificate: {secret: one}"),
            connector(folder, "two", "client_certificate: {secret: two}"),
            connector(folder, "open", "busy: {status: 503}"),
        ]
        await server.start(connectors, SECRETS.__getitem__)
        serving = [
            asyncio.create_task(server.serve_connector(one, SECRETS.__getitem__, inbox))
            for one in connectors
        ]
        await asyncio.sleep(0)
        url = server.url.replace("127.0.0.1", "localhost")
        try:
            await scenario(url, server)  # type: ignore[misc]
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            await server.close()
        return inbox.records

    return asyncio.run(go())


async def post(folder: Path, url: str, shown: CertificateWithKey | None = None) -> int | str:
    """Return the status, or ``closed`` if the handshake failed."""
    async with client(folder, shown) as caller:
        try:
            return (await caller.post(url, json={"items": [{"id": "1"}]})).status_code
        except httpx2.TransportError:
            return "closed"


def test_caller_with_a_certificate_of_the_authority_is_accepted(tmp_path: Path) -> None:
    async def scenario(url: str, _server: PushServer) -> None:
        assert await post(tmp_path, f"{url}/one", CLIENT) == 200
        assert await post(tmp_path, f"{url}/two", OTHER_CLIENT) == 200
        assert await post(tmp_path, f"{url}/open") == 200

    assert serve(tmp_path, scenario) == 3


@pytest.mark.parametrize(
    "shown",
    [None, OTHER_CLIENT, EXPIRED, SELF_SIGNED, BELOW_A_CALLER],
    ids=["none", "of another authority", "expired", "self-signed", "signed by a caller"],
)
def test_caller_without_a_certificate_of_the_authority_is_refused(
    tmp_path: Path, shown: CertificateWithKey | None
) -> None:
    async def scenario(url: str, _server: PushServer) -> None:
        assert await post(tmp_path, f"{url}/one", shown) in {401, "closed"}

    assert serve(tmp_path, scenario) == 0


def test_caller_that_speaks_no_tls_is_dropped(tmp_path: Path) -> None:
    async def scenario(url: str, _server: PushServer) -> None:
        port = int(url.rsplit(":", 1)[1])
        for first in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 400, b"\0" * 99):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(first)
            assert b"HTTP" not in await asyncio.wait_for(reader.read(), 5)
            writer.close()
        assert await post(tmp_path, f"{url}/one", CLIENT) == 200

    assert serve(tmp_path, scenario) == 1


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_held_handshakes_keep_nobody_out(
    first: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_port, "MAX_CONNECTIONS", 20)
    monkeypatch.setattr(bounded_port, "HEAD_SECONDS", 0.6)

    async def scenario(url: str, _server: PushServer) -> None:
        port = int(url.rsplit(":", 1)[1])
        held = []
        for _ in range(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(first)
            held.append((reader, writer))
        assert await post(tmp_path, f"{url}/one", CLIENT) == 200
        for reader, writer in held:
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 3) == b""
            writer.close()

    assert serve(tmp_path, scenario) == 1


def test_renewed_certificate_is_used_for_the_next_connection(tmp_path: Path) -> None:
    renewed = make("localhost", AUTHORITY)

    async def shown_serial(url: str) -> int:
        context = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
        port = int(url.rsplit(":", 1)[1])
        _, writer = await asyncio.open_connection("localhost", port, ssl=context)
        serial = writer.get_extra_info("peercert")["serialNumber"]
        writer.close()
        return int(serial, 16)

    async def scenario(url: str, _server: PushServer) -> None:
        assert await shown_serial(url) == SERVER.certificate.serial_number
        (tmp_path / "server.crt").write_text("half")
        assert await shown_serial(url) == SERVER.certificate.serial_number
        write(tmp_path, renewed)
        (tmp_path / "server.key").write_bytes(SERVER.key_pem)
        assert await shown_serial(url) == SERVER.certificate.serial_number
        await asyncio.sleep(0.02)
        write(tmp_path, renewed)
        assert await shown_serial(url) == renewed.certificate.serial_number
        label = ("", "push", str(tmp_path / "server.crt"))
        expiry = metrics.CERTIFICATE_EXPIRY.labels(*label)._value.get()
        assert expiry == renewed.certificate.not_valid_after_utc.timestamp()

    serve(tmp_path, scenario)


def test_call_is_forwarded_to_the_owner_on_the_same_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needing = connector(tmp_path, "one", "client_certificate: {secret: one}")
    folder = tmp_path / "sockets"
    folder.mkdir()

    async def scenario() -> int:
        settings, inbox = write(tmp_path, SERVER), Inbox()
        owner, other = (PushServer(settings, socket_folder=folder) for _ in range(2))
        monkeypatch.setattr("os.getpid", lambda: 1)
        await owner.start([needing], SECRETS.__getitem__)
        serving = asyncio.create_task(owner.serve_connector(needing, SECRETS.__getitem__, inbox))
        monkeypatch.setattr("os.getpid", lambda: 2)
        await other.start([needing], SECRETS.__getitem__)
        url = f"{other.url}/one".replace("127.0.0.1", "localhost")
        try:
            assert await post(tmp_path, url, CLIENT) == 200
            assert await post(tmp_path, url, OTHER_CLIENT) in {401, "closed"}
            assert await post(tmp_path, url) == 401
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await owner.close()
            await other.close()
        return inbox.records

    assert asyncio.run(scenario()) == 1


def test_key_that_does_not_fit_is_named(tmp_path: Path) -> None:
    settings = write(tmp_path, SERVER)
    (tmp_path / "server.key").write_bytes(CLIENT.key_pem)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="GATEWAY_RECEIVE_KEY_FILE"):
        asyncio.run(
            PushServer(settings).start([connector(tmp_path, "open", "busy: {status: 503}")], bytes)
        )
    assert time.monotonic() - began < 5


def test_connector_that_needs_a_certificate_is_refused_without_tls(tmp_path: Path) -> None:
    needing = connector(tmp_path, "one", "client_certificate: {secret: one}")
    with pytest.raises(StreamHalted, match="GATEWAY_RECEIVE_CERT_FILE") as refused:
        check_client_certificate(Settings(), needing)
    assert refused.value.reason == "TLS_MISSING"
    check_client_certificate(write(tmp_path, SERVER), needing)
