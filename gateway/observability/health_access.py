"""Decide who may read the pages of the health port that are about records.

Explanations, unmapped values and topics need a token. Pages for people also need a known ``Host``.
Otherwise a website could give its own name the address of this port, and read the page in a browser
of the operator. Probes and metrics need neither, because they contain nothing about persons.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re
import socket

from aiohttp import web

from gateway.errors import UsageError
from gateway.observability import logs
from gateway.settings import Settings

MIN_TOKEN_LENGTH = 16
DISABLED_TEXT = (
    "This port shows no records, because it has no token. Set GATEWAY_HEALTH_TOKEN, "
    "or run `gateway explain` or `gateway topics read` in a shell.\n"
)
UNAUTHORISED_TEXT = (
    "This page needs the token of GATEWAY_HEALTH_TOKEN, as a Bearer token "
    "or as the password of any user.\n"
)
WRONG_HOST_TEXT = (
    "This port does not know the name in Host. Use an IP address or localhost, "
    "or add the name to GATEWAY_HEALTH_HOSTS.\n"
)
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[^:@/\[\]\s]+))(?::[0-9]{1,5})?")


class HealthAccess:
    """The token and the host names of one health port."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._names = {
            "localhost",
            socket.gethostname().lower(),
            settings.metrics_host.lower(),
            *(name.strip().lower() for name in settings.health_hosts.split(",") if name.strip()),
        }

    def read_token(self) -> str:
        """Return the token, or nothing if there is none.

        Raises :class:`~gateway.errors.UsageError` if its file cannot be read, or if the token is
        short enough to guess.
        """
        path, name = self._settings.health_token_file, "GATEWAY_HEALTH_TOKEN"
        token = self._settings.health_token.get_secret_value().strip()
        if path is not None:
            name = "GATEWAY_HEALTH_TOKEN_FILE"
            try:
                token = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise UsageError(
                    f"{name}: {path} cannot be read; write a token of {MIN_TOKEN_LENGTH} "
                    "characters or more into it"
                ) from None
        if (token or path) and len(token) < MIN_TOKEN_LENGTH:
            raise UsageError(
                f"{name}: the token has {len(token)} characters; "
                f"use {MIN_TOKEN_LENGTH} or more, for example from `openssl rand -hex 32`"
            )
        if token:
            logs.mask_secrets(token)
        return token

    @property
    def has_token(self) -> bool:
        """Whether the port has a token that can be read now."""
        try:
            return bool(self.read_token())
        except UsageError:
            return False

    def refuse(self, request: web.Request) -> web.Response | None:
        """Return the answer to a caller without the token, or nothing for a caller with it.

        The answer depends on nothing that the gateway stores.
        """
        if not self.has_token:
            return web.Response(text=DISABLED_TEXT, status=403)
        expected = self.read_token().encode()
        values = request.headers.getall("Authorization", [])
        shown = _shown_token(values[0]) if len(values) == 1 else b""
        if hmac.compare_digest(shown, expected):
            return None
        return web.Response(
            text=UNAUTHORISED_TEXT,
            status=401,
            headers={"WWW-Authenticate": 'Basic realm="gateway", charset="UTF-8"'},
        )

    def refuse_host(self, request: web.Request) -> web.Response | None:
        """Return the answer to a call for an unknown host, or nothing for a known one."""
        values = request.headers.getall("Host", [])
        if len(values) == 1 and self._is_known(values[0]):
            return None
        return web.Response(text=WRONG_HOST_TEXT, status=421)

    def _is_known(self, host: str) -> bool:
        match = _HOST.fullmatch(host.lower())
        if match is None:
            return False
        name = match["ipv6"] or match["name"].removesuffix(".")
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _shown_token(header: str) -> bytes:
    scheme, _, value = header.partition(" ")
    data = value.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() == "bearer":
        return data
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(data, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
