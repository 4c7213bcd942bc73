"""The fuzz targets.

Each target takes any bytes. It must return a value or raise the one error that its code documents.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from lxml import etree

from gateway.config.expressions.compiler import (
    EvaluationError,
    ExpressionError,
    compile_expression,
    text_of,
)
from gateway.config.loading import build_connector
from gateway.config.mapping_tables import Mapping
from gateway.config.rules import Boolean, Cast, DateTime
from gateway.config.validation import validate_document
from gateway.config.yaml.document import MAX_DEPTH, parse_yaml
from gateway.errors import StreamError
from gateway.fetch import xml_parser
from gateway.fetch.change_times import read_change_time
from gateway.fetch.decode import containers
from gateway.fetch.decode import formats as decoding
from gateway.fetch.decode.multipart import read_multipart
from gateway.fetch.http.body import ReplyBody
from gateway.harmonise.values import casts as casting
from gateway.harmonise.values.payload import PayloadError, json_value, xml_element
from gateway.harmonise.values.text import CastError
from tests.support.fuzz_addresses import addresses
from tests.support.fuzz_budget import within_budget
from tests.support.fuzz_decoders import decoders
from tests.support.fuzz_expressions import conditions, patterns, templates
from tests.support.fuzz_headers import headers
from tests.support.fuzz_push import push
from tests.support.fuzz_signatures import signed_documents, signed_messages

LIMIT = 1_000_000
ZONE = ZoneInfo("Europe/Tallinn")
CHARSETS = (None, "utf-8", "iso-8859-1", "utf-7", "klingon", "us-ascii")


def decode(data: bytes) -> None:
    """Decode a reply. The first two bytes choose its declared type."""
    if len(data) < 2:
        return
    kind, more, rest = data[0] % 8, data[1], data[2:]
    body = ReplyBody.from_bytes(rest, proved=bool(more & 1))
    transport = CHARSETS[(more >> 1) % len(CHARSETS)]
    with contextlib.suppress(StreamError):
        if kind == 0:
            root = xml_parser.parse(body, transport=transport)
            assert depth(root) <= xml_parser.MAX_DEPTH
            xml_parser.parse_bytes(decoding.element_bytes(root))
        elif kind == 1:
            skeleton, records = xml_parser.stream_records(
                body, xml_parser.RecordPath(("r",)), transport=transport
            )
            pieces = list(records)
            assert len(pieces) == records.count
            assert skeleton.tag == "r" or records.has_nested_records or not skeleton.findall(".//r")
        elif kind == 2:
            value = decoding.read_json(body, "x", transport=transport, comments=bool(more & 64))
            assert same(json.loads(decoding.dump_json(value)), value)
        elif kind == 3:
            for row in decoding.read_csv(
                body,
                decoding.CsvFormat(separator=";" if more & 64 else ","),
                "x",
                transport=transport,
            ):
                decoding.dump_json(row)
        elif kind == 4:
            for _, file in containers.unzip(body, ("*",), LIMIT, "x"):
                assert file.size <= LIMIT
        elif kind == 5:
            assert containers.gunzip(body, LIMIT, "x").size <= LIMIT
        elif kind == 6:
            containers.decode_base64(body, LIMIT, "x")
        else:
            message = read_multipart(body, 'multipart/related; boundary="b"', "x")
            assert message.root in message.parts


def depth(root: etree._Element) -> int:
    deepest, level = 0, 0
    for event, _ in etree.iterwalk(root, events=("start", "end")):
        level += 1 if event == "start" else -1
        deepest = max(deepest, level)
    return deepest


def same(left: Any, right: Any) -> bool:
    """Compare two JSON values. 1 is not true, and -0.0 equals 0."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-15) or left == right
    return type(left) is type(right) and left == right


