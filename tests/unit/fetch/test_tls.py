"""Check TLS on loopback.

Each fault of a certificate has its own reason. Mutual TLS accepts PEM and PKCS#12 files.
"""

from __future__ import annotations

import asyncio
import ssl

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from gateway.errors import RetryLater, StreamHalted
from gateway.fetch.http import tls
from gateway.fetch.registry_client import (
    Connection,
    RegistryLimits,
    RegistryRequest,
    Transport,
    origin,
)
from tests.support.certificates import AUTHORITY, CLIENT, SERVER, STRANGER, CertificateWithKey, make
from tests.support.raw_http_server import Server, always


def serving(
    tmp_path, made: CertificateWithKey, *, clients: CertificateWithKey | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = tmp_path / "server.pem"
    file.write_bytes(made.pem + made.key_pem)
    context.load_cert_chain(file)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.pem.decode())
    return context


def get(tmp_path, made: CertificateWithKey, *, clients: CertificateWithKey | None = None, **own):
    async def run():
        async with Server(always(b"x"), tls=serving(tmp_path, made, clients=clients)) as server:
            line = Connection(tls=tls.client_context("test", **own))
            async with Transport(
                "test", RegistryLimits(timeout=30, attempts=1), line, {origin(server.url)}
            ) as client:
                reply, _ = await client.send(RegistryRequest("GET", server.url))
                return reply.body.read()

    return asyncio.run(run())


def test_trusted_server_is_accepted(tmp_path):
    assert get(tmp_path, SERVER, authorities=AUTHORITY.pem) == b"x"


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (STRANGER, "TLS_UNTRUSTED"),
        (make("elsewhere", AUTHORITY, host="elsewhere.example"), "TLS_WRONG_HOST"),
        (make("late", AUTHORITY, days=-1), "TLS_EXPIRED"),
    ],
    ids=["self-signed", "wrong host", "expired"],
)
def test_wrong_server_certificate_is_refused(tmp_path, made, reason):
    with pytest.raises(StreamHalted) as caught:
        get(tmp_path, made, authorities=AUTHORITY.pem)
    assert caught.value.reason == reason


def test_private_authority_is_not_trusted_by_default(tmp_path):
    with pytest.raises(StreamHalted) as caught:
        get(tmp_path, SERVER)
    assert caught.value.reason == "TLS_UNTRUSTED"


def test_mutual_tls_works_with_pem_and_pkcs12(tmp_path):
    pem = {"certificate": CLIENT.pem, "key": CLIENT.key_pem}
    assert get(tmp_path, SERVER, clients=AUTHORITY, authorities=AUTHORITY.pem, **pem) == b"x"
    bundle = pkcs12.serialize_key_and_certificates(
        b"me", CLIENT.key, CLIENT.certificate, None, BestAvailableEncryption(b"pass")
    )
    assert (
        get(
            tmp_path,
            SERVER,
            clients=AUTHORITY,
            authorities=AUTHORITY.pem,
            pkcs12_bundle=bundle,
            password=b"pass",
        )
        == b"x"
    )


@pytest.mark.parametrize(
    "own", [{}, {"certificate": STRANGER.pem, "key": STRANGER.key_pem}], ids=["none", "stranger"]
)
def test_wrong_client_certificate_gives_a_hint(tmp_path, own):
    with pytest.raises((StreamHalted, RetryLater)) as caught:
        get(tmp_path, SERVER, clients=AUTHORITY, authorities=AUTHORITY.pem, **own)
    assert caught.value.reason in {"TLS_REFUSED", "CONNECTION_LOST"}
    assert "tls" in str(caught.value).lower()


def test_expired_client_certificate_says_where_to_write_a_new_one():
    expired = make("expired", AUTHORITY, days=-2)
    with pytest.raises(StreamHalted, match=r"expired on 20..-..-..; renew it.*under tls") as caught:
        tls.client_context("test", certificate=expired.pem, key=expired.key_pem)
    assert caught.value.reason == "TLS_MATERIAL"


@pytest.mark.parametrize(
    "own",
    [
        {"certificate": CLIENT.pem, "key": STRANGER.key_pem},
        {"certificate": b"CANARY", "key": b"CANARY"},
        {"pkcs12_bundle": b"CANARY", "password": b"CANARY"},
        {"authorities": b"CANARY"},
        {"certificate": make("old", AUTHORITY, days=-1).pem, "key": CLIENT.key_pem},
    ],
)
def test_unusable_tls_material_is_named_not_shown(own):
    with pytest.raises(StreamHalted) as caught:
        tls.client_context("test", **own)
    assert caught.value.reason == "TLS_MATERIAL"
    assert "CANARY" not in str(caught.value)
