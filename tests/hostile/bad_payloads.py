"""Rows 37 to 76: what registries answer."""

from __future__ import annotations

import gzip
import json

from tests.hostile.bad_inputs import bad, told
from tests.support.connector_files import one
from tests.support.hostile_registry import (
    GOOD,
    JSON,
    XML,
    ended,
    judged,
    page_of,
    poll,
    said,
    written,
)
from tests.support.raw_http_server import always, raw

ITEM = '<l><r id="1"><t>T</t></r></l>'


@bad(37, "XML that is not well-formed", "RetryLater XML_MALFORMED")
def malformed(_: object) -> str:
    heard = poll(page_of("<l><r id='1'><t>CANARY</r></l>", "application/xml"), XML)
    assert "line 1, column" in str(heard.error)
    return heard.ended


GZ = gzip.compress(ITEM.encode() * 1)


@bad(
    38,
    "bodies cut short in five ways: Content-Length, chunked, end of connection, gzip without end, gzip without checksum",
    "RetryLater INCOMPLETE_BODY",
    elsewhere=("tests/unit/fetch/test_client.py::test_truncated_body_is_never_complete"),
)
def truncated(_: object) -> str:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\n"
    ways = [
        raw(head + b"Content-Length: 100\r\n\r\n<l>"),
        raw(head + b"Transfer-Encoding: chunked\r\n\r\n3\r\n<l>\r\n"),
        raw(head + b"\r\n<l><r id='1'>"),
        page_of(GZ[:-12], "application/xml", content_encoding="gzip"),
        page_of(GZ[:-8], "application/xml", content_encoding="gzip"),
    ]
    return one([poll(way, XML).ended for way in ways])


@bad(39, "a DOCTYPE; one that names a file or another host (XXE)", "StreamHalted XML_FORBIDDEN_DTD")
def doctype(_: object) -> str:
    given = (
        "<!DOCTYPE l>",
        '<!DOCTYPE l SYSTEM "http://127.0.0.1:9/x.dtd">',
        '<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE l [<!ENTITY % p SYSTEM "http://127.0.0.1:9/p"> %p;]>',
    )
    return one([ended(text + ITEM.replace("T<", "&x;<")) for text in given])


@bad(
    40,
    "entities that multiply: a billion laughs, quadratic growth",
    "StreamHalted XML_FORBIDDEN_DTD",
)
def entities(_: object) -> str:
    laughs = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    quadratic = f'<!DOCTYPE l [<!ENTITY a "{"x" * 50_000}">]><l>{"&a;" * 20_000}</l>'
    return one([ended(f'<!DOCTYPE l [<!ENTITY e0 "ha">{laughs}]><l>&e9;</l>'), ended(quadratic)])


@bad(41, "elements nested 257 and 100,000 deep", "StreamHalted LIMIT_DEPTH")
def deep_xml(_: object) -> str:
    return one([ended("<a>" * depth + "</a>" * depth) for depth in (257, 100_000)])


@bad(42, "one text of 20 MB", "StreamHalted LIMIT_TEXT")
def long_text(_: object) -> str:
    return poll(
        page_of("<l><r id='1'><t>" + "x" * 20_000_000 + "</t></r></l>", "application/xml"),
        XML,
        size="25MB",
    ).ended


@bad(
    43,
    "a page that is larger than allowed: 3 MB where 2 MB are",
    "StreamHalted LIMIT_BYTES",
    elsewhere="tests/hostile/test_endless_registry.py::test_endless_reply_ends_as_specified",
)
def large_page(_: object) -> str:
    return ended("<l>" + ITEM * 100_000 + "</l>")


@bad(
    44,
    "a gzip bomb: 30 kB that become 30 MB",
    "StreamHalted LIMIT_DECODED",
    elsewhere="tests/hostile/test_endless_registry.py::test_endless_reply_ends_as_specified",
)
def gzip_bomb(_: object) -> str:
    return ended(gzip.compress(b" " * 30_000_000), content_encoding="gzip")


