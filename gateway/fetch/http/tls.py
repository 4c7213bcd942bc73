"""TLS towards a registry: always verified; own certificate authority, client certificate in PEM or PKCS#12."""

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
    """Return a client context that verifies the host and its chain, TLS 1.2 or newer.

    ``authorities`` (PEM) replaces the public ones. ``certificate`` and ``key`` (PEM), or ``pkcs12_bundle``, is the client's own.
    """
    made = ssl.create_default_context(cafile=None if authorities else certifi.where())
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if authorities:
            made.load_verify_locations(cadata=authorities.decode("ascii"))
        if pkcs12_bundle is not None:
            certificate, key, password = _from_pkcs12(pkcs12_bundle, password)
        if certificate is not None:
            _load_client_certificate(connector, made, certificate, key, password)
    except StreamHalted:
        raise
    except (ssl.SSLError, ValueError, UnicodeDecodeError) as error:
        raise StreamHalted(
            "TLS_MATERIAL",
            f"{connector}: the TLS certificate or key cannot be used: {type(error).__name__}",
        ) from None
    return made


def tls_failure_reason(error: BaseException) -> tuple[str, str] | None:
    """Return a reason code and a text when a failure came from TLS, looking through the chain of causes."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return {
                10: ("TLS_EXPIRED", "the registry's certificate has expired"),
                9: ("TLS_EXPIRED", "the registry's certificate is not valid yet"),
                62: ("TLS_WRONG_HOST", "the registry's certificate is for another host"),
                64: ("TLS_WRONG_HOST", "the registry's certificate is for another address"),
            }.get(
                seen.verify_code,
                (
                    "TLS_UNTRUSTED",
                    "the registry's certificate is not signed by a trusted authority",
                ),
            )
        if isinstance(seen, ssl.SSLError):
            return (
                "TLS_REFUSED",
                f"the TLS handshake failed ({(seen.reason or 'no reason given').lower()})",
            )
        seen = seen.__cause__ or seen.__context__
    return None


def _from_pkcs12(bundle: bytes, password: bytes | None) -> tuple[bytes, bytes, bytes | None]:
    key, certificate, chain = pkcs12.load_key_and_certificates(bundle, password)
    if key is None or certificate is None:
        raise StreamHalted("TLS_MATERIAL", "the PKCS#12 file holds no key with its certificate")
    lock = BestAvailableEncryption(password) if password else NoEncryption()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
    return (
        b"".join(part.public_bytes(Encoding.PEM) for part in (certificate, *chain)),
        pem,
        password,
    )


def _load_client_certificate(
    connector: str,
    made: ssl.SSLContext,
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
            f"{connector}: our own TLS certificate expired on {client_certificate.not_valid_after_utc:%Y-%m-%d}; renew it",
        )
    _check_key_matches(connector, client_certificate, key or b"", password)
    with _temporary_pem_file(certificate + b"\n" + (key or b"")) as path:
        made.load_cert_chain(path, password=password or (lambda: b""))


def _check_key_matches(
    connector: str, client_certificate: x509.Certificate, key: bytes, password: bytes | None
) -> None:
    try:
        own = load_pem_private_key(key, password or None).public_key()
    except TypeError:
        wrong = "give it under tls.password" if password is None else "take tls.password away"
        raise StreamHalted(
            "TLS_MATERIAL",
            f"{connector}: our TLS key is locked with a password, or is not and one is given: {wrong}",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise StreamHalted(
            "TLS_MATERIAL",
            f"{connector}: our TLS key is no PEM key, or its password is another one",
        ) from None
    if own != client_certificate.public_key():
        raise StreamHalted(
            "TLS_MATERIAL",
            f"{connector}: our TLS key does not belong to our certificate; give the pair that was made together",
        )


@contextmanager
def _temporary_pem_file(pem: bytes) -> Iterator[Path]:
    """Lend a file only this user can read, because OpenSSL's loader takes nothing else; it is gone afterwards."""
    shared = Path("/dev/shm")  # noqa: S108 - memory, so that the key does not reach a disk where that can be had
    where = shared if shared.is_dir() and os.access(shared, os.W_OK) else None
    handle, name = tempfile.mkstemp(dir=where)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
        yield Path(name)
    finally:
        with suppress(OSError):
            Path(name).unlink()
