"""Serve saved replies with message signatures and addressing, and verify both on each side."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from lxml import etree

from gateway.config.connection import Security, Signature, Timestamp
from gateway.config.types import Secret
from gateway.errors import RetryLater, StreamError, StreamHalted
from gateway.fetch import read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.soap import envelope as soap
from gateway.fetch.soap.ws_security import WsSecurity
from gateway.local.registries.saved_replies import SavedReply, SavedReplyRegistry
from tests.support.saved_replies import CASES, REFERENCE, REGISTRIES, WINDOW, connector_for, here

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(
        not REGISTRIES.is_dir(),
        reason=f"no reference material at {REFERENCE}; set GATEWAY_REFERENCE",
    ),
]
WSA = "http://www.w3.org/2005/08/addressing"


def party(name: str) -> tuple[bytes, bytes]:
    """A key and a certificate that vouches for itself, PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    ), certificate.public_bytes(Encoding.PEM)


OURS, THEIRS, STRANGER = party("gateway"), party("registry"), party("stranger")


class Signing(SavedReplyRegistry):
    """Verifies each request with the gateway's certificate and signs each saved reply anew."""

    def __init__(
        self, saved: list[SavedReply], require: tuple[str, ...], keys: tuple[bytes, bytes] = THEIRS
    ) -> None:
        super().__init__(saved)
        secrets = {"key": keys[0], "certificate": keys[1], "trust": OURS[1]}
        signature = Signature(
            key=Secret(secret="key"),
            certificate=Secret(secret="certificate"),
            trust=Secret(secret="trust"),
            sign=("body", "timestamp"),
            require=require,
        )
        self._guard = WsSecurity(
            Security(timestamp=Timestamp(ttl=timedelta(minutes=5)), signature=signature),
            secrets.__getitem__,
            "registry",
        )
        self.verified = 0
        self.spoil = lambda reply: reply

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.read()
        envelope = etree.fromstring(text)
        message = envelope.findtext(f".//{{{WSA}}}MessageID")
        self._guard.verify_reply(envelope, datetime.now(UTC))
        self.verified += 1
        saved = next(
            saved for saved in self._saved if saved.matches("POST", request.path_qs, text.decode())
        )
        reply = etree.fromstring(saved.body)
        if (header := soap.header_of(reply)) is not None:
            reply.remove(header)
        header = etree.Element(f"{{{soap.ENV11}}}Header")
        reply.insert(0, header)
        if message:
            etree.SubElement(header, f"{{{WSA}}}RelatesTo").text = message
        self._guard.secure_request(reply, datetime.now(UTC))
        return web.Response(body=self.spoil(etree.tostring(reply)), content_type="text/xml")


def read(case, require, *, keys=THEIRS, spoil=lambda reply: reply):
    async def reading():
        data = (REFERENCE / case.file).read_bytes()
        async with await Signing([*case.replies(data, "")], require, keys).start() as registry:
            registry.spoil = spoil
            kept = connector_for(case)
            connector = here(kept, registry.url)
            block = connector.soap.model_copy(
                update={"security": kept.soap.security, "addressing": kept.soap.addressing}
            )
            connector = connector.model_copy(update={"soap": block})
            async with RegistryClient(connector, secret, "production") as client:
                raws = [
                    raw
                    async for page in read_pages(
                        connector, case.stream, WINDOW, client, subjects=case.subjects or None
                    )
                    for raw in page.records
                ]
            return raws, registry.verified

    return asyncio.run(reading())


def secret(name: str) -> bytes:
    if name.endswith("signing.key"):
        return OURS[0]
    if name.endswith("signing.crt"):
        return OURS[1]
    return THEIRS[1] if name.endswith((".crt", ".pem")) else b"1"


RIO = next(case for case in CASES if case.file.endswith("aangebodenOpleiding-2-response.xml"))
LED = next(case for case in CASES if case.file.endswith("GeefBewijs-response-two-proofs.xml"))
NAMED = ("from", "to", "action", "message_id", "body", "timestamp")


def test_signed_change_list_and_records_are_read():
    raws, verified = read(RIO, NAMED)
    assert ([raw.native_id for raw in raws], verified) == (
        ["4c358c84-dfc3-4a30-874e-0b70db15638b"],
        5,  # the list, the offer, its unit, its provider and its place
    )


def test_signed_request_for_one_person_is_sent():
    raws, verified = read(LED, ("body", "timestamp", "token"))
    assert (len(raws), verified) == (2, 1)


@pytest.mark.parametrize(
    ("how", "keys", "spoil"),
    [
        ("changed on the way", THEIRS, lambda reply: reply.replace(b"110A133", b"110A134")),
        ("signed by somebody else", STRANGER, lambda reply: reply),
    ],
)
def test_untrusted_reply_gives_no_record(how, keys, spoil):
    with pytest.raises(StreamError) as caught:
        read(RIO, NAMED, keys=keys, spoil=spoil)
    assert isinstance(caught.value, StreamHalted | RetryLater)
    assert caught.value.reason.startswith(("SIGNATURE", "UNTRUSTED", "CERTIFICATE"))