@bad(
    45,
    "UTF-7, EBCDIC and a charset nobody knows; EBCDIC that does not say so",
    "StreamHalted ENCODING; RetryLater XML_MALFORMED",
)
def odd_charsets(_: object) -> str:
    names = [
        ended(f'<?xml version="1.0" encoding="{name}"?>{ITEM}')
        for name in ("UTF-7", "cp037", "klingon")
    ]
    return one(
        [
            *names,
            ended(ITEM, "application/xml; charset=utf-7"),
            ended(ITEM.encode("cp037")),
        ]
    )


@bad(46, "HTTP names one charset, the document another", "StreamHalted ENCODING_CONFLICT")
def charset_conflict(_: object) -> str:
    return ended(
        '<?xml version="1.0" encoding="ISO-8859-1"?>' + ITEM, "application/xml; charset=utf-8"
    )


@bad(47, "a web page with status 200", "RetryLater NOT_A_REGISTRY_RESPONSE")
def web_page(_: object) -> str:
    page = "<!DOCTYPE html><html><body>CANARY</body></html>"
    return one(
        [ended(page, "text/html"), ended(page, "application/json"), ended(page, "application/xml")]
    )


@bad(48, "an empty body with status 200; status 204", "RetryLater EMPTY_BODY")
def empty_body(_: object) -> str:
    return one(
        [
            ended(""),
            ended("", "application/json"),
            poll(raw(b"HTTP/1.1 204 No Content\r\n\r\n"), JSON).ended,
        ]
    )


@bad(
    49,
    "a SOAP Fault with status 200",
    "RetryLater SOAP_FAULT, named s:Server",
    elsewhere="tests/unit/fetch/test_stream.py::test_soap_faults_in_200_and_500_are_equal",
)
def soap_fault(_: object) -> str:
    fault = """<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>s:Server</faultcode>
      <faultstring>CANARY</faultstring></s:Fault></s:Body></s:Envelope>"""
    heard = poll(
        page_of(fault, "text/xml"),
        XML.replace("{get: /awards}", "{envelope: '<ask/>'}"),
        protocol="soap",
    )
    return heard.ended + (", named s:Server" if "Server" in str(heard.error) else "")


@bad(50, "a comment or a processing instruction inside a name", "the whole name")
def cut_names(_: object) -> str:
    heard = poll(
        page_of(
            '<l><r id="1"><t>M\u00fcl<?x y?>ler<!-- c --> Junior</t></r></l>', "application/xml"
        ),
        XML,
    )
    (outcome,) = heard.outcomes()
    return (
        "the whole name" if outcome.record.title == {"en": "M\u00fcller Junior"} else repr(outcome)
    )


@bad(51, "a record without an id", "rejected: id missing")
def no_id(_: object) -> str:
    return judged({"id": None}, {"id": ""}, {"id": " "})


@bad(
    52,
    "ids with blanks around, of 300 characters, with NUL, zero width space, bidirectional mark, decomposed letters",
    "trimmed; composed; rejected: id invalid",
)
def odd_ids(_: object) -> str:
    heard = poll(page_of(json.dumps({"items": [GOOD | {"id": "  7 "}, GOOD | {"id": "e\u0301"}]})))
    assert [raw.native_id for raw in heard.records] == ["7", "\u00e9"]
    return "trimmed; composed; " + judged(
        {"id": "x" * 300}, {"id": "a\x00b"}, {"id": "a\u200bb"}, {"id": "a\u202eb"}
    )


@bad(53, "one id twice on a page, the same content", "1 written, 1 unchanged")
def twice(_: object) -> str:
    heard = poll(page_of(json.dumps({"items": [GOOD, GOOD]})))
    return "{} written, {} unchanged".format(*written(heard.records))


