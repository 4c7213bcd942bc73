"""Create and verify XML signatures, with a small set of algorithms.

The gateway signs with exclusive canonicalisation, SHA-2 and RSA. It also verifies ECDSA and
inclusive canonicalisation. A short list names all accepted algorithms. The gateway refuses SHA-1,
other transforms, and references to anything but one unique element. It uses a key from the message
only when a trusted authority issued its certificate, or when the connector does not require trust.
See docs/decisions/0037.
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
"""Canonical XML 1.0 and 1.1, which give the same bytes for whole documents.

Where they differ, the digest does not match, and the signature is refused.
"""
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
    """A missing, invalid or untrusted signature. ``reason`` starts with ``SIGNATURE_``."""


def canonicalise(
    element: etree._Element, prefixes: Sequence[str] = (), *, exclusive: bool = True
) -> bytes:
    """Return the canonical bytes of an element.

    ``prefixes`` lists the inclusive namespace prefixes of exclusive canonicalisation.
    """
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
    """Return a ``ds:Signature`` over ``references``, which are pairs of an id and its element.

    The caller adds ``KeyInfo`` and inserts the signature into the document. Moving it does not
    make it invalid, because exclusive canonicalisation does not depend on the position.
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
    method = etree.SubElement(parent, f"{{{DS}}}{name}", Algorithm=algorithm)
    if prefixes:
        etree.SubElement(
            method,
            f"{{{EXC}}}InclusiveNamespaces",
            nsmap={"ec": EXC},
            PrefixList=" ".join(prefixes),
        )


def verify_references(
    root: etree._Element, signature: etree._Element, keys: Sequence[Any]
) -> list[etree._Element]:
    """Verify a signature and all its references, and return the elements that it covers.

    ``keys`` are the public keys that the caller trusts. Raise :class:`SignatureRefused` when none
    of them fits, when an element was changed, or when an algorithm is not accepted.
    """
    info = _exactly_one(signature, "SignedInfo")
    _verify_value(signature, info, keys)
    references = info.findall(f"{{{DS}}}Reference")
    if not references:
        raise SignatureRefused("SIGNATURE_EMPTY", "the signature covers no part of the message")
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
                "the signature refers to an element that is not in the message exactly once",
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
            f"the signature algorithm {_short_name(algorithm)} is not accepted",
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
        "no trusted key made the signature, or the message was changed",
    )


def _short_name(algorithm: str) -> str:
    return algorithm.rpartition("#")[2] or repr(algorithm)


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
            f"the digest algorithm {_short_name(algorithm)} is not accepted",
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
    """Return the canonical bytes of an element without the signature. The tree does not change."""
    parent = signature.getparent()
    if parent is None or element not in signature.iterancestors():
        raise SignatureRefused(
            "SIGNATURE_REFERENCE", "an enveloped signature is not inside the element that it signs"
        )
    place, tail = parent.index(signature), signature.tail
    before = parent[place - 1] if place else None
    previous_text = before.tail if before is not None else parent.text
    if tail:
        joined = (previous_text or "") + tail
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
            before.tail = previous_text
        else:
            parent.text = previous_text
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
        "SIGNATURE_ALGORITHM",
        "the signature uses a canonicalisation or transform that is not accepted",
    )


def _ids(root: etree._Element) -> dict[str, etree._Element | None]:
    """Return all elements that have an id. An id that several elements share maps to ``None``."""
    elements: dict[str, etree._Element | None] = {}
    for element in root.iter(etree.Element):
        for attribute in (f"{{{WSU}}}Id", "Id", "ID", "id"):
            name = element.get(attribute)
            if name is not None:
                is_repeated = name in elements and elements[name] is not element
                elements[name] = None if is_repeated else element
    return elements


def _exactly_one(parent: etree._Element, name: str) -> etree._Element:
    elements = parent.findall(f"{{{DS}}}{name}")
    if len(elements) != 1:
        raise SignatureRefused("SIGNATURE_MALFORMED", f"the signature needs exactly one {name}")
    return elements[0]


def _decoded(element: etree._Element) -> bytes:
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except (binascii.Error, ValueError):
        raise SignatureRefused(
            "SIGNATURE_MALFORMED", "the signature contains a value that is not base64"
        ) from None


# --- keys and certificates


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


def verify_enveloped(
    data: bytes, trusted_certificates: Sequence[x509.Certificate], now: datetime, where: str
) -> bytes:
    """Verify the signature of a whole document, and return the bytes of the document unchanged.

    The signer must use one of ``trusted_certificates``, or a certificate that one of them issued.
    If there are none, the signature proves only that the document was not changed after the
    embedded certificate signed it. Raise :class:`SignatureRefused` when the verification fails.
    """
    root = xml_parser.parse_bytes(data, where=where)
    signatures = list(root.iter(f"{{{DS}}}Signature"))
    if len(signatures) != 1:
        raise SignatureRefused(
            "SIGNATURE_ABSENT",
            f"{where}: a document needs exactly one signature, and this one has {len(signatures)}",
        )
    embedded = _embedded_certificate(signatures[0])
    if trusted_certificates:
        keys = trusted_keys(trusted_certificates, embedded, now)
    elif embedded is not None:
        keys = [embedded.public_key()]
    else:
        raise SignatureRefused(
            "SIGNATURE_UNTRUSTED",
            f"{where}: the signature contains no certificate, and none is configured",
        )
    if verify_references(root, signatures[0], keys) != [root]:
        raise SignatureRefused(
            "SIGNATURE_COVERAGE", f"{where}: the signature does not cover the whole document"
        )
    return data


def _embedded_certificate(signature: etree._Element) -> x509.Certificate | None:
    element = signature.find(f"{{{DS}}}KeyInfo/{{{DS}}}X509Data/{{{DS}}}X509Certificate")
    if element is None:
        return None
    try:
        return x509.load_der_x509_certificate(_decoded(element))
    except ValueError:
        raise SignatureRefused(
            "SIGNATURE_MALFORMED", "the certificate in the signature cannot be read"
        ) from None
