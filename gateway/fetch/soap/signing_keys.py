"""Read the keys and certificates that sign messages, and decide which of them to trust."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.errors import StreamHalted
from gateway.fetch.soap.signature_limits import SignatureRefused


def private_key(pem: bytes, what: str) -> rsa.RSAPrivateKey:
    """Return an RSA key from unencrypted PEM.

    ``what`` names the key in errors. Raise ``StreamHalted`` (``KEY_UNREADABLE``) for other keys.
    """
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise StreamHalted(
            "KEY_UNREADABLE",
            f"{what} is not an unencrypted PEM private key; convert it with `openssl pkey`",
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise StreamHalted("KEY_UNREADABLE", f"{what} is not an RSA key; signatures need one")
    return key


def certificates(pem: bytes, what: str) -> list[x509.Certificate]:
    """Return the certificates in a PEM file.

    ``what`` names the file in errors. Raise ``StreamHalted`` (``KEY_UNREADABLE``) when it has none.
    """
    try:
        return list(x509.load_pem_x509_certificates(pem))
    except ValueError:
        raise StreamHalted(
            "KEY_UNREADABLE",
            f"{what} contains no PEM certificate; write one between BEGIN and END CERTIFICATE",
        ) from None


def trusted_keys(
    trusted_certificates: Sequence[x509.Certificate],
    embedded: x509.Certificate | None,
    now: datetime,
) -> list[Any]:
    """Return the public keys that the gateway accepts for a signature.

    They belong to a trusted certificate, or to the ``embedded`` certificate of the message when a
    trusted authority issued it. Raise :class:`SignatureRefused` when there is no such certificate
    (``SIGNATURE_UNTRUSTED``), or when it is not valid at ``now`` (``SIGNATURE_EXPIRED``).
    """
    candidates = [
        certificate
        for certificate in trusted_certificates
        if embedded is None or certificate == embedded
    ]
    if embedded is not None and not candidates:
        candidates = (
            [embedded]
            if any(_is_issued_by(embedded, authority, now) for authority in trusted_certificates)
            else []
        )
        if not candidates:
            raise SignatureRefused(
                "SIGNATURE_UNTRUSTED",
                "the message contains a certificate that no trusted authority issued",
            )
    valid = [
        certificate.public_key()
        for certificate in candidates
        if certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    ]
    if not valid:
        raise SignatureRefused("SIGNATURE_EXPIRED", "the signing certificate is not valid now")
    return valid


def _is_issued_by(
    certificate: x509.Certificate, authority: x509.Certificate, now: datetime
) -> bool:
    try:
        constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.verify_directly_issued_by(authority)
    except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature):
        return False
    return constraints.ca and authority.not_valid_before_utc <= now <= authority.not_valid_after_utc