@bad(
    54,
    "one id twice on a page, other content, the same version",
    "rejected: id conflict, with the digests of both",
)
def conflict(_: object) -> str:
    heard = poll(
        page_of(
            json.dumps(
                {"items": [GOOD | {"version": "3"}, GOOD | {"version": "3", "title": "Other"}]}
            )
        )
    )
    from gateway.messages.cloudevents import content_digest
    from gateway.pipeline.page_writer import select_changes

    (entry,), _ = select_changes(heard.records, {})
    (rejected,) = heard.outcomes([entry.raw])
    return f"rejected: {rejected.field} {rejected.reason}" + (
        ", with the digests of both"
        if all(content_digest(raw).hex()[:12] in rejected.detail for raw in heard.records)
        else ""
    )


@bad(
    55,
    "days that do not exist or are written otherwise: 2024-02-30, 0000-00-00, 31/12/2024, 20240101, +14:00 on none",
    "rejected: awarded_on not_a_date",
)
def bad_days(_: object) -> str:
    return judged(
        *(
            {"day": day}
            for day in (
                "2024-02-30",
                "0000-00-00",
                "31/12/2024",
                "20240101",
                "2024-13-01",
                "\u0662\u0660\u0662\u0664-01-01",
            )
        )
    )


@bad(
    56,
    "an award before birth; an award in the year 9999 or next century",
    "rejected: awarded_on dates_unordered; rejected: awarded_on date_implausible",
)
def implausible_days(_: object) -> str:
    return judged(
        {"day": "1999-01-01", "born": "2000-01-01"}, {"day": "9999-12-31"}, {"day": "2124-06-01"}
    )


@bad(
    57,
    "credits that are no number: NaN, INF, 1E5, 7,5, Arabic digits, 10^400; -5",
    "rejected: credit_amount not_a_number; rejected: credit_amount credits_not_positive",
)
def bad_numbers(_: object) -> str:
    values = ("NaN", "INF", "1E5", "7,5", "\u0663", "1" + "0" * 400, "0x10", "1_000")
    return judged(
        *({"credits": value, "unit": "ECTS"} for value in values), {"credits": "-5", "unit": "ECTS"}
    )


@bad(
    58,
    "a level nobody knows; of a framework that had ended; of several frameworks at once",
    (
        "accepted with level_unknown; rejected: nqf_framework not_in_force; rejected: nqf_level framework_required"
    ),
)
def bad_levels(_: object) -> str:
    return judged(
        {"framework": "CNCP", "level": "97", "day": "2024-06-01"},
        {"framework": "CNCP", "level": "5", "day": "2018-06-01"},
        {"level": "3"},
    )


@bad(
    59,
    "a grade outside its scale",
    "accepted with grade_outside_scale",
)
def bad_grade(_: object) -> str:
    return judged({"grade": "27", "scale": "0-20"}, {"grade": "-1", "scale": "0-20"})


@bad(
    60,
    "names: blank, 10,000 letters, 1,000 combining marks, a bidirectional override, an emoji, a lone surrogate",
    (
        "accepted; rejected: holder.full_name control_character; "
        "rejected: holder.full_name not_text; rejected: not_json"
    ),
)
def bad_names(_: object) -> str:
    names = ("  ", "\U0001f393 M", "a\u202eb", "x" * 10_000, "e" + "\u0301" * 1_000)
    return judged(
        *({"name": name} for name in names),
        '{"id": "9", "title": "T", "kind": "D", "day": "2024-01-01", "name": "\\ud800"}',
    )


@bad(61, "text read in the wrong charset: `M\u00c3\u00bcller`", "accepted with encoding_suspect")
def mojibake(_: object) -> str:
    return judged({"title": "M\u00fcller".encode().decode("latin-1")})


@bad(62, "a JSON object with one key twice", "StreamHalted JSON_DUPLICATE_KEY")
def json_twice(_: object) -> str:
    return ended('{"items": [], "items": []}', "application/json")


@bad(63, "JSON 100,000 levels deep", "StreamHalted LIMIT_DEPTH")
def deep_json(_: object) -> str:
    return one(
        [
            ended("[" * 100_000 + "]" * 100_000, "application/json"),
            ended('{"a":' * 100_000 + "1" + "}" * 100_000, "application/json"),
        ]
    )


