"""Create and verify XML signatures, with a small set of algorithms.

The gateway signs with exclusive canonicalisation, SHA-2 and RSA. It also verifies ECDSA and
inclusive canonicalisation. A short list names all accepted algorithms. The gateway refuses SHA-1,
other transforms, and references to anything but one unique element. It uses a key from the message
only when a trusted authority issued its certificate, or when the connector does not require trust.
See docs/decisions/0037.

Nothing is canonicalised before the checks of :mod:`gateway.fetch.soap.signature_limits`, and no
reference before a trusted key has signed the list of references.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256, sha384, sha512
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree

from gateway.fetch import xml_parser
from gateway.fetch.soap.signature_limits import (
    DS,
    SignatureRefused,
    check_document_size,
    check_inclusive_cost,
    check_signature_size,
    check_value_sizes,
)
from gateway.fetch.soap.signing_keys import certificates, private_key, trusted_keys

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


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """The elements that a signature covers, and a digest by which the same one is recognised.

    The digest covers the list of references. Two signatures with one digest cover the same content,
    even if their values differ.
    """

    covered: list[etree._Element]
    digest: bytes


def canonicalise(
    element: etree._Element, prefixes: Sequence[str] = (), *, exclusive: bool = True
) -> bytes:
    """Return the canonical bytes of an element.

    ``prefixes`` lists the inclusive namespace prefixes of exclusive canonicalisation. Raise
    ``SIGNATURE_MALFORMED`` for an element without a canonical form.
    """
    try:
        return etree.tostring(
            element,
            method="c14n",
            exclusive=exclusive,
            with_comments=False,
            inclusive_ns_prefixes=list(prefixes) or None if exclusive else None,
        )
    except etree.C14NError:
        raise SignatureRefused(
            "SIGNATURE_MALFORMED",
            "a signed part has no canonical form; expected absolute addresses as its namespaces",
        ) from None


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


def verify_signer(signature: etree._Element, keys: Sequence[Any]) -> bytes:
    """Verify that one of ``keys`` signed the list of references, and return its canonical bytes.

    Raise :class:`SignatureRefused` otherwise. Nothing says yet that the message fits the list.
    """
    check_signature_size(signature)
    return _verify_value(signature, _exactly_one(signature, "SignedInfo"), keys)


def verify_references(
    root: etree._Element, signature: etree._Element, keys: Sequence[Any]
) -> VerifiedSignature:
    """Verify a signature and all its references, and return the elements that it covers.

    ``keys`` are the public keys that the caller trusts. Raise :class:`SignatureRefused` when none
    of them fits, when an element was changed, or when an algorithm is not accepted.
    """
    signed_info = verify_signer(signature, keys)
    references = _exactly_one(signature, "SignedInfo").findall(f"{{{DS}}}Reference")
    if not references:
        raise SignatureRefused("SIGNATURE_EMPTY", "the signature covers no part of the message")
    check_document_size(root)
    ids = _ids(root, {(reference.get("URI") or "").removeprefix("#") for reference in references})
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
    return VerifiedSignature(covered, sha256(signed_info).digest())


def _verify_value(signature: etree._Element, info: etree._Element, keys: Sequence[Any]) -> bytes:
    method = _exactly_one(info, "CanonicalizationMethod")
    exclusive, prefixes = _canonicalisation(method)
    algorithm = _exactly_one(info, "SignatureMethod").get("Algorithm") or ""
    if algorithm not in _SIGNATURES:
        raise SignatureRefused(
            "SIGNATURE_ALGORITHM",
            f"the signature algorithm {_short_name(algorithm)} is not accepted",
        )
    value = _decoded(_exactly_one(signature, "SignatureValue"))
    possible_keys = [key for key in keys if _may_have_made(key, algorithm, len(value))]
    data = canonicalise(info, prefixes, exclusive=exclusive) if possible_keys else b""
    for key in possible_keys:
        try:
            if isinstance(key, rsa.RSAPublicKey):
                key.verify(value, data, padding.PKCS1v15(), _SIGNATURES[algorithm])
            else:
                half = len(value) // 2
                der = encode_dss_signature(
                    int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big")
                )
                key.verify(der, data, ec.ECDSA(_SIGNATURES[algorithm]))
        except InvalidSignature:
            continue
        return data
    raise SignatureRefused(
        "SIGNATURE_INVALID",
        "no trusted key made the signature, or the message was changed",
    )


def _may_have_made(key: Any, algorithm: str, value_bytes: int) -> bool:
    """Return whether the kind and the size of a key fit a signature value."""
    if isinstance(key, rsa.RSAPublicKey):
        return "#rsa-" in algorithm and value_bytes == (key.key_size + 7) // 8
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "#ecdsa-" in algorithm and value_bytes == 2 * ((key.key_size + 7) // 8)
    return False


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
    if not exclusive:
        check_inclusive_cost(element)
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


_WITH_ID = etree.XPath(
    "descendant-or-self::*[@*[translate(local-name(), 'ID', 'id') = 'id' and "
    "contains($names, concat(' ', ., ' '))]]"
)


def _ids(root: etree._Element, names: set[str]) -> dict[str, etree._Element | None]:
    """Return the elements that have one of ``names`` as their id.

    Any attribute ``id`` counts, in capitals and in every namespace, because other readers may take
    it for the id. A name that several elements share maps to ``None``.
    """
    elements: dict[str, etree._Element | None] = {}
    found: Any = _WITH_ID(root, names=f" {' '.join(names)} ")
    for element in found:
        for attribute, name in element.attrib.items():
            if name in names and etree.QName(attribute).localname.lower() == "id":
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


# --- whole documents


def verify_enveloped(
    data: bytes, trusted_certificates: Sequence[x509.Certificate], now: datetime, where: str
) -> bytes:
    """Verify the signature of a whole document, and return the bytes of the document unchanged.

    The signer must use one of ``trusted_certificates``, or a certificate that one of them issued.
    If there are none, the signature proves only that the document was not changed after the
    embedded certificate signed it. Raise :class:`SignatureRefused` when the verification fails.

    The bytes contain the signature itself, in which a sender may put anything. Read records from
    :func:`signed_content`.
    """
    _verify_whole(data, trusted_certificates, now, where)
    return data


def signed_content(
    data: bytes, trusted_certificates: Sequence[x509.Certificate], now: datetime, where: str
) -> bytes:
    """Verify a document as :func:`verify_enveloped` does, and return what is signed in it.

    This is the document without its signature, in UTF-8.
    """
    root, signature = _verify_whole(data, trusted_certificates, now, where)
    parent = signature.getparent()
    if parent is not None:
        _remove_keeping_tail(signature, parent)
    return etree.tostring(root, encoding="utf-8")


def _remove_keeping_tail(element: etree._Element, parent: etree._Element) -> None:
    before, tail = element.getprevious(), element.tail or ""
    if before is not None:
        before.tail = (before.tail or "") + tail
    else:
        parent.text = (parent.text or "") + tail
    parent.remove(element)


def _verify_whole(
    data: bytes, trusted_certificates: Sequence[x509.Certificate], now: datetime, where: str
) -> tuple[etree._Element, etree._Element]:
    """Return the root of a document that is signed as a whole, and its signature."""
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
    if verify_references(root, signatures[0], keys).covered != [root]:
        raise SignatureRefused(
            "SIGNATURE_COVERAGE", f"{where}: the signature does not cover the whole document"
        )
    return root, signatures[0]


def _embedded_certificate(signature: etree._Element) -> x509.Certificate | None:
    element = signature.find(f"{{{DS}}}KeyInfo/{{{DS}}}X509Data/{{{DS}}}X509Certificate")
    if element is None:
        return None
    check_value_sizes(element)
    try:
        return x509.load_der_x509_certificate(_decoded(element))
    except ValueError:
        raise SignatureRefused(
            "SIGNATURE_MALFORMED", "the certificate in the signature cannot be read"
        ) from None


__all__ = [
    "DS",
    "EXC",
    "WSU",
    "SignatureRefused",
    "VerifiedSignature",
    "canonicalise",
    "certificates",
    "private_key",
    "sign",
    "signed_content",
    "trusted_keys",
    "verify_enveloped",
    "verify_references",
    "verify_signer",
]
