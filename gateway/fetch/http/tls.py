"""Create TLS contexts for connections to registries.

The certificate of the registry is always verified. A connector may configure its own certificate
authorities, and a client certificate in PEM or PKCS#12.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from gateway.errors import StreamHalted
from gateway.observability import metrics


def client_context(
    connector: str,
    *,
    authorities: bytes | None = None,
    certificate: bytes | None = None,
    key: bytes | None = None,
    pkcs12_bundle: bytes | None = None,
    password: bytes | None = None,
) -> ssl.SSLContext:
    """Return a context for TLS 1.2 or later that verifies the host and its certificate chain.

    ``authorities`` (PEM) replaces the public certificate authorities. The client certificate comes
    from ``certificate`` and ``key`` (PEM), or from ``pkcs12_bundle``. Raise ``StreamHalted``
    (``TLS_MATERIAL``) when a certificate or key cannot be used.
    """
    context = ssl.create_default_context(cafile=None if authorities else certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if authorities:
            context.load_verify_locations(cadata=authorities.decode("ascii"))
        if pkcs12_bundle is not None:
            certificate, key, password = _from_pkcs12(pkcs12_bundle, password)
        if certificate is not None:
            _load_client_certificate(connector, context, certificate, key, password)
    except StreamHalted:
        raise
    except (ssl.SSLError, ValueError, UnicodeDecodeError) as error:
        raise StreamHalted(
            "TLS_MATERIAL",
            f"{connector}: the TLS certificate or key cannot be used "
            f"({type(error).__name__}); configure PEM files of a certificate and its key",
        ) from None
    return context


def tls_failure_reason(error: BaseException) -> tuple[str, str] | None:
    """Return a reason code and a text, or ``None`` when the failure did not come from TLS.

    The function searches the whole chain of causes.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return {
                10: ("TLS_EXPIRED", "the registry's certificate has expired"),
                9: ("TLS_EXPIRED", "the registry's certificate is not valid yet"),
                62: ("TLS_WRONG_HOST", "the registry's certificate is for another host"),
                64: ("TLS_WRONG_HOST", "the registry's certificate is for another address"),
            }.get(
                cause.verify_code,
                (
                    "TLS_UNTRUSTED",
                    "the registry's certificate is not signed by a trusted authority",
                ),
            )
        if isinstance(cause, ssl.SSLError):
            return (
                "TLS_REFUSED",
                f"the TLS handshake failed ({(cause.reason or 'no reason given').lower()})",
            )
        cause = cause.__cause__ or cause.__context__
    return None


def _from_pkcs12(bundle: bytes, password: bytes | None) -> tuple[bytes, bytes, bytes | None]:
    key, certificate, chain = pkcs12.load_key_and_certificates(bundle, password)
    if key is None or certificate is None:
        raise StreamHalted(
            "TLS_MATERIAL",
            "the PKCS#12 file contains no key with its certificate; export both into it",
        )
    lock = BestAvailableEncryption(password) if password else NoEncryption()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
    return (
        b"".join(part.public_bytes(Encoding.PEM) for part in (certificate, *chain)),
        pem,
        password,
    )


def _load_client_certificate(
    connector: str,
    context: ssl.SSLContext,
    certificate: bytes,
    key: bytes | None,
    password: bytes | None,
) -> None:
    client_certificate = x509.load_pem_x509_certificate(certificate)
    metrics.CERTIFICATE_EXPIRY.labels(connector, "tls").set(
        client_certificate.not_valid_after_utc.timestamp()
    )
    if client_certificate.not_valid_after_utc < datetime.now(UTC):
        raise StreamHalted(
            "TLS_MATERIAL",
            f"{connector}: the TLS certificate of the gateway expired on "
            f"{client_certificate.not_valid_after_utc:%Y-%m-%d}; renew it, and write it to the "
            "secret that the connector names under tls",
        )
    _check_key_matches(connector, client_certificate, key or b"", password)
    with _temporary_pem_file(certificate + b"\n" + (key or b"")) as path:
        context.load_cert_chain(path, password=password or (lambda: b""))


def _check_key_matches(
    connector: str, client_certificate: x509.Certificate, key: bytes, password: bytes | None
) -> None:
    try:
        public_key = load_pem_private_key(key, password or None).public_key()
    except TypeError:
        if password is None:
            problem = "the TLS key is encrypted; set its password as tls.password"
        else:
            problem = "the TLS key is not encrypted; remove tls.password"
        raise StreamHalted(
            "TLS_MATERIAL",
            f"{connector}: {problem}",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise StreamHalted(
            "TLS_MATERIAL",
            f"{connector}: the TLS key is not a PEM key, or tls.password is wrong",
        ) from None
    if public_key != client_certificate.public_key():
        raise StreamHalted(
            "TLS_MATERIAL",
            f"{connector}: the TLS key does not belong to the certificate; "
            "configure a key and a certificate that form a pair",
        )


@contextmanager
def _temporary_pem_file(pem: bytes) -> Iterator[Path]:
    """Provide a file that only this user can read, and delete it after the block.

    The file is needed because OpenSSL loads certificate chains from files only. It is kept in
    memory where ``/dev/shm`` exists, so that the key is not written to a disk.
    """
    memory = Path("/dev/shm")  # noqa: S108 - mkstemp creates a private file there
    folder = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    handle, name = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
        yield Path(name)
    finally:
        with suppress(OSError):
            Path(name).unlink()
