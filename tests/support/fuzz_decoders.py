"""A fuzz target: chains of decoders, as connectors combine them, on any bytes.

The first byte of an input chooses the chain, the second one the charset and the path of records.
"""

from __future__ import annotations

import base64
import bz2
import contextlib
import gzip
import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from gateway.config.requests import Csv, Decoder, Json
from gateway.errors import StreamError
from gateway.fetch import xml_parser
from gateway.fetch.decode import chain as decode_chain
from gateway.fetch.decode.chain import DecodeChain
from gateway.fetch.decode.formats import dump_json, element_bytes
from gateway.fetch.decode_budget import DecodeBudget
from gateway.fetch.expression_cache import ExpressionCache
from gateway.fetch.http.body import ReplyBody
from gateway.fetch.http.request_reply import RegistryReply
from tests.support.fuzz_budget import within_budget

LIMIT = 20_000_000
MULTIPART = 'multipart/related; boundary="b"; start="<r>"'
CHAINS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("application/json", ("json",)),
    ("application/json", (Decoder.model_validate({"json": Json(lines=True)}),)),
    ("application/json", (Decoder.model_validate({"json": Json(comments=True)}),)),
    ("text/xml", ("xml",)),
    ("application/atom+xml", ("atom",)),
    ("text/csv", ("csv",)),
    ("text/csv", (Decoder.model_validate({"csv": Csv(separator=";", quote="'")}),)),
    ("application/zip", ("zip", "xml")),
    ("application/zip", ("zip", "*.csv", "csv")),
    ("application/zip", ("zip", "zip", "json")),
    ("application/gzip", ("gzip", "json")),
    ("application/gzip", ("gzip", "gzip", "xml")),
    ("text/plain", ("base64", "gzip", "json")),
    ("text/xml", ("xml", "//r", "base64", "json")),
    ("application/json", ("json", "items[]", "base64", "xml")),
    (MULTIPART, ("mime", "xml")),
    (MULTIPART, ("mime", "r*", "json")),
    ("", ()),
)
CHARSETS = ("", "; charset=utf-8", "; charset=iso-8859-1", "; charset=utf-7", "; charset=utf-16")


@within_budget
def decoders(data: bytes) -> None:
    """Decode a reply. It becomes documents whose records can be written, or a stream error."""
    if len(data) < 2:
        return
    content_type, steps = CHAINS[data[0] % len(CHAINS)]
    charset = CHARSETS[data[1] % len(CHARSETS)]
    is_streamed = bool(data[1] & 64)
    body = ReplyBody.from_bytes(data[2:], proved=bool(data[1] & 128))
    reply = RegistryReply(200, {"content-type": content_type + charset}, body, "u")
    reader = DecodeChain(
        steps,
        ExpressionCache({}),
        LIMIT,
        "x",
        record_path=xml_parser.RecordPath(("r",)) if is_streamed else None,
        new_budget=lambda: DecodeBudget(LIMIT, 10_000),
    )
    with contextlib.suppress(StreamError), _streams_all(is_streamed):
        for document in reader.read(reply).documents:
            _write(document)


@contextlib.contextmanager
def _streams_all(is_streamed: bool) -> Any:
    """Read documents of any size as streams, so that small inputs reach that code."""
    before = decode_chain.STREAMING_THRESHOLD_BYTES
    decode_chain.STREAMING_THRESHOLD_BYTES = 0 if is_streamed else before
    try:
        yield
    finally:
        decode_chain.STREAMING_THRESHOLD_BYTES = before


def _write(document: Any) -> None:
    if document.streamed_records is not None:
        assert sum(1 for _ in document.streamed_records) == document.streamed_records.count
    if document.kind == "xml":
        assert element_bytes(document.root)
    else:
        for record in document.root if isinstance(document.root, list) else [document.root]:
            assert dump_json(record)


def _zip(files: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            made.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


_JSON = b'{"items": [{"id": "1", "n": 7.5, "t": null, "d": [true, {"a": "\\u00e9"}]}], "next": "x"}'
_XML = b'<l xmlns="urn:x" xmlns:y="urn:y"><r id="1"><t xml:lang="nb">M\xc3\xbcller</t></r><r/></l>'
_CSV = b'id,name\n1,"a\nb"\n2,c\n'
_ATOM = (
    b'<feed xmlns="http://www.w3.org/2005/Atom"><entry><updated>2026-01-01T00:00:00Z</updated>'
    b"</entry><entry><updated>2026-01-02</updated></entry></feed>"
)
_MIME = (
    b"--b\r\nContent-ID: <r>\r\nContent-Type: text/xml\r\n\r\n<a>cid:p</a>\r\n--b\r\n"
    b"Content-ID: <p>\r\nContent-Transfer-Encoding: base64\r\n\r\nYQ==\r\n--b--\r\n"
)
_REPLIES = (
    _JSON,
    b'{"a": 1}\n[2]\n\n"x"\n',
    b"// a\n" + _JSON,
    _XML,
    _ATOM,
    _CSV,
    b"id;name\n'1';'a;b'\n",
    _zip({"a.xml": _XML, "b.xml": b"<r/>"}),
    _zip({"d/a.csv": _CSV, "x": b""}),
    _zip({"a.zip": _zip({"a.json": _JSON})}),
    gzip.compress(_JSON, mtime=0) + gzip.compress(b" ", mtime=0),
    gzip.compress(gzip.compress(_XML, mtime=0), mtime=0),
    base64.b64encode(gzip.compress(_JSON, mtime=0)),
    b"<l><r>" + base64.b64encode(_JSON) + b"</r></l>",
    b'{"items": ["' + base64.b64encode(_XML) + b'"]}',
    _MIME,
    _MIME.replace(b"<a>cid:p</a>", b"{}"),
    b"<!-- a --> \n<html>",
)
SEEDS = [bytes([number, 128]) + data for number, data in enumerate(_REPLIES)] + [
    b"\3\xc0" + _XML.replace(b' xmlns="urn:x"', b""),
    b"\0\x80" + b"[" * 300 + b"]" * 300,
    b"\3\x80<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
    b"\x0a\x80" + zlib.compress(_JSON),
    b"\x0a\x80" + bz2.compress(_JSON),
    b"\0\x80" + "{}".encode("utf-16"),
]
WORDS = [
    *("<!DOCTYPE", "<![CDATA[", "<!--", "-->", "&#0;", "xmlns:y='", "encoding='", "<r>", "</r>"),
    *("\\xef\\xbb\\xbf", "\\xff\\xfe", "1e999", "NaN", "\\\\ud800", "\\x00", "[]", "{}", "//"),
    *("--b\\x0d\\x0a", "--b--", "Content-ID: ", "PK\\x01\\x02", "PK\\x05\\x06", "\\x1f\\x8b\\x08"),
]
