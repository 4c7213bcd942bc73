"""Build the HTTP client of one connector from its file, its secrets and the stage.

:mod:`gateway.fetch.http.transport` describes the behaviour of the client.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from datetime import time as clock_time
from http.cookiejar import CookieJar
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.certificates.renewal import RenewedContext
from gateway.config import connection as language
from gateway.config.connector import Connector, Protocol, Push, Soap
from gateway.config.expressions.compiler import compile_expression, text_of
from gateway.config.second_lists import Institution
from gateway.config.side_files import find_side_file
from gateway.config.types import Secret
from gateway.errors import ConfigError, Finding, StreamHalted
from gateway.fetch.http import tls
from gateway.fetch.http.auth import ApiKey, Auth, Basic, Bearer, NoAuth, OAuth2
from gateway.fetch.http.circuit_breaker import BreakerScope
from gateway.fetch.http.connection import Connection, Origins, origin
from gateway.fetch.http.login import LoginAuth
from gateway.fetch.http.rate_limiter import QuietHours
from gateway.fetch.http.request_reply import RegistryReply, RegistryRequest, ReplyVerdict
from gateway.fetch.http.revalidation import KeptReplies
from gateway.fetch.http.transport import RegistryLimits, Transport
from gateway.fetch.safe_links import host_origin, safe_url
from gateway.fetch.secrets import Secrets
from gateway.fetch.secrets import text_secret as secret_text
from gateway.fetch.soap.envelope import Wsdl
from gateway.fetch.soap.signature_files import SignatureFiles


class RegistryClient(Transport):
    """The HTTP client of one connector.

    ``base`` is the base URL of the registry. ``secrets`` resolves ``{secret: name}``.
    """

    def __init__(
        self,
        connector: Connector,
        secrets: Secrets,
        stage: str,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        block = connector.protocol
        self.protocol_config = block
        self.secrets = secrets
        self.stage = stage
        self._tls = None if isinstance(block, Push) else block.tls
        self.base = (
            ""
            if isinstance(block, Push)
            else _url_for_environment(connector.connector, block.url, stage)
        )
        own, further = (
            (frozenset[str](), frozenset[str]())
            if isinstance(block, Push)
            else _named_hosts(block, self.base)
        )
        super().__init__(
            connector.connector, limits_from_config(block.limits), Connection(), (), now=now
        )
        if self.base:
            self.origins = Origins(own | {origin(self.base)}, further)
        self.line = self.connection_for(None if isinstance(block, Push) else block.auth, self._tls)
        security = block.security if isinstance(block, Soap) else None
        rule = security.signature if security else None
        self.signature_files = SignatureFiles(self.connector, rule, secrets) if rule else None
        self._wsdls: dict[Path, Wsdl] = {}
        self.kept_replies = KeptReplies()
        self._institution_connections: dict[tuple[str, str], Connection] = {}

    def connection_for(
        self, auth: language.Auth | None, tls_config: language.Tls | None
    ) -> Connection:
        """Return a connection with these credentials and this client certificate."""
        return Connection(
            self._auth(auth), self._context(tls_config), plain_tls=self._plain_context(tls_config)
        )

    def institution_connection(
        self, name: str, party: Institution, base: str | None, outer: Connection | None
    ) -> Connection:
        """Return the connection of one institution, with cookies and origins of its own.

        ``outer`` supplies what the institution does not configure. The client creates a connection
        once, so that later requests reuse its token and its cookies.
        """
        outer = outer or self.line
        key = (f"{outer.scope.institution}\x1f{name}", party.model_dump_json())
        if key not in self._institution_connections:
            self._institution_connections[key] = self._institution(name, party, base, outer)
        return self._institution_connections[key]

    def _institution(
        self, name: str, party: Institution, base: str | None, outer: Connection
    ) -> Connection:
        block, line = self.protocol_config, outer
        if (party.auth or party.tls) and not isinstance(block, Push):
            line = self.connection_for(party.auth or block.auth, party.tls or block.tls)
        origins = self.origins_of(outer)
        if party.url and base is not None and not isinstance(block, Push):
            own, further = _named_hosts(block, base)
            origins = Origins(own | {origin(base)}, further)
        return replace(line, origins=origins, scope=BreakerScope(name), cookies=CookieJar())

    def safe_url(self, url: str, base: str, where: str, line: Connection | None = None) -> str:
        """Return the address to call for a URL that can come from a reply.

        Raise ``CURSOR_FOREIGN`` when it leads to a host that the connector does not name for the
        institution of ``line``.
        """
        return safe_url(url, self.origins_of(line).all, base, where)

    def wsdl(self, folder: Path, block: Soap) -> Wsdl:
        """Return the WSDL of the connector; the client loads it once."""
        try:
            path = find_side_file(folder, block.wsdl or "")
        except ValueError as error:
            finding = Finding(
                str(folder / self.connector), 0, 0, "bad-wsdl", "soap.wsdl", str(error)
            )
            raise ConfigError([finding]) from None
        if path not in self._wsdls:
            self._wsdls[path] = Wsdl(path, block.service, block.port)
        return self._wsdls[path]

    def _context(self, tls_config: language.Tls | None) -> ssl.SSLContext | None:
        return _renewed_context(self.connector, self.secrets, tls_config) if tls_config else None

    def _plain_context(self, tls_config: language.Tls | None) -> ssl.SSLContext | None:
        """Return the context without a client certificate, for hosts without credentials."""
        if tls_config is None or tls_config.authorities is None:
            return None
        only_authorities = language.Tls(authorities=tls_config.authorities)
        return _renewed_context(self.connector, self.secrets, only_authorities)

    def _auth(self, auth: language.Auth | None) -> Auth:
        if auth is None:
            return NoAuth()
        if auth.basic:
            return Basic(self._text(auth.basic.username), self._text(auth.basic.password))
        if auth.bearer:
            return Bearer(self._text(auth.bearer.token))
        if auth.api_key:
            return ApiKey(
                self._text(auth.api_key.value), auth.api_key.header or "", auth.api_key.query or ""
            )
        if auth.login:
            return self._login(auth.login)
        if auth.oauth2_client_credentials is None:
            raise AssertionError
        return self._oauth(auth.oauth2_client_credentials)

    def _oauth(self, rule: language.OAuth2) -> OAuth2:
        url = (
            rule.token_url
            if isinstance(rule.token_url, str)
            else _url_for_environment(self.connector, rule.token_url, self.stage)
        )
        key = rule.private_key.secret if rule.private_key else None
        return OAuth2(
            url,
            self._text(rule.client_id),
            self._text(rule.client_secret) if rule.client_secret else None,
            assertion_key=(lambda: self.secrets(key)) if key else None,
            key_id=rule.key_id or "",
            algorithm=rule.algorithm,
            audience=rule.audience or "",
            scope=rule.scope,
            parameters=tuple(rule.parameters.items()),
            credentials_in_body=rule.credentials_in == "body",
            tls=self._context(rule.tls),
        )

    def _login(self, rule: language.Login) -> LoginAuth:
        url = (
            rule.url
            if isinstance(rule.url, str)
            else _url_for_environment(self.connector, rule.url, self.stage)
        )
        select = compile_expression("json", rule.token)
        return LoginAuth(
            url,
            {name: self._text(value) for name, value in rule.fields.items()},
            lambda answer: text_of(next(iter(select(answer)), "")),
            rule.header,
            rule.prefix,
            as_form=rule.as_ == "form",
            lifetime=rule.lifetime,
        )

    def _text(self, source: str | Secret) -> Callable[[], str]:
        return (
            (lambda: source)
            if isinstance(source, str)
            else (lambda: secret_text(self.secrets, source.secret))
        )


def _named_hosts(block: Protocol, base: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the origins under ``hosts`` that receive credentials, and the others."""
    origins = {host_origin(entry.host, base): entry.credentials for entry in block.hosts}
    own = frozenset(name for name, gets_credentials in origins.items() if gets_credentials)
    return own, frozenset(origins) - own - {origin(base)}


