"""Decode odd documents: each ends in a value or in one reason, in bounded time and memory."""

from __future__ import annotations

import base64
import gzip
import io
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from gateway.errors import StreamError
from gateway.fetch.decode.chain import DecodeChain
from gateway.fetch.expression_cache import ExpressionCache
from gateway.fetch.http.body import ReplyBody
from gateway.fetch.http.request_reply import RegistryReply
from tests.unit.fetch.test_decode import archive

MAX_CPU_SECONDS = 6
MAX_BYTES = 200_000_000
JSON, XML, CSV, MIME = "application/json", "text/xml", "text/csv", 'multipart/mixed; boundary="b"'


def read(chain: Any, data: bytes, content_type: str = JSON) -> str:
    """Return the reason of a refusal, or an empty text."""
    reply = RegistryReply(200, {"content-type": content_type}, ReplyBody.from_bytes(data), "u")
    tracemalloc.start()
    began = time.thread_time()
    try:
        DecodeChain(chain, ExpressionCache({}), 50_000_000, "x").read(reply)
    except StreamError as error:
        reason = error.reason
        assert "; " in str(error) or ": " in str(error)
        assert len(str(error)) < 400
    else:
        reason = ""
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.thread_time() - began < MAX_CPU_SECONDS
    # The writer of JSON reserves eight bytes for each character, and touches few of them.
    assert peak < MAX_BYTES + 10 * len(data)
    return reason


def overlapping(times: int) -> bytes:
    """Return a ZIP whose directory names one file many times."""
    data = archive(**{"a.json": b"[" + b"1," * 200_000 + b"1]"})
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entry = data[start:end]
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, times, times, len(entry) * times, start, 0)
    return data[:start] + entry * times + tail


def lying(size: int) -> bytes:
    """Return a ZIP whose directory states another size than its file has."""
    data = bytearray(archive(**{"a.json": b"[1]" + b" " * 1_000_000}))
    start = data.index(b"PK\x01\x02")
    data[start + 24 : start + 28] = struct.pack("<L", size)
    return bytes(data)


def parts(count: int, body: bytes = b"{}", head: bytes = b"") -> bytes:
    one = b"--b\r\nContent-Type: application/json\r\n" + head + b"\r\n" + body + b"\r\n"
    return one * count + b"--b--\r\n"


def nested_parts(depth: int) -> bytes:
    lines = [b"--b"]
    for number in range(depth):
        lines += [b"Content-Type: multipart/mixed; boundary=b%d" % number, b"", b"--b%d" % number]
    return b"\r\n".join(lines) + b"\r\n\r\n{}\r\n--b--\r\n"


def references(count: int) -> bytes:
    root = b"<r>" + b"<a>cid:x</a>" * count + b"</r>"
    pieces = [b"--b\r\nContent-Type: text/xml\r\n\r\n" + root + b"\r\n"]
    pieces += [b"--b\r\nContent-ID: <x%d>\r\n\r\n" % n + b"a" * 1_000 + b"\r\n" for n in range(900)]
    pieces.append(b"--b\r\nContent-ID: <x>\r\n\r\n" + b"a" * 1_000_000 + b"\r\n")
    return b"".join(pieces) + b"--b--\r\n"


