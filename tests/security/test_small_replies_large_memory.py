"""Poll small replies that would need gigabytes of memory; each is refused before it is built.

Each reply is inside the limits of its connector as it arrives. The tests use a real HTTP server and
measure the memory of a process that polls it.
"""

from __future__ import annotations

import base64
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.polled_reply import poll

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peak memory of a process is read from /proc"
)
MAX_MB = 200
MAX_STOP_SECONDS = 1.0
MAX_CPU_SECONDS = 15
MILLION = 1_000_000


def pack(*pieces: tuple[bytes, int]) -> bytes:
    """Compress pieces, each so many times as asked for, without all of them in memory."""
    engine = zlib.compressobj(6, zlib.DEFLATED, 31)
    packed = bytearray()
    for piece, times in pieces:
        for _ in range(times // 1000):
            packed += engine.compress(piece * 1000)
        packed += engine.compress(piece * (times % 1000))
    return bytes(packed + engine.flush())


def in_list(value: bytes, count: int) -> bytes:
    return pack((b'{"items":[{"id":"1","title":"T"}],"x":[', 1), (value + b",", count), (b"0]}", 1))


def in_root(elements: bytes, count: int) -> bytes:
    return pack((b"<rs><r id='1'><t>T</t></r>", 1), (elements, count), (b"</rs>", 1))


def namespaces(count: int, length: int) -> bytes:
    names = b"".join(b" xmlns:p%d='urn:%s'" % (n, b"a" * length) for n in range(count))
    records = b"".join(b"<r id='%d'><t>T</t></r>" % n for n in range(1000))
    return pack((b"<rs" + names + b">" + records + b"</rs>", 1))


def archive(*files: tuple[str, bytes], times: int = 1) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for number in range(times):
            for name, content in files:
                made.writestr(f"{number}-{name}", content)
    return file.getvalue()


REPLIES: dict[str, tuple[str, Callable[[], bytes], str, str]] = {
    "JSON of empty lists": ("json", lambda: in_list(b"[]", 20 * MILLION), "", "LIMIT_DECODED"),
    "JSON of empty objects": ("json", lambda: in_list(b"{}", 20 * MILLION), "", "LIMIT_DECODED"),
    "JSON of one member each": (
        "json", lambda: in_list(b'{"a":1}', 8 * MILLION), "", "LIMIT_DECODED"),
    "JSON of short texts": ("json", lambda: in_list(b'"ab"', 12 * MILLION), "", "LIMIT_DECODED"),
    "JSON of numbers": ("json", lambda: in_list(b"1.5", 16 * MILLION), "", "LIMIT_DECODED"),
    "JSON of nested lists": ("json", lambda: in_list(b"[[[[]]]]", 7 * MILLION), "", "LIMIT_DECODED"),
    "JSON in lines": (
        "json", lambda: pack((b"{}\n", 20 * MILLION)), "[{json: {lines: true}}]", "LIMIT_DECODED"),
    "CSV of 5 million rows": (
        "csv", lambda: pack((b"id,title\n", 1), (b"1,T\n", 5 * MILLION)), "", "LIMIT_RECORDS"),
    "CSV of rows that end in CR": (
        "csv", lambda: pack((b"id,title\r", 1), (b"1,T\r", 5 * MILLION)), "", "LIMIT_RECORDS"),
    "CSV of many cells": (
        "csv", lambda: pack((b"id,title\n", 1), (b"1," * 1000 + b"1\n", 20_000)), "",
        "LIMIT_DECODED"),
    "CSV with one row": (
        "csv", lambda: pack((b"id,title\n", 1), (b"a1,", 3 * MILLION)), "", "LIMIT_TEXT"),
    "CSV with an open quote": (
        "csv", lambda: pack((b'id,title\n1,"', 1), (b"text\n", 5 * MILLION)), "", "CSV_MALFORMED"),
    "XML of empty elements": ("xml", lambda: in_root(b"<a/>", 9 * MILLION), "", "LIMIT_DECODED"),
    "XML of attributes": (
        "xml", lambda: in_root(b"<a b='' c='' d=''/>", 2 * MILLION), "", "LIMIT_DECODED"),
    "XML of blanks": ("xml", lambda: in_root(b"<a/> ", 5 * MILLION), "", "LIMIT_DECODED"),
    "XML of one large record": (
        "xml", lambda: pack((b"<rs><r id='1'>", 1), (b"<t>T</t>", 5 * MILLION), (b"</r></rs>", 1)),
        "", "LIMIT_DECODED"),
    "XML with 4,000 namespaces": ("xml", lambda: namespaces(4000, 100), "", "LIMIT_NAMESPACES"),
    "XML with long namespaces": ("xml", lambda: namespaces(20, 60_000), "", "LIMIT_NAMESPACES"),
    "a ZIP of many files": (
        "json", lambda: archive(("a.json", b"{}"), times=60_000), "[zip, json]", "LIMIT_DECODED"),
    "a ZIP of empty lists": (
        "json", lambda: archive(("a.json", b"[" + b"[]," * 20 * MILLION + b"0]")), "[zip, json]",
        "LIMIT_DECODED"),
    "gzip in base64 in gzip": (
        "json", lambda: gzip.compress(base64.b64encode(in_list(b"[]", 20 * MILLION))),
        "[gzip, base64, gzip, json]", "LIMIT_DECODED"),
    "gzip of a million members": (
        "json", lambda: gzip.compress(b"", mtime=0) * MILLION, "[gzip, json]", "LIMIT_DECODED"),
    "texts that are documents": (
        "json", lambda: pack((b'{"items":[', 1), (b'"e30=",', 400_000), (b'"e30="]}', 1)),
        '[json, "items[]", base64, json]', "LIMIT_DECODED"),
}  # fmt: skip
"""What a reply consists of: format, bytes, ``decode`` and the reason of the refusal."""
_PACKED_AT_ALL = {"[zip, json]", "[gzip, json]", "[gzip, base64, gzip, json]"}


@pytest.mark.parametrize("name", REPLIES)
def test_reply_is_refused_before_it_is_built_when_it_would_be_large(name: str, tmp_path: Path):
    kind, make, decode, reason = REPLIES[name]
    body = make()
    assert len(body) < 50 * MILLION
    headers = {} if decode in _PACKED_AT_ALL else {"content_encoding": "gzip"}

    outcome = poll(tmp_path, kind, body, decode=decode, **headers)

    assert (outcome.records, outcome.reason) == (0, reason), outcome
    assert outcome.more_mb < MAX_MB, outcome
    assert outcome.longest_stop < MAX_STOP_SECONDS, outcome
    assert outcome.cpu_seconds < MAX_CPU_SECONDS, outcome
    assert "large" in outcome.message
    assert "; " in outcome.message


def test_streamable_reply_is_refused_early_when_it_has_few_records(tmp_path: Path):
    body = in_root(b"<a/>", 9 * MILLION)
    outcome = poll(tmp_path, "xml", body, records="/rs/r", content_encoding="gzip")
    assert outcome.reason == "LIMIT_DECODED"
    assert outcome.more_mb < MAX_MB


ORDINARY_JSON = (
    b'{"id":"%d","title":{"fi":"Insin\xc3\xb6\xc3\xb6ri, tietotekniikka","en":"Bachelor of Science"},'
    b'"level":6,"credits":240.5,"institution":{"code":"10056","name":"A school","country":"FI"},'
    b'"languages":["fi","en"],"active":true,"courses":[{"code":"A1","credits":5},{"code":"B2"}]},'
)
ORDINARY_XML = (
    b"<r id='%d'><t>Bachelor of Science</t><level>6</level><credits unit='ects'>240</credits>"
    b"<school><code>10056</code><name>A school</name></school></r>\n"
)


@pytest.mark.parametrize("kind", ["json", "xml", "csv"])
def test_ordinary_reply_of_almost_50_megabytes_is_read(kind: str, tmp_path: Path):
    if kind == "json":
        count = 165_000
        body = b'{"items":[' + b"".join(ORDINARY_JSON % n for n in range(count)) + b'{"id":"x"}]}'
    elif kind == "xml":
        count = 280_000
        body = b"<rs><r id='x'/>" + b"".join(ORDINARY_XML % n for n in range(count)) + b"</rs>"
    else:
        count = 220_000
        row = b"%d,Bachelor of Science in Engineering,2026-02-28," + b"some value," * 15 + b"1\n"
        head = b"id,title,day," + b",".join(b"c%d" % n for n in range(16)) + b"\nx,,," + b"," * 15
        body = head + b"\n" + b"".join(row % n for n in range(count))
    assert 40 * MILLION < len(body) < 50 * MILLION

    outcome = poll(tmp_path, kind, body)

    assert (outcome.records, outcome.reason) == (count + 1, ""), outcome
    assert outcome.longest_stop < MAX_STOP_SECONDS, outcome


@pytest.mark.parametrize(
    "body",
    [
        b" " * 2_100 + b'{"items":[{"id":"1","title":"T"}]}',
        b"\r\n" * 70_000 + b'{"items":[{"id":"1","title":"T"}]}',
        b"\xef\xbb\xbf" + b" " * 5_000 + b'{"items":[{"id":"1","title":"T"}]}',
        b"\t" * 100_000 + b'{"items":[{"id":"1","title":"T"}]}' + b"\n" * 100_000,
    ],
)
def test_blanks_before_a_document_are_read_over(body: bytes, tmp_path: Path):
    outcome = poll(tmp_path, "json", body)
    assert (outcome.records, outcome.reason) == (1, "")


def test_reply_of_blanks_alone_proves_nothing(tmp_path: Path):
    assert poll(tmp_path, "json", b" \r\n" * 100_000).reason == "EMPTY_BODY"


@pytest.mark.parametrize(
    "body",
    [
        b"<!---->" * 40 + b"{}",
        b"<!-- a -->\n" * 5_000 + b"{}",
        b"<!--" * 400_000,
        b"<!-->" * 200_000 + b"x",
        b"<!--a--> " * 200 + b"<htm",
        b"\n" * 500_000 + b"<!doctype" + b" " * 500_000,
    ],
)
def test_comments_before_a_document_take_no_time(body: bytes, tmp_path: Path):
    outcome = poll(tmp_path, "json", body)
    assert outcome.reason == "JSON_MALFORMED"
    assert outcome.cpu_seconds < 2


def test_page_after_comments_is_no_reply(tmp_path: Path):
    body = b"<!-- a -->\n<!-- b -->" * 20 + b"<HTML><body>maintenance</body></HTML>"
    assert poll(tmp_path, "json", body).reason == "NOT_A_REGISTRY_RESPONSE"
