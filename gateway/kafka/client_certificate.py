"""Check the gateway's Kafka client certificate at startup.

The error is then clear, and OpenSSL never prompts for a password.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.errors import ConfigError, Finding


def check_client_certificate(certificate: Path, key: Path) -> None:
    """Check that two PEM files contain a valid certificate and its unencrypted key.

    Raises :class:`~gateway.errors.ConfigError` with the file and the reason if they do not.
    """
    try:
        client_certificate = x509.load_pem_x509_certificate(read_pem(certificate))
    except ValueError:
        raise certificate_error(certificate, "the file contains no certificate in PEM") from None
    expiry = client_certificate.not_valid_after_utc
    if expiry < datetime.now(UTC):
        raise certificate_error(
            certificate, f"the certificate expired on {expiry:%Y-%m-%d}; renew it"
        )
    try:
        public = load_pem_private_key(read_pem(key), None).public_key()
    except TypeError:
        raise certificate_error(
            key,
            "the key is encrypted with a password, and the gateway cannot prompt for one; "
            "store the key unencrypted, in a file that only the gateway can read",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise certificate_error(key, "the file contains no private key in PEM") from None
    if public != client_certificate.public_key():
        raise certificate_error(
            key,
            f"the key does not belong to the certificate in {certificate}; "
            "use a certificate and the key that it was issued for",
        )


def read_pem(path: Path) -> bytes:
    """Return the content of a PEM file.

    Raises :class:`~gateway.errors.ConfigError` if the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise certificate_error(
            path,
            f"{error.strerror or type(error).__name__}; "
            "see GATEWAY_KAFKA_CA_FILE, _CERT_FILE and _KEY_FILE",
        ) from None


def certificate_error(path: Path | None, text: str) -> ConfigError:
    """Return the error about one certificate or key file."""
    return ConfigError([Finding(str(path), 0, 0, "tls-material", "", text)])
