"""XML signatures, as narrow as they can be: exclusive canonicalisation, SHA-2, RSA or ECDSA, keys from the configuration.

Everything a message says about how it wants to be verified is held against a short list; SHA-1, other transforms, references to
anything but one unique element, and keys inside the message that nobody vouches for are refused.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from hashlib import sha256, sha384, sha512
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree

from gateway.errors import StreamHalted
from gateway.fetch import xml_parser

DS = "http://www.w3.org/2000/09/xmldsig#"
EXC = "http://www.w3.org/2001/10/xml-exc-c14n#"
WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
ENVELOPED = DS + "enveloped-signature"
INCLUSIVE = {
    "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
    "http://www.w3.org/2006/12/xml-c14n11",
}
"""Canonical XML 1.0 and 1.1: the same for whole documents; where they differ, the digest does not match and the signature is refused."""
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
_DIGESTS: dict[str, Callable[[bytes], Any]] = {
    SHA256: sha256,
    "http://www.w3.org/2001/04/xmldsig-more#sha384": sha384,
    "http://www.w3.org/2001/04/xmlenc#sha512": sha512,
}
DIGEST_NAMES = {"sha256": SHA256, "sha512": "http://www.w3.org/2001/04/xmlenc#sha512"}
_SIGNATURES: dict[str, hashes.HashAlgorithm] = {
    RSA_SHA256: hashes.SHA256(),
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384": hashes.SHA384(),
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512": hashes.SHA512(),
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256": hashes.SHA256(),
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384": hashes.SHA384(),
}


class SignatureRefused(StreamHalted):
    """A signature that does not hold. ``reason`` starts with ``SIGNATURE_``."""


def canonicalise(
    element: etree._Element, prefixes: Sequence[str] = (), *, exclusive: bool = True
) -> bytes:
    """Return the canonical bytes of an element."""
    if exclusive:
        return etree.tostring(
            element,
            method="c14n",
            exclusive=True,
            with_comments=False,
            inclusive_ns_prefixes=list(prefixes) or None,
        )
    return etree.tostring(element, method="c14n", exclusive=False, with_comments=False)


def sign(
    references: Iterable[tuple[str, etree._Element]],
    key: rsa.RSAPrivateKey,
    *,
    digest: str = SHA256,
    prefixes: Sequence[str] = (),
) -> etree._Element:
    """Return a ``ds:Signature`` over elements, each by its id; the caller adds KeyInfo and puts it in its place.

    Sign again after moving it is not needed: exclusive canonicalisation does not depend on where it stands.
    """
    signature = etree.Element(f"{{{DS}}}Signature", nsmap={"ds": DS})
    info = etree.SubElement(signature, f"{{{DS}}}SignedInfo")
    _add_algorithm(info, "CanonicalizationMethod", EXC, prefixes)
    _add_algorithm(info, "SignatureMethod", RSA_SHA256, ())
    for name, element in references:
        reference = etree.SubElement(info, f"{{{DS}}}Reference", URI=f"#{name}")
        transforms = etree.SubElement(reference, f"{{{DS}}}Transforms")
        _add_algorithm(transforms, "Transform", EXC, prefixes)
        _add_algorithm(reference, "DigestMethod", digest, ())
        value = _DIGESTS[digest](canonicalise(element, prefixes)).digest()
        etree.SubElement(reference, f"{{{DS}}}DigestValue").text = base64.b64encode(value).decode()
    signature_value = key.sign(canonicalise(info, prefixes), padding.PKCS1v15(), hashes.SHA256())
    etree.SubElement(signature, f"{{{DS}}}SignatureValue").text = base64.b64encode(
        signature_value
    ).decode()
    return signature


def _add_algorithm(
    parent: etree._Element, name: str, algorithm: str, prefixes: Sequence[str]
) -> None:
    signature_value = etree.SubElement(parent, f"{{{DS}}}{name}", Algorithm=algorithm)
    if prefixes:
        etree.SubElement(
            signature_value,
            f"{{{EXC}}}InclusiveNamespaces",
            nsmap={"ec": EXC},
            PrefixList=" ".join(prefixes),
        )


def verify_references(
    root: etree._Element, signature: etree._Element, keys: Sequence[Any]
) -> list[etree._Element]:
    """Return the elements a signature covers, after verifying every one of them and the signature itself.

    ``keys`` are public keys the caller trusts. Raises :class:`Refused`.
    """
    info = _exactly_one(signature, "SignedInfo")
    _verify_value(signature, info, keys)
    references = info.findall(f"{{{DS}}}Reference")
    if not references:
        raise SignatureRefused("SIGNATURE_EMPTY", "the signature covers nothing")
    ids = _ids(root)
    covered = []
    for reference in references:
        name = reference.get("URI") or ""
        element = (
            root if not name else ids.get(name.removeprefix("#")) if name.startswith("#") else None
        )
        if element is None:
            raise SignatureRefused(
                "SIGNATURE_REFERENCE",
                "the signature covers something that is not in the message exactly once",
            )
        _verify_digest(reference, element, signature)
        covered.append(element)
    return covered


def _verify_value(signature: etree._Element, info: etree._Element, keys: Sequence[Any]) -> None:
    method = _exactly_one(info, "CanonicalizationMethod")
    exclusive, prefixes = _canonicalisation(method)
    algorithm = _exactly_one(info, "SignatureMethod").get("Algorithm") or ""
    if algorithm not in _SIGNATURES:
        raise SignatureRefused(
            "SIGNATURE_ALGORITHM",
            f"the signature algorithm {algorithm.rpartition('#')[2] or algorithm!r} is not accepted",
        )
    value, data = (
        _decoded(_exactly_one(signature, "SignatureValue")),
        canonicalise(info, prefixes, exclusive=exclusive),
    )
    for key in keys:
        try:
            if isinstance(key, rsa.RSAPublicKey) and "#rsa-" in algorithm:
                key.verify(value, data, padding.PKCS1v15(), _SIGNATURES[algorithm])
                return
            if isinstance(key, ec.EllipticCurvePublicKey) and "#ecdsa-" in algorithm:
                half = len(value) // 2
                der = encode_dss_signature(
                    int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big")
                )
                key.verify(der, data, ec.ECDSA(_SIGNATURES[algorithm]))
                return
        except InvalidSignature:
            continue
    raise SignatureRefused(
        "SIGNATURE_INVALID",
        "the signature was not made with a key that is trusted, or the message was changed",
    )


def _verify_digest(
    reference: etree._Element, element: etree._Element, signature: etree._Element
) -> None:
    exclusive, enveloped = False, False
    prefixes: tuple[str, ...] = ()
    for transform in reference.iterfind(f"{{{DS}}}Transforms/{{{DS}}}Transform"):
        if transform.get("Algorithm") == ENVELOPED:
            enveloped = True
        else:
            exclusive, prefixes = _canonicalisation(transform)
    algorithm = _exactly_one(reference, "DigestMethod").get("Algorithm") or ""
    if algorithm not in _DIGESTS:
        raise SignatureRefused(
            "SIGNATURE_ALGORITHM",
            f"the digest algorithm {algorithm.rpartition('#')[2] or algorithm!r} is not accepted",
        )
    data = (
        _canonicalise_without_signature(element, signature, prefixes, exclusive=exclusive)
        if enveloped
        else canonicalise(element, prefixes, exclusive=exclusive)
    )
    if not hmac.compare_digest(
        _DIGESTS[algorithm](data).digest(), _decoded(_exactly_one(reference, "DigestValue"))
    ):
        raise SignatureRefused("SIGNATURE_INVALID", "a signed part was changed after it was signed")


def _canonicalise_without_signature(
    element: etree._Element, signature: etree._Element, prefixes: Sequence[str], *, exclusive: bool
) -> bytes:
    """Canonicalise an element as if the signature inside it were not there; the tree is left as it was."""
    parent = signature.getparent()
    if parent is None or element not in signature.iterancestors():
        raise SignatureRefused(
            "SIGNATURE_REFERENCE", "an enveloped signature does not stand inside what it signs"
        )
    place, tail = parent.index(signature), signature.tail
    before = parent[place - 1] if place else None
    kept = before.tail if before is not None else parent.text
    if tail:
        joined = (kept or "") + tail
        if before is not None:
            before.tail = joined
        else:
            parent.text = joined
    signature.tail = None
    parent.remove(signature)
    try:
        return canonicalise(element, prefixes, exclusive=exclusive)
    finally:
        if before is not None:
            before.tail = kept
        else:
            parent.text = kept
        parent.insert(place, signature)
        signature.tail = tail


def _canonicalisation(method: etree._Element) -> tuple[bool, tuple[str, ...]]:
    algorithm = method.get("Algorithm")
    if algorithm == EXC:
        listed = method.find(f"{{{EXC}}}InclusiveNamespaces")
        return True, tuple((listed.get("PrefixList") or "").split()) if listed is not None else ()
    if algorithm in INCLUSIVE:
        return False, ()
    raise SignatureRefused(
        "SIGNATURE_ALGORITHM", "a canonicalisation or transform is used that is not accepted"
    )


def _ids(root: etree._Element) -> dict[str, etree._Element | None]:
    """Return every element that has an id; a name that is used twice stands for nothing."""
    found: dict[str, etree._Element | None] = {}
    for element in root.iter(etree.Element):
        for attribute in (f"{{{WSU}}}Id", "Id", "ID", "id"):
            name = element.get(attribute)
            if name is not None:
                found[name] = None if name in found and found[name] is not element else element
    return found


def _exactly_one(parent: etree._Element, name: str) -> etree._Element:
    found = parent.findall(f"{{{DS}}}{name}")
    if len(found) != 1:
        raise SignatureRefused("SIGNATURE_MALFORMED", f"the signature needs exactly one {name}")
    return found[0]


def _decoded(element: etree._Element) -> bytes:
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except (binascii.Error, ValueError):
        raise SignatureRefused(
            "SIGNATURE_MALFORMED", "the signature holds a value that is not base64"
        ) from None


# --- keys and certificates


def private_key(pem: bytes, what: str) -> rsa.RSAPrivateKey:
    """Return an RSA key from unencrypted PEM."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise StreamHalted(
            "KEY_UNREADABLE", f"{what} is not an unencrypted PEM private key"
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise StreamHalted("KEY_UNREADABLE", f"{what} is not an RSA key")
    return key


