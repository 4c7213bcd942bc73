"""Secure SOAP requests with WS-Security and verify the replies.

The gateway reads only the signed parts of a message. :meth:`WsSecurity.verify` returns an envelope
that contains nothing else. This prevents signature wrapping, in which an attacker moves the signed
body and adds another one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets as randomness
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from gateway.config.connection import Security, Signature, UsernameToken
from gateway.fetch.request_builder import TemplateFiller
from gateway.fetch.secrets import Secrets
from gateway.fetch.soap import envelope as soap
from gateway.fetch.soap import signing_keys, xml_signature
from gateway.fetch.soap.signature_files import SignatureFiles
from gateway.fetch.soap.signature_limits import (
    DS,
    SIGNATURE_EXPECTED,
    SignatureRefused,
    check_value_sizes,
)
from gateway.fetch.soap.xml_signature import WSU

WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
_TOKEN = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"  # noqa: S105 - the start of a URI
X509V3 = _TOKEN + "x509-token-profile-1.0#X509v3"
BASE64 = _TOKEN + "soap-message-security-1.0#Base64Binary"
PASSWORD = _TOKEN + "username-token-profile-1.0#Password"
SKEW = timedelta(minutes=5)
MAX_AGE = timedelta(days=1)
"""The longest time for which a signed message is valid, whatever its Timestamp states."""
MIN_MEMORY = timedelta(minutes=10)
"""The shortest time for which a signed message is remembered."""
_ID = f"{{{WSU}}}Id"


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A message as its signature names it.

    Two messages with the same ``digest`` have the same signed content. ``valid_until`` is the time
    until which the gateway must recognise a repetition, because the message is valid until then.
    """

    digest: bytes
    valid_until: datetime


@dataclass(frozen=True, slots=True)
class VerifiedEnvelope:
    """An envelope that contains only verified parts, and the message that it belongs to."""

    root: etree._Element
    message: SignedMessage


