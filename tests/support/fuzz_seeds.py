"""Small seed inputs for each fuzz target."""

from __future__ import annotations

import base64
import gzip
import io
import zipfile

from tests.support import (
    fuzz_addresses,
    fuzz_decoders,
    fuzz_expressions,
    fuzz_headers,
    fuzz_push,
    fuzz_signatures,
)
from tests.support.fuzz_targets import CASTS


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            zipfile.ZipInfo("a.csv", (2026, 1, 1, 0, 0, 0)),
            "id;name\n1;x\n" * 20,
            zipfile.ZIP_DEFLATED,
        )
    return file.getvalue()


GOOD = """language: 1
connector: test
country: "NO"
title: A registry
owner: {name: Tests, contact: tests@example.org}
rest:
  url: {production: "https://registry.example/api"}
  errors: by_status
  auth: {bearer: {token: {secret: test/token}}}
  limits: {rate: 5/s, timeout: 10s}
  replies: [{when: {path: error, is: NONE}, then: empty}]
tables:
  kind: {map: {D: diploma}}
streams:
  awards:
    emits: credential
    request: {get: /awards, query: {page: "{page}", since: "{since:iso}"}}
    paging: {page_number: {start: 1, pages: pages}}
    cursor: {window: 30d, start: 2026-01-01}
    records: items
    id: id
    map:
      kind: {from: kind, table: kind}
      title.en: title
      awarded_on: {from: day, as: {date: "%d.%m.%Y"}}
      holder.pseudonym: {from: person, pseudonym: national-id}
    tests: [{name: a, given: {id: "1"}, expect_some: {}}]
"""
TABLE = """country: "NO"
name: Norway
sources:
  act: {kind: act, title: Law, article: "1", gazette: "1", read: 2026-11-30, address: "https://example.org", states: [pairing]}
frameworks:
  NKR:
    name: Framework
    versions:
      - {from: 2011-12-15, relation: referenced, confidence: verified, sources: [act], levels: [{level: "6", eqf: 6}]}
credits: [{unit: a, system: "NO", sector: HE, conversion: fixed_ratio, ects: "10/7", undated: old, safe_from: 1995-01-01, confidence: verified, sources: [act]}]
"""
DOCUMENT = '<l xmlns="urn:x"><r id="1"><t xml:lang="nb">M\u00fcller<!-- c --><?p i?></t><d>2026-02-28</d></r><r id="2"/></l>'
VALUE = '{"items": [{"id": "1", "n": 7.5, "t": null, "d": [true, {"a": "\\u00e9"}]}], "next": "x"}'

SEEDS: dict[str, list[bytes]] = {
    "decoders": fuzz_decoders.SEEDS,
    "push": fuzz_push.SEEDS,
    "signed_messages": fuzz_signatures.SEEDS,
    "signed_documents": fuzz_signatures.SEEDS,
    "conditions": fuzz_expressions.CONDITION_SEEDS,
    "templates": fuzz_expressions.TEMPLATE_SEEDS,
    "patterns": fuzz_expressions.PATTERN_SEEDS,
    "addresses": fuzz_addresses.SEEDS,
    "headers": fuzz_headers.SEEDS,
    "decode": [
        b"\0\1" + DOCUMENT.encode(), b"\1\1" + DOCUMENT.replace(' xmlns="urn:x"', "").encode(), b"\2\1" + VALUE.encode(),
        b"\3\1id,name\n1,\"a\nb\"\n2,c\n", b"\4\1" + _zip(), b"\5\1" + gzip.compress(VALUE.encode(), mtime=0), b"\6\1" + base64.b64encode(b"abc"),
        b"\7\1--b\r\nContent-ID: <r>\r\n\r\n<a/>\r\n--b--\r\n", b"\0\1<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>", b"\2\1[" + b"[" * 50 + b"]" * 51,
    ],
    "select": [
        *(b"\1" + text + b"\0" + DOCUMENT.encode() for text in (
            b"//x:r", b"x:r[1]/x:t", b"//x:t[@xml:lang='nb']", b"count(//x:r) > 1", b"$school", b"substring-before(x:r/x:d, '-')", b"@id | x:r/@id",
        )),
        *(b"\0" + text + b"\0" + VALUE.encode() for text in (
            b"items[].id", b"items[?n > `5`].d[]", b"items[0].d[1].a", b"join('-', items[].id)", b"$root.items", b"items[].{a: id, b: n} | [0]", b"to_number(items[0].n)",
        )),
    ],
    "casts": [
        bytes([index, how]) + text
        for index in range(len(CASTS))
        for how, text in ((0, b"2026-02-28T12:00:00+02:00"), (0, b"28.02.2026"), (1, b"1234.5"), (2, b"7,5"), (0, b"2010K"), (3, b"\xed\xa0\x80"))
    ],
    "language": [b"\0" + GOOD.encode(), b"\2" + GOOD.encode(), b"\1" + TABLE.encode(), b"\0a: &x [*x]\n", b"\0a:\n\tb: 012\nNO: .nan\n"],
}  # fmt: skip

WORDS: dict[str, list[str]] = {
    "decoders": fuzz_decoders.WORDS,
    "push": fuzz_push.WORDS,
    "signed_messages": fuzz_signatures.WORDS,
    "signed_documents": fuzz_signatures.WORDS,
    "conditions": fuzz_expressions.CONDITION_WORDS,
    "templates": fuzz_expressions.TEMPLATE_WORDS,
    "patterns": fuzz_expressions.PATTERN_WORDS,
    "addresses": fuzz_addresses.WORDS,
    "headers": fuzz_headers.WORDS,
    "decode": [
        "<!DOCTYPE",
        "<![CDATA[",
        "&#0;",
        "xmlns:",
        "encoding='",
        "\\xef\\xbb\\xbf",
        "1e999",
        "NaN",
        "\\x00",
        "--b\\x0d\\x0a",
    ],
    "select": [
        "ancestor::",
        "following::",
        "string(",
        "node()",
        "[last()]",
        "sort_by(",
        "&id",
        "`1`",
        "[*]",
        "[?",
        "||",
        "$root",
        "translate(",
    ],
    "casts": [
        "+14:00",
        "24:00",
        "0001-01-01",
        "9999-12-31",
        "P3Y6M",
        "sv-FI",
        "<p>",
        "&amp;",
        "\\xe2\\x80\\xae",
        "1e5",
        "Infinity",
    ],
    "language": [
        "\\x0a  ",
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "!!python",
        "<<: ",
        "? ",
        "|\\x0a",
        ">\\x0a",
        "'",
        "---\\x0a",
        "secret: ",
        "when: ",
    ],
}
