"""Check WS-Security from both ends.

Another implementation verifies the gateway's signatures, and the client reads only the signed body
of a reply.
"""

from __future__ import annotations

import base64
import hashlib
from copy import deepcopy
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from lxml import etree
from signxml import XMLVerifier

from gateway.config.connection import Security, Signature, Timestamp, UsernameToken
from gateway.config.types import Secret
from gateway.errors import StreamHalted
from gateway.fetch.soap import envelope as soap
from gateway.fetch.soap import xml_signature
from gateway.fetch.soap.signature_files import SignatureFiles
from gateway.fetch.soap.ws_security import WSSE, WsSecurity
from gateway.fetch.soap.xml_signature import DS, WSU, SignatureRefused
from gateway.observability import metrics
from tests.support.certificates import AUTHORITY, CLIENT, SERVER, STRANGER, make

NOW = datetime.now(UTC)
SECRETS = {
    "our.key": CLIENT.key_pem,
    "our.crt": CLIENT.pem,
    "their.key": SERVER.key_pem,
    "their.crt": SERVER.pem,
    "ca.crt": AUTHORITY.pem,
    "stranger.key": STRANGER.key_pem,
    "stranger.crt": STRANGER.pem,
    "password": b"CANARY",
}


def signature(ours: str, trust: str, **more) -> Signature:
    return Signature(
        key=Secret(secret=f"{ours}.key"),
        certificate=Secret(secret=f"{ours}.crt"),
        trust=Secret(secret=f"{trust}.crt"),
        **more,
    )


def guard(ours: str = "our", trust: str = "their", **more) -> WsSecurity:
    security = Security(
        timestamp=Timestamp(ttl=timedelta(minutes=5)), signature=signature(ours, trust, **more)
    )
    return WsSecurity(security, SECRETS.__getitem__, "test")


def envelope(text: str = "good") -> etree._Element:
    content = etree.fromstring(
        f"<r:reply xmlns:r='urn:reg' xmlns:unused='urn:u'><r:name>{text}</r:name></r:reply>"
    )
    return soap.build_message("1.1", content, "").envelope


def signed(text: str = "good", now: datetime = NOW, ours: str = "their", **more) -> etree._Element:
    made = envelope(text)
    guard(ours, "our", **more).secure_request(made, now)
    return etree.fromstring(etree.tostring(made))  # over the wire


def refused(
    reply: etree._Element, reason: str, who: WsSecurity | None = None, now: datetime = NOW
) -> None:
    with pytest.raises(SignatureRefused) as caught:
        (who or guard()).verify_reply(reply, now)
    assert caught.value.reason == reason


def test_own_signature_verifies_elsewhere():
    made = signed(ours="our")
    found = XMLVerifier().verify(
        made, x509_cert=CLIENT.certificate, expect_references=2, id_attribute="Id"
    )
    assert {etree.QName(one.signed_xml).localname for one in found} == {"Body", "Timestamp"}


def test_renewed_signing_pair_is_used_when_both_files_match():
    renewed = make("gateway", AUTHORITY, days=300)
    secrets = dict(SECRETS)
    files = SignatureFiles("renewing", signature("our", "their"), secrets.__getitem__)
    security = Security(timestamp=Timestamp(ttl=timedelta(minutes=5)), signature=files._rule)

    def signer() -> int:
        """The certificate of a new request, after its signature was verified elsewhere."""
        made = envelope()
        WsSecurity(security, secrets.__getitem__, "test", files).secure_request(made, NOW)
        token = base64.b64decode(made.findtext(f".//{{{WSSE}}}BinarySecurityToken"))
        shown = x509.load_der_x509_certificate(token)
        reply_guard = WsSecurity(
            Security(signature=signature("our", "shown")),
            {**secrets, "shown.crt": shown.public_bytes(serialization.Encoding.PEM)}.__getitem__,
            "test",
        )
        assert reply_guard.verify_reply(etree.fromstring(etree.tostring(made)), NOW) is not None
        return shown.serial_number

    def metric(gauge, use: str, name: str) -> float:
        return gauge.labels("renewing", use, name)._value.get()

    assert signer() == CLIENT.certificate.serial_number
    secrets["our.key"] = renewed.key_pem
    assert signer() == CLIENT.certificate.serial_number
    assert metric(metrics.CERTIFICATE_NOT_RENEWED, "signing", "our.crt") == 1
    secrets["our.crt"] = renewed.pem
    assert signer() == renewed.certificate.serial_number
    assert metric(metrics.CERTIFICATE_NOT_RENEWED, "signing", "our.crt") == 0
    end = renewed.certificate.not_valid_after_utc.timestamp()
    assert metric(metrics.CERTIFICATE_EXPIRY, "signing", "our.crt") == end
    files.trusted_certificates()
    end = SERVER.certificate.not_valid_after_utc.timestamp()
    assert metric(metrics.CERTIFICATE_EXPIRY, "trust", "their.crt") == end


