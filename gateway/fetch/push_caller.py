"""Check the head of a call from a push registry, before its body is read."""

from __future__ import annotations

import base64
import binascii
import hmac
import socket
from datetime import datetime

from aiohttp import web
from cryptography import x509

from gateway.config.connector import Push
from gateway.errors import StreamHalted
from gateway.fetch.push_form import MEDIA_TYPE
from gateway.fetch.request_builder import TemplateFiller
from gateway.fetch.secrets import Secrets
from gateway.fetch.soap import xml_signature


class Unauthorised(Exception):
    """The caller did not present the credentials that the connector requires."""


class BadHead(Exception):
    """The head of the call is ambiguous. The text may be shown to the caller."""


def has_header_credentials(push: Push) -> bool:
    """Return whether the head of a call identifies its caller."""
    return push.auth is not None or push.client_certificate is not None


def check_credentials(
    push: Push, secrets: Secrets, request: web.Request, now: datetime, connector: str
) -> None:
    """Raise :class:`Unauthorised` without the credentials of ``push``.

    Raises :class:`BadHead` if the call shows two credentials, because a proxy in front of the
    gateway may have checked the other one.
    """
    auth = push.auth
    filler = TemplateFiller(secrets)
    if auth is not None and auth.basic:
        username = filler.text(auth.basic.username, {})
        expected = f"{username}:{filler.text(auth.basic.password, {})}".encode()
        require_equal(decode_basic(read_header(request, "Authorization")), expected)
    elif auth is not None and auth.bearer:
        scheme, _, token = read_header(request, "Authorization").partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthorised
        require_equal(token.strip(), filler.text(auth.bearer.token, {}).encode())
    elif auth is not None and auth.api_key:
        shown = (
            read_header(request, auth.api_key.header)
            if auth.api_key.header
            else _read_query(request, auth.api_key.query or "")
        )
        require_equal(shown, filler.text(auth.api_key.value, {}).encode())
    elif auth is not None:
        raise StreamHalted(
            "PROTOCOL",
            f"{connector}: a push connector accepts basic, bearer or api_key only",
        )
    if push.client_certificate is not None and not _is_from_sibling(request):
        _check_certificate(push.client_certificate.secret, secrets, request, now)


def check_body_head(push: Push, request: web.Request, connector: str) -> None:
    """Raise :class:`~gateway.errors.StreamHalted` if the head announces an unreadable body."""
    limit = push.limits.max_response
    if request.content_length is not None and request.content_length > limit:
        raise StreamHalted(
            "LIMIT_BYTES",
            f"{connector}: a message is larger than {limit} bytes; raise limits.max_response",
        )
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if push.fields and media_type not in {"", MEDIA_TYPE}:
        raise StreamHalted(
            "CONTENT_TYPE",
            f"{connector}: the message is not a form of the type {MEDIA_TYPE}; "
            "the registry must send `fields` as one",
        )


def read_url(request: web.Request) -> str:
    """Return the URL of the call without its query.

    Raises :class:`BadHead` for a ``Host`` that is none, and for a framing that is not ``chunked``.
    """
    framing = request.headers.get("Transfer-Encoding", "chunked")
    if framing.strip().lower() != "chunked":
        raise BadHead("Transfer-Encoding may be chunked only")
    try:
        return str(request.url.with_query(None))
    except ValueError:
        raise BadHead("the header Host must be a name or an address, with or without a port") from (
            None
        )


def read_header(request: web.Request, name: str) -> bytes:
    """Return the bytes of a header, or nothing if there is none."""
    values = request.headers.getall(name, [""])
    if len(values) > 1:
        raise BadHead(f"the header {name} must occur once")
    return values[0].encode("utf-8", "surrogateescape")


def require_equal(shown: bytes, expected: bytes) -> None:
    """Raise :class:`Unauthorised` unless both are equal, in a time that tells nothing."""
    if not hmac.compare_digest(shown, expected):
        raise Unauthorised


def decode_basic(header: bytes) -> bytes:
    """Return ``user:password`` of an Authorization header, or nothing."""
    scheme, _, encoded = header.partition(b" ")
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _read_query(request: web.Request, name: str) -> bytes:
    values = request.query.getall(name, [""])
    if len(values) > 1:
        raise BadHead(f"the parameter {name} must occur once")
    return values[0].encode("utf-8", "surrogateescape")


def _is_from_sibling(request: web.Request) -> bool:
    """Return whether a process under the same parent sent the call, and has checked its caller."""
    channel = request.transport.get_extra_info("socket") if request.transport else None
    return channel is not None and channel.family == socket.AF_UNIX


def _check_certificate(secret: str, secrets: Secrets, request: web.Request, now: datetime) -> None:
    channel = request.transport.get_extra_info("ssl_object") if request.transport else None
    shown = channel.getpeercert(binary_form=True) if channel is not None else None
    if not shown:
        raise Unauthorised
    try:
        xml_signature.trusted_keys(
            xml_signature.certificates(secrets(secret), secret),
            x509.load_der_x509_certificate(shown),
            now,
        )
    except (xml_signature.SignatureRefused, ValueError):
        raise Unauthorised from None