LAUGHS = b'<!DOCTYPE a [<!ENTITY a "ha">' + b"".join(
    b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)
)
CASES: dict[str, tuple[Any, Callable[[], bytes], str, set[str]]] = {
    "JSON: 100,000 lists in each other": (
        ("json",), lambda: b"[" * 100_000 + b"]" * 100_000, JSON, {"LIMIT_DEPTH"}),
    "JSON: 100,000 objects in each other": (
        ("json",), lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000, JSON, {"LIMIT_DEPTH"}),
    "JSON: 3 million open lists": (("json",), lambda: b"[" * 3_000_000, JSON, {"LIMIT_DEPTH"}),
    "JSON: a number of 5 million digits": (
        ("json",), lambda: b"[" + b"9" * 5_000_000 + b"]", JSON, {"", "JSON_NUMBER"}),
    "JSON: an exponent of 9 digits": (("json",), lambda: b"[1e999999999]", JSON, {"", "JSON_NUMBER"}),
    "JSON: a fraction of 5 million digits": (
        ("json",), lambda: b"[0." + b"9" * 5_000_000 + b"]", JSON, {""}),
    "JSON: a text of 20 MB": (("json",), lambda: b'["' + b"a" * 20_000_000 + b'"]', JSON, {""}),
    "JSON: NaN": (("json",), lambda: b"[NaN]", JSON, {"JSON_NUMBER"}),
    "JSON: a key twice": (("json",), lambda: b'{"a":1,"a":2}', JSON, {"JSON_DUPLICATE_KEY"}),
    "JSON: 200,000 keys with one hash bucket in common": (
        ("json",), lambda: b"{" + b",".join(b'"%d":1' % n for n in range(200_000)) + b"}", JSON, {""}),
    "JSON: a lone surrogate": (("json",), lambda: b'{"a":"\\ud800"}', JSON, {""}),
    "JSON: two byte order marks": (
        ("json",), lambda: b"\xef\xbb\xbf" * 2 + b"{}", JSON, {"JSON_MALFORMED"}),
    "JSON: UTF-16": (("json",), lambda: "{}".encode("utf-16"), JSON, {"ENCODING"}),
    "JSON: UTF-32": (("json",), lambda: "{}".encode("utf-32"), JSON, {"ENCODING"}),
    "JSON: a NUL": (("json",), lambda: b"{}\0", JSON, {"JSON_MALFORMED"}),
    "XML: 10,000 elements in each other": (
        ("xml",), lambda: b"<a>" * 10_000 + b"</a>" * 10_000, XML, {"LIMIT_DEPTH"}),
    "XML: 3 million open elements": (("xml",), lambda: b"<a>" * 3_000_000, XML, {"LIMIT_DEPTH"}),
    "XML: entities in each other": (
        ("xml",), lambda: LAUGHS + b"]><a>&j;</a>", XML, {"XML_FORBIDDEN_DTD"}),
    "XML: an external entity": (
        ("xml",), lambda: b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>', XML,
        {"XML_FORBIDDEN_DTD"}),
    "XML: an external DTD": (
        ("xml",), lambda: b'<!DOCTYPE a SYSTEM "http://192.0.2.1/a.dtd"><a/>', XML,
        {"XML_FORBIDDEN_DTD"}),
    "XML: a DTD in UTF-16": (
        ("xml",), lambda: "<!DOCTYPE a []><a/>".encode("utf-16"), XML, {"XML_FORBIDDEN_DTD"}),
    "XML: a DTD after a long comment": (
        ("xml",), lambda: b"<!--" + b"a" * 200_000 + b"--><!DOCTYPE a []><a/>", XML,
        {"XML_FORBIDDEN_DTD"}),
    "XML: a text of 20 MB": (
        ("xml",), lambda: b"<a>" + b"a" * 20_000_000 + b"</a>", XML, {"LIMIT_TEXT"}),
    "XML: 100,000 attributes of one element": (
        ("xml",), lambda: b"<a " + b" ".join(b"a%d=''" % n for n in range(100_000)) + b"/>", XML,
        {"", "XML_MALFORMED"}),
    "XML: 1 million attributes twice": (
        ("xml",), lambda: b"<a" + b" b=''" * 1_000_000 + b"/>", XML,
        {"LIMIT_DECODED", "XML_MALFORMED"}),
    "XML: 100,000 namespaces": (
        ("xml",), lambda: b"<a" + b"".join(b" xmlns:a%d='u'" % n for n in range(100_000)) + b"/>",
        XML, {"LIMIT_NAMESPACES"}),
    "CSV: a cell of 20 MB": (
        ("csv",), lambda: b'a,b\n1,"' + b"a" * 20_000_000 + b'"\n', CSV, {"CSV_MALFORMED", "LIMIT_TEXT"}),
    "CSV: NULs": (("csv",), lambda: b"a,b\n\0,\0\n", CSV, {"", "CSV_MALFORMED"}),
    "CSV: 3 million quotes": (
        ("csv",), lambda: b"a,b\n1," + b'"' * 3_000_000 + b"\n", CSV, {"CSV_MALFORMED", "LIMIT_TEXT"}),
    "CSV: a column twice": (("csv",), lambda: b"a,a\n1,2\n", CSV, {"CSV_HEADER"}),
    "CSV: 3 million empty lines": (("csv",), lambda: b"a,b\n" + b"\n" * 3_000_000, CSV,
        {"", "LIMIT_DECODED"}),
    "ZIP: one file 9,000 times": (
        ("zip", "json"), lambda: overlapping(9_000), JSON, {"LIMIT_DECODED", "ZIP_MALFORMED"}),
    "ZIP: one file 50,000 times": (
        ("zip", "json"), lambda: overlapping(50_000), JSON, {"LIMIT_DECODED"}),
    "ZIP: a size that is too small": (("zip", "json"), lambda: lying(3), JSON, {"ZIP_MALFORMED", ""}),
    "ZIP: a size of 4 GB": (("zip", "json"), lambda: lying(2**32 - 2), JSON, {"ZIP_MALFORMED", ""}),
    "ZIP: in a ZIP": (
        ("zip", "zip", "json"),
        lambda: archive(**{"a.zip": archive(**{"a.json": b" " * 60_000_000})}), JSON,
        {"LIMIT_DECODED"}),
    "gzip: 60 MB": (("gzip", "json"), lambda: gzip.compress(b" " * 60_000_000), JSON, {"LIMIT_DECODED"}),
    "gzip: 60,000 members": (
        ("gzip", "json"), lambda: gzip.compress(b"1") * 60_000, JSON, {"LIMIT_DECODED"}),
    "gzip: without an end": (
        ("gzip", "json"), lambda: gzip.compress(b"{}")[:-8], JSON, {"INCOMPLETE_BODY"}),
    "gzip: deflate instead": (
        ("gzip", "json"), lambda: zlib.compress(b"{}"), JSON, {"INCOMPLETE_BODY"}),
    "base64: an end in the middle": (
        ("base64", "json"), lambda: base64.b64encode(b"1") * 50_000, JSON, {"BASE64_MALFORMED"}),
    "base64: equals signs": (("base64", "json"), lambda: b"=" * 5_000_000, JSON, {"BASE64_MALFORMED"}),
    "MIME: 10,000 parts": (("mime", "json"), lambda: parts(10_000), MIME, {"LIMIT_PARTS"}),
    "MIME: 10,000 parts in each other": (
        ("mime", "json"), lambda: nested_parts(10_000), MIME, {"JSON_MALFORMED", "MIME"}),
    "MIME: 1,000 parts with long headers": (
        ("mime", "json"),
        lambda: parts(900, head=b'Content-Type: a/b; c="' + b";" * 30_000 + b"\r\n"), MIME,
        {"", "JSON_MALFORMED"}),
    "MIME: boundaries with blanks": (
        ("mime", "json"), lambda: (b"--b" + b" " * 1_000 + b"x\r\n") * 5_000, MIME, {"MIME"}),
    "MIME: 50,000 references to a large part": (
        ("mime", "xml"), lambda: references(50_000), MIME, {""}),
    "a template of all": (("json", "items[]", "base64", "gzip", "xml"), lambda: b'{"items":[' + b",".join(
        [b'"' + base64.b64encode(gzip.compress(b"<a>" + b"x" * 900_000 + b"</a>")) + b'"'] * 100
    ) + b"]}", JSON, {"LIMIT_DECODED"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_odd_document_ends_in_one_reason(name: str):
    chain, make, content_type, reasons = CASES[name]
    assert read(chain, make(), content_type) in reasons


def test_zip_of_ordinary_files_is_read():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for number in range(2_000):
            made.writestr(f"{number}.json", b'{"id": "%d", "title": "T"}' % number * 1)
    assert read(("zip", "json"), file.getvalue()) == ""