def _renewed_context(connector: str, secrets: Secrets, tls_config: language.Tls) -> RenewedContext:
    """Return the context of a connector's ``tls`` block, which follows changes of its secrets."""
    names = {
        part: source.secret
        for part in ("authorities", "certificate", "key", "pkcs12", "password")
        if (source := getattr(tls_config, part))
    }
    return tls.renewed_context(connector, names, secrets)


def limits_from_config(limits: language.Limits) -> RegistryLimits:
    """Return the limits that a connector sets under ``limits``."""
    return RegistryLimits(
        rate=limits.rate,
        concurrency=limits.concurrency,
        timeout=limits.timeout.total_seconds(),
        max_response=limits.max_response,
        max_decoded=limits.max_decoded,
        quiet=parse_quiet_hours(limits.quiet) if limits.quiet else None,
        attempts=limits.attempts,
        retry_timeout=limits.patience.total_seconds(),
    )


def parse_quiet_hours(text: str) -> QuietHours:
    """Return the quiet hours of a text such as ``07:00-19:00 Europe/Brussels``."""
    hours, _, zone = text.partition(" ")
    start, _, end = hours.partition("-")
    return QuietHours(
        clock_time.fromisoformat(start), clock_time.fromisoformat(end), ZoneInfo(zone)
    )


def _url_for_environment(connector: str, url: language.UrlsByEnvironment, stage: str) -> str:
    stage_url = url.for_environment(stage)
    if stage_url is None:
        raise StreamHalted(
            "URL_MISSING",
            f"{connector}: the connector has no url for the stage {stage!r}; "
            "add it or set GATEWAY_STAGE=production",
        )
    return stage_url


__all__ = [
    "Connection",
    "RegistryClient",
    "RegistryLimits",
    "RegistryReply",
    "RegistryRequest",
    "ReplyVerdict",
    "Transport",
    "origin",
]
