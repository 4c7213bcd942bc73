"""Replies in the character sets of Europe, and replies that are wrong about their own charset."""

from __future__ import annotations

import base64
import codecs
import io
import json
import zipfile
from urllib.parse import urlencode

import pytest

from gateway.check import check
from gateway.check.push_preview import sample_media_type
from gateway.check.scaffold import ScaffoldAnswers, write_connector
from gateway.config.loading import load_connector
from gateway.fetch.charset import text_bytes
from gateway.fetch.push_receiver import PushReceiver
from tests.support.wire import Read, Sent, poll_once

NAMES = {
    "windows-1250": "Žák Příklad",
    "iso-8859-2": "Świadectwo łódzkie",
    "windows-1251": "Свидетельство",
    "iso-8859-5": "Сведочанство",
    "koi8-u": "Свідоцтво",
    "windows-1253": "Πτυχίο",
    "iso-8859-7": "Πτυχίο",
    "windows-1254": "İşletme diploması",
    "iso-8859-9": "Öğretmenlik",
    "windows-1257": "Pažymėjimas",
    "iso-8859-13": "Apliecība",
    "iso-8859-4": "Tunnistus õppest",
    "iso-8859-16": "Diplomă de licență",
    "cp852": "Świadectwo",
    "utf-16": "Sähköasentaja",
    "utf-32": "Sähköasentaja",
}
JSON_STREAM = "request: {get: /awards}\nrecords: items\nid: id\n"
XML = "request: {get: /awards}\ndecode: xml\nrecords: //award\nid: id\n"


def xml(text: str, declared: str = "") -> str:
    first = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    return f"{first}<awards><award><id>1</id><name>{text}</name></award></awards>"


def read_xml(tmp_path, body: bytes, content_type: str = "application/xml", step="xml") -> Read:
    return poll_once(
        tmp_path, Sent(body, content_type), XML.replace("decode: xml", f"decode: {step}")
    )


@pytest.mark.parametrize("charset", NAMES)
def test_table_is_read_in_the_charset_that_the_connector_names(tmp_path, charset):
    table = f"id;name\n1;{NAMES[charset]}\n".encode(charset)
    read = poll_once(
        tmp_path,
        Sent(table, "text/csv"),
        f"""
        request: {{get: /awards}}
        decode: [{{csv: {{separator: ";", encoding: {charset}}}}}]
        records: "[]"
        id: id
        """,
        protocol="file",
    )
    assert read.texts("name") == [NAMES[charset]], read.message


@pytest.mark.parametrize("charset", NAMES)
def test_json_is_read_in_the_charset_that_the_connector_names(tmp_path, charset):
    body = f'{{"items": [{{"id": "1", "name": "{NAMES[charset]}"}}]}}'.encode(charset)
    stream = f"decode: [{{json: {{encoding: {charset.upper()}}}}}]\n" + JSON_STREAM
    read = poll_once(tmp_path, Sent(body, "application/json"), stream)
    assert read.texts("name") == [NAMES[charset]], read.message


@pytest.mark.parametrize("charset", NAMES)
@pytest.mark.parametrize("says", ["the document", "the header", "the connector"])
def test_xml_is_read_in_its_charset(tmp_path, charset, says):
    body = xml(NAMES[charset], charset if says == "the document" else "").encode(charset)
    content_type = f"text/xml; charset={charset}" if says == "the header" else "text/xml"
    step = f"[{{xml: {{encoding: {charset}}}}}]" if says == "the connector" else "xml"
    read = read_xml(tmp_path, body, content_type, step)
    assert read.texts("name") == [NAMES[charset]], read.message


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("content_type", ["application/xml", "text/xml; charset=utf-8"])
def test_bytes_show_how_wide_the_characters_of_xml_are(tmp_path, codec, mark, content_type):
    text = ("\ufeff" if mark else "") + xml("Sähköasentaja", "utf-16")
    read = read_xml(tmp_path, text.encode(codec), content_type)
    assert read.texts("name") == ["Sähköasentaja"], read.message