def test_signing_key_of_another_certificate_is_refused_at_the_start():
    secrets = {**SECRETS, "our.key": STRANGER.key_pem}
    files = SignatureFiles("test", signature("our", "their"), secrets.__getitem__)
    with pytest.raises(StreamHalted, match="does not belong to the certificate"):
        files.signing_pair()


def test_only_signed_parts_of_a_reply_are_read():
    reply = signed()
    soap.header_of(reply).append(etree.fromstring("<x:evil xmlns:x='urn:x'/>"))
    read = guard().verify_reply(reply, NOW)
    assert read.xpath("string(//*[local-name()='name'])") == "good"
    assert read.xpath("//*[local-name()='evil']") == []


def test_certificate_needs_a_trusted_authority():
    assert guard(trust="ca").verify_reply(signed(), NOW) is not None
    refused(signed(ours="stranger"), "SIGNATURE_UNTRUSTED", guard(trust="ca"))
    refused(signed(ours="stranger"), "SIGNATURE_UNTRUSTED")


def test_own_certificate_does_not_sign_replies():
    refused(signed(ours="our"), "SIGNATURE_UNTRUSTED")


def test_changed_body_is_refused():
    reply = signed()
    reply.xpath("//*[local-name()='name']")[0].text = "evil"
    refused(reply, "SIGNATURE_INVALID")


def test_replayed_and_expired_messages_are_refused():
    who, reply = guard(), signed()
    who.verify_reply(deepcopy(reply), NOW)
    refused(reply, "SIGNATURE_REPLAYED", who)
    refused(signed(now=NOW - timedelta(hours=1)), "SIGNATURE_EXPIRED")
    refused(signed(now=NOW + timedelta(hours=1)), "SIGNATURE_EXPIRED")
    old = make("old", AUTHORITY, days=-1)
    SECRETS.update({"old.key": old.key_pem, "old.crt": old.pem})
    refused(signed(ours="old"), "SIGNATURE_EXPIRED", guard(trust="old"))


def test_unsigned_message_says_what_was_expected_and_what_to_do():
    without_signature, no_envelope = envelope(), etree.fromstring("<reply/>")
    etree.SubElement(soap.header_of(without_signature), f"{{{WSSE}}}Security")
    for message in (envelope(), without_signature, no_envelope):
        with pytest.raises(SignatureRefused) as caught:
            guard().verify(message, NOW)
        assert caught.value.reason == "SIGNATURE_ABSENT"
        assert "the connector has `security`; ask the registry to sign" in str(caught.value)


def test_unsigned_and_partly_signed_replies_are_refused():
    refused(envelope(), "SIGNATURE_ABSENT")
    refused(signed(sign=("timestamp",)), "SIGNATURE_COVERAGE")
    refused(signed(sign=("body",)), "SIGNATURE_COVERAGE")


def wrapped(how: str) -> etree._Element:
    """Return an envelope in which the signed body was moved aside and an evil one took its place."""
    reply = signed()
    body, header = soap.body_of(reply), soap.header_of(reply)
    security = header.find(f"{{{WSSE}}}Security")
    evil = deepcopy(body)
    evil.xpath("//*[local-name()='name']")
    for name in evil.iter("{urn:reg}name"):
        name.text = "evil"
    place = reply.index(body)
    reply.remove(body)
    if how != "same id":
        evil.attrib.pop(f"{{{WSU}}}Id")
    reply.insert(place, evil)
    if how in {"header", "same id"}:
        etree.SubElement(header, "{urn:x}wrapper").append(body)
    elif how == "security":
        security.append(body)
    elif how == "second body":
        reply.append(body)
    elif how == "inside evil":
        evil.append(body)
    elif how == "before":
        reply.insert(0, body)
    elif how == "object in signature":
        etree.SubElement(security.find(f"{{{DS}}}Signature"), f"{{{DS}}}Object").append(body)
    elif how == "second security":
        other = etree.SubElement(header, f"{{{WSSE}}}Security")
        other.append(body)
    return reply


