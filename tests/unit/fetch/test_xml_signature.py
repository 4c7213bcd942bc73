"""Attack the verification of XML signatures, and read forms that other products write.

:func:`resigned` signs unusual content with the key of the trusted registry. The signature value is
then correct, so the gateway must refuse the content itself.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from lxml import etree
from signxml import XMLSigner

from gateway.fetch import xml_parser
from gateway.fetch.soap import envelope as soap
from gateway.fetch.soap import xml_signature
from gateway.fetch.soap.ws_security import WSSE
from gateway.fetch.soap.xml_signature import DS, EXC, WSU, SignatureRefused
from tests.support.certificates import AUTHORITY, SERVER, STRANGER, make
from tests.unit.fetch.test_wsse import NOW, SECRETS, guard, signed

SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
INCLUSIVE = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
MORE = "http://www.w3.org/2001/04/xmldsig-more#"


def canonical(element: etree._Element, *, exclusive: bool = True) -> bytes:
    return etree.tostring(element, method="c14n", exclusive=exclusive, with_comments=False)


def rsa_value(data: bytes) -> bytes:
    return SERVER.key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def resigned(
    change: Callable[[etree._Element, etree._Element], None],
    sign: Callable[[bytes], bytes] = rsa_value,
    reply: etree._Element | None = None,
) -> etree._Element:
    """Return a reply whose SignedInfo ``change`` edits before ``sign`` signs it again."""
    reply = signed() if reply is None else reply
    signature = reply.find(f".//{{{DS}}}Signature")
    info = signature.find(f"{{{DS}}}SignedInfo")
    change(reply, info)
    value = signature.find(f"{{{DS}}}SignatureValue")
    exclusive = info[0].get("Algorithm") != INCLUSIVE
    value.text = base64.encodebytes(sign(canonical(info, exclusive=exclusive))).decode()
    return reply


def read(reply: etree._Element) -> str:
    parsed = xml_parser.parse_bytes(etree.tostring(reply))
    return guard().verify_reply(parsed, NOW).xpath("string(//*[local-name()='name'])")


def body_reference(reply: etree._Element, info: etree._Element) -> etree._Element:
    name = soap.body_of(reply).get(f"{{{WSU}}}Id")
    return info.find(f"{{{DS}}}Reference[@URI='#{name}']")


def set_digest(reference: etree._Element, data: bytes, algorithm: str = "sha256") -> None:
    value = hashlib.new(algorithm, data).digest()
    reference.find(f"{{{DS}}}DigestValue").text = base64.b64encode(value).decode()


def transform(name: str) -> Callable[[etree._Element, etree._Element], None]:
    def change(reply: etree._Element, info: etree._Element) -> None:
        body_reference(reply, info).find(f".//{{{DS}}}Transform").set("Algorithm", name)

    return change


def base64_transform(reply: etree._Element, info: etree._Element) -> None:
    body, reference = soap.body_of(reply), body_reference(reply, info)
    reference.find(f".//{{{DS}}}Transform").set("Algorithm", DS + "base64")
    body.text = base64.b64encode(b"good").decode()
    set_digest(reference, b"good")
    body[0][0].text = "evil"


def sha1_digest(reply: etree._Element, info: etree._Element) -> None:
    reference = body_reference(reply, info)
    reference.find(f"{{{DS}}}DigestMethod").set("Algorithm", SHA1)
    set_digest(reference, canonical(soap.body_of(reply)), "sha1")


def uri(text: str) -> Callable[[etree._Element, etree._Element], None]:
    return lambda reply, info: body_reference(reply, info).set("URI", text)


def second_id(reply: etree._Element, _: etree._Element) -> None:
    evil = etree.SubElement(soap.header_of(reply), "{urn:x}evil")
    evil.set("ID", soap.body_of(reply).get(f"{{{WSU}}}Id"))


def second_signed_info(reply: etree._Element, info: etree._Element) -> None:
    forged = deepcopy(info)
    soap.body_of(reply)[0][0].text = "evil"
    set_digest(body_reference(reply, forged), canonical(soap.body_of(reply)))
    info.addnext(forged)


def no_reference(_: etree._Element, info: etree._Element) -> None:
    for reference in info.findall(f"{{{DS}}}Reference"):
        info.remove(reference)


def manifest(reply: etree._Element, info: etree._Element) -> None:
    reference = body_reference(reply, info)
    holder = etree.SubElement(info.getparent(), f"{{{DS}}}Object")
    listed = etree.SubElement(holder, f"{{{DS}}}Manifest", Id="list")
    listed.append(deepcopy(reference))
    reference.set("URI", "#list")
    reference.set("Type", DS + "Manifest")
    set_digest(reference, canonical(listed))
    soap.body_of(reply)[0][0].text = "evil"


@pytest.mark.parametrize(
    "change",
    [
        base64_transform,
        sha1_digest,
        second_id,
        second_signed_info,
        no_reference,
        manifest,
        pytest.param(transform("http://www.w3.org/TR/1999/REC-xpath-19991116"), id="xpath"),
        pytest.param(transform("http://www.w3.org/TR/1999/REC-xslt-19991116"), id="xslt"),
        pytest.param(transform(EXC + "WithComments"), id="with comments"),
        pytest.param(uri("#xpointer(id('x'))"), id="xpointer"),
        pytest.param(uri("http://127.0.0.1:9/x"), id="web address"),
        pytest.param(uri("file:///etc/hostname"), id="file"),
        pytest.param(uri(""), id="whole document"),
    ],
)
def test_unusual_content_of_a_trusted_signer_is_refused(change):
    with pytest.raises(SignatureRefused):
        read(resigned(change))


def method(name: str) -> Callable[[etree._Element, etree._Element], None]:
    return lambda _, info: info[1].set("Algorithm", name)


def rsa_sha1_value(data: bytes) -> bytes:
    return SERVER.key.sign(data, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303


def stranger_value(data: bytes) -> bytes:
    return STRANGER.key.sign(data, padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        pytest.param(DS + "rsa-sha1", rsa_sha1_value, id="SHA-1"),
        pytest.param(
            MORE + "hmac-sha256",
            lambda data: hmac.digest(SERVER.pem, data, "sha256"),
            id="certificate as a shared secret",
        ),
        pytest.param(
            MORE + "hmac-sha256",
            lambda data: hmac.digest(b"", data, "sha256"),
            id="empty shared secret",
        ),
        pytest.param(MORE + "ecdsa-sha256", rsa_value, id="wrong kind of key"),
        pytest.param(MORE + "ecdsa-sha256", lambda _: b"", id="empty value"),
        pytest.param(xml_signature.RSA_SHA256, stranger_value, id="other key"),
    ],
)
def test_other_keys_and_algorithms_are_refused(name, sign):
    with pytest.raises(SignatureRefused):
        read(resigned(method(name), sign))


def test_key_in_the_message_is_not_used():
    reply = signed()
    info = reply.find(f".//{{{DS}}}KeyInfo")
    numbers = STRANGER.key.public_key().public_numbers()
    rsa = etree.SubElement(etree.SubElement(info, f"{{{DS}}}KeyValue"), f"{{{DS}}}RSAKeyValue")
    for name, number in (("Modulus", numbers.n), ("Exponent", numbers.e)):
        data = number.to_bytes((number.bit_length() + 7) // 8, "big")
        etree.SubElement(rsa, f"{{{DS}}}{name}").text = base64.b64encode(data).decode()
    holder = etree.SubElement(info, f"{{{DS}}}X509Data")
    certificate = etree.SubElement(holder, f"{{{DS}}}X509Certificate")
    certificate.text = STRANGER.pem.decode().split("-----")[2]
    with pytest.raises(SignatureRefused):
        read(resigned(lambda *_: None, stranger_value, reply))


def test_signature_over_one_part_of_a_document_is_refused():
    root = etree.fromstring("<elmo xmlns='urn:e'><name Id='x'>good</name><other/></elmo>")
    made = XMLSigner().sign(root, key=SERVER.key_pem, cert=SERVER.pem.decode(), reference_uri="x")
    with pytest.raises(SignatureRefused):
        xml_signature.verify_enveloped(etree.tostring(made), [SERVER.certificate], NOW, "x")


def damaged() -> Iterator[tuple[str, etree._Element]]:
    """Yield replies in which one place of the signature is absent, empty, wrong or doubled."""
    original = signed()
    for number in range(len(list(original.find(f".//{{{DS}}}Signature").iter()))):
        for damage in ("absent", "empty", "wrong", "doubled", "no attribute"):
            reply = deepcopy(original)
            element = list(reply.find(f".//{{{DS}}}Signature").iter())[number]
            name = etree.QName(element).localname
            if etree.QName(element).namespace != DS or name == "KeyInfo":
                continue
            if damage == "absent":
                element.getparent().remove(element)
            elif damage == "doubled":
                element.addnext(deepcopy(element))
            elif damage == "no attribute" and element.attrib:
                element.attrib.clear()
            elif damage in {"empty", "wrong"} and not len(element) and element.text:
                element.text = None if damage == "empty" else "%"
            else:
                continue
            yield f"{name} {damage}", reply


def test_damaged_signatures_are_refused():
    for _, reply in damaged():
        with pytest.raises(SignatureRefused):
            read(reply)


def test_comment_does_not_cut_a_signed_text():
    reply = etree.tostring(signed()).replace(b"good", b"go<!-- evil -->od")
    assert read(etree.fromstring(reply)) == "good"


@pytest.mark.parametrize("prefixes", ["", " wsu  soap-env ", "#default", "wsu\nr"])
def test_lists_of_prefixes_are_read(prefixes):
    def change(reply: etree._Element, info: etree._Element) -> None:
        reference = body_reference(reply, info)
        chosen = reference.find(f".//{{{DS}}}Transform")
        etree.SubElement(chosen, f"{{{EXC}}}InclusiveNamespaces", PrefixList=prefixes)
        data = etree.tostring(
            soap.body_of(reply),
            method="c14n",
            exclusive=True,
            with_comments=False,
            inclusive_ns_prefixes=prefixes.split() or None,
        )
        set_digest(reference, data)

    assert read(resigned(change)) == "good"


def test_inclusive_canonicalisation_is_read():
    def change(reply: etree._Element, info: etree._Element) -> None:
        info[0].set("Algorithm", INCLUSIVE)
        reference = body_reference(reply, info)
        reference.find(f".//{{{DS}}}Transform").set("Algorithm", INCLUSIVE)
        set_digest(reference, canonical(soap.body_of(reply), exclusive=False))

    assert read(resigned(change)) == "good"


@pytest.mark.parametrize(
    ("curve", "size"), [(ec.SECP256R1(), 32), (ec.SECP384R1(), 48)], ids=["P-256", "P-384"]
)
def test_elliptic_curve_is_read(curve, size, monkeypatch):
    key = ec.generate_private_key(curve)
    made = make("curve", AUTHORITY, key=key)
    monkeypatch.setitem(SECRETS, "both.crt", SERVER.pem + made.pem)

    def sign(data: bytes) -> bytes:
        numbers = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return b"".join(number.to_bytes(size, "big") for number in numbers)

    reply = signed()
    token = reply.find(f".//{{{WSSE}}}BinarySecurityToken")
    der = made.certificate.public_bytes(serialization.Encoding.DER)
    token.text = base64.b64encode(der).decode()
    for with_token in (True, False):
        if not with_token:
            token.getparent().remove(token)
        reply = resigned(method(MORE + "ecdsa-sha256"), sign, reply)
        assert guard(trust="both").verify_reply(reply, NOW) is not None


def test_indented_document_is_read():
    text = "<elmo xmlns='urn:e'>\n  <a/>\n  <ds:Signature xmlns:ds='{}' Id='placeholder'/>\n</elmo>"
    made = XMLSigner().sign(
        etree.fromstring(text.format(DS)), key=SERVER.key_pem, cert=SERVER.pem.decode()
    )
    data = etree.tostring(made)
    assert xml_signature.verify_enveloped(data, [SERVER.certificate], NOW, "x") == data


def test_long_signed_text_is_read():
    assert len(read(signed("good" * 1_000_000))) == 4_000_000
