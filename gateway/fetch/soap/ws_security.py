"""Secure SOAP requests with WS-Security and verify the replies.

The gateway reads only the signed parts of a reply. :meth:`WsSecurity.verify_reply` returns an
envelope that contains nothing else. This prevents signature wrapping, in which an attacker
moves the signed body and adds another one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets as randomness
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from gateway.config.connection import Security, Signature, UsernameToken
from gateway.fetch.request_builder import TemplateFiller
from gateway.fetch.secrets import Secrets
from gateway.fetch.soap import envelope as soap
from gateway.fetch.soap import xml_signature
from gateway.fetch.soap.xml_signature import DS, WSU, SignatureRefused

WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
_TOKEN = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"  # noqa: S105 - the start of a URI
X509V3 = _TOKEN + "x509-token-profile-1.0#X509v3"
BASE64 = _TOKEN + "soap-message-security-1.0#Base64Binary"
PASSWORD = _TOKEN + "username-token-profile-1.0#Password"
SKEW = timedelta(minutes=5)
_ID = f"{{{WSU}}}Id"


class WsSecurity:
    """The WS-Security rules of one registry.

    An instance stores the signatures that it has verified, so that it can refuse a replay.
    """

    def __init__(self, security: Security, secrets: Secrets, where: str) -> None:
        self._security = security
        self._secrets = secrets
        self._where = where
        self._seen_signatures: dict[bytes, datetime] = {}

    @property
    def requires_signature(self) -> bool:
        """Whether replies must be signed."""
        return self._security.signature is not None

    def secure_request(self, envelope: etree._Element, now: datetime) -> None:
        """Add the timestamp, the user name token and the signature, in this order.

        The envelope must be complete, because later changes make the signature invalid.
        """
        space = etree.QName(envelope).namespace
        header = soap.required_header(envelope)
        security = etree.SubElement(header, f"{{{WSSE}}}Security", nsmap={"wsse": WSSE, "wsu": WSU})
        if self._security.must_understand:
            security.set(f"{{{space}}}mustUnderstand", "1")
        if self._security.timestamp:
            _timestamp(security, now, self._security.timestamp.ttl)
        if self._security.username_token:
            self._username(security, self._security.username_token, now)
        if self._security.signature:
            self._sign(envelope, security, self._security.signature)

    def _username(self, security: etree._Element, token: UsernameToken, now: datetime) -> None:
        filler = TemplateFiller(self._secrets)
        element = etree.SubElement(security, f"{{{WSSE}}}UsernameToken")
        etree.SubElement(element, f"{{{WSSE}}}Username").text = filler.text(token.username, {})
        secret = filler.text(token.password, {})
        password = etree.SubElement(element, f"{{{WSSE}}}Password")
        if not token.digest:
            password.set("Type", PASSWORD + "Text")
            password.text = secret
            return
        nonce, created = randomness.token_bytes(16), _format_timestamp(now)
        password.set("Type", PASSWORD + "Digest")
        digest = hashlib.sha1(
            nonce + created.encode() + secret.encode(), usedforsecurity=False
        ).digest()
        password.text = base64.b64encode(digest).decode()
        etree.SubElement(element, f"{{{WSSE}}}Nonce", EncodingType=BASE64).text = base64.b64encode(
            nonce
        ).decode()
        etree.SubElement(element, f"{{{WSU}}}Created").text = created

    def _sign(self, envelope: etree._Element, security: etree._Element, rule: Signature) -> None:
        key = xml_signature.private_key(
            self._secrets(rule.key.secret), f"the signing key {rule.key.secret!r}"
        )
        certificate = xml_signature.certificates(
            self._secrets(rule.certificate.secret), f"the certificate {rule.certificate.secret!r}"
        )[0]
        token = etree.Element(
            f"{{{WSSE}}}BinarySecurityToken", EncodingType=BASE64, ValueType=X509V3
        )
        token.text = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
        security.insert(0, token)
        named = [
            (_ensure_id(element), element)
            for part in rule.sign
            for element in _signed_elements(envelope, part)
        ]
        signature = xml_signature.sign(
            named,
            key,
            digest=xml_signature.DIGEST_NAMES[rule.digest],
            prefixes=rule.inclusive_prefixes,
        )
        info = etree.SubElement(signature, f"{{{DS}}}KeyInfo")
        reference = etree.SubElement(
            etree.SubElement(info, f"{{{WSSE}}}SecurityTokenReference"), f"{{{WSSE}}}Reference"
        )
        reference.set("URI", "#" + _ensure_id(token))
        reference.set("ValueType", X509V3)
        security.append(signature)

    def is_signed(self, envelope: etree._Element) -> bool:
        """Return whether a message contains a signature. A fault may have none."""
        header = soap.header_of(envelope)
        return (
            header is not None and header.find(f"{{{WSSE}}}Security/{{{DS}}}Signature") is not None
        )

    def verify_reply(self, envelope: etree._Element, now: datetime) -> etree._Element:
        """Return an envelope that contains only the verified parts.

        Raise :class:`~gateway.fetch.soap.xml_signature.SignatureRefused` when the signature is
        absent, invalid, expired or repeated, or does not cover a required part.
        """
        rule = self._security.signature
        if rule is None:
            return envelope
        security = self._single_security_header(envelope)
        signatures = security.findall(f"{{{DS}}}Signature")
        if len(signatures) != 1:
            raise SignatureRefused(
                "SIGNATURE_ABSENT",
                f"{self._where}: the reply is not signed"
                if not signatures
                else f"{self._where}: the reply has more than one signature",
            )
        trust = xml_signature.certificates(
            self._secrets(rule.trust.secret), f"the trusted certificate {rule.trust.secret!r}"
        )
        keys = xml_signature.trusted_keys(
            trust, _embedded_certificate(security, signatures[0]), now
        )
        covered = xml_signature.verify_references(envelope, signatures[0], keys)
        for part in rule.require:
            elements = _signed_elements(envelope, part)
            if not elements or any(element not in covered for element in elements):
                raise SignatureRefused(
                    "SIGNATURE_COVERAGE", f"{self._where}: the reply's {part} is not signed"
                )
        self._check_freshness(security, signatures[0], now)
        return _envelope_of_signed_parts(envelope, covered)

    def _single_security_header(self, envelope: etree._Element) -> etree._Element:
        headers = list(envelope.iter(f"{{{WSSE}}}Security"))
        header = soap.header_of(envelope)
        if not headers:
            raise SignatureRefused("SIGNATURE_ABSENT", f"{self._where}: the reply is not signed")
        if len(headers) != 1 or headers[0].getparent() is not header:
            raise SignatureRefused(
                "SIGNATURE_MALFORMED",
                f"{self._where}: the reply must have exactly one Security header",
            )
        return headers[0]

    def _check_freshness(
        self, security: etree._Element, signature: etree._Element, now: datetime
    ) -> None:
        stamp = security.find(f"{{{WSU}}}Timestamp")
        window = timedelta(minutes=10)
        if stamp is not None:
            created, expires = (
                _parse_timestamp(stamp.findtext(f"{{{WSU}}}{name}"))
                for name in ("Created", "Expires")
            )
            if created is not None and created > now + SKEW:
                raise SignatureRefused(
                    "SIGNATURE_EXPIRED",
                    f"{self._where}: the reply was signed in the future; compare the clocks",
                )
            if (expires is not None and expires < now - SKEW) or (
                created is not None and created < now - timedelta(days=1)
            ):
                raise SignatureRefused(
                    "SIGNATURE_EXPIRED", f"{self._where}: the reply's Timestamp has expired"
                )
            window = max(window, (expires - now) + SKEW) if expires is not None else window
        rule = self._security.signature
        if rule and rule.replay_window:
            window = rule.replay_window
        value = hashlib.sha256(
            "".join((signature.findtext(f"{{{DS}}}SignatureValue") or "").split()).encode()
        ).digest()
        self._seen_signatures = {
            digest: until for digest, until in self._seen_signatures.items() if until > now
        }
        if value in self._seen_signatures:
            raise SignatureRefused(
                "SIGNATURE_REPLAYED", f"{self._where}: the same signed message arrived twice"
            )
        self._seen_signatures[value] = now + window


def _timestamp(security: etree._Element, now: datetime, ttl: timedelta) -> None:
    element = etree.SubElement(security, f"{{{WSU}}}Timestamp")
    etree.SubElement(element, f"{{{WSU}}}Created").text = _format_timestamp(now)
    etree.SubElement(element, f"{{{WSU}}}Expires").text = _format_timestamp(now + ttl)


def _format_timestamp(moment: datetime) -> str:
    return (
        moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
    )


def _parse_timestamp(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise SignatureRefused(
            "SIGNATURE_MALFORMED", "the Timestamp contains an invalid date"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _ensure_id(element: etree._Element) -> str:
    name = element.get(_ID)
    if name is None:
        name = "id-" + randomness.token_hex(8)
        element.set(_ID, name)
    return name


def _signed_elements(envelope: etree._Element, part: str) -> list[etree._Element]:
    """Return the elements that a word of ``sign`` or ``require`` names.

    Each element counts only at its fixed place in the envelope.
    """
    body, header = soap.body_of(envelope), soap.header_of(envelope)
    if part == "body":
        return [] if body is None else [body]
    if header is None:
        return []
    if part in {"timestamp", "token"}:
        name = f"{{{WSU}}}Timestamp" if part == "timestamp" else f"{{{WSSE}}}BinarySecurityToken"
        return header.findall(f"{{{WSSE}}}Security/{name}")
    if part == "xroad":
        return [child for child in header if etree.QName(child).namespace == soap.XROAD]
    names = {"to": "To", "from": "From", "action": "Action", "message_id": "MessageID"}
    return header.findall(f"{{{soap.WSA}}}{names[part]}")


def _embedded_certificate(
    security: etree._Element, signature: etree._Element
) -> x509.Certificate | None:
    """Return the certificate in the message, or ``None``. The caller checks the trust."""
    tokens = {token.get(_ID): token for token in security.findall(f"{{{WSSE}}}BinarySecurityToken")}
    reference = signature.find(
        f"{{{DS}}}KeyInfo/{{{WSSE}}}SecurityTokenReference/{{{WSSE}}}Reference"
    )
    token = (
        tokens.get((reference.get("URI") or "").removeprefix("#"))
        if reference is not None
        else None
    )
    if token is None:
        return None
    try:
        return x509.load_der_x509_certificate(
            base64.b64decode("".join((token.text or "").split()), validate=True)
        )
    except (binascii.Error, ValueError):
        raise SignatureRefused(
            "SIGNATURE_MALFORMED", "the BinarySecurityToken is not a certificate"
        ) from None


def _envelope_of_signed_parts(
    envelope: etree._Element, covered: list[etree._Element]
) -> etree._Element:
    space = etree.QName(envelope).namespace
    signed = etree.Element(f"{{{space}}}Envelope", nsmap=cast("Any", envelope.nsmap))
    header = etree.SubElement(signed, f"{{{space}}}Header")
    original, body = soap.header_of(envelope), soap.body_of(envelope)
    header.extend(deepcopy(element) for element in covered if element.getparent() is original)
    if body is not None and body in covered:
        signed.append(deepcopy(body))
    return signed
