"""SOAP replies in several parts: MTOM, SOAP with attachments, and messages that are damaged."""

from __future__ import annotations

import base64
import gzip
import hashlib

import pytest

from gateway.config.loading import load_connector
from gateway.fetch.push_receiver import PushReceiver
from tests.support.wire import Read, Sent, poll_once

XOP = "http://www.w3.org/2004/08/xop/include"
BLOCK = f'namespaces: {{r: "urn:r", xop: "{XOP}"}}'
AWARDS = "<awards><award><id>1</id><name>Sähköasentaja</name></award></awards>"
TYPE = 'multipart/related; boundary="{b}"; type="application/xop+xml"; start="<root@r>"'


def soap(inner: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/'
        f'soap/envelope/"><s:Body><r:Answer xmlns:r="urn:r">{inner}</r:Answer></s:Body></s:Envelope>'
    )


def include(href: str) -> str:
    return f'<r:File><xop:Include xmlns:xop="{XOP}" href="{href}"/></r:File>'


def message(
    *parts: tuple[str, bytes],
    boundary: str = "b1",
    end: str = "\r\n",
    before: str = "",
    after: str = "",
    final: bool = True,
) -> bytes:
    """Return a message; each part has header lines and a body."""
    lines = [before.encode()] if before else []
    for headers, body in parts:
        head = headers.replace("\n", end).encode()
        lines.append(f"--{boundary}".encode() + end.encode() + head + (end * 2).encode() + body)
    if final:
        lines.append(f"--{boundary}--".encode())
    if after:
        lines.append(after.encode())
    return end.encode().join(lines)


ROOT = "Content-Type: application/xop+xml; charset=UTF-8\nContent-ID: <root@r>"


def file(content_id: str = "<file@r>", more: str = "") -> str:
    return f"Content-Type: application/octet-stream\nContent-ID: {content_id}{more}"


def read(tmp_path, body: bytes, decode: str = "", content_type: str = "", **how) -> Read:
    chain = f"decode: {decode}\n" if decode else ""
    stream = (
        f"request: {{envelope: \"<r:Ask xmlns:r='urn:r'/>\"}}\n{chain}records: //award\nid: id\n"
    )
    sent = Sent(body, content_type or TYPE.format(b="b1"), **how)
    return poll_once(tmp_path, sent, stream, BLOCK, protocol="soap")


@pytest.mark.parametrize("decode", ["", "xml", "[mime, xml]", "mime"])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_root_part_is_read_without_a_word_in_the_file(tmp_path, decode, end):
    body = message((ROOT, soap(AWARDS).encode()), end=end, before="This is MIME.", after="bye")
    found = read(tmp_path, body, decode)
    assert found.texts("name") == ["Sähköasentaja"], found.message


@pytest.mark.parametrize(
    "decode",
    [
        '[xml, "//r:File/xop:Include/@href", xml]',
        '[xml, "//r:File/xop:Include", xml]',
        '[xml, "//r:File", xml]',
        '[mime, xml, "//r:File/xop:Include/@href", xml]',
        '[mime, "//r:File/xop:Include/@href", xml]',
        '["//r:File/xop:Include/@href", xml]',
        '["//r:File/xop:Include/@href"]',
        '[mime, "file@*", xml]',
        '[mime, "cid:file@r", xml]',
    ],
)
@pytest.mark.parametrize("root_first", [True, False])
def test_chain_follows_a_reference_to_an_attachment(tmp_path, decode, root_first):
    parts = [(ROOT, soap(include("cid:file@r")).encode()), (file(), AWARDS.encode())]
    if decode == '["//r:File/xop:Include/@href"]':
        parts[1] = ("Content-Type: text/xml\nContent-ID: <file@r>", AWARDS.encode())
    found = read(tmp_path, message(*(parts if root_first else parts[::-1])), decode)
    assert found.texts("name") == ["Sähköasentaja"], found.message


