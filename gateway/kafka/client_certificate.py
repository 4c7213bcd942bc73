"""Create the TLS context for Kafka, and check the gateway's own certificate.

The errors at the start are then clear, and OpenSSL never prompts for a password.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.certificates.expiry import (
    CertificateLabel,
    observe_handshakes,
    record_bundle_expiry,
    record_expiry,
)
from gateway.certificates.pem_file import temporary_pem_file
from gateway.certificates.renewal import Renewed, RenewedContext
from gateway.errors import ConfigError, Finding


def renewed_context(
    authorities: Path | None, certificate: Path | None, key: Path | None
) -> RenewedContext:
    """Return a context for connections to brokers, which follows changes of its files.

    Raises :class:`~gateway.errors.ConfigError` with the file and the reason if one is unusable.
    """
    files = (authorities, certificate, key if certificate else None)

    def read() -> tuple[bytes | None, ...]:
        return tuple(read_pem(path) if path else None for path in files)

    def create(content: tuple[bytes | None, ...]) -> ssl.SSLContext:
        return _create_context(files, content)

    label = CertificateLabel("", "kafka", str(certificate or authorities or ""))
    return RenewedContext(Renewed(label, read, create))


def _create_context(
    files: tuple[Path | None, ...], content: tuple[bytes | None, ...]
) -> ssl.SSLContext:
    (authorities_file, certificate_file, key_file), (authorities, certificate, key) = files, content
    try:
        context = ssl.create_default_context(cadata=_plain_text(authorities))
    except (ssl.SSLError, ValueError):
        raise certificate_error(
            authorities_file,
            "the file contains no certificate in PEM; "
            "use the certificate of the authority that signed the brokers' certificates",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate_file and certificate is not None:
        key_file = key_file or certificate_file
        key = certificate if key is None else key
        own = check_client_certificate(certificate_file, certificate, key_file, key)
        with temporary_pem_file(certificate + b"\n" + key) as path:
            context.load_cert_chain(path)
        record_expiry(CertificateLabel("", "kafka", str(certificate_file)), own)
    if authorities is not None:
        label = CertificateLabel("", "kafka_authorities", str(authorities_file))
        record_bundle_expiry(label, authorities)
    observe_handshakes(context, "", "kafka_server")
    return context


def _plain_text(authorities: bytes | None) -> str | None:
    """Return the certificates of a file without the letters that only its comments contain."""
    if authorities is not None and not authorities.strip():
        raise ValueError  # An empty text would mean the authorities of the operating system.
    return authorities.decode("ascii", "ignore") if authorities is not None else None


def check_client_certificate(
    certificate_file: Path, certificate: bytes, key_file: Path, key: bytes
) -> x509.Certificate:
    """Return the certificate of two PEM files if it is valid and the unencrypted key belongs to it.

    Raises :class:`~gateway.errors.ConfigError` with the file and the reason otherwise.
    """
    try:
        client_certificate = x509.load_pem_x509_certificate(certificate)
    except ValueError:
        raise certificate_error(
            certificate_file, "the file contains no certificate in PEM"
        ) from None
    expiry = client_certificate.not_valid_after_utc
    if expiry < datetime.now(UTC):
        raise certificate_error(
            certificate_file, f"the certificate expired on {expiry:%Y-%m-%d}; renew it"
        )
    try:
        public = load_pem_private_key(key, None).public_key()
    except TypeError:
        raise certificate_error(
            key_file,
            "the key is encrypted with a password, and the gateway cannot prompt for one; "
            "store the key unencrypted, in a file that only the gateway can read",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise certificate_error(key_file, "the file contains no private key in PEM") from None
    if public != client_certificate.public_key():
        raise certificate_error(
            key_file,
            f"the key does not belong to the certificate in {certificate_file}; "
            "use a certificate and the key that it was issued for",
        )
    return client_certificate


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