def select(data: bytes) -> None:
    """Apply an expression to a payload. A zero byte separates the two."""
    if len(data) < 2:
        return
    kind = "xml" if data[0] & 1 else "json"
    text, _, payload = data[1:].partition(b"\0")
    with contextlib.suppress(ExpressionError, EvaluationError, PayloadError, UnicodeDecodeError):
        node = xml_element(payload) if kind == "xml" else json_value(payload)
        found = compile_expression(kind, text.decode(), {"x": "urn:x"})
        for value in found.run(node, {"school": "S", "root": node}):
            assert value is not None
            text_of(value)


CASTS: tuple[Callable[[Any], Any], ...] = tuple(
    casting.compile_cast(cast, "Europe/Helsinki")
    for cast in (
        *(Cast(simple=name) for name in (
            "text", "collapse", "html", "date", "datetime", "epoch", "epoch_ms", "epoch_date", "epoch_ms_date", "integer", "decimal",
            "boolean", "language", "country", "duration", "upper", "lower", "base64",
        )),
        Cast(date=("%d.%m.%Y", "%Y%m%d", "%d %B %Y")), Cast(partial="first"), Cast(partial="last"), Cast(decimal=","), Cast(decimal="."),
        Cast(datetime=DateTime(format=("%d.%m.%Y %H:%M",), zone="Europe/Tallinn")), Cast(boolean=Boolean(true=("ja",), false=("nej",))),
        Cast(period={"K": "06-01", "S": "12-31"}), Cast(match=r"([A-Z]+)-\d+"),
    )
)  # fmt: skip


def casts(data: bytes) -> None:
    """Apply a cast to a text, a number or an element."""
    if len(data) < 2:
        return
    convert, how, rest = CASTS[data[0] % len(CASTS)], data[1] % 4, data[2:]
    text = (
        rest.decode("utf-8", "surrogatepass" if how == 3 else "replace")
        if how != 3 or valid(rest)
        else ""
    )
    value: Any = text
    if how == 1:
        value = number(text)
    elif how == 2:
        value = etree.Element("a")
        with contextlib.suppress(ValueError):
            value.text = text
    try:
        made = convert(value)
    except CastError as error:
        assert error.reason
        assert error.expected
        return
    assert isinstance(made, str | int | Decimal | date | datetime | bool)
    if isinstance(made, str):
        made.encode()
        assert not any(ord(character) < 32 and character not in "\t\n" for character in made), repr(
            made
        )
    if isinstance(made, Decimal):
        assert made.is_finite()
    if isinstance(made, datetime):
        assert made.utcoffset() is not None
    assert convert(value) == made
    changed = read_change_time(text, ZONE)
    assert changed is None or changed.earliest is not None


def valid(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def number(text: str) -> Any:
    try:
        return json.loads(text[:40])
    except (ValueError, RecursionError):
        return float("nan")


def language(data: bytes) -> None:
    """Read a connector file or a mapping table. Every finding must have a position in the file."""
    document = parse_yaml(data[1:] if data else b"", "x.yaml")
    findings = list(document.findings)
    if data and data[0] & 1:
        _, found = validate_document(Mapping, document)
    else:
        _, found = build_connector(document, partially=bool(data and data[0] & 2))
    lines = len(data.decode("utf-8", "replace").splitlines()) + data.count(b"\n") + 2
    for finding in (*findings, *found):
        assert finding.code
        assert finding.message
        assert (
            0
            <= finding.line
            <= lines
            + document.text.count("\x85")
            + document.text.count("\u2028")
            + document.text.count("\u2029")
        ), finding
    assert nested(document.value) <= MAX_DEPTH


def nested(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(nested, inner), default=0) if isinstance(value, dict | list) else 0


TARGETS: dict[str, Callable[[bytes], None]] = {
    "decode": within_budget(decode),
    "decoders": decoders,
    "push": push,
    "signed_messages": signed_messages,
    "signed_documents": signed_documents,
    "select": within_budget(select),
    "conditions": conditions,
    "templates": templates,
    "casts": within_budget(casts),
    "patterns": patterns,
    "addresses": addresses,
    "headers": headers,
    "language": within_budget(language),
}