@pytest.mark.parametrize(
    ("content_id", "href"),
    [
        ("<a b/c%@r>", "cid:a%20b%2Fc%25@r"),
        ("<http://r/x?y=1>", "cid:http%3A%2F%2Fr%2Fx%3Fy%3D1"),
        ("<1@http%3A%2F%2Fcxf>", "cid:1@http%3A%2F%2Fcxf"),
        ("<1@http%3A%2F%2Fcxf>", "cid:1@http%253A%252F%252Fcxf"),
        ("file@r", "cid:file@r"),
        ("<file@r>", "cid:%3Cfile@r%3E"),
        ("<file@r>", "CID:file@r"),
        ("\n  <file@r>", "cid:file@r"),
    ],
)
def test_reference_matches_its_content_id(tmp_path, content_id, href):
    body = message((ROOT, soap(include(href)).encode()), (file(content_id), AWARDS.encode()))
    found = read(tmp_path, body, '[xml, "//xop:Include/@href", xml]')
    assert found.texts("name") == ["Sähköasentaja"], found.message


def test_reference_may_stand_in_a_text(tmp_path):
    body = message((ROOT, soap("<r:File>cid:file@r</r:File>").encode()), (file(), AWARDS.encode()))
    for path in ("//r:File/text()", "//r:File"):
        found = read(tmp_path, body, f'[xml, "{path}", xml]')
        assert found.texts("name") == ["Sähköasentaja"], found.message


@pytest.mark.parametrize("coding", ["base64", "quoted-printable", "8bit", "BINARY"])
def test_transfer_encoding_of_an_attachment_is_undone(tmp_path, coding):
    data = AWARDS.encode()
    if coding == "base64":
        data = base64.encodebytes(data).replace(b"\n", b"\r\n")
    elif coding == "quoted-printable":
        data = data.replace("ä".encode(), b"=C3=A4").replace("ö".encode(), b"=\r\n=C3=B6")
    body = message(
        (ROOT, soap(include("cid:file@r")).encode()),
        (file(more=f"\nContent-Transfer-Encoding: {coding}"), data),
    )
    found = read(tmp_path, body, '[xml, "//xop:Include/@href", xml]')
    assert found.texts("name") == ["Sähköasentaja"], found.message


def test_bytes_of_an_attachment_are_not_changed(tmp_path):
    packed = gzip.compress(AWARDS.encode())
    data = bytes(range(256)) + b"\r\n\r\n--b1x\r\n--b\r\n\n\r"
    body = message(
        (ROOT, soap(include("cid:file@r")).encode()), (file("<noise@r>"), data), (file(), packed)
    )
    found = read(tmp_path, body, '[xml, "//xop:Include/@href", gzip, xml]')
    assert found.texts("name") == ["Sähköasentaja"], found.message


def test_parameters_of_the_header_are_read_in_any_form(tmp_path):
    for boundary, content_type in (
        ("a b'(c)+_,-./:=?", 'Multipart/Related; BOUNDARY="a b\'(c)+_,-./:=?"'),
        ("x1", "multipart/related;boundary=x1;start=root@r"),
        ("x1", 'multipart/related; type="text/xml"; start="<root@r>"; boundary=x1;'),
        ("--=_x", 'multipart/related; boundary="--=_x"'),
    ):
        body = message((ROOT, soap(AWARDS).encode()), boundary=boundary)
        found = read(tmp_path, body, content_type=content_type)
        assert found.texts("name") == ["Sähköasentaja"], found.message


@pytest.mark.parametrize("kind", ["mixed", "form-data", "alternative"])
def test_any_multipart_reply_is_read_by_its_first_part(tmp_path, kind):
    body = message((ROOT, soap(AWARDS).encode()), (file(), b"x"))
    found = read(tmp_path, body, content_type=f"multipart/{kind}; boundary=b1")
    assert found.texts("name") == ["Sähköasentaja"], found.message


def test_attachment_may_be_named_by_its_location(tmp_path):
    body = message(
        (ROOT, soap("<r:File>http://r/file.xml</r:File>").encode()),
        ("Content-Location: http://r/file.xml", AWARDS.encode()),
    )
    found = read(tmp_path, body, '[xml, "//r:File", xml]')
    assert found.texts("name") == ["Sähköasentaja"], found.message


def test_charset_of_the_root_part_is_used(tmp_path):
    body = message(
        ("Content-Type: text/xml; charset=windows-1252", soap(AWARDS)[38:].encode("cp1252"))
    )
    found = read(tmp_path, body, content_type="multipart/related; boundary=b1")
    assert found.texts("name") == ["Sähköasentaja"], found.message


