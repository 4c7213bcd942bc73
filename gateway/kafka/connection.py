"""Configure the connection to Kafka for every client of the gateway."""

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
from weakref import WeakValueDictionary

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
from aiokafka.errors import KafkaError as KafkaError  # noqa: PLC0414 - exported to callers

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
"""Errors of a broker that mean that the principal lacks a right."""

COORDINATOR_ERRORS = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
"""Errors of a group that has no members yet or whose coordinator is moving. Callers retry."""

LOG_REPEAT_SECONDS = 30.0
NOISY_LOGGERS = (
    "",
    ".cluster",
    ".conn",
    ".consumer.fetcher",
    ".consumer.group_coordinator",
    ".producer.sender",
)
"""Suffixes of aiokafka's loggers that repeat messages. An empty suffix is ``aiokafka`` itself."""


class _ConnectionFailure:
    """The reason of the last failed connection while a client starts."""

    def __init__(self) -> None:
        self.reason = ""
        self.starting = True


_connection_failure: ContextVar[_ConnectionFailure | None] = ContextVar("heard", default=None)


def _capture_failure(record: logging.LogRecord) -> bool:
    """Keep the reason that aiokafka logs while a client starts, and suppress the log line.

    The error of :func:`starting_client` contains the reason. Once the start has ended, log
    lines pass through.
    """
    failure = _connection_failure.get()
    if failure is None or not failure.starting:
        return True
    if (
        isinstance(record.args, tuple)
        and record.args
        and isinstance(error := record.args[-1], Exception)
    ):
        failure.reason = _failure_reason(error)
    return False


def _failure_reason(error: Exception) -> str:
    """Return the reason in the words of the operating system or of OpenSSL, if they have any.

    The text of aiokafka is not used, because it repeats the address.
    """
    if isinstance(error, ssl.SSLError):
        return getattr(error, "verify_message", "") or error.reason or type(error).__name__
    if not isinstance(error, OSError) or not error.errno:
        return type(error).__name__
    # Errors of name resolution have negative numbers, which ``os.strerror`` does not know.
    return os.strerror(error.errno) if error.errno > 0 else error.strerror or type(error).__name__


class _RepeatFilter(logging.Filter):
    """A filter that passes each message of aiokafka once in :data:`LOG_REPEAT_SECONDS`.

    While a broker is down, aiokafka logs the same message many times a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        source_line, now = (record.pathname, record.lineno), time.monotonic()
        if now - self._last.get(source_line, -LOG_REPEAT_SECONDS) < LOG_REPEAT_SECONDS:
            return False
        self._last[source_line] = now
        return True


# At DEBUG level, aiokafka logs the key and the value of every record.
logging.getLogger("aiokafka").setLevel(logging.WARNING)
for _name in NOISY_LOGGERS:
    logging.getLogger(f"aiokafka{_name}").addFilter(_capture_failure)
    logging.getLogger(f"aiokafka{_name}").addFilter(_RepeatFilter())

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def bootstrap_servers(settings: Settings) -> str:
    """Return the addresses of the brokers.

    Raises :class:`~gateway.errors.Unavailable` if none are set.
    """
    if not settings.kafka_bootstrap:
        raise Unavailable(
            "no Kafka: start one here with `gateway kafka start`, "
            "or set GATEWAY_KAFKA_BOOTSTRAP to host:port of a cluster"
        )
    return settings.kafka_bootstrap


def ssl_context(settings: Settings) -> ssl.SSLContext:
    """Return a TLS context that verifies the name and the certificate of the broker.

    It contains the client certificate if one is configured. New connections use renewed files. All
    clients of a process share one context, so that none of them needs a pair of files that does
    not match yet. Raises :class:`~gateway.errors.ConfigError` with the unusable file, and the date
    if it expired.
    """
    files = (settings.kafka_ca_file, settings.kafka_cert_file, settings.kafka_key_file)
    context = _contexts.get(files)
    if context is None:
        context = _contexts[files] = client_certificate.renewed_context(*files)
    return context


_contexts: WeakValueDictionary[tuple[Path | None, ...], ssl.SSLContext] = WeakValueDictionary()


class FileToken(AbstractTokenProvider):  # type: ignore[misc]
    """The OAUTHBEARER token in a file.

    The file is read for each connection, so a renewed file takes effect without a restart.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def token(self) -> str:
        """Return the token that the file contains now.

        Raises :class:`~gateway.errors.UsageError` if the file is unreadable or empty.
        """
        return _from_file("GATEWAY_KAFKA_TOKEN_FILE", self._settings.kafka_token_file)


