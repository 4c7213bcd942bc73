"""Send messages without a signature, in every form, to connectors that require one.

The other half attacks what is signed: what the gateway reads must be exactly what was verified.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lxml import etree
from signxml import XMLSigner

from gateway.config.loading import load_connector
from gateway.errors import StreamHalted
from gateway.fetch import read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.soap import envelope as soap
from gateway.fetch.soap import xml_signature
from gateway.fetch.soap.ws_security import WSSE
from gateway.fetch.soap.xml_signature import DS, WSU
from tests.support.certificates import SERVER, STRANGER
from tests.support.signed_messages import (
    SECRETS,
    bare,
    envelope_of,
    poll,
    post,
    push_file,
    sign,
    signed,
    stream,
)

ABSENT = (422, "SIGNATURE_ABSENT", [])
FORGED = bare("FORGED")
ENVELOPE = "<s:Envelope xmlns:s='{}'><s:Body>{}</s:Body></s:Envelope>"


def multipart(root: bytes, *attachments: bytes) -> tuple[bytes, str]:
    """Return a multipart message and its media type. The attachments are a1, a2 and so on."""
    parts = [
        (b"root", root),
        *((b"a%d" % number, data) for number, data in enumerate(attachments, 1)),
    ]
    body = b"".join(
        b"--xx\r\nContent-Type: text/xml\r\nContent-ID: <" + name + b">\r\n\r\n" + data + b"\r\n"
        for name, data in parts
    )
    return body + b"--xx--", 'multipart/related; boundary=xx; start="<root>"'


def zipped(*files: tuple[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return target.getvalue()


FORMS = {
    "no envelope": FORGED.encode(),
    "an envelope without a signature": ENVELOPE.format(soap.ENV11, FORGED).encode(),
    "an envelope of SOAP 1.2": ENVELOPE.format(soap.ENV12, FORGED).encode(),
    "an envelope of SOAP 2001": ENVELOPE.format("http://www.w3.org/2001/12/soap-envelope", FORGED).encode(),
    "an envelope of another case": ENVELOPE.format(soap.ENV11.upper(), FORGED).encode(),
    "an envelope in no namespace": f"<Envelope><Body>{FORGED}</Body></Envelope>".encode(),
    "an envelope in another element": f"<x>{ENVELOPE.format(soap.ENV11, FORGED)}</x>".encode(),
    "a signed envelope in another element": b"<x xmlns:r='urn:reg'>" + signed() + FORGED.encode() + b"</x>",
    "a record as the root": b"<r:r xmlns:r='urn:reg' id='FORGED'><r:t>T</r:t></r:r>",
    "UTF-16": ("\ufeff" + FORGED).encode("utf-16-le"),
    "a byte order mark": b"\xef\xbb\xbf" + FORGED.encode(),
    "a comment in front": b"<!-- x -->" + FORGED.encode(),
    "JSON": json.dumps({"r": [{"id": "FORGED"}]}).encode(),
    "nothing": b"",
    "blanks": b" \r\n\t ",
    "a fault": ENVELOPE.format(
        soap.ENV11, f"<s:Fault><faultcode>s:Server</faultcode><detail>{FORGED}</detail></s:Fault>"
    ).encode(),
    "a large document": (
        "<r:reply xmlns:r='urn:reg'>" + "<r:r id='FORGED'><r:t>T</r:t></r:r>" * 260_000 + "</r:reply>"
    ).encode(),
    "a large envelope": ENVELOPE.format(
        soap.ENV11, "<r:reply xmlns:r='urn:reg'>" + "<r:r id='F'><r:t>T</r:t></r:r>" * 300_000 + "</r:reply>"
    ).encode(),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_unsigned_push_is_refused_in_every_form(form):
    assert post(push_file(), FORMS[form]) == ABSENT


@pytest.mark.parametrize(
    "form", [name for name in FORMS if name not in {"nothing", "blanks", "a fault"}]
)
def test_unsigned_reply_is_refused_in_every_form(form):
    request = stream(request="request: {envelope: \"<r:ask xmlns:r='urn:reg'/>\"}")
    reason, records, _ = poll(lambda _: (200, FORMS[form], "text/xml"), request)
    assert (reason, records) == ("SIGNATURE_ABSENT", [])


def test_signed_message_is_read_in_both_directions():
    assert post(push_file(), signed("7")) == (200, "1", ["7"])
    request = stream(request="request: {envelope: \"<r:ask xmlns:r='urn:reg'/>\"}")
    reason, records, complete = poll(lambda _: (200, signed("7"), "text/xml"), request)
    assert (reason, [raw.native_id for raw in records], complete) == ("", ["7"], [True])


MULTIPART = multipart(FORGED.encode())


def containers() -> dict[str, tuple[str, bytes, str]]:
    """Return the messages, signed now, because a signature holds for five minutes."""
    return {
        "root of a multipart message": ("", *MULTIPART),
        "part of a decode step": ("decode: [mime, xml]", *MULTIPART),
        "named part beside a signed one": (
            "decode: [mime, a1, xml]",
            *multipart(signed(), FORGED.encode()),
        ),
        "base64": ("decode: [base64, xml]", base64.b64encode(FORGED.encode()), "text/plain"),
        "gzip": ("decode: [gzip, xml]", gzip.compress(FORGED.encode()), "text/xml"),
        "second file of an archive": (
            "decode: [zip, '*.xml', xml]",
            zipped(("1.xml", signed()), ("2.xml", FORGED.encode())),
            "application/zip",
        ),
        "document by its media type": (
            "decode: [gzip]",
            gzip.compress(FORGED.encode()),
            "application/json",
        ),
        "text inside an unsigned document": (
            "decode: [json, doc, xml]",
            json.dumps({"doc": FORGED}).encode(),
            "application/json",
        ),
    }


@pytest.mark.parametrize("container", containers())
def test_unsigned_document_is_refused_in_a_container(container):
    decode, body, media_type = containers()[container]
    answer = post(push_file(stream(more=decode)), body, content_type=media_type)
    assert answer == ABSENT


def test_unsigned_attachment_of_a_signed_message_is_not_read():
    content = "<r:reply xmlns:r='urn:reg'><r:doc><x:Include xmlns:x='http://www.w3.org/2004/08/xop/include' href='cid:a1'/></r:doc></r:reply>"
    body, media_type = multipart(etree.tostring(sign(envelope_of(content))), FORGED.encode())
    text = push_file(stream(more="decode: [xml, '//r:doc', xml]"))
    assert post(text, body, content_type=media_type) == ABSENT


def test_signed_documents_are_read_in_containers():
    inner = base64.b64encode(gzip.compress(bare("9").encode())).decode()
    message = etree.tostring(sign(envelope_of(f"<r:doc xmlns:r='urn:reg'>{inner}</r:doc>")))
    text = push_file(stream(more="decode: [xml, '//r:doc', base64, gzip, xml]"))
    assert post(text, message) == (200, "1", ["9"])
    text = push_file(stream(more="decode: [zip, '*.xml', xml]"))
    archive = zipped(("1.xml", signed("1")), ("2.xml", signed("2")))
    assert post(text, archive, content_type="application/zip") == (200, "2", ["1", "2"])
    body, media_type = multipart(signed("3"))
    assert post(push_file(), body, content_type=media_type) == (200, "1", ["3"])


def test_name_of_an_archive_entry_is_not_taken_from_a_signed_message():
    text = push_file(stream(more="decode: [zip, '*.xml', xml]\nkeep: {file_name: $file}"))
    archive = zipped(("FORGED.xml", signed("1")))
    assert post(text, archive, content_type="application/zip")[2] in ([], ["1"])


def test_message_of_two_streams_is_refused_for_both_without_a_signature():
    text = push_file(stream("a"), stream("b", more="decode: [xml, '//r:reply']"))
    assert post(text, FORGED.encode()) == ABSENT
    assert post(text, signed("1")) == (200, "2", ["1", "1"])


def test_form_field_beside_a_signed_message_is_not_read():
    from urllib.parse import urlencode

    more = "fields: [message, code]\nreplies: [{when: {path: code, is: [NOTHING]}, then: empty}]"
    text = push_file(stream(more="keep: {kept: $code}"), more=more)
    form = {"content_type": "application/x-www-form-urlencoded"}
    assert post(text, urlencode({"code": "NOTHING"}).encode(), **form) == ABSENT
    assert post(text, urlencode({"message": FORGED, "code": "OK"}).encode(), **form) == ABSENT
    body = urlencode({"message": signed("1").decode(), "code": "NOTHING"}).encode()
    assert post(text, body, **form)[0] == 200


EMPTY_RULES = {
    "status": ("{when: {status: 404}, then: empty}", 404, b"", "text/plain"),
    "status with an envelope": (
        "{when: {status: 404}, then: empty, complete: true}",
        404,
        FORMS["an envelope without a signature"],
        "text/xml",
    ),
    "not modified": ("{when: {status: 304}, then: empty}", 304, b"", "text/xml"),
    "no content": ("{when: {status: 204}, then: empty}", 204, b"", "text/xml"),
    "server error that is no error": ("{when: {status: 5xx}, then: ok}", 500, FORGED.encode(), "text/xml"),
    "header": (
        "{when: {header: Content-Type, is: [text/none]}, then: empty}",
        200,
        FORGED.encode(),
        "text/none",
    ),
    "path": ("{when: {path: '//r:r', exists: true}, then: empty}", 200, FORGED.encode(), "text/xml"),
}  # fmt: skip


@pytest.mark.parametrize("rule", EMPTY_RULES)
def test_unsigned_reply_does_not_prove_an_empty_list(rule):
    text, status, body, media_type = EMPTY_RULES[rule]
    request = stream(request="request: {envelope: \"<r:ask xmlns:r='urn:reg'/>\"}")
    reason, records, complete = poll(
        lambda _: (status, body, media_type), request, more=f"replies: [{text}]\n"
    )
    assert (reason, records, complete) == ("SIGNATURE_ABSENT", [], [])


@pytest.mark.parametrize("then", ["empty", "ok"])
def test_only_a_signed_fault_proves_an_empty_list(then):
    request = stream(request="request: {envelope: \"<r:ask xmlns:r='urn:reg'/>\"}")
    more = f"replies: [{{when: {{fault: '*Nothing'}}, then: {then}, complete: true}}]\n".replace(
        ", complete: true", ", complete: true" if then == "empty" else ""
    )
    fault = f"<s:Fault xmlns:s='{soap.ENV11}'><faultcode>s:Nothing</faultcode><detail>{FORGED}</detail></s:Fault>"
    unsigned = etree.tostring(envelope_of(fault))
    reason, records, complete = poll(lambda _: (500, unsigned, "text/xml"), request, more=more)
    assert (reason, records, complete) == ("SIGNATURE_ABSENT", [], [])
    if then == "empty":
        proof = etree.tostring(sign(envelope_of(fault)))
        assert poll(lambda _: (500, proof, "text/xml"), request, more=more) == ("", [], [True])


@pytest.mark.parametrize(
    ("total", "ends"), [("", False), (", total: 'count(//r:r)'", True)], ids=["none", "a total"]
)
@pytest.mark.parametrize("status", [400, 404, 416, 422, 500])
def test_unsigned_refusal_of_a_page_does_not_prove_the_end_of_a_list(status, total, ends):
    request = stream(
        request="request: {envelope: \"<r:ask xmlns:r='urn:reg'>{page}</r:ask>\"}",
        more=f"paging: {{page_number: {{after_last: refused{total}}}}}",
    )
    unsigned = etree.tostring(
        envelope_of(f"<s:Fault xmlns:s='{soap.ENV11}'><faultcode>s:Client</faultcode></s:Fault>")
    )
    pages = iter([(200, signed("1"), "text/xml"), (status, unsigned, "text/xml")])
    reason, records, complete = poll(lambda _: next(pages), request)
    assert (reason, [raw.native_id for raw in records]) == ("", ["1"])
    assert complete[-1] is ends


def test_unsigned_fault_still_says_why_the_registry_refuses():
    request = stream(request="request: {envelope: \"<r:ask xmlns:r='urn:reg'/>\"}")
    fault = f"<s:Fault xmlns:s='{soap.ENV11}'><faultcode>s:Client</faultcode><detail><code>7</code></detail></s:Fault>"
    body = etree.tostring(envelope_of(fault))
    rule = "replies: [{when: {path: '//code', is: ['7']}, then: stop, reason: CLOSED}]\n"
    assert poll(lambda _: (500, body, "text/xml"), request, more=rule)[0] == "CLOSED"
    assert poll(lambda _: (500, body, "text/xml"), request)[0] == "SOAP_FAULT"


ASK_MORE = "request: {envelope: \"<r:more xmlns:r='urn:reg'/>\"}"
FURTHER_REQUESTS = {
    "expand": f'expand: {{id: "@id", {ASK_MORE}, records: "//r:r"}}',
    "join": f'join: [{{into: more, to: "@id", key: "@id", records: "//r:r", {ASK_MORE}}}]',
    "loop": f'for_each: {{x: {{in: {{request: {{{ASK_MORE}, select: "//r:r/@id"}}}}}}}}',
}


@pytest.mark.parametrize("kind", FURTHER_REQUESTS)
def test_unsigned_reply_to_a_further_request_is_refused(kind):
    request = "request: {envelope: \"<r:ask xmlns:r='urn:reg'/>\"}\n" + FURTHER_REQUESTS[kind]

    def answer(asked):
        body = FORGED.encode() if b"r:more" in asked.body else signed("1")
        return 200, body, "text/xml"

    reason, records, _ = poll(answer, stream(request=request))
    assert (reason, records) == ("SIGNATURE_ABSENT", [])


# --- what is signed is what is read


def body_of(message: etree._Element) -> etree._Element:
    return soap.body_of(message)


def security_of(message: etree._Element) -> etree._Element:
    return soap.header_of(message).find(f"{{{WSSE}}}Security")


def forged_body(message: etree._Element) -> etree._Element:
    evil = deepcopy(body_of(message))
    evil[0][0].set("id", "FORGED")
    return evil


def swap(message: etree._Element, evil: etree._Element) -> etree._Element:
    """Put a forged body in the place of the signed one, and return the signed one."""
    body = body_of(message)
    message.replace(body, evil)
    return body


def with_id(name: str, value: str) -> Callable[[etree._Element], None]:
    def change(message: etree._Element) -> None:
        evil = forged_body(message)
        original = evil.attrib.pop(f"{{{WSU}}}Id")
        evil.set(name, original if value == "same" else value)
        body = swap(message, evil)
        etree.SubElement(soap.header_of(message), "{urn:x}kept").append(body)

    return change


def in_header(message: etree._Element) -> None:
    etree.SubElement(soap.header_of(message), "{urn:reg}r", id="FORGED")


def in_security(message: etree._Element) -> None:
    etree.SubElement(security_of(message), "{urn:reg}r", id="FORGED")


def in_signature(message: etree._Element) -> None:
    signature = security_of(message).find(f"{{{DS}}}Signature")
    etree.SubElement(etree.SubElement(signature, f"{{{DS}}}Object"), "{urn:reg}r", id="FORGED")


def in_key_info(message: etree._Element) -> None:
    info = security_of(message).find(f"{{{DS}}}Signature/{{{DS}}}KeyInfo")
    etree.SubElement(info, "{urn:reg}r", id="FORGED")


def after_the_body(message: etree._Element) -> None:
    etree.SubElement(message, "{urn:reg}r", id="FORGED")


def second_body(message: etree._Element) -> None:
    evil = forged_body(message)
    del evil.attrib[f"{{{WSU}}}Id"]
    message.append(evil)


def first_body(message: etree._Element) -> None:
    evil = forged_body(message)
    del evil.attrib[f"{{{WSU}}}Id"]
    body_of(message).addprevious(evil)


def body_of_another_version(message: etree._Element) -> None:
    message.append(etree.fromstring(f"<s:Body xmlns:s='{soap.ENV12}'>{FORGED}</s:Body>"))


def second_header(message: etree._Element) -> None:
    message.append(etree.fromstring(f"<s:Header xmlns:s='{soap.ENV11}'>{FORGED}</s:Header>"))


def attribute_of_the_envelope(message: etree._Element) -> None:
    message.set("id", "FORGED")


WRAPPINGS = {
    "another wsu:Id": with_id(f"{{{WSU}}}Id", "other"),
    "same Id": with_id("Id", "same"),
    "same ID": with_id("ID", "same"),
    "same id": with_id("id", "same"),
    "same xml:id": with_id("{http://www.w3.org/XML/1998/namespace}id", "same"),
    "same id of another namespace": with_id("{urn:x}ID", "same"),
    "header": in_header,
    "security header": in_security,
    "signature": in_signature,
    "key info": in_key_info,
    "after the body": after_the_body,
    "second body": second_body,
    "first body": first_body,
    "body of another version": body_of_another_version,
    "second header": second_header,
    "attribute of the envelope": attribute_of_the_envelope,
}


@pytest.mark.parametrize("how", WRAPPINGS)
def test_wrapped_record_is_never_read(how):
    message = sign(envelope_of(bare("1")))
    WRAPPINGS[how](message)
    status, answer, ids = post(push_file(), etree.tostring(message))
    assert "FORGED" not in ids
    assert (status, ids) == (200, ["1"]) or answer.startswith("SIGNATURE_")


def test_signed_header_block_does_not_carry_the_security_header():
    message = envelope_of(bare("1"))
    sign(message)
    in_signature(message)
    text = push_file(stream(more="").replace('records: "//r:r"', 'records: "//*[@id]"'))
    _, _, ids = post(text, etree.tostring(message))
    assert "FORGED" not in ids


def test_unsigned_timestamp_does_not_make_a_message_old_or_new():
    old = datetime.now(UTC) - timedelta(days=2)
    message = etree.tostring(sign(envelope_of(bare("1")), now=old, parts=("body",)))
    assert post(push_file(), message)[:2] == (422, "SIGNATURE_COVERAGE")
    assert post(push_file(require="[body]"), message) == (200, "1", ["1"])
    stale = etree.tostring(sign(envelope_of(bare("1")), now=old))
    assert post(push_file(require="[body]"), stale)[:2] == (422, "SIGNATURE_EXPIRED")
    forged = etree.fromstring(signed("1"))
    stamp = security_of(forged).find(f"{{{WSU}}}Timestamp")
    stamp.addnext(deepcopy(stamp))
    assert post(push_file(require="[body]"), etree.tostring(forged))[1].startswith("SIGNATURE_")


@pytest.mark.parametrize("ttl", [timedelta(days=3650), timedelta(days=36500)])
def test_long_validity_is_cut_to_a_day(ttl):
    old = datetime.now(UTC) - timedelta(days=2)
    assert post(push_file(), signed("1", now=old, ttl=ttl))[:2] == (422, "SIGNATURE_EXPIRED")
    assert post(push_file(), signed("1", ttl=ttl)) == (200, "1", ["1"])


# --- a whole document


def sealed(
    text: str = "<elmo xmlns='urn:e'><report><award id='1'/></report></elmo>",
) -> etree._Element:
    return XMLSigner().sign(etree.fromstring(text), key=SERVER.key_pem, cert=SERVER.pem.decode())


def read_sealed(root: etree._Element) -> bytes:
    return xml_signature.signed_content(
        etree.tostring(root), [SERVER.certificate], datetime.now(UTC), "x"
    )


def test_signature_of_a_document_is_not_read_as_content():
    root = sealed()
    signature = root.find(f"{{{DS}}}Signature")
    holder = etree.SubElement(signature, f"{{{DS}}}Object")
    etree.SubElement(holder, "{urn:e}award", id="FORGED")
    root[0].append(signature)  # next to the records
    content = read_sealed(root)
    assert b"FORGED" not in content
    assert etree.fromstring(content).findall(".//{urn:e}award")[0].get("id") == "1"


@pytest.mark.parametrize("place", ["KeyInfo", "SignatureValue", "SignedInfo"])
def test_element_inside_the_signature_of_a_document_is_not_read(place):
    root = sealed()
    parent = next(root.iter(f"{{{DS}}}{place}"))
    etree.SubElement(parent, "{urn:e}award", id="FORGED")
    try:
        assert b"FORGED" not in read_sealed(root)
    except xml_signature.SignatureRefused:
        assert place != "KeyInfo"


def test_text_around_the_signature_of_a_document_stays():
    root = sealed("<elmo xmlns='urn:e'>a<b/>c</elmo>")
    content = etree.fromstring(read_sealed(root))
    assert "".join(content.itertext()).strip() == "ac"


def test_emrex_reads_no_course_from_the_signature(tmp_path):
    """A learner holds a signed document, and posts it with a course of their own in it."""
    from tests.registries import test_pushed as emrex

    if not emrex.REGISTRIES.is_dir():
        pytest.skip("no reference material")
    words = emrex.form()
    root = etree.fromstring(gzip.decompress(base64.b64decode(words["elmo"])))
    name = etree.QName(root).namespace
    signature = root.find(f"{{{DS}}}Signature")
    course = deepcopy(next(root.iter(f"{{{name}}}learningOpportunitySpecification")))
    for title in course.iter(f"{{{name}}}title"):
        title.text = "FORGED"
    etree.SubElement(signature, f"{{{DS}}}Object").append(course)
    root.find(f"{{{name}}}report").append(signature)
    forged = base64.b64encode(gzip.compress(etree.tostring(root))).decode()
    answer, stored = emrex.push(words | {"elmo": forged})
    assert answer.status_code in {200, 400}
    assert not any(b"FORGED" in (raw.body or b"") for raw in stored)


@pytest.mark.parametrize("trust", ["", "trust: {secret: them.crt}"])
def test_signed_document_does_not_replace_the_signature_of_its_message(trust):
    """A person may hold a signed document, but is not the registry that sends it."""
    document = etree.tostring(sealed(bare("1")))
    text = push_file(stream(more=f"decode: [{{signed: {{{trust}}}}}, xml]"))
    assert post(text, document) == ABSENT
    inner = base64.b64encode(document).decode()
    message = etree.tostring(sign(envelope_of(f"<r:doc xmlns:r='urn:reg'>{inner}</r:doc>")))
    text = push_file(stream(more=f"decode: [xml, '//r:doc', base64, {{signed: {{{trust}}}}}, xml]"))
    assert post(text, message) == (200, "1", ["1"])


@pytest.mark.parametrize("trust", ["", "trust: {secret: them.crt}"])
def test_signed_file_of_an_export_needs_no_envelope(trust):
    ask = "{envelope: \"<r:ask xmlns:r='urn:reg'/>\"}"
    export = f"""export:
  start: {ask}
  keep: {{job: "//r:r/@id"}}
  status: {ask}
  state: "//r:r/r:t"
  done: [Award]
  failed: [no]
  pending: [yes]
  every: 1s
  within: 10s
  files: "//r:r/@id"