class WsSecurity:
    """The WS-Security rules of one registry.

    An instance stores the replies that it has verified, so that it can refuse a replay.
    """

    def __init__(
        self,
        security: Security,
        secrets: Secrets,
        where: str,
        signature_files: SignatureFiles | None = None,
    ) -> None:
        self._security = security
        self._secrets = secrets
        self._where = where
        self._kept_files = signature_files
        self._seen_messages: dict[bytes, datetime] = {}

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
        key, certificate = self._signature_files().signing_pair()
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
        """Return an envelope that contains only the verified parts of a reply.

        Raise :class:`~gateway.fetch.soap.xml_signature.SignatureRefused` when the signature is
        absent, invalid, expired or repeated, or does not cover a required part.
        """
        if self._security.signature is None:
            return envelope
        verified = self.verify(envelope, now)
        self.refuse_repeated(verified.message, now)
        return verified.root

    def refuse_repeated(self, message: SignedMessage, now: datetime) -> None:
        """Raise ``SIGNATURE_REPLAYED`` for a reply that arrived before, and remember it."""
        self._seen_messages = {
            digest: until for digest, until in self._seen_messages.items() if until > now
        }
        if message.digest in self._seen_messages:
            raise SignatureRefused(
                "SIGNATURE_REPLAYED", f"{self._where}: the same signed message arrived twice"
            )
        self._seen_messages[message.digest] = message.valid_until

    def verify_signer(self, envelope: etree._Element, now: datetime) -> None:
        """Raise :class:`SignatureRefused` unless a trusted key signed the message.

        Reads only the header, so that the body may still be missing or incomplete.
        """
        security, signature = self._single_signature(envelope)
        xml_signature.verify_signer(signature, self._trusted_keys(security, signature, now))

    def verify(self, envelope: etree._Element, now: datetime) -> VerifiedEnvelope:
        """Return the verified parts of a message, which may be a repeated one.

        Raise :class:`SignatureRefused` when the signature is absent, invalid or expired, or does
        not cover a required part.
        """
        rule = self._require_rule()
        security, signature = self._single_signature(envelope)
        keys = self._trusted_keys(security, signature, now)
        verified = xml_signature.verify_references(envelope, signature, keys)
        for part in rule.require:
            elements = _signed_elements(envelope, part)
            if not elements or any(element not in verified.covered for element in elements):
                raise SignatureRefused(
                    "SIGNATURE_COVERAGE", f"{self._where}: the message's {part} is not signed"
                )
        valid_until = self._check_age(security, verified.covered, now)
        covered = [element for element in verified.covered if element is not security]
        return VerifiedEnvelope(
            _envelope_of_signed_parts(envelope, covered),
            SignedMessage(verified.digest, valid_until),
        )

    def _signature_files(self) -> SignatureFiles:
        """Return the key and the certificates, which outlive this instance if the caller has them.

        The earlier pair can then stay in use while a renewed one is incomplete.
        """
        if self._kept_files is None:
            self._kept_files = SignatureFiles(self._where, self._require_rule(), self._secrets)
        return self._kept_files

    def _require_rule(self) -> Signature:
        if self._security.signature is None:
            raise AssertionError
        return self._security.signature

    def _single_signature(self, envelope: etree._Element) -> tuple[etree._Element, etree._Element]:
        """Return the only Security header of an envelope, and the only signature in it."""
        if not soap.is_envelope(envelope):
            raise SignatureRefused(
                "SIGNATURE_ABSENT",
                f"{self._where}: the message is not signed, because it is no SOAP envelope; "
                f"{SIGNATURE_EXPECTED}",
            )
        for name in ("Header", "Body"):
            if len(envelope.findall(f"{{{etree.QName(envelope).namespace}}}{name}")) > 1:
                raise SignatureRefused(
                    "SIGNATURE_MALFORMED", f"{self._where}: the message has more than one {name}"
                )
        headers = list(envelope.iter(f"{{{WSSE}}}Security"))
        if not headers:
            raise SignatureRefused(
                "SIGNATURE_ABSENT",
                f"{self._where}: the message is not signed; {SIGNATURE_EXPECTED}",
            )
        if len(headers) != 1 or headers[0].getparent() is not soap.header_of(envelope):
            raise SignatureRefused(
                "SIGNATURE_MALFORMED",
                f"{self._where}: the message must have exactly one Security header",
            )
        signatures = headers[0].findall(f"{{{DS}}}Signature")
        if len(signatures) != 1:
            raise SignatureRefused(
                "SIGNATURE_ABSENT",
                f"{self._where}: the message is not signed; {SIGNATURE_EXPECTED}"
                if not signatures
                else f"{self._where}: the message has more than one signature",
            )
        return headers[0], signatures[0]

    def _trusted_keys(
        self, security: etree._Element, signature: etree._Element, now: datetime
    ) -> list[Any]:
        trust = self._signature_files().trusted_certificates()
        embedded = _embedded_certificate(security, signature)
        return signing_keys.trusted_keys(trust, embedded, now)

    def _check_age(
        self, security: etree._Element, covered: list[etree._Element], now: datetime
    ) -> datetime:
        """Return when a message expires, or raise ``SIGNATURE_EXPIRED``.

        Anybody can write a Timestamp that is not signed, so that it counts as absent. Without a
        Timestamp, the result is the time until which a repetition must be recognised.
        """
        memory = max(MIN_MEMORY, self._require_rule().replay_window or MIN_MEMORY)
        stamps = security.findall(f"{{{WSU}}}Timestamp")
        if len(stamps) > 1:
            raise SignatureRefused(
                "SIGNATURE_MALFORMED", f"{self._where}: the message has more than one Timestamp"
            )
        if not stamps or stamps[0] not in covered:
            return now + memory
        created, expires = (
            _parse_timestamp(stamps[0].findtext(f"{{{WSU}}}{name}"))
            for name in ("Created", "Expires")
        )
        if created is None and expires is None:
            raise SignatureRefused(
                "SIGNATURE_MALFORMED", f"{self._where}: the Timestamp has no Created"
            )
        if created is not None and created > now + SKEW:
            raise SignatureRefused(
                "SIGNATURE_EXPIRED",
                f"{self._where}: the message was signed in the future; compare the clocks",
            )
        if created is None and expires is not None and expires > now + MAX_AGE:
            raise SignatureRefused(
                "SIGNATURE_EXPIRED",
                f"{self._where}: the Timestamp has no Created, and expires later than in a day",
            )
        if (expires is not None and expires < now - SKEW) or (
            created is not None and created < now - MAX_AGE
        ):
            raise SignatureRefused(
                "SIGNATURE_EXPIRED", f"{self._where}: the message's Timestamp has expired"
            )
        ends = [expires + SKEW] if expires is not None and expires < now + MAX_AGE else []
        ends += [created + MAX_AGE] if created is not None else []
        return max(now + memory, min(ends, default=now + MAX_AGE))


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
    check_value_sizes(token)
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
