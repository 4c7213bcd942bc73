"""TLS on the push port, with the certificates of callers.

The files and the authorities are read again when they change, so you renew a certificate by
replacing its file.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable

import structlog
from cryptography import x509

from gateway.certificates.expiry import CertificateLabel, record_expiry
from gateway.certificates.pem_file import temporary_pem_file
from gateway.certificates.renewal import Renewed
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
    """The TLS context of the push port. ``authorities`` returns the present PEM files.

    Raises :class:`~gateway.errors.Unavailable` if the files cannot be used at the start. Later, a
    renewed file that cannot be used is reported, and the earlier certificate stays in use.
    """

    def __init__(self, settings: Settings, authorities: Callable[[], tuple[bytes, ...]]) -> None:
        self._certificate, self._key = settings.receive_cert_file, settings.receive_key_file
        self._authorities = authorities
        self._label = CertificateLabel("", "push", str(self._certificate or ""))
        self._renewed = Renewed(self._label, self._read, self._build)

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection."""
        return self._renewed.current()

    def _read(self) -> tuple[bytes, bytes, tuple[bytes, ...]]:
        try:
            certificate = self._certificate.read_bytes() if self._certificate else b""
            key = self._key.read_bytes() if self._key else certificate
        except OSError as error:
            raise self._unusable(error.strerror or type(error).__name__) from None
        return certificate, key, self._authorities()

    def _unusable(self, reason: str) -> Unavailable:
        return Unavailable(
            f"{self._certificate} and {self._key or 'its key'} cannot be used for TLS "
            f"({reason}); GATEWAY_RECEIVE_CERT_FILE and GATEWAY_RECEIVE_KEY_FILE name a "
            "certificate in PEM and its key without a password"
        )

    def _build(self, content: tuple[bytes, bytes, tuple[bytes, ...]]) -> ssl.SSLContext:
        certificate, key, authorities = content
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            with temporary_pem_file(certificate + b"\n" + key) as path:
                # An encrypted key would make OpenSSL ask a terminal for its password.
                context.load_cert_chain(path, password=lambda: b"")
            record_expiry(self._label, x509.load_pem_x509_certificate(certificate))
        except (OSError, ValueError) as error:
            reason = error.reason if isinstance(error, ssl.SSLError) else type(error).__name__
            raise self._unusable(reason) from None
        if authorities:
            # Each connection then compares the certificate with its own authorities.
            context.verify_mode = ssl.CERT_OPTIONAL
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            for pem in authorities:
                try:
                    context.load_verify_locations(cadata=pem.decode("ascii"))
                except (ssl.SSLError, ValueError):
                    log.warning("authority of callers not read", error="no PEM certificate")
        return context
