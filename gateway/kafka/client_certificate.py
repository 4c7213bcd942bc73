"""Our own certificate towards Kafka: what is wrong with it is said before OpenSSL says it worse, or asks a terminal for a password."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.errors import ConfigError, Finding


def check_client_certificate(certificate: Path, key: Path) -> None:
    """Raise :class:`~gateway.errors.ConfigError` unless these files (PEM) hold a certificate that still holds, and its open key."""
    try:
        client_certificate = x509.load_pem_x509_certificate(read_pem(certificate))
    except ValueError:
        raise certificate_error(certificate, "no certificate in PEM is in it") from None
    if client_certificate.not_valid_after_utc < datetime.now(UTC):
        raise certificate_error(
            certificate,
            f"the certificate expired on {client_certificate.not_valid_after_utc:%Y-%m-%d}; renew it",
        )
    try:
        public = load_pem_private_key(read_pem(key), None).public_key()
    except TypeError:
        raise certificate_error(
            key,
            "the key is locked with a password, which nobody can be asked for; store it open, readable by the gateway only",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise certificate_error(key, "no private key in PEM is in it") from None
    if public != client_certificate.public_key():
        raise certificate_error(
            key,
            f"the key does not belong to the certificate in {certificate}; give the pair that was made together",
        )


def read_pem(path: Path) -> bytes:
    """Return what a file holds, or say which one cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise certificate_error(
            path,
            f"{error.strerror or type(error).__name__}; see GATEWAY_KAFKA_CA_FILE, _CERT_FILE and _KEY_FILE",
        ) from None


def certificate_error(path: Path | None, text: str) -> ConfigError:
    """Return the error for one file."""
    return ConfigError([Finding(str(path), 0, 0, "tls-material", "", text)])