def sasl_password(settings: Settings) -> str:
    """Return the SASL password, from the configured file or else from the environment."""
    if settings.kafka_password_file is None:
        return settings.kafka_password.get_secret_value()
    return _from_file("GATEWAY_KAFKA_PASSWORD_FILE", settings.kafka_password_file)


def _from_file(variable: str, path: Path | None) -> str:
    try:
        secret = (path or Path()).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{variable}: {path or 'not set'}: {reason}") from None
    if not secret:
        raise UsageError(f"{variable}: {path} is empty")
    logs.mask_secrets(secret)
    return secret


def client_arguments(settings: Settings) -> dict[str, Any]:
    """Return the connection arguments for every aiokafka client.

    Raises :class:`~gateway.errors.UsageError` if the production stage would send plain text
    to another machine.
    """
    servers = bootstrap_servers(settings)
    if (
        settings.kafka_security in {"PLAINTEXT", "SASL_PLAINTEXT"}
        and settings.registry_environment == "production"
    ):
        for server in servers.split(","):
            if server.rsplit(":", 1)[0] not in LOOPBACK:
                raise UsageError(
                    f"{server}: {settings.kafka_security} to another machine "
                    "is refused in the production stage; "
                    "set GATEWAY_KAFKA_SECURITY to SASL_SSL or SSL"
                )
    arguments: dict[str, Any] = {
        "bootstrap_servers": servers,
        "security_protocol": settings.kafka_security,
    }
    if "SSL" in settings.kafka_security:
        arguments["ssl_context"] = ssl_context(settings)
    if settings.kafka_security.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.kafka_sasl_mechanism
        if settings.kafka_sasl_mechanism == "OAUTHBEARER":
            arguments["sasl_oauth_token_provider"] = FileToken(settings)
        else:
            arguments |= {
                "sasl_plain_username": settings.kafka_username,
                "sasl_plain_password": sasl_password(settings),
            }
    return arguments


def access_denied(settings: Settings, what: str, error: BaseException) -> Denied:
    """Return the error for one of :data:`AUTHORIZATION_ERRORS`.

    It names the principal, the refused action ``what`` and the class of ``error``.
    """
    principal = settings.kafka_username or (
        str(settings.kafka_cert_file) if settings.kafka_cert_file else "ANONYMOUS"
    )
    return Denied(
        f"Kafka refuses {what} to the principal {principal} ({type(error).__name__}); "
        "see the ACLs in deploy/"
    )


def was_cancelled_by_library() -> bool:
    """Return whether aiokafka, and not a caller, caused the caught ``CancelledError``.

    aiokafka cancels its own futures when a connection closes, although no code asked the
    task to stop. If the ``CancelledError`` left the task, its task group would treat it as
    an intended cancellation. The failure would then go unnoticed.
    """
    task = asyncio.current_task()
    return task is not None and not task.cancelling()


def no_broker_error(settings: Settings, reason: str) -> Unavailable:
    """Return the error for brokers that do not respond, with their addresses and the reason."""
    servers = client_arguments(settings)["bootstrap_servers"]
    return Unavailable(
        f"no Kafka answers at {servers} ({reason}); is it running, and is the address correct?"
    )


@contextmanager
def starting_client(settings: Settings) -> Iterator[None]:
    """Raise one clear error if the client that is started inside reaches no broker.

    Raises :class:`~gateway.errors.Unavailable` with the reason. The log lines of aiokafka
    about it are suppressed.
    """
    failure = _ConnectionFailure()
    token = _connection_failure.set(failure)
    try:
        yield
    except AUTHORIZATION_ERRORS:
        raise
    except (KafkaError, OSError) as error:
        raise no_broker_error(settings, failure.reason or type(error).__name__) from None
    finally:
        failure.starting = False
        _connection_failure.reset(token)


async def admin_client(settings: Settings, seconds: float = 8.0) -> AIOKafkaAdminClient:
    """Return a started admin client, which the caller has to close.

    Raises :class:`~gateway.errors.Unavailable` if no broker responds within ``seconds``.
    """
    client = AIOKafkaAdminClient(**client_arguments(settings), request_timeout_ms=15_000)
    try:
        with starting_client(settings):
            await asyncio.wait_for(client.start(), seconds)
    except BaseException:
        await client.close()
        raise
    return client