@pytest.mark.parametrize(
    "how",
    [
        "header",
        "same id",
        "security",
        "second body",
        "inside evil",
        "object in signature",
        "second security",
        "dropped",
    ],
)
def test_wrapped_body_is_never_read(how):
    with pytest.raises(SignatureRefused):
        guard().verify_reply(wrapped(how), NOW)


def test_duplicate_body_is_refused_or_the_signed_one():
    try:
        read = guard().verify_reply(wrapped("before"), NOW)
    except SignatureRefused:
        return
    assert "evil" not in etree.tostring(read).decode()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            xml_signature.RSA_SHA256,
            "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
            "SIGNATURE_ALGORITHM",
        ),
        (
            xml_signature.RSA_SHA256,
            "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256",
            "SIGNATURE_ALGORITHM",
        ),
        (xml_signature.SHA256, "http://www.w3.org/2000/09/xmldsig#sha1", "SIGNATURE_INVALID"),
        ("SignedInfo", "SignedInf0", "SIGNATURE_MALFORMED"),
    ],
)
def test_weak_signatures_are_refused(old, new, reason):
    text = etree.tostring(signed()).decode().replace(old, new)
    refused(etree.fromstring(text), reason)


def test_signature_over_nothing_is_refused():
    reply = envelope()
    header = soap.header_of(reply)
    security = etree.SubElement(header, f"{{{WSSE}}}Security")
    security.append(xml_signature.sign([], SERVER.key))
    refused(reply, "SIGNATURE_EMPTY")


def test_username_token_is_sent():
    def made(*, digest: bool) -> etree._Element:
        token = UsernameToken(username="u", password=Secret(secret="password"), digest=digest)
        message = envelope()
        WsSecurity(Security(username_token=token), SECRETS.__getitem__, "test").secure_request(
            message, NOW
        )
        return message

    plain, hashed = made(digest=False), made(digest=True)
    assert plain.findtext(f".//{{{WSSE}}}Password") == "CANARY"
    assert b"CANARY" not in etree.tostring(hashed)
    nonce = base64.b64decode(hashed.findtext(f".//{{{WSSE}}}Nonce"))
    created = hashed.findtext(f".//{{{WSU}}}Created").encode()
    expected = base64.b64encode(
        hashlib.sha1(nonce + created + b"CANARY", usedforsecurity=False).digest()
    ).decode()
    assert hashed.findtext(f".//{{{WSSE}}}Password") == expected


def sealed(text: str = "good", *, partial: bool = False) -> bytes:
    from signxml import XMLSigner

    root = etree.fromstring(f"<elmo xmlns='urn:e'><name>{text}</name></elmo>")
    made = XMLSigner().sign(
        root, key=SERVER.key_pem, cert=SERVER.pem.decode(), reference_uri="x" if partial else None
    )
    return etree.tostring(made)


def test_foreign_enveloped_signature_verifies():
    data = sealed()
    assert xml_signature.verify_enveloped(data, [SERVER.certificate], NOW, "x") == data
    assert xml_signature.verify_enveloped(data, [AUTHORITY.certificate], NOW, "x") == data
    assert xml_signature.verify_enveloped(data, [], NOW, "x") == data
    for changed, trust, reason in (
        (data.replace(b"good", b"evil"), [SERVER.certificate], "SIGNATURE_INVALID"),
        (data, [STRANGER.certificate], "SIGNATURE_UNTRUSTED"),
        (b"<elmo><name>good</name></elmo>", [SERVER.certificate], "SIGNATURE_ABSENT"),
        (b"<w>" + data + b"</w>", [SERVER.certificate], "SIGNATURE_INVALID"),
    ):
        with pytest.raises(SignatureRefused) as caught:
            xml_signature.verify_enveloped(changed, trust, NOW, "x")
        assert caught.value.reason == reason