@pytest.mark.parametrize("declared", ["utf-16", "UTF-16LE", "ucs-2", "UTF-32"])
def test_declared_charset_is_ignored_when_the_bytes_disprove_it(tmp_path, declared):
    body = xml("Sähköasentaja", declared).encode()
    for content_type in ("application/xml", "text/xml; charset=utf-8"):
        read = read_xml(tmp_path, body, content_type)
        assert read.texts("name") == ["Sähköasentaja"], read.message


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (xml("x", "UTF-7"), "application/xml", "ENCODING"),
        (xml("x", "cp037"), "application/xml", "ENCODING"),
        (xml("x", "iso-2022-jp"), "application/xml", "ENCODING"),
        (xml("x", "base64"), "application/xml", "ENCODING"),
        (xml("x", "klingon"), "application/xml", "ENCODING"),
        (xml("x"), "text/xml; charset=utf-7", "ENCODING"),
        (xml("x"), "text/xml; charset=unicode_escape", "ENCODING"),
        (xml("ä", "iso-8859-1"), "text/xml; charset=windows-1250", "ENCODING_CONFLICT"),
        (b"\xef\xbb\xbf" + xml("x", "iso-8859-2").encode(), "text/xml", "ENCODING_CONFLICT"),
        (xml("ž").encode("windows-1250"), "text/xml", "ENCODING"),
        (xml("x", "windows-1257").encode().replace(b"x<", b"\xa1<"), "text/xml", "ENCODING"),
        (xml("ž").encode("utf-16")[:-1], "text/xml", "ENCODING"),
    ],
)
def test_xml_whose_charset_is_unsafe_or_unclear_is_refused(tmp_path, body, content_type, reason):
    data = body.encode() if isinstance(body, str) else body
    read = read_xml(tmp_path, data, content_type)
    assert (read.kind, read.reason, read.records) == ("StreamHalted", reason, [])
    assert "encoding:" in read.message
    assert "`charset:`" not in read.message


def test_wide_document_cannot_hide_a_doctype(tmp_path):
    for codec in ("utf-16", "utf-32", "cp037"):
        body = "<!DOCTYPE a [<!ENTITY e 'x'>]><awards>&e;</awards>".encode(codec)
        read = read_xml(tmp_path, body, step=f"[{{xml: {{encoding: {codec}}}}}]")
        assert read.reason == "XML_FORBIDDEN_DTD"


def test_wide_web_page_is_no_answer(tmp_path):
    page = "<html><body>Maintenance</body></html>".encode("utf-16")
    assert read_xml(tmp_path, page).reason == "NOT_A_REGISTRY_RESPONSE"


def test_element_named_encoding_does_not_look_like_a_wrong_charset(tmp_path):
    assert read_xml(tmp_path, b"<awards><encoding></awards>").reason == "XML_MALFORMED"


@pytest.mark.parametrize(
    "charset", ["ISO-8859-1", "windows-1250", "utf-16", "utf-7", "klingon", "us-ascii", "'utf-8'"]
)
def test_charset_parameter_of_json_is_ignored(tmp_path, charset):
    body = '{"items": [{"id": "1", "name": "Sähköasentaja"}]}'.encode()
    read = poll_once(tmp_path, Sent(body, f"application/json; charset={charset}"), JSON_STREAM)
    assert read.texts("name") == ["Sähköasentaja"], read.message