def certificates(pem: bytes, what: str) -> list[x509.Certificate]:
    """Return the certificates in a PEM file."""
    try:
        return list(x509.load_pem_x509_certificates(pem))
    except ValueError:
        raise StreamHalted("KEY_UNREADABLE", f"{what} holds no PEM certificate") from None


def trusted_keys(
    trusted_certificates: Sequence[x509.Certificate],
    embedded: x509.Certificate | None,
    now: datetime,
) -> list[Any]:
    """Return the public keys that may have signed: of a trusted certificate, or of the shown one when a trusted authority issued it."""
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
                "the message shows a certificate that no trusted authority issued",
            )
    valid = [
        one.public_key()
        for one in candidates
        if one.not_valid_before_utc <= now <= one.not_valid_after_utc
    ]
    if not valid:
        raise SignatureRefused("SIGNATURE_EXPIRED", "the certificate that signs is not valid now")
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


def verify_enveloped(
    data: bytes, trusted_certificates: Sequence[x509.Certificate], now: datetime, where: str
) -> bytes:
    """Verify the signature inside a document over the whole of it, and return the document's bytes untouched.

    With ``trust`` the signer has to be one of these certificates or issued by one; without it, only that the document was not
    changed since the certificate it shows signed it. Raises :class:`Refused`.
    """
    root = xml_parser.parse_bytes(data, where=where)
    signatures = list(root.iter(f"{{{DS}}}Signature"))
    if len(signatures) != 1:
        raise SignatureRefused(
            "SIGNATURE_ABSENT",
            f"{where}: a document needs exactly one signature, this one has {len(signatures)}",
        )
    embedded = _embedded_certificate(signatures[0])
    if trusted_certificates:
        keys = trusted_keys(trusted_certificates, embedded, now)
    elif embedded is not None:
        keys = [embedded.public_key()]
    else:
        raise SignatureRefused(
            "SIGNATURE_UNTRUSTED",
            f"{where}: the signature shows no certificate, and none is configured",
        )
    if verify_references(root, signatures[0], keys) != [root]:
        raise SignatureRefused(
            "SIGNATURE_COVERAGE", f"{where}: the signature does not cover the whole document"
        )
    return data


def _embedded_certificate(signature: etree._Element) -> x509.Certificate | None:
    found = signature.find(f"{{{DS}}}KeyInfo/{{{DS}}}X509Data/{{{DS}}}X509Certificate")
    if found is None:
        return None
    try:
        return x509.load_der_x509_certificate(_decoded(found))
    except ValueError:
        raise SignatureRefused(
            "SIGNATURE_MALFORMED", "the certificate in the signature cannot be read"
        ) from None
