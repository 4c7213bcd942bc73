"""Measure when certificates expire, also those that the other side of a TLS connection shows."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import NamedTuple

from cryptography import x509

from gateway.observability import metrics


class CertificateLabel(NamedTuple):
    """What a certificate is, in the labels of the metric.

    ``connector`` is empty for the certificates of Kafka and of the push port. ``certificate`` is
    the name of the secret, the path of the file, or the host that showed it.
    """

    connector: str
    use: str
    certificate: str


def record_expiry(label: CertificateLabel, certificate: x509.Certificate) -> None:
    """Set the metric for the certificate that is in use from now on."""
    metrics.CERTIFICATE_EXPIRY.labels(*label).set(certificate.not_valid_after_utc.timestamp())


def record_bundle_expiry(label: CertificateLabel, pem: bytes) -> None:
    """Set the metric for a file of trusted certificates, of which the latest one counts.

    While an authority is replaced, such a file contains the old one and the new one. A file that
    only OpenSSL can read is not measured.
    """
    with suppress(ValueError):
        certificates = x509.load_pem_x509_certificates(pem)
        record_expiry(label, max(certificates, key=lambda one: one.not_valid_after_utc))


def observe_handshakes(context: ssl.SSLContext, connector: str, use: str) -> None:
    """Measure the certificate that a server shows in each handshake with this context."""

    class ObservedConnection(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            shown = self.getpeercert() or {}
            expiry, host = shown.get("notAfter"), self.server_hostname
            if isinstance(expiry, str) and host:
                metrics.CERTIFICATE_EXPIRY.labels(connector, use, str(host)).set(
                    ssl.cert_time_to_seconds(expiry)
                )

    context.sslobject_class = ObservedConnection