def test_json_that_is_not_utf8_names_the_charset_of_the_header(tmp_path):
    body = '{"items": [{"id": "1", "name": "Žák"}]}'.encode("windows-1250")
    told = poll_once(tmp_path, Sent(body, "application/json; charset=windows-1250"), JSON_STREAM)
    assert told.reason == "ENCODING"
    assert "`decode: [{json: {encoding: windows-1250}}]`" in told.message
    untold = poll_once(tmp_path, Sent(body, "application/json; charset=utf-8"), JSON_STREAM)
    assert untold.reason == "ENCODING"
    assert "names the charset" not in untold.message
    wide = poll_once(tmp_path, Sent('{"items": []}'.encode("utf-16")), JSON_STREAM)
    assert (wide.reason, "{json: {encoding: utf-16}}" in wide.message) == ("ENCODING", True)


@pytest.mark.parametrize(
    ("stored", "charset", "expected"),
    [
        ("windows-1250", "windows-1250", "Žák"),
        ("utf-8", "iso-8859-1", "Žák"),
        ("utf-8-sig", "windows-1250", "Žák"),
        ("utf-16", "iso-8859-1", "Žák"),
        ("windows-1250", "utf-8", ""),
        ("windows-1250", "hz", ""),
    ],
)
def test_table_without_a_configured_charset(tmp_path, stored, charset, expected):
    table = "id,name\n1,Žák\n".encode(stored)
    stream = "request: {get: /awards}\ndecode: csv\nrecords: '[]'\nid: id\n"
    read = poll_once(tmp_path, Sent(table, f"text/csv; charset={charset}"), stream, protocol="file")
    assert read.texts("name") == ([expected] if expected else [])
    assert (read.reason == "ENCODING") is not bool(expected)


def test_configured_charset_that_the_byte_order_mark_disproves_is_an_error(tmp_path):
    for mark in (codecs.BOM_UTF8, codecs.BOM_UTF16_LE):
        stream = "request: {get: /a}\ndecode: [{csv: {encoding: cp1250}}]\nrecords: '[]'\nid: id\n"
        read = poll_once(tmp_path, Sent(mark + b"id\n1\n"), stream, protocol="file")
        assert (read.kind, read.reason) == ("StreamHalted", "ENCODING_CONFLICT")


def test_unknown_charset_stops_the_stream_with_a_suggestion(tmp_path):
    stream = "decode: [{json: {encoding: windws-1250}}]\n" + JSON_STREAM
    read = poll_once(tmp_path, Sent(b'{"items": []}'), stream)
    assert (read.kind, read.reason) == ("StreamHalted", "ENCODING")
    assert "did you mean 'windows-1250'?" in read.message


INNER = """
request: {envelope: "<r:Ask xmlns:r='urn:r'/>"}
decode: [xml, "//r:Result/text()", xml]
records: //award
id: id
"""
SOAP = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><r:Answer xmlns:r='
    '"urn:r"><r:Result><![CDATA[{}]]></r:Result></r:Answer></s:Body></s:Envelope>'
)


@pytest.mark.parametrize(
    "declared",
    ["UTF-8", "ISO-8859-1", "UTF-16", "windows-1250", "klingon", "utf-7", "EBCDIC-CP-US"],
)
@pytest.mark.parametrize("outer", ["utf-8", "windows-1252", "utf-16"])
def test_declaration_inside_a_text_is_ignored(tmp_path, declared, outer):
    body = SOAP.format(xml("Sähköasentaja", declared)).encode(outer)
    read = poll_once(
        tmp_path,
        Sent(body, f"text/xml; charset={outer}"),
        INNER,
        'namespaces: {r: "urn:r"}',
        protocol="soap",
    )
    assert read.texts("name") == ["Sähköasentaja"], read.message


@pytest.mark.parametrize("declared", ["ISO-8859-1", "UTF-16", "windows-1250"])
@pytest.mark.parametrize("last", ["xml", "{xml: {encoding: windows-1250}}"])
def test_declaration_inside_a_json_text_is_ignored(tmp_path, declared, last):
    body = json.dumps({"payload": xml("Sähköasentaja", declared)}).encode()
    stream = f"request: {{get: /a}}\ndecode: [json, payload, {last}]\nrecords: //award\nid: id\n"
    read = poll_once(tmp_path, Sent(body, "application/json"), stream)
    assert read.texts("name") == ["Sähköasentaja"], read.message