@bad(64, "JSON with a byte order mark; JSON in UTF-16", "1 records; StreamHalted ENCODING")
def json_marks(_: object) -> str:
    text = json.dumps({"items": [GOOD]})
    return one(
        [
            ended(b"\xef\xbb\xbf" + text.encode(), "application/json"),
            ended(text.encode("utf-16"), "application/json"),
        ]
    )


@bad(65, "a field nobody expected", "accepted, kept in the raw record")
def new_field(_: object) -> str:
    heard = poll(page_of(json.dumps({"items": [GOOD | {"surprise": "here"}]})))
    assert b'"surprise":"here"' in heard.records[0].body
    return said(heard.outcomes()[0], heard.records[0]) + ", kept in the raw record"


NAMESPACED = (
    XML.replace("//r", "//x:r")
    .replace("en: t", "en: x:t")
    .replace("'<r id=\"1\"><t>T</t></r>'", '\'<r xmlns="urn:x" id="1"><t>T</t></r>\'')
)


@bad(
    66,
    "records in another namespace, where a schema is given",
    "StreamHalted SCHEMA",
    elsewhere="tests/unit/fetch/test_schemas.py::test_reply_that_breaks_its_schema_is_refused",
)
def wrong_namespace(desk: object) -> str:
    return schema(
        desk,
        '<l xmlns="urn:other"><r id="1"><t>T</t></r></l>',
        '<l xmlns="urn:x"><r id="1"><u/><t>T</t></r></l>',
    )