WHOLE = message((ROOT, soap(include("cid:file@r")).encode()), (file(), AWARDS.encode()))


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (WHOLE[:-2], "", "stops before its final boundary"),
        (WHOLE[: len(WHOLE) // 2], "", "stops before its final boundary"),
        (WHOLE.replace(b"--b1", b"--b2"), "", "no line with its boundary"),
        (WHOLE, "multipart/related; start=x", "names no boundary"),
        (WHOLE, 'multipart/related; boundary=b1; start="<no@r>"', "`start` names"),
        (WHOLE.replace(b"cid:file", b"cid:elif"), "", "not among its 2 parts"),
        (b"--b1--", "", "has no parts"),
        (
            WHOLE.replace(b"--b1--", b"--b1\r\nContent-ID: <file@r>\r\n\r\n<x/>\r\n--b1--"),
            "",
            "several",
        ),
        (
            WHOLE.replace(b"Content-ID", b"A: b\r\n" * 20_000 + b"Content-ID"),
            "",
            "headers of a part",
        ),
        (soap(include("cid:file@r")).encode(), "text/xml", "is not a multipart message"),
    ],
)
def test_damaged_message_is_repeated_with_a_clear_text(tmp_path, body, content_type, expected):
    found = read(tmp_path, body, '[xml, "//xop:Include/@href", xml]', content_type)
    assert (found.kind, found.reason, found.records) == ("RetryLater", "MIME", [])
    assert expected in found.message


def test_reply_in_another_format_stops_the_stream(tmp_path):
    decode = '["//r:File/xop:Include/@href", xml]'
    found = read(tmp_path, b'{"error": "busy"}', decode, "application/json")
    assert (found.kind, found.reason) == ("StreamHalted", "EXPRESSION")
    assert "which is JSON" in found.message


def test_message_of_too_many_parts_stops_the_stream(tmp_path):
    body = message(*[(file(), b"x")] * 1_100)
    assert read(tmp_path, body).reason == "LIMIT_PARTS"


def test_fault_in_several_parts_is_a_fault(tmp_path):
    fault = soap("").replace(
        '<r:Answer xmlns:r="urn:r"></r:Answer>',
        "<s:Fault><faultcode>s:Client</faultcode><faultstring>no</faultstring></s:Fault>",
    )
    for status in (200, 500):
        found = read(tmp_path, message((ROOT, fault.encode())), status=status)
        assert (found.kind, found.reason) == ("StreamHalted", "SOAP_FAULT")


def test_new_content_ids_do_not_change_a_record(tmp_path):
    bodies = []
    for number in ("1", "2"):
        award = AWARDS.replace("</award>", include(f"cid:{number}@r") + "</award>")
        data = message((ROOT, soap(award).encode()), (file(f"<{number}@r>"), b"photo"))
        bodies.append(read(tmp_path, data).records[0].body)
    assert bodies[0] == bodies[1]
    assert hashlib.sha256(b"photo").hexdigest().encode() in bodies[0]


PUSH = f"""\
language: 1
connector: wire
country: FI
title: A registry
owner: {{name: An authority, contact: a@authority.example}}
push:
  path: /in
  protocol: soap
  namespaces: {{r: "urn:r", xop: "{XOP}"}}
streams:
  awards:
    emits: credential
    DECODE
    records: //award
    id: id
    tests: [{{name: shape, given: {{}}, expect_some: {{}}}}]
"""


@pytest.mark.parametrize("with_attachment", [True, False])
def test_message_that_a_registry_sends_in_several_parts_is_read(tmp_path, with_attachment):
    path = tmp_path / "wire.yaml"
    step = "decode: [xml, //xop:Include/@href, xml]" if with_attachment else ""
    path.write_text(PUSH.replace("DECODE", step))

    async def store(_raws):
        return None

    parts = [(ROOT, soap(include("cid:file@r")).encode()), (file(), AWARDS.encode())]
    if not with_attachment:
        parts = [(ROOT, soap(AWARDS).encode())]
    receiver = PushReceiver(load_connector(path), lambda _: b"", store)
    headers = {"Content-Type": TYPE.format(b="b1")}
    [record] = receiver.read_records(message(*parts), headers, "http://gateway.example/in")
    assert "Sähköasentaja" in record.body.decode()
