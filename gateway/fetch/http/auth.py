"""Add credentials to requests, without I/O.

A flow is a generator. It yields requests and receives their replies. It ends after the reply to
the registry request itself. No flow opens a connection, so tests supply the replies by hand.
"""

from __future__ import annotations

import base64
import json
import re
import secrets as randomness
import ssl
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.errors import RetryLater, StreamHalted
from gateway.fetch.fault_text import fault_text_of, quote_fault_text
from gateway.fetch.http.request_reply import RegistryReply, RegistryRequest

AuthFlow = Generator[RegistryRequest, RegistryReply, None]
SecretText = Callable[[], str]
"""Return the current text of a secret, so that a rotated secret is used at once."""

_UNAUTHORISED = 401
_MAX_ERROR_CODE_LENGTH = 40
_RENEW_BEFORE = timedelta(seconds=30)
_SECONDS = re.compile(r"[0-9]{1,18}")
_LONGEST_LIFETIME = 86_400
"""A token that is valid for longer is renewed once a day, so that no sum of times overflows."""


class Auth(Protocol):
    """The authentication method of a registry."""

    def flow(self, call: RegistryRequest, now: datetime) -> AuthFlow:
        """Yield the requests that are needed to send ``call``.

        The last one is ``call`` with its credentials. The requests before it get a token.
        """
        ...


def with_header(call: RegistryRequest, name: str, value: str) -> RegistryRequest:
    """Return a copy of the request with one more header."""
    return replace(call, headers={**call.headers, name: value})


class NoAuth:
    """A method that adds no credentials."""

    def flow(self, call: RegistryRequest, now: datetime) -> AuthFlow:  # noqa: ARG002
        """Yield the request unchanged."""
        yield call


@dataclass(frozen=True, slots=True)
class Basic:
    """HTTP Basic authentication (RFC 7617), encoded in UTF-8."""

    username: SecretText
    password: SecretText

    def flow(self, call: RegistryRequest, now: datetime) -> AuthFlow:  # noqa: ARG002
        """Yield the request with an ``Authorization`` header."""
        pair = f"{self.username()}:{self.password()}".encode()
        yield with_header(call, "Authorization", "Basic " + base64.b64encode(pair).decode())