"""

    def answer(asked):
        is_file = asked.method == "GET"
        return 200, etree.tostring(sealed(bare("F"))) if is_file else signed("file"), "text/xml"

    text = stream(request=export, more=f"decode: [{{signed: {{{trust}}}}}, xml]")
    reason, records, _ = poll(answer, text)
    assert (reason, len(records)) == (("", 1) if trust else ("SIGNATURE_ABSENT", 0))
    assert poll(answer, stream(request=export, more="decode: [xml]"))[0] == "SIGNATURE_ABSENT"


def test_signature_of_anybody_is_not_taken_where_trust_is_named():
    root = XMLSigner().sign(
        etree.fromstring("<elmo xmlns='urn:e'/>"), key=STRANGER.key_pem, cert=STRANGER.pem.decode()
    )
    with pytest.raises(xml_signature.SignatureRefused):
        read_sealed(root)


# --- the connectors that the product ships


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("be-led", "<Bewijzen><Bewijs><BewijsrefertesLed><Bewijsreferte>FORGED</Bewijsreferte></BewijsrefertesLed></Bewijs></Bewijzen>"),
        ("nl-rio", "<d:opvragen_gewijzigdeAangebodenOpleidingen_response xmlns:d='http://duo.nl/schema/DUO_RIO_Raadplegen_OnderwijsOrganisatie_V4'><d:gewijzigde_AangebodenOpleiding><d:aangebodenOpleidingCode>FORGED</d:aangebodenOpleidingCode></d:gewijzigde_AangebodenOpleiding></d:opvragen_gewijzigdeAangebodenOpleidingen_response>"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["bare", "envelope", "no namespace", "status 200 and empty rule"])
def test_shipped_signed_connectors_take_nothing_unsigned(name, record, form):
    import asyncio

    from tests.support.hostile_registry import WINDOW
    from tests.support.raw_http_server import Server, reply

    not_found = {
        "be-led": "<Uitzondering><Identificatie>40000</Identificatie></Uitzondering>",
        "nl-rio": "<d:foutmelding xmlns:d='http://duo.nl/schema/DUO_RIO_Raadplegen_OnderwijsOrganisatie_V4'><d:foutcode>A01020</d:foutcode></d:foutmelding>",
    }
    body = {
        "bare": record,
        "envelope": ENVELOPE.format(soap.ENV11, record),
        "no namespace": f"<Envelope><Body>{record}</Body></Envelope>",
        "status 200 and empty rule": ENVELOPE.format(soap.ENV11, not_found[name]),
    }[form]

    async def answer(_, writer):
        reply(writer, body.encode(), 200, content_type="text/xml")

    def secret(which: str) -> bytes:
        if which.endswith("persons"):
            return b"12345678901"
        if which.endswith(".key"):
            return SECRETS["us.key"]
        return SECRETS["them.crt"] if "duo" in which or "magda" in which else SECRETS["us.crt"]

    records = []

    async def run() -> None:
        async with Server(answer) as server:
            shipped = load_connector(Path("connectors") / f"{name}.yaml")
            url = shipped.soap.url.model_copy(update={"production": server.url})
            limits = shipped.soap.limits.model_copy(update={"attempts": 1, "rate": None})
            block = shipped.soap.model_copy(update={"url": url, "tls": None, "limits": limits})
            connector = shipped.model_copy(update={"soap": block})
            async with RegistryClient(connector, secret, "production") as client:
                which = next(iter(connector.streams))
                async for page in read_pages(connector, which, WINDOW, client):
                    records.extend(page.records)

    with pytest.raises(StreamHalted) as caught:
        asyncio.run(run())
    assert (caught.value.reason, records) == ("SIGNATURE_ABSENT", [])
