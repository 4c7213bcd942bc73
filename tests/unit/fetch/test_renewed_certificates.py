"""Renewed client certificates are used without a restart, and never with the key of another one.

The servers are real, and ask for certificates over TLS.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12
from httpx2 import AsyncClient

from gateway.certificates import renewal
from gateway.certificates.renewal import renew_certificates
from gateway.fetch.http.client_pool import ClientPool
from gateway.fetch.registry_client import RegistryClient, RegistryRequest
from gateway.fetch.secrets import FileSecrets
from gateway.observability import metrics
from gateway.pipeline.poll import PollContext, poll_once
from tests.support.certificates import AUTHORITY, CLIENT, SERVER, CertificateWithKey, make
from tests.support.hostile_registry import connector_at
from tests.support.memory_stream import MemoryStreamState, item, stream
from tests.support.raw_http_server import ReceivedRequest, Server, reply

RENEWED = make("gateway", AUTHORITY, days=300)
OTHER = make("gateway", AUTHORITY, days=200)
PEM = "  tls: {certificate: {secret: own.pem}, key: {secret: own.key}, authorities: {secret: ca}}\n"
BUNDLE = "  tls: {pkcs12: {secret: own.p12}, authorities: {secret: ca}}\n"


def server_context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = folder / "server.pem"
    file.write_bytes(SERVER.pem + SERVER.key_pem)
    context.load_cert_chain(file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=AUTHORITY.pem.decode())
    return context


class Registry:
    """A registry with TLS, and the serial numbers of the certificates that it was shown."""

    def __init__(self, folder: Path, block: str = PEM) -> None:
        self.secrets, self.block = folder / "secrets", block
        self.secrets.mkdir()
        self.write("ca", AUTHORITY.pem)
        self.shown: list[int] = []
        self.server = Server(self.answer, server_context(folder))
        self.pages = 1
        self.before_page: Any = lambda _number: None

    def write(self, name: str, content: bytes) -> None:
        """Replace a file at once, as a careful program does."""
        part = self.secrets / f".{name}.part"
        part.write_bytes(content)
        part.replace(self.secrets / name)

    def write_pair(self, pair: CertificateWithKey) -> None:
        self.write("own.key", pair.key_pem)
        self.write("own.pem", pair.pem)

    async def answer(self, _: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        self.shown.append(int(writer.get_extra_info("peercert")["serialNumber"], 16))
        reply(writer, b"x")

    def client(self) -> RegistryClient:
        text = stream()
        connector = connector_at(self.server.url, text, block=self.block)
        return RegistryClient(connector, FileSecrets(self.secrets), "production")

    async def shown_by(self, client: RegistryClient) -> int:
        sent, _ = await client.send(RegistryRequest("GET", self.server.url + "/r"))
        sent.body.close()
        return self.shown[-1]


def serial(pair: CertificateWithKey) -> int:
    return pair.certificate.serial_number


def expiry(use: str = "tls", name: str = "own.pem", connector: str = "hostile") -> float:
    return metrics.CERTIFICATE_EXPIRY.labels(connector, use, name)._value.get()


def refused(use: str = "tls", name: str = "own.pem", connector: str = "hostile") -> float:
    return metrics.CERTIFICATE_NOT_RENEWED.labels(connector, use, name)._value.get()


def end_of(pair: CertificateWithKey) -> float:
    return pair.certificate.not_valid_after_utc.timestamp()


def run(scenario: Any, tmp_path: Path, block: str = PEM, **files: bytes) -> None:
    async def main() -> None:
        registry = Registry(tmp_path, block)
        registry.write_pair(CLIENT)
        for name, content in files.items():
            registry.write(name.replace("_", "."), content)
        async with registry.server, registry.client() as client:
            assert await registry.shown_by(client) == serial(CLIENT)
            await scenario(registry, client)

    asyncio.run(main())


def test_next_request_shows_the_renewed_certificate(tmp_path: Path):
    async def scenario(registry: Registry, client: RegistryClient) -> None:
        assert expiry() == end_of(CLIENT)
        registry.write_pair(RENEWED)
        assert await registry.shown_by(client) == serial(RENEWED)
        assert (expiry(), refused()) == (end_of(RENEWED), 0)

    run(scenario, tmp_path)


@pytest.mark.parametrize("first", ["own.key", "own.pem"])
def test_half_of_a_pair_leaves_the_earlier_one_in_use(tmp_path: Path, capfd, first: str):
    async def scenario(registry: Registry, client: RegistryClient) -> None:
        parts = {"own.key": RENEWED.key_pem, "own.pem": RENEWED.pem}
        registry.write(first, parts.pop(first))
        for _ in range(3):
            assert await registry.shown_by(client) == serial(CLIENT)
        assert (expiry(), refused()) == (end_of(CLIENT), 1)
        [(second, content)] = parts.items()
        registry.write(second, content)
        assert await registry.shown_by(client) == serial(RENEWED)
        assert (expiry(), refused()) == (end_of(RENEWED), 0)

    run(scenario, tmp_path)
    said = capfd.readouterr().out
    assert said.count("not renewed, the earlier one stays in use") == 1, "once, and not per request"
    assert "the TLS key does not belong to the certificate" in said
    assert said.count("certificate renewed") == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be used"),
        (RENEWED.pem[:300], "cannot be used"),
        (make("gateway", AUTHORITY, days=-1, key=CLIENT.key).pem, "expired on"),
        (None, "is missing"),
    ],
    ids=["empty", "cut", "expired", "deleted"],
)
def test_unusable_certificate_leaves_the_earlier_one_in_use(
    tmp_path: Path, capfd, content: bytes | None, reason: str
):
    async def scenario(registry: Registry, client: RegistryClient) -> None:
        if content is None:
            (registry.secrets / "own.pem").unlink()
        else:
            registry.write("own.pem", content)
        assert await registry.shown_by(client) == serial(CLIENT)
        assert (expiry(), refused()) == (end_of(CLIENT), 1)
        registry.write("own.pem", CLIENT.pem)
        assert await registry.shown_by(client) == serial(CLIENT)
        assert refused() == 0

    run(scenario, tmp_path)
    assert reason in capfd.readouterr().out


def test_certificate_of_tomorrow_waits_for_its_first_day(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(renewal, "RENEW_INTERVAL_SECONDS", 0.01)
    from tests.support import certificates

    async def scenario(registry: Registry, client: RegistryClient) -> None:
        now = dt.datetime.now(dt.UTC)
        # The helper dates certificates 60 days back.
        monkeypatch.setattr(certificates, "NOW", now + dt.timedelta(days=60, seconds=2))
        early = make("gateway", AUTHORITY, days=100)
        registry.write_pair(early)
        assert await registry.shown_by(client) == serial(CLIENT)
        assert refused() == 1
        await asyncio.sleep(2.5)
        assert await registry.shown_by(client) == serial(early)

    run(scenario, tmp_path)


def test_pkcs12_bundle_is_renewed(tmp_path: Path):
    def bundle(pair: CertificateWithKey) -> bytes:
        return pkcs12.serialize_key_and_certificates(
            b"me", pair.key, pair.certificate, None, NoEncryption()
        )

    async def scenario(registry: Registry, client: RegistryClient) -> None:
        registry.write("own.p12", bundle(RENEWED))
        assert await registry.shown_by(client) == serial(RENEWED)
        assert expiry(name="own.p12") == end_of(RENEWED)
        registry.write("own.p12", bundle(OTHER)[:-40])
        assert await registry.shown_by(client) == serial(RENEWED)
        registry.write("own.p12", bundle(OTHER))
        assert await registry.shown_by(client) == serial(OTHER)

    run(scenario, tmp_path, BUNDLE, own_p12=bundle(CLIENT))


def test_swapped_symlink_of_a_kubernetes_secret_is_followed(tmp_path: Path):
    """Kubernetes swaps one link to a folder, so that all files of a secret change at once."""

    async def scenario(registry: Registry, client: RegistryClient) -> None:
        for number, pair in enumerate((CLIENT, RENEWED, OTHER)):
            folder = registry.secrets / f"..{number}"
            folder.mkdir()
            for name, content in {"own.pem": pair.pem, "own.key": pair.key_pem}.items():
                (folder / name).write_bytes(content)
        data = registry.secrets / "..data"
        data.symlink_to("..0")
        for name in ("own.pem", "own.key"):
            (registry.secrets / name).unlink()
            (registry.secrets / name).symlink_to(f"..data/{name}")
        assert await registry.shown_by(client) == serial(CLIENT)
        for number, pair in ((1, RENEWED), (2, OTHER)):
            (registry.secrets / "..next").symlink_to(f"..{number}")
            (registry.secrets / "..next").replace(data)
            assert await registry.shown_by(client) == serial(pair)

    run(scenario, tmp_path)


def test_renewal_is_seen_while_nothing_is_requested(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(renewal, "RENEW_INTERVAL_SECONDS", 0.02)

    async def scenario(registry: Registry, _client: RegistryClient) -> None:
        task = asyncio.create_task(renew_certificates())
        registry.write("own.key", RENEWED.key_pem)
        await until(lambda: refused() == 1)
        registry.write("own.pem", RENEWED.pem)
        await until(lambda: expiry() == end_of(RENEWED) and refused() == 0)
        task.cancel()

    run(scenario, tmp_path)


async def until(holds: Any) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def test_certificates_of_the_registry_are_measured(tmp_path: Path):
    async def scenario(_registry: Registry, _client: RegistryClient) -> None:
        assert expiry("server", "localhost") == end_of(SERVER)
        assert expiry("authorities", "ca") == end_of(AUTHORITY)

    run(scenario, tmp_path)


def test_records_are_complete_when_the_certificate_changes_between_pages(tmp_path: Path):
    """A poll of ten pages, during which the pair is renewed twice, one file after the other."""
    changes = {
        2: ("own.key", RENEWED.key_pem),
        4: ("own.pem", RENEWED.pem),
        6: ("own.pem", OTHER.pem),
        8: ("own.key", OTHER.key_pem),
    }

    async def main() -> None:
        registry = Registry(tmp_path)
        registry.write_pair(CLIENT)
        state = MemoryStreamState()

        async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
            registry.shown.append(int(writer.get_extra_info("peercert")["serialNumber"], 16))
            number = int(asked.target.partition("page=")[2])
            content = [item(f"{number}-{one}") for one in range(5)]
            if number in changes:
                registry.write(*changes[number])
            reply(
                writer,
                json.dumps({"items": content, "pages": 10}).encode(),
                content_type="application/json",
            )

        registry.server.answer = answer
        async with registry.server:
            text = stream('page: "{page}"', "paging: {page_number: {pages: pages}}")
            connector = connector_at(registry.server.url, text, block=PEM)
            async with RegistryClient(
                connector, FileSecrets(registry.secrets), "production"
            ) as client:
                context = PollContext(connector, "awards", client, state)  # type: ignore[arg-type]
                await poll_once(context, dt.datetime.now(dt.UTC))
        assert state.published == {f"{page}-{one}" for page in range(1, 11) for one in range(5)}
        order = list(dict.fromkeys(registry.shown))
        assert order == [serial(CLIENT), serial(RENEWED), serial(OTHER)]

    asyncio.run(main())


def test_client_with_the_earlier_certificate_is_closed_after_its_last_request():
    async def main() -> None:
        contexts = [ssl.create_default_context(), ssl.create_default_context()]
        present = contexts[0]
        renewed = renewal.RenewedContext.__new__(renewal.RenewedContext, None)  # type: ignore[arg-type]
        renewed.current = lambda: present  # type: ignore[method-assign]
        pool = ClientPool(lambda context: AsyncClient(verify=context))
        key = (renewed, "")
        async with pool.client(key) as before:
            present = contexts[1]
            async with pool.client(key) as after:
                assert after is not before
            assert not before.is_closed
        assert before.is_closed
        assert not after.is_closed
        await pool.aclose()
        assert after.is_closed

    asyncio.run(main())
