"""TLS on the push port, with the certificates of callers.

The files and the authorities are read again when they change, so you renew a certificate by
replacing its file.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from gateway.config.connector import Connector
from gateway.errors import StreamError, StreamHalted, Unavailable
from gateway.fetch.push_receiver import PushReceiver
from gateway.settings import Settings

log = structlog.get_logger()


def check_client_certificate(settings: Settings, connector: Connector) -> None:
    """Raise :class:`~gateway.errors.StreamHalted` if no caller could show its certificate."""
    if connector.push and connector.push.client_certificate and not settings.receive_cert_file:
        raise StreamHalted(
            "TLS_MISSING",
            f"{connector.connector}: push.client_certificate needs TLS on the push port, so that "
            "callers can show a certificate; set GATEWAY_RECEIVE_CERT_FILE and "
            "GATEWAY_RECEIVE_KEY_FILE, or use push.auth or push.security",
        )


def read_authorities(receivers: Iterable[PushReceiver]) -> tuple[bytes, ...]:
    """Return the PEM files of the authorities that sign callers.

    A secret that cannot be read is left out. Its connector then refuses every caller.
    """
    authorities = {}
    for receiver in receivers:
        if (secret := receiver.push_config.client_certificate) is None:
            continue
        try:
            authorities[secret.secret] = receiver.secrets(secret.secret)
        except StreamError as error:
            log.warning("authority of callers not read", error=str(error))
    return tuple(authorities[name] for name in sorted(authorities))


class PushTls:
    """The TLS context of the push port. ``authorities`` returns the present PEM files."""

    def __init__(self, settings: Settings, authorities: Callable[[], tuple[bytes, ...]]) -> None:
        self._certificate, self._key = settings.receive_cert_file, settings.receive_key_file
        self._authorities = authorities
        self._state: object = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection.

        A renewed file that cannot be used is logged, and the earlier certificate stays in use.
        Raises :class:`~gateway.errors.Unavailable` if there was none.
        """
        authorities = self._authorities()
        state = (_file_state(self._certificate), _file_state(self._key), authorities)
        if self._context is not None and state == self._state:
            return self._context
        self._state = state
        try:
            self._context = self._build(authorities)
        except Unavailable as error:
            if self._context is None:
                raise
            log.error("push certificate not renewed", error=str(error))  # noqa: TRY400
        return self._context

    def _build(self, authorities: tuple[bytes, ...]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # An encrypted key would make OpenSSL ask a terminal for its password.
            context.load_cert_chain(self._certificate or "", self._key, password=lambda: b"")
        except (OSError, ValueError) as error:
            reason = error.reason if isinstance(error, ssl.SSLError) else type(error).__name__
            raise Unavailable(
                f"{self._certificate} and {self._key or 'its key'} cannot be used for TLS "
                f"({reason}); GATEWAY_RECEIVE_CERT_FILE and GATEWAY_RECEIVE_KEY_FILE name a "
                "certificate in PEM and its key without a password"
            ) from None
        if authorities:
            # Each connector then compares the certificate with its own authorities.
            context.verify_mode = ssl.CERT_OPTIONAL
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            for pem in authorities:
                try:
                    context.load_verify_locations(cadata=pem.decode("ascii"))
                except (ssl.SSLError, ValueError):
                    log.warning("authority of callers not read", error="no PEM certificate")
        return context


def _file_state(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
