"""Create TLS contexts for connections to registries.

The certificate of the registry is always verified. A connector may configure its own certificate
authorities, and a client certificate in PEM or PKCS#12.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

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

from gateway.certificates.expiry import (
    CertificateLabel,
    observe_handshakes,
    record_bundle_expiry,
    record_expiry,
)
from gateway.certificates.pem_file import temporary_pem_file
from gateway.certificates.renewal import Renewed, RenewedContext
from gateway.errors import StreamHalted

PARAMETERS = {"pkcs12": "pkcs12_bundle"}
"""The parameter of :func:`client_context` for a part of a ``tls`` block with another name."""


def client_context(
    connector: str,
    *,
    authorities: bytes | None = None,
    certificate: bytes | None = None,
    key: bytes | None = None,
    pkcs12_bundle: bytes | None = None,
    password: bytes | None = None,
    names: Mapping[str, str] | None = None,
    is_renewal: bool = False,
) -> ssl.SSLContext:
    """Return a context for TLS 1.2 or later that verifies the host and its certificate chain.

    ``authorities`` (PEM) replaces the public certificate authorities. The client certificate comes
    from ``certificate`` and ``key`` (PEM), or from ``pkcs12_bundle``. ``names`` are those of their
    secrets, for the metric. A certificate for a renewal must be valid already. Raise
    ``StreamHalted`` (``TLS_MATERIAL``) when a certificate or key cannot be used.
    """
    names = names or {}
    context = ssl.create_default_context(cafile=None if authorities else certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if authorities:
            context.load_verify_locations(cadata=authorities.decode("ascii"))
        own_name = names.get("pkcs12") or names.get("certificate", "")
        if pkcs12_bundle is not None:
            certificate, key, password = _from_pkcs12(pkcs12_bundle, password)
        if certificate is not None:
            own = x509.load_pem_x509_certificate(certificate)
            own_label = CertificateLabel(connector, "tls", own_name)
            if not is_renewal:
                record_expiry(own_label, own)
            _check_days(connector, own, is_renewal=is_renewal)
            _check_key_matches(connector, own, key or b"", password)
            with temporary_pem_file(certificate + b"\n" + (key or b"")) as path:
                context.load_cert_chain(path, password=password or (lambda: b""))
            record_expiry(own_label, own)
        if authorities:
            record_bundle_expiry(
                CertificateLabel(connector, "authorities", names.get("authorities", "")),
                authorities,
            )
    except StreamHalted:
        raise
    except (ssl.SSLError, ValueError, UnicodeDecodeError) as error:
        raise StreamHalted(
            "TLS_MATERIAL",
            f"{connector}: the TLS certificate or key cannot be used "
            f"({type(error).__name__}); configure PEM files of a certificate and its key",
        ) from None
    observe_handshakes(context, connector, "server")
    return context


def renewed_context(
    connector: str, names: Mapping[str, str], secrets: Callable[[str], bytes]
) -> RenewedContext:
    """Return a context from the secrets of a ``tls`` block, by part, which follows their changes.

    Raise the errors of the secrets, and those of :func:`client_context`.
    """
    is_renewal = False

    def create(content: dict[str, bytes]) -> ssl.SSLContext:
        nonlocal is_renewal
        material = {PARAMETERS.get(part, part): value for part, value in content.items()}
        context = client_context(connector, **material, names=names, is_renewal=is_renewal)
        is_renewal = True
        return context

    def read() -> dict[str, bytes]:
        return {part: secrets(name) for part, name in names.items()}

    own_name = names.get("pkcs12") or names.get("certificate")
    label = CertificateLabel(
        connector,
        "tls" if own_name else "authorities",
        own_name or names.get("authorities", ""),
    )
    return RenewedContext(Renewed(label, read, create))


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


def _check_days(connector: str, client_certificate: x509.Certificate, *, is_renewal: bool) -> None:
    """Refuse an expired certificate, and one that would replace a valid one too early."""
    now = datetime.now(UTC)
    if is_renewal and client_certificate.not_valid_before_utc > now:
        raise StreamHalted(
            "TLS_MATERIAL",
            f"{connector}: the TLS certificate of the gateway is valid only from "
            f"{client_certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on",
        )
    if client_certificate.not_valid_after_utc < now:
        raise StreamHalted(
            "TLS_MATERIAL",
            f"{connector}: the TLS certificate of the gateway expired on "
            f"{client_certificate.not_valid_after_utc:%Y-%m-%d}; renew it, and write it to the "
            "secret that the connector names under tls",
        )


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
