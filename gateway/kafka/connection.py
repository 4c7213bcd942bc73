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

AUTHORIZATION_ERRORS = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
"""What Kafka answers when the principal lacks a right."""

COORDINATOR_ERRORS = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
"""Answers of a cluster whose group has no members yet, or whose coordinator is moving. Callers try again."""

LOG_REPEAT_SECONDS = 30.0
NOISY_LOGGERS = (
    "",
    ".cluster",
    ".conn",
    ".consumer.fetcher",
    ".consumer.group_coordinator",
    ".producer.sender",
)
"""Loggers below ``aiokafka`` that repeat themselves; its clients speak as ``aiokafka`` itself."""


class _ConnectionFailure:
    """Why the last connection failed while a client was starting."""

    def __init__(self) -> None:
        self.why = ""
        self.starting = True


_connection_failure: ContextVar[_ConnectionFailure | None] = ContextVar("heard", default=None)


def _capture_failure(record: logging.LogRecord) -> bool:
    """Keep what the library logs of a client that is starting for the error that says it, once; tasks the client leaves are logged."""
    heard = _connection_failure.get()
    if heard is None or not heard.starting:
        return True
    if (
        isinstance(record.args, tuple)
        and record.args
        and isinstance(error := record.args[-1], Exception)
    ):
        heard.why = _failure_reason(error)
    return False


def _failure_reason(error: Exception) -> str:
    """Return what went wrong in the system's words where it has them: the library's text repeats the address."""
    if isinstance(error, ssl.SSLError):
        return getattr(error, "verify_message", "") or error.reason or type(error).__name__
    if not isinstance(error, OSError) or not error.errno:
        return type(error).__name__
    return (
        os.strerror(error.errno) if error.errno > 0 else error.strerror or type(error).__name__
    )  # names that are not found are below 0


class _RepeatFilter(logging.Filter):
    """Let each place of the client library speak once in a while: it repeats itself many times a second while a broker is away."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        place, now = (record.pathname, record.lineno), time.monotonic()
        if now - self._last.get(place, -LOG_REPEAT_SECONDS) < LOG_REPEAT_SECONDS:
            return False
        self._last[place] = now
        return True


logging.getLogger("aiokafka").setLevel(
    logging.WARNING
)  # its DEBUG lines print keys and values of every record
for _name in NOISY_LOGGERS:
    logging.getLogger(f"aiokafka{_name}").addFilter(_capture_failure)
    logging.getLogger(f"aiokafka{_name}").addFilter(_RepeatFilter())

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def bootstrap_servers(settings: Settings) -> str:
    """Return the addresses of the brokers."""
    if not settings.kafka_bootstrap:
        raise Unavailable(
            "no Kafka: start one here with `gateway kafka start`, or set GATEWAY_KAFKA_BOOTSTRAP to host:port of a cluster"
        )
    return settings.kafka_bootstrap


def ssl_context(settings: Settings) -> ssl.SSLContext:
    """Return a context that verifies the broker's name and certificate, with the client's own certificate when one is given.

    Raises :class:`~gateway.errors.ConfigError` naming the file that cannot be used, and the day where one has passed.
    """
    if settings.kafka_ca_file:
        client_certificate.read_pem(settings.kafka_ca_file)
    try:
        context = ssl.create_default_context(
            cafile=str(settings.kafka_ca_file) if settings.kafka_ca_file else None
        )
    except ssl.SSLError:
        raise client_certificate.certificate_error(
            settings.kafka_ca_file,
            "no certificate in PEM is in it; give the authority that signed the brokers'",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.kafka_cert_file:
        client_certificate.check_client_certificate(
            settings.kafka_cert_file, settings.kafka_key_file or settings.kafka_cert_file
        )
        context.load_cert_chain(settings.kafka_cert_file, settings.kafka_key_file)
    return context


class FileToken(AbstractTokenProvider):  # type: ignore[misc]
    """The OAUTHBEARER token of a file, read anew for each connection: whoever renews the file renews the token."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def token(self) -> str:
        """Return the token as it is now."""
        return _from_file("GATEWAY_KAFKA_TOKEN_FILE", self._settings.kafka_token_file)


def sasl_password(settings: Settings) -> str:
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
    logs.mask_secrets(found)
    return found


def client_arguments(settings: Settings) -> dict[str, Any]:
    """Return the connection arguments that every aiokafka client understands."""
    servers = bootstrap_servers(settings)
    if (
        settings.kafka_security in {"PLAINTEXT", "SASL_PLAINTEXT"}
        and settings.registry_environment == "production"
    ):
        for server in servers.split(","):
            if server.rsplit(":", 1)[0] not in LOOPBACK:
                raise UsageError(
                    f"{server}: {settings.kafka_security} to another machine is refused in the production stage; "
                    "set GATEWAY_KAFKA_SECURITY to SASL_SSL or SSL"
                )
    found: dict[str, Any] = {
        "bootstrap_servers": servers,
        "security_protocol": settings.kafka_security,
    }
    if "SSL" in settings.kafka_security:
        found["ssl_context"] = ssl_context(settings)
    if settings.kafka_security.startswith("SASL"):
        found["sasl_mechanism"] = settings.kafka_sasl_mechanism
        if settings.kafka_sasl_mechanism == "OAUTHBEARER":
            found["sasl_oauth_token_provider"] = FileToken(settings)
        else:
            found |= {
                "sasl_plain_username": settings.kafka_username,
                "sasl_plain_password": sasl_password(settings),
            }
    return found


def access_denied(settings: Settings, what: str, error: BaseException) -> Denied:
    """Return the error that says who was refused what, for one of :data:`REFUSALS`."""
    principal = settings.kafka_username or (
        str(settings.kafka_cert_file) if settings.kafka_cert_file else "ANONYMOUS"
    )
    return Denied(
        f"Kafka refuses {what} to the principal {principal} ({type(error).__name__}); see the ACLs in deploy/"
    )


def was_cancelled_by_library() -> bool:
    """Return whether the ``CancelledError`` that was caught comes from a library that dropped what this task waited for.

    aiokafka cancels its own futures when a connection goes. Nobody asked the task to end then, and a task that ended of it would be
    missed by nobody: a task group takes a cancelled task for one that was told to end.
    """
    task = asyncio.current_task()
    return task is not None and not task.cancelling()


def no_broker_error(settings: Settings, why: str) -> Unavailable:
    """Return the error that says where no broker answers, and why."""
    return Unavailable(
        f"no Kafka answers at {client_arguments(settings)['bootstrap_servers']} ({why}); is it running, is the address right?"
    )


@contextmanager
def starting_client(settings: Settings) -> Iterator[None]:
    """Start a client inside: that no broker answers is one error, which says why, and no line of the library's beside it."""
    heard = _ConnectionFailure()
    token = _connection_failure.set(heard)
    try:
        yield
    except AUTHORIZATION_ERRORS:
        raise
    except (KafkaError, OSError) as error:
        raise no_broker_error(settings, heard.why or type(error).__name__) from None
    finally:
        heard.starting = False
        _connection_failure.reset(token)


async def admin_client(settings: Settings, seconds: float = 8.0) -> AIOKafkaAdminClient:
    """Return a started admin client, or say within ``seconds`` which address does not answer."""
    client = AIOKafkaAdminClient(**client_arguments(settings), request_timeout_ms=15_000)
    try:
        with starting_client(settings):
            await asyncio.wait_for(client.start(), seconds)
    except BaseException:
        await client.close()
        raise
    return client
