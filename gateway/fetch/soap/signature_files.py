"""Read the key and the certificates of a connector's signatures, and follow their changes."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.certificates.expiry import CertificateLabel, record_bundle_expiry, record_expiry
from gateway.certificates.renewal import Renewed
from gateway.config.connection import Signature
from gateway.errors import StreamHalted
from gateway.fetch.secrets import Secrets
from gateway.fetch.soap import signing_keys

SigningPair = tuple[rsa.RSAPrivateKey, x509.Certificate]


class SignatureFiles:
    """The secrets of one ``signature`` block."""

    def __init__(self, connector: str, rule: Signature, secrets: Secrets) -> None:
        self._connector, self._rule, self._secrets = connector, rule, secrets
        self._pair: Renewed[SigningPair] | None = None
        self._trust: tuple[bytes, list[x509.Certificate]] = (b"", [])

    def signing_pair(self) -> SigningPair:
        """Return the key and the certificate that sign requests.

        Raise ``StreamHalted`` (``KEY_UNREADABLE``) if they cannot be used. If only changed files
        cannot be used, the earlier pair stays in use.
        """
        if self._pair is None:
            name = self._rule.certificate.secret
            label = CertificateLabel(self._connector, "signing", name)
            self._pair = Renewed(label, self._read_pair, self._make_pair)
        return self._pair.current()

    def trusted_certificates(self) -> list[x509.Certificate]:
        """Return the certificates that may sign replies, as the secret contains them now.

        Raise ``StreamHalted`` (``KEY_UNREADABLE``) if it contains none. A withdrawn certificate is
        trusted no longer, so nothing earlier stays in use.
        """
        name = self._rule.trust.secret
        pem = self._secrets(name)
        if pem != self._trust[0]:
            self._trust = pem, signing_keys.certificates(pem, f"the trusted certificate {name!r}")
            record_bundle_expiry(CertificateLabel(self._connector, "trust", name), pem)
        return self._trust[1]

    def _read_pair(self) -> tuple[bytes, bytes]:
        return self._secrets(self._rule.key.secret), self._secrets(self._rule.certificate.secret)

    def _make_pair(self, content: tuple[bytes, bytes]) -> SigningPair:
        key_name, name = self._rule.key.secret, self._rule.certificate.secret
        key = signing_keys.private_key(content[0], f"the signing key {key_name!r}")
        certificate = signing_keys.certificates(content[1], f"the certificate {name!r}")[0]
        if key.public_key() != certificate.public_key():
            raise StreamHalted(
                "KEY_UNREADABLE",
                f"the signing key {key_name!r} does not belong to the certificate {name!r}; "
                "write a key and a certificate that form a pair",
            )
        now = datetime.now(UTC)
        is_valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
        if self._pair is not None and not is_valid:
            raise StreamHalted("KEY_UNREADABLE", f"the certificate {name!r} is not valid now")
        record_expiry(CertificateLabel(self._connector, "signing", name), certificate)
        return key, certificate