def test_bytes_inside_a_text_still_follow_their_declaration(tmp_path):
    packed = base64.b64encode(xml("Žák", "windows-1250").encode("windows-1250")).decode()
    read = poll_once(
        tmp_path,
        Sent(SOAP.format(packed).encode(), "text/xml; charset=utf-8"),
        INNER.replace("xml]", "base64, xml]"),
        'namespaces: {r: "urn:r"}',
        protocol="soap",
    )
    assert read.texts("name") == ["Žák"], read.message


@pytest.mark.parametrize("encoding", ["cp852", "windows-1250", "utf-8"])
def test_file_names_in_an_archive_are_read_in_the_charset_of_the_connector(tmp_path, encoding):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("X" * len("Žáci.csv".encode(encoding)), "id,name\n1,a\n")
    # The archive does not mark the name as UTF-8.
    data = packed.getvalue().replace(
        b"X" * len("Žáci.csv".encode(encoding)), "Žáci.csv".encode(encoding)
    )
    stream = f"""
    request: {{get: /a}}
    decode: [{{zip: {{encoding: {encoding}}}}}, "Žáci.csv", csv]
    records: "[]"
    id: id
    """
    read = poll_once(tmp_path, Sent(data, "application/zip"), stream, protocol="file")
    assert read.texts("name") == ["a"], read.message


@pytest.mark.parametrize(
    ("steps", "suggestion"),
    [
        ("[{csv: {encoding: klingon}}]", "windows-1250"),
        ("[{json: {encoding: utf-80}}]", "did you mean 'utf-8'?"),
        ("[{xml: {encoding: windows-125O}}]", "did you mean 'windows-125"),
        ('[{zip: {encoding: cp4370}}, "*", csv]', "did you mean 'cp437'?"),
        ("[{csv: {encoding: utf-7}}]", "did you mean 'utf-8'?"),
        ("[{csv: {encoding: base64}}]", "IANA registry"),
        ("[{csv: {encoding: rot13}}]", "IANA registry"),
    ],
)
def test_check_refuses_an_encoding_that_does_not_exist(tmp_path, steps, suggestion):
    file = tmp_path / "wire.yaml"
    file.write_text(
        f"""\
language: 1
connector: wire
country: FI
title: A registry
owner: {{name: An authority, contact: a@authority.example}}
file:
  url: {{production: "https://registry.example"}}
streams:
  awards:
    emits: credential
    request: {{get: /a}}
    decode: {steps}
    records: "[]"
    id: id
    tests: [{{name: shape, given: {{id: "1"}}, expect_some: {{id: "1"}}}}]
"""
    )
    found = [finding for finding in check(file) if finding.code == "unknown-charset"]
    assert [(finding.line, finding.severity) for finding in found] == [(12, "error")]
    assert found[0].column > 10
    assert suggestion in found[0].message


PUSH = """\
language: 1
connector: wire
country: FI
title: A registry
owner: {name: An authority, contact: a@authority.example}
push: {path: /in, fields: [results]}
streams:
  awards:
    emits: credential
    decode: xml
    records: //award
    id: id
    tests: [{name: shape, given: {}, expect_some: {}}]
"""


