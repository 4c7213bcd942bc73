"""Send signed messages whose verification would take long, and measure what the gateway spends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from copy import deepcopy

import pytest
from lxml import etree
from signxml import XMLSigner
from signxml.algorithms import CanonicalizationMethod

from gateway.errors import StreamError
from gateway.fetch.push_receiver import PushReceiver
from gateway.fetch.soap import envelope as soap
from gateway.fetch.soap import signature_limits, xml_signature
from gateway.fetch.soap.ws_security import WSSE
from gateway.fetch.soap.xml_signature import DS, EXC
from tests.support.certificates import SERVER, STRANGER
from tests.support.signed_messages import (
    SECRETS,
    bare,
    envelope_of,
    load,
    push_file,
    receive,
    sign,
    signed,
)
from tests.unit.fetch.test_wsse import NOW

MAX_SECONDS = 2.0
"""The largest CPU time that a refused message may cost."""
MANY = 40_000
NAMESPACES = b" ".join(b"xmlns:p%d='urn:%d'" % (number, number) for number in range(MANY))
ATTRIBUTES = b" ".join(b"a%06d='x'" % number for number in range(MANY))


async def _store(_: object) -> None:
    raise AssertionError


def refused(body: bytes, text: str = "") -> tuple[str, float]:
    """Return the reason why a message is refused, and the CPU time that this took."""
    receiver = PushReceiver(load(text or push_file()), SECRETS.__getitem__, _store)
    started = time.process_time()
    with pytest.raises(StreamError) as caught:
        receiver.read_records(body, {"content-type": "text/xml"}, "http://x/in")
    return caught.value.reason, time.process_time() - started


def by_stranger() -> bytes:
    """Return a message that a stranger signed and that shows no certificate."""
    message = sign(envelope_of(bare()), "stranger")
    for token in list(message.iter(f"{{{WSSE}}}BinarySecurityToken")):
        token.getparent().remove(token)
    return etree.tostring(message)


def with_start(body: bytes, start: bytes, more: bytes) -> bytes:
    """Return a message with more attributes in the first tag that begins with ``start``."""
    assert start in body
    return body.replace(start, start + b" " + more, 1)


START_TAGS = {
    "envelope": b"<soap:Envelope",
    "header": b"<soap:Header",
    "security": b"<wsse:Security",
    "signature": b"<ds:Signature",
    "signed info": b"<ds:SignedInfo",
    "body": b"<soap:Body",
}


@pytest.mark.parametrize("place", START_TAGS)
@pytest.mark.parametrize("what", ["namespaces", "attributes"])
@pytest.mark.parametrize("signer", ["stranger", "captured header"])
def test_wide_tags_of_a_message_cost_little(place, what, signer):
    body = by_stranger() if signer == "stranger" else signed()
    more = NAMESPACES if what == "namespaces" else ATTRIBUTES
    reason, seconds = refused(with_start(body, START_TAGS[place], more))
    assert reason.startswith(("SIGNATURE_", "LIMIT_"))
    assert seconds < MAX_SECONDS


def test_wide_tags_of_a_body_of_50_megabytes_cost_little():
    body = with_start(by_stranger(), b"<soap:Envelope", NAMESPACES)
    body = body.replace(b"</soap:Body>", b"<x>t</x>" * 6_000_000 + b"</soap:Body>")
    reason, seconds = refused(body[:49_000_000])
    assert reason.startswith(("SIGNATURE_", "LIMIT_"))
    assert seconds < MAX_SECONDS


def test_body_of_a_stranger_is_not_built():
    body = by_stranger().replace(b"</soap:Body>", b"<x>t</x>" * 5_000_000 + b"</soap:Body>")
    reason, seconds = refused(body)
    assert (reason, seconds < MAX_SECONDS) == ("SIGNATURE_INVALID", True)
    reason, seconds = refused(body[:-1_000])
    assert (reason, seconds < MAX_SECONDS) == ("SIGNATURE_INVALID", True)


def test_long_header_is_not_built():
    body = by_stranger().replace(b"<wsse:Security", b"<x>t</x>" * 5_000_000 + b"<wsse:Security", 1)
    reason, seconds = refused(body)
    assert (reason, seconds < MAX_SECONDS) == ("SIGNATURE_TOO_COMPLEX", True)


def info_of(message: etree._Element) -> etree._Element:
    return next(message.iter(f"{{{DS}}}SignedInfo"))


def many_references(message: etree._Element) -> None:
    info = info_of(message)
    for _ in range(MANY):
        info.append(deepcopy(info[-1]))


def many_transforms(message: etree._Element) -> None:
    transforms = next(message.iter(f"{{{DS}}}Transforms"))
    for _ in range(MANY):
        transforms.append(deepcopy(transforms[0]))


def many_signatures(message: etree._Element) -> None:
    signature = next(message.iter(f"{{{DS}}}Signature"))
    for _ in range(2_000):
        signature.addnext(deepcopy(signature))


def many_children(message: etree._Element) -> None:
    info = next(message.iter(f"{{{DS}}}KeyInfo"))
    for _ in range(MANY):
        etree.SubElement(info, f"{{{DS}}}KeyName")


def deep(message: etree._Element) -> None:
    parent = info_of(message)
    for _ in range(150):
        parent = etree.SubElement(parent, f"{{{DS}}}Object")


def long_digest(message: etree._Element) -> None:
    next(message.iter(f"{{{DS}}}DigestValue")).text = "A" * 9_000_000


def long_value(message: etree._Element) -> None:
    next(message.iter(f"{{{DS}}}SignatureValue")).text = "A" * 9_000_000


def long_token(message: etree._Element) -> None:
    next(message.iter(f"{{{WSSE}}}BinarySecurityToken")).text = "A" * 9_000_000


def long_prefix_list(message: etree._Element) -> None:
    method = next(message.iter(f"{{{DS}}}CanonicalizationMethod"))
    prefixes = " ".join(f"p{number}" for number in range(1_000_000))
    etree.SubElement(method, f"{{{EXC}}}InclusiveNamespaces", PrefixList=prefixes)


def many_security_headers(message: etree._Element) -> None:
    for _ in range(MANY):
        etree.SubElement(soap.header_of(message), f"{{{WSSE}}}Security")


@pytest.mark.parametrize(
    "change",
    [
        many_references,
        many_transforms,
        many_signatures,
        many_children,
        deep,
        long_digest,
        long_value,
        long_token,
        long_prefix_list,
        many_security_headers,
    ],
)
def test_large_signature_costs_little(change: Callable[[etree._Element], None]):
    message = sign(envelope_of(bare()), "stranger")
    change(message)
    reason, seconds = refused(etree.tostring(message))
    assert reason.startswith(("SIGNATURE_", "LIMIT_"))
    assert seconds < MAX_SECONDS


def test_nothing_is_canonicalised_for_a_stranger(monkeypatch):
    def canonicalise(*_: object, **__: object) -> bytes:
        raise AssertionError

    body, plain = etree.tostring(sign(envelope_of(bare()), "stranger")), by_stranger()
    monkeypatch.setattr(xml_signature, "canonicalise", canonicalise)
    assert refused(body)[0] == "SIGNATURE_UNTRUSTED"
    assert refused(with_start(plain, b"<ds:SignedInfo", NAMESPACES))[0].startswith(
        ("SIGNATURE_", "LIMIT_")
    )
    short = etree.fromstring(plain)
    next(short.iter(f"{{{DS}}}SignatureValue")).text = "AAAA"
    assert refused(etree.tostring(short))[0] == "SIGNATURE_INVALID"


def test_message_is_verified_once_for_all_streams(monkeypatch):
    from tests.support.signed_messages import post, stream

    calls = []
    verify = xml_signature.verify_references

    def count(*arguments: object) -> object:
        calls.append(1)
        return verify(*arguments)

    monkeypatch.setattr(xml_signature, "verify_references", count)
    text = push_file(stream("a"), stream("b"), stream("c"))
    assert post(text, signed("1")) == (200, "3", ["1", "1", "1"])
    assert len(calls) == 1


# --- whole documents


def sealed(text: str, signer: object = SERVER, **how: object) -> etree._Element:
    return XMLSigner(**how).sign(
        etree.fromstring(text), key=signer.key_pem, cert=signer.pem.decode()
    )


@pytest.mark.parametrize("signer", [SERVER, STRANGER], ids=["trusted", "stranger"])
@pytest.mark.parametrize("what", ["namespaces", "attributes"])
def test_wide_tags_of_a_signed_document_cost_little(what, signer):
    data = etree.tostring(sealed("<elmo><a/></elmo>", signer))
    data = with_start(data, b"<a", NAMESPACES if what == "namespaces" else ATTRIBUTES)
    started = time.process_time()
    with pytest.raises(StreamError) as caught:
        xml_signature.signed_content(data, [SERVER.certificate], NOW, "x")
    assert caught.value.reason.startswith(("SIGNATURE_", "LIMIT_"))
    assert time.process_time() - started < MAX_SECONDS


def test_inclusive_canonicalisation_of_many_elements_and_namespaces_is_refused():
    names = " ".join(f"xmlns:p{number}='urn:{number}'" for number in range(190))
    how = {"c14n_algorithm": CanonicalizationMethod.CANONICAL_XML_1_0}
    data = etree.tostring(sealed(f"<elmo {names}><a/></elmo>", **how))
    assert xml_signature.signed_content(data, [SERVER.certificate], NOW, "x")
    data = data.replace(b"<a/>", b"<a/>" * 20_000)
    started = time.process_time()
    with pytest.raises(StreamError) as caught:
        xml_signature.signed_content(data, [SERVER.certificate], NOW, "x")
    assert caught.value.reason == "SIGNATURE_TOO_COMPLEX"
    assert time.process_time() - started < MAX_SECONDS


def test_ordinary_namespaces_and_sizes_are_read():
    names = " ".join(f"xmlns:p{number}='urn:{number}'" for number in range(90))
    message = sign(envelope_of(bare("1").replace("<r:reply ", f"<r:reply {names} ")))
    (answer, stored) = receive(
        push_file(), lambda client, url: client.post(url, content=etree.tostring(message))
    )
    assert (answer.status_code, len(stored)) == (200, 1)
    assert signature_limits.most_namespaces(message) >= 90


def test_others_are_answered_while_a_large_message_is_verified():
    records = "".join(f"<r:r id='{number}'><r:t>T</r:t></r:r>" for number in range(30_000))
    body = etree.tostring(sign(envelope_of(f"<r:reply xmlns:r='urn:reg'>{records}</r:reply>")))

    async def send(client, url):
        began, longest = time.monotonic(), 0.0
        done = asyncio.ensure_future(client.post(url, content=body))
        while not done.done():
            started = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - started)
        return (await done), longest, time.monotonic() - began

    (answer, longest, whole), stored = receive(push_file(), send)
    assert (answer.status_code, answer.text, len(stored)) == (200, "30000", 30_000)
    # On a loaded machine, every step takes longer. On the loop, one step would take nearly all.
    assert longest < max(MAX_SECONDS, whole * 0.6)
