"""How to reach Kafka: every client of the gateway takes its arguments from here."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.errors import KafkaError as KafkaError  # noqa: PLC0414 - callers catch it, and only this package imports aiokafka

from gateway.errors import Denied, Unavailable, UsageError
from gateway.kafka import client_certificate
from gateway.observability import logs
from gateway.settings import Settings

REFUSALS = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
"""What Kafka answers when the principal lacks a right."""

NO_COORDINATOR = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)
"""Answers of a cluster whose group has no members yet, or whose coordinator is moving. Callers try again."""

QUIET_SECONDS = 30.0
CHATTY = ("", ".cluster", ".conn", ".consumer.fetcher", ".consumer.group_coordinator", ".producer.sender")
"""Loggers below ``aiokafka`` that repeat themselves; its clients speak as ``aiokafka`` itself."""


class _Heard:
    """Why the last connection failed while a client was starting."""

    def __init__(self) -> None:
        self.why = ""
        self.starting = True


_heard: ContextVar[_Heard | None] = ContextVar("heard", default=None)


def _listen(record: logging.LogRecord) -> bool:
    """Keep what the library logs of a client that is starting for the error that says it, once; tasks the client leaves are logged."""
    heard = _heard.get()
    if heard is None or not heard.starting:
        return True
    if isinstance(record.args, tuple) and record.args and isinstance(error := record.args[-1], Exception):
        heard.why = _why(error)
    return False


def _why(error: Exception) -> str:
    """Return what went wrong in the system's words where it has them: the library's text repeats the address."""
    if isinstance(error, ssl.SSLError):
        return getattr(error, "verify_message", "") or error.reason or type(error).__name__
    if not isinstance(error, OSError) or not error.errno:
        return type(error).__name__
    return os.strerror(error.errno) if error.errno > 0 else error.strerror or type(error).__name__  # names that are not found are below 0


class _Seldom(logging.Filter):
    """Let each place of the client library speak once in a while: it repeats itself many times a second while a broker is away."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        place, now = (record.pathname, record.lineno), time.monotonic()
        if now - self._last.get(place, -QUIET_SECONDS) < QUIET_SECONDS:
            return False
        self._last[place] = now
        return True


logging.getLogger("aiokafka").setLevel(logging.WARNING)  # its DEBUG lines print keys and values of every record
for _name in CHATTY:
    logging.getLogger(f"aiokafka{_name}").addFilter(_listen)
    logging.getLogger(f"aiokafka{_name}").addFilter(_Seldom())

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def bootstrap(settings: Settings) -> str:
    """Return the addresses of the brokers."""
    if not settings.kafka_bootstrap:
        raise Unavailable("no Kafka: start one here with `gateway kafka start`, or set GATEWAY_KAFKA_BOOTSTRAP to host:port of a cluster")
    return settings.kafka_bootstrap


def ssl_context(settings: Settings) -> ssl.SSLContext:
    """Return a context that verifies the broker's name and certificate, with the client's own certificate when one is given.

    Raises :class:`~gateway.errors.ConfigError` naming the file that cannot be used, and the day where one has passed.
    """
    if settings.kafka_ca_file:
        client_certificate.read(settings.kafka_ca_file)
    try:
        context = ssl.create_default_context(cafile=str(settings.kafka_ca_file) if settings.kafka_ca_file else None)
    except ssl.SSLError:
        raise client_certificate.refused(
            settings.kafka_ca_file, "no certificate in PEM is in it; give the authority that signed the brokers'"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.kafka_cert_file:
        client_certificate.require(settings.kafka_cert_file, settings.kafka_key_file or settings.kafka_cert_file)
        context.load_cert_chain(settings.kafka_cert_file, settings.kafka_key_file)
    return context


class FileToken(AbstractTokenProvider):  # type: ignore[misc]
    """The OAUTHBEARER token of a file, read anew for each connection: whoever renews the file renews the token."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def token(self) -> str:
        """Return the token as it is now."""
        return _from_file("GATEWAY_KAFKA_TOKEN_FILE", self._settings.kafka_token_file)


def password(settings: Settings) -> str:
    """Return the password for SASL: that of the file as it is now, else that of the environment."""
    if settings.kafka_password_file is None:
        return settings.kafka_password.get_secret_value()
    return _from_file("GATEWAY_KAFKA_PASSWORD_FILE", settings.kafka_password_file)


def _from_file(variable: str, path: Path | None) -> str:
    try:
        found = (path or Path()).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{variable}: {path or 'not set'}: {reason}") from None
    if not found:
        raise UsageError(f"{variable}: {path} is empty")
    logs.conceal(found)
    return found


def arguments(settings: Settings) -> dict[str, Any]:
    """Return the connection arguments that every aiokafka client understands."""
    servers = bootstrap(settings)
    if settings.kafka_security in {"PLAINTEXT", "SASL_PLAINTEXT"} and settings.stage == "production":
        for server in servers.split(","):
            if server.rsplit(":", 1)[0] not in LOOPBACK:
                raise UsageError(
                    f"{server}: {settings.kafka_security} to another machine is refused in the production stage; "
                    "set GATEWAY_KAFKA_SECURITY to SASL_SSL or SSL"
                )
    found: dict[str, Any] = {"bootstrap_servers": servers, "security_protocol": settings.kafka_security}
    if "SSL" in settings.kafka_security:
        found["ssl_context"] = ssl_context(settings)
    if settings.kafka_security.startswith("SASL"):
        found["sasl_mechanism"] = settings.kafka_sasl_mechanism
        if settings.kafka_sasl_mechanism == "OAUTHBEARER":
            found["sasl_oauth_token_provider"] = FileToken(settings)
        else:
            found |= {"sasl_plain_username": settings.kafka_username, "sasl_plain_password": password(settings)}
    return found


def denied(settings: Settings, what: str, error: BaseException) -> Denied:
    """Return the error that says who was refused what, for one of :data:`REFUSALS`."""
    principal = settings.kafka_username or (str(settings.kafka_cert_file) if settings.kafka_cert_file else "ANONYMOUS")
    return Denied(f"Kafka refuses {what} to the principal {principal} ({type(error).__name__}); see the ACLs in deploy/")


def given_up() -> bool:
    """Return whether the ``CancelledError`` that was caught comes from a library that dropped what this task waited for.

    aiokafka cancels its own futures when a connection goes. Nobody asked the task to end then, and a task that ended of it would be
    missed by nobody: a task group takes a cancelled task for one that was told to end.
    """
    task = asyncio.current_task()
    return task is not None and not task.cancelling()


def unanswered(settings: Settings, why: str) -> Unavailable:
    """Return the error that says where no broker answers, and why."""
    return Unavailable(f"no Kafka answers at {arguments(settings)['bootstrap_servers']} ({why}); is it running, is the address right?")


@contextmanager
def starting(settings: Settings) -> Iterator[None]:
    """Start a client inside: that no broker answers is one error, which says why, and no line of the library's beside it."""
    heard = _Heard()
    token = _heard.set(heard)
    try:
        yield
    except REFUSALS:
        raise
    except (KafkaError, OSError) as error:
        raise unanswered(settings, heard.why or type(error).__name__) from None
    finally:
        heard.starting = False
        _heard.reset(token)


async def admin(settings: Settings, seconds: float = 8.0) -> AIOKafkaAdminClient:
    """Return a started admin client, or say within ``seconds`` which address does not answer."""
    client = AIOKafkaAdminClient(**arguments(settings), request_timeout_ms=15_000)
    try:
        with starting(settings):
            await asyncio.wait_for(client.start(), seconds)
    except BaseException:
        await client.close()
        raise
    return client