@pytest.mark.parametrize("declared", ["ISO-8859-1", "UTF-16", "windows-1250"])
def test_declaration_inside_a_form_field_is_ignored(tmp_path, declared):
    file = tmp_path / "wire.yaml"
    file.write_text(PUSH)

    async def store(_raws):
        return None

    receiver = PushReceiver(load_connector(file), lambda _: b"", store)
    form = urlencode({"results": xml("Sähköasentaja", declared)}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    [record] = receiver.read_records(form, headers, "http://gateway.example/in")
    assert "Sähköasentaja" in record.body.decode()


EXCHANGE = """\
language: 1
connector: wire
country: FI
title: A registry
owner: {name: An authority, contact: a@authority.example}
rest:
  url: {production: "https://registry.example"}
streams:
  awards:
    emits: credential
    request: {get: /a}
    decode: xml
    records: //award
    id: name
    tests:
      - name: a declared charset
        exchange:
          - request: GET /a
            response: {text: '%s'}
        expect_ids: [Žák]
"""


@pytest.mark.parametrize("declared", ["windows-1250", "UTF-16", "ISO-8859-1", "UTF-8"])
def test_text_of_an_inline_test_may_declare_its_charset(tmp_path, declared):
    file = tmp_path / "wire.yaml"
    file.write_text(EXCHANGE % xml("Žák", declared), encoding="utf-8")
    codes = {finding.code for finding in check(file)}
    assert not codes & {"test-failed", "exchange-failed"}, check(file)


def test_saved_reply_has_no_charset_in_its_header(tmp_path):
    assert sample_media_type(tmp_path / "a.xml", b"<a/>") == "text/xml"
    message = b"--b 1\r\nContent-Type: text/xml\r\n\r\n<a/>\r\n--b 1--"
    assert sample_media_type(tmp_path / "a.mime", message) == ""
    message = message.replace(b"b 1", b"b1")
    assert sample_media_type(tmp_path / "a.mime", message) == 'multipart/related; boundary="b1"'
    assert sample_media_type(tmp_path / "a.csv", b"--\r\nid") == "text/csv"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<?xml version="1.0" encoding="ISO-8859-1"?><a>ä</a>', '<?xml version="1.0"?><a>ä</a>'),
        (
            "<?xml version='1.0' encoding = 'utf-16' standalone='no'?><a/>",
            "<?xml version='1.0' standalone='no'?><a/>",
        ),
        ('<a encoding="x"/>', '<a encoding="x"/>'),
        ('<a><?xml version="1.0" encoding="x"?></a>', '<a><?xml version="1.0" encoding="x"?></a>'),
    ],
)
def test_text_loses_only_its_own_declaration(text, expected):
    assert text_bytes(text).decode() == expected


def test_declaration_in_a_request_template_is_ignored(tmp_path):
    template = xml("Sähkö", "ISO-8859-1")
    for protocol, request in (("soap", "envelope"), ("rest", "post: /a, xml")):
        stream = f"request: {{{request}: '{template}'}}\nrecords: //award\ndecode: xml\nid: id\n"
        read = poll_once(tmp_path, Sent(xml("x").encode(), "text/xml"), stream, protocol=protocol)
        assert "Sähkö" in read.asked[0].body.decode("utf-8")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/xml; charset=windows-1250, text/xml; charset=windows-1250",
        "text/xml; charset='windows-1250'",
        'text/xml; charset=\\"windows-1250\\"',
        "text/xml;charset=windows-1250;",
    ],
)
def test_charset_of_an_untidy_header_is_read(tmp_path, content_type):
    read = read_xml(tmp_path, xml("Žák").encode("windows-1250"), content_type)
    assert read.texts("name") == ["Žák"], read.message


@pytest.mark.parametrize("charset", ["none", "binary", "unset", ""])
def test_word_in_place_of_a_charset_is_ignored(tmp_path, charset):
    read = read_xml(tmp_path, xml("Žák").encode(), f"text/xml; charset={charset}")
    assert read.texts("name") == ["Žák"], read.message


@pytest.mark.parametrize("charset", ["windows-1250", "utf-16", "utf-8"])
def test_saved_reply_in_any_charset_begins_a_connector(tmp_path, charset):
    sample = tmp_path / "reply.xml"
    sample.write_bytes(xml("Žák", charset).encode(charset))
    answers = ScaffoldAnswers("CZ", "rest", "awards", sample=sample)
    assert "award" in write_connector(answers, tmp_path / "out").read_text(encoding="utf-8")
