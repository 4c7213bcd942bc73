"""The client of one connector: built from its file, its secrets and the stage; see :mod:`gateway.fetch.http.transport` for what it does."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from datetime import time as clock_time
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from gateway.config import connection as language
from gateway.config.connector import Connector, Push, Soap
from gateway.config.expressions.compiler import compile_expression, text_of
from gateway.config.types import Secret
from gateway.errors import Halt
from gateway.fetch.http import tls
from gateway.fetch.http.auth import ApiKey, Auth, Basic, Bearer, OAuth2, Open
from gateway.fetch.http.login import Login
from gateway.fetch.http.rate_limiter import Quiet
from gateway.fetch.http.request_reply import Call, Reply, Verdict
from gateway.fetch.http.transport import Allowance, Line, Transport, origin
from gateway.fetch.secrets import Secrets
from gateway.fetch.secrets import text as secret_text
from gateway.fetch.soap.envelope import Wsdl


class Client(Transport):
    """The client of one connector: built from its file, its secrets and the stage.

    ``base`` is the address that is called, ``secrets`` what ``{secret: name}`` means here.
    """

    def __init__(
        self, connector: Connector, secrets: Secrets, stage: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        block = connector.protocol
        self.block = block
        self.secrets = secrets
        self.stage = stage
        self._tls = None if isinstance(block, Push) else block.tls
        self.base = "" if isinstance(block, Push) else _address(connector.connector, block.url, stage)
        hosts = set() if isinstance(block, Push) else {origin(self.base), *(_host_origin(host, self.base) for host in block.hosts)}
        super().__init__(connector.connector, allowance_of(block.limits), Line(), hosts, now=now)
        self.line = self.line_of(None if isinstance(block, Push) else block.auth, self._tls)
        self._wsdls: dict[Path, Wsdl] = {}
        self._parties: dict[str, Line] = {}

    def line_of(self, auth: language.Auth | None, own: language.Tls | None) -> Line:
        """Return how to reach a party with these credentials and this certificate."""
        return Line(self._auth(auth), self._context(own))

    def party_line(self, name: str, auth: language.Auth | None, own: language.Tls | None) -> Line:
        """Return the line of one institution, made once so that its token and connections are kept."""
        if name not in self._parties:
            self._parties[name] = self.line_of(auth, own)
        return self._parties[name]

    def wsdl(self, folder: Path, block: Soap) -> Wsdl:
        """Return the connector's WSDL, loaded once."""
        path = folder / (block.wsdl or "")
        if path not in self._wsdls:
            self._wsdls[path] = Wsdl(path, block.service, block.port)
        return self._wsdls[path]

    def _context(self, own: language.Tls | None) -> ssl.SSLContext | None:
        if own is None:
            return None
        given = {
            name: self.secrets(found.secret) for name in ("authorities", "certificate", "key", "password") if (found := getattr(own, name))
        }
        bundle = self.secrets(own.pkcs12.secret) if own.pkcs12 else None
        return tls.context(self.connector, pkcs12_bundle=bundle, **given)

    def _auth(self, auth: language.Auth | None) -> Auth:
        if auth is None:
            return Open()
        if auth.basic:
            return Basic(self._text(auth.basic.username), self._text(auth.basic.password))
        if auth.bearer:
            return Bearer(self._text(auth.bearer.token))
        if auth.api_key:
            return ApiKey(self._text(auth.api_key.value), auth.api_key.header or "", auth.api_key.query or "")
        if auth.login:
            return self._login(auth.login)
        if auth.oauth2_client_credentials is None:
            raise AssertionError
        return self._oauth(auth.oauth2_client_credentials)

    def _oauth(self, rule: language.OAuth2) -> OAuth2:
        url = rule.token_url if isinstance(rule.token_url, str) else _address(self.connector, rule.token_url, self.stage)
        self.allow(url)
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
            in_body=rule.credentials_in == "body",
            tls=self._context(rule.tls),
        )

    def _login(self, rule: language.Login) -> Login:
        url = rule.url if isinstance(rule.url, str) else _address(self.connector, rule.url, self.stage)
        self.allow(url)
        select = compile_expression("json", rule.token)
        return Login(
            url,
            {name: self._text(value) for name, value in rule.fields.items()},
            lambda answer: text_of(next(iter(select(answer)), "")),
            rule.header,
            rule.prefix,
            as_form=rule.as_ == "form",
            lifetime=rule.lifetime,
        )

    def _text(self, source: str | Secret) -> Callable[[], str]:
        return (lambda: source) if isinstance(source, str) else (lambda: secret_text(self.secrets, source.secret))


def allowance_of(limits: language.Limits) -> Allowance:
    """Return the allowance a connector's ``limits`` ask for."""
    return Allowance(
        rate=limits.rate,
        concurrency=limits.concurrency,
        timeout=limits.timeout.total_seconds(),
        max_response=limits.max_response,
        max_decoded=limits.max_decoded,
        quiet=quiet_of(limits.quiet) if limits.quiet else None,
        attempts=limits.attempts,
        patience=limits.patience.total_seconds(),
    )


def quiet_of(text: str) -> Quiet:
    """Return the quiet hours ``07:00-19:00 Europe/Brussels`` means."""
    hours, _, zone = text.partition(" ")
    start, _, end = hours.partition("-")
    return Quiet(clock_time.fromisoformat(start), clock_time.fromisoformat(end), ZoneInfo(zone))


def _address(connector: str, url: language.Url, stage: str) -> str:
    found = url.at(stage)
    if found is None:
        raise Halt("URL_MISSING", f"{connector}: the connector has no url for the stage {stage!r}; add it or set GATEWAY_STAGE=production")
    return found


def _host_origin(host: str, base: str) -> str:
    return origin(host if "://" in host else f"{urlsplit(base).scheme}://{host}")


__all__ = ["Allowance", "Call", "Client", "Line", "Reply", "Transport", "Verdict", "origin"]