@dataclass(frozen=True, slots=True)
class Bearer:
    """A fixed bearer token (RFC 6750)."""

    token: SecretText

    def flow(self, call: RegistryRequest, now: datetime) -> AuthFlow:  # noqa: ARG002
        """Yield the request with an ``Authorization`` header."""
        yield with_header(call, "Authorization", "Bearer " + self.token())


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key in a header, or in a query parameter when ``header`` is empty."""

    value: SecretText
    header: str = ""
    parameter: str = ""

    def flow(self, call: RegistryRequest, now: datetime) -> AuthFlow:  # noqa: ARG002
        """Yield the request with the key."""
        if self.header:
            yield with_header(call, self.header, self.value())
        else:
            yield replace(call, query=(*call.query, (self.parameter, self.value())))


@dataclass(slots=True)
class OAuth2:
    """OAuth 2 client credentials (RFC 6749, section 4.4).

    The client authenticates with a secret or with a signed assertion (RFC 7523). The gateway
    reuses a token until shortly before it expires. It also renews the token once when the
    registry answers 401.
    """

    token_url: str
    client_id: SecretText
    client_secret: SecretText | None = None
    assertion_key: Callable[[], bytes] | None = None
    """Return the PEM key for ``private_key_jwt``. The key is used when there is no secret."""
    key_id: str = ""
    algorithm: str = "RS256"
    audience: str = ""
    scope: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    credentials_in_body: bool = False
    tls: ssl.SSLContext | None = None
    _token: str = field(default="", repr=False)
    _expires_at: datetime | None = None

    def flow(self, call: RegistryRequest, now: datetime) -> AuthFlow:
        """Yield a token request if needed, then ``call``.

        After a reply with status 401, renew the token and send ``call`` a second time.
        Raise ``RetryLater`` (``TOKEN_ENDPOINT``) when the token endpoint is busy or fails, and
        ``StreamHalted`` (``TOKEN_REFUSED``) when it refuses to issue a token.
        """
        fresh = not self._token or (self._expires_at is not None and now >= self._expires_at)
        if fresh:
            yield from self._renew(now)
        reply = yield with_header(call, "Authorization", "Bearer " + self._token)
        if reply.status == _UNAUTHORISED and not fresh:
            yield from self._renew(now)
            yield with_header(call, "Authorization", "Bearer " + self._token)

    def _renew(self, now: datetime) -> AuthFlow:
        self._token = ""
        reply = yield self._request(now)
        if reply.status >= 500 or reply.status == 429:  # noqa: PLR2004
            raise RetryLater(
                "TOKEN_ENDPOINT",
                f"the token endpoint answered {reply.status}{_oauth_error(reply)}",
            )
        try:
            answer = json.loads(reply.body.read()[:1_000_000])
            token = answer["access_token"]
            lifetime = answer.get("expires_in")
        except (ValueError, KeyError, TypeError, AttributeError):
            why = _oauth_error(reply)
            raise StreamHalted(
                "TOKEN_REFUSED",
                f"the token endpoint answered {reply.status}{why}; "
                f"check client_id, secret and scope{quote_fault_text(fault_text_of(reply))}",
            ) from None
        if not isinstance(token, str) or not token or reply.status != 200:  # noqa: PLR2004
            raise StreamHalted(
                "TOKEN_REFUSED",
                f"the token endpoint answered {reply.status} without an access_token; "
                "check token_url, client_id, secret and scope",
            )
        self._token = token
        valid_for = _lifetime(lifetime)
        self._expires_at = (
            None if valid_for is None else now + max(valid_for - _RENEW_BEFORE, valid_for / 2)
        )

    def _request(self, now: datetime) -> RegistryRequest:
        form = [("grant_type", "client_credentials"), *self.parameters]
        if self.scope:
            form.append(("scope", " ".join(self.scope)))
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        if self.client_secret is None and self.assertion_key is not None:
            form += [
                ("client_id", self.client_id()),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                ("client_assertion", self._assertion(now)),
            ]
        elif self.client_secret is None or self.credentials_in_body:
            form.append(("client_id", self.client_id()))
            if self.client_secret is not None:
                form.append(("client_secret", self.client_secret()))
        else:
            pair = f"{_form_quote(self.client_id())}:{_form_quote(self.client_secret())}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
        return RegistryRequest(
            "POST", self.token_url, headers, urlencode(form).encode(), label="token"
        )

    def _assertion(self, now: datetime) -> str:
        client = self.client_id()
        claims = {
            "iss": client,
            "sub": client,
            "aud": self.audience or self.token_url,
            "jti": randomness.token_urlsafe(16),
            "iat": int(now.timestamp()),
            "exp": int((now + timedelta(minutes=1)).timestamp()),
        }
        if self.assertion_key is None:
            raise StreamHalted(
                "TOKEN_REFUSED",
                "the token request needs client_secret or private_key; add one of them",
            )
        return sign_jwt(claims, self.assertion_key(), self.algorithm, self.key_id)


def sign_jwt(claims: Mapping[str, object], key_pem: bytes, algorithm: str, key_id: str = "") -> str:
    """Return a signed JSON Web Token (RS256, PS256 or ES256).

    Raise ``StreamHalted`` (``KEY_UNREADABLE``) when the key is not an unencrypted PEM private key,
    or has another type than ``algorithm`` requires.
    """
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except (ValueError, TypeError):
        raise StreamHalted(
            "KEY_UNREADABLE", "the key for private_key_jwt is not an unencrypted PEM private key"
        ) from None
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        # PyJWT raises TypeError for another type of key, and InvalidKeyError for another curve.
        with suppress(jwt.PyJWTError, TypeError, ValueError):
            return jwt.encode(dict(claims), key, algorithm, {"kid": key_id} if key_id else None)
    raise StreamHalted(
        "KEY_UNREADABLE",
        f"the key for private_key_jwt does not fit {algorithm}; change `algorithm` or the key",
    )


def _lifetime(stated: object) -> timedelta | None:
    """Return the lifetime of a token in seconds as its endpoint states it, at most a day.

    ``None`` says that it states none. A new token is requested before the lifetime ends.
    """
    if not isinstance(stated, int | float | str) or not _SECONDS.fullmatch(str(stated)):
        return None
    return timedelta(seconds=min(int(stated), _LONGEST_LIFETIME))


def _form_quote(value: str) -> str:
    return urlencode({"": value})[1:]


def _oauth_error(reply: RegistryReply) -> str:
    try:
        code = json.loads(reply.body.read()[:10_000])["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    return (
        f" ({code})"
        if isinstance(code, str)
        and code.isascii()
        and code.replace("_", "").isalpha()
        and len(code) < _MAX_ERROR_CODE_LENGTH
        else ""
    )