XSD = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:x" elementFormDefault="qualified">
<xs:element name="l"><xs:complexType><xs:sequence><xs:element name="r" maxOccurs="9"><xs:complexType><xs:sequence>
<xs:element name="t" type="xs:string"/></xs:sequence><xs:attribute name="id"/></xs:complexType></xs:element></xs:sequence></xs:complexType>
</xs:element></xs:schema>"""


def schema(desk: object, *documents: str) -> str:
    from tests.support import hostile_registry as registry

    folder = desk.folder  # type: ignore[attr-defined]
    (folder / "x.xsd").write_text(XSD)
    stream = NAMESPACED + "    schema: {xsd: x.xsd, mode: strict}\n"
    return one(
        [
            registry.poll(
                page_of(text, "application/xml"),
                stream,
                block='  namespaces: {x: "urn:x"}\n',
                folder=folder,
            ).ended
            for text in documents
        ]
    )


@bad(67, "xsi:nil and xsi:type where the schema knows none", "StreamHalted SCHEMA")
def polymorphism(desk: object) -> str:
    xsi = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    return schema(
        desk,
        f'<l xmlns="urn:x" {xsi}><r id="1"><t xsi:nil="true"/></r></l>',
        f'<l xmlns="urn:x" {xsi}><r id="1"><t xsi:type="odd">T</t></r></l>',
    )


@bad(
    68,
    "a multipart message without a part it refers to; with 20,000 parts; without an end",
    "RetryLater MIME; StreamHalted LIMIT_PARTS",
)
def multipart(_: object) -> str:
    kind = 'multipart/related; boundary="b"; start="<root>"'
    part = b"--b\r\nContent-ID: <%s>\r\n\r\n%s\r\n"
    stream = XML.replace("decode: xml", "decode: [mime, xml]")
    missing = part % (b"other", ITEM.encode()) + b"--b--\r\n"
    bomb = (
        part % (b"root", ITEM.encode())
        + b"".join(part % (b"%d" % n, b"x") for n in range(20_000))
        + b"--b--\r\n"
    )
    unended = part % (b"root", ITEM.encode())
    return one([poll(page_of(body, kind), stream).ended for body in (missing, unended, bomb)])


@bad(
    69,
    "a person's number of another country's form, where the connector says which form its numbers have",
    "rejected: holder.pseudonym no_match",
)
def foreign_person(_: object) -> str:
    rule = "{from: person, pseudonym: national-id"
    stream = JSON.replace(rule, rule + ', as: {match: "([0-9]{6}-[0-9]{3}[0-9X])"}')
    assert judged({}, {"person": "010190-123X"}, stream=stream) == "accepted"
    return judged({"person": "19900101-1234"}, {"person": "010190A1234567"}, stream=stream)


told(
    70,
    "signatures",
    "signatures that are absent, wrapped, expired, replayed, weak (SHA-1), of a stranger",
    "StreamHalted SIGNATURE_*; the poll fails and is tried slowly, and the alert ConnectorHalted tells people",
    differs=(
        "every reply whose signature does not hold is refused; the stream stands still at once, not after three"
    ),
    elsewhere=(
        "tests/unit/fetch/test_wsse.py::test_wrapped_body_is_never_read, "
        "tests/unit/fetch/test_wsse.py::test_weak_signatures_are_refused, "
        "tests/unit/fetch/test_wsse.py::test_replayed_and_expired_messages_are_refused, "
        "tests/registries/test_signed.py::test_untrusted_reply_gives_no_record"
    ),
)


@bad(
    71,
    "a next link to another host, to a file, to itself",
    "StreamHalted CURSOR_FOREIGN; RetryLater PAGE_REPEATED",
    elsewhere="tests/unit/fetch/test_stream.py::test_next_url_to_another_host_is_refused",
)
def links(_: object) -> str:
    stream = JSON.replace("    records:", "    paging: {next_url: next}\n    records:")
    nexts = (
        "https://evil.example/CANARY",
        "file:///etc/passwd",
        "//evil.example/x",
        "http://127.0.0.1@evil.example/",
        "/awards?page=2",
    )
    return one(
        [poll(page_of(json.dumps({"items": [GOOD], "next": link})), stream).ended for link in nexts]
    )


@bad(
    72,
    "a total of 100, and 99 records",
    "RetryLater COUNT_MISMATCH",
    elsewhere="tests/unit/fetch/test_paging.py::test_unreached_total_is_an_error",
)
def total(_: object) -> str:
    stream = JSON.replace("{get: /awards}", '{get: /awards, query: {offset: "{offset}"}}').replace(
        "    records:", "    paging: {offset: {size: 100, total: total}}\n    records:"
    )
    return poll(
        page_of(json.dumps({"items": [GOOD | {"id": str(n)} for n in range(99)], "total": 100})),
        stream,
    ).ended


@bad(
    73,
    "a redirect, to another host or the same",
    "StreamHalted REDIRECT_REFUSED, names the host",
    elsewhere="tests/unit/fetch/test_client.py::test_redirect_is_refused_and_names_only_the_host",
)
def redirect(_: object) -> str:
    heard = poll(always(status=307, location="https://evil.example/CANARY"))
    assert "evil.example" in str(heard.error)
    assert len(heard.asked) == 1
    return heard.ended + ", names the host"


@bad(
    74,
    "a revocation that is older than the issue it is about",
    "unchanged: an older version is never written after a newer one",
    elsewhere="tests/unit/pipeline/test_poll.py::test_older_version_is_ignored",
)
def early_revocation(_: object) -> str:
    items = [
        GOOD | {"changed": "2026-01-05T00:00:00Z"},
        GOOD | {"changed": "2026-01-04T00:00:00Z", "revoked": True},
    ]
    heard = poll(page_of(json.dumps({"items": items})))
    return (
        "unchanged: an older version is never written after a newer one"
        if written(heard.records) == (1, 1)
        else repr(written(heard.records))
    )


told(
    75,
    "erased",
    "a record that was erased, served again",
    "suppressed: counted, not published",
    elsewhere="tests/end_to_end/test_erase.py::test_erased_records_are_removed_and_stay_removed",
)
told(
    76,
    "many_rejections",
    "a registry of which suddenly one record in a hundred, or all, are rejected",
    "one rejection each and an alert; all: Halt all_rejected before the page that reaches the limit",
    differs="the limit is a hundred in a row and not a share: one bad record in a hundred must not hold up the others",
    elsewhere="tests/kafka/test_rejecting.py::test_stream_halts_when_all_records_are_rejected",
)
