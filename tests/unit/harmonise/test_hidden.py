"""Check that both harmonising methods find an invisible character in every spelling."""

from __future__ import annotations

import pytest

from bench.mapper import JSON_FILE, XML_FILE, harmoniser, json_raws, xml_raws
from gateway.harmonise.values.payload import may_hold_invisible_text
from gateway.records import Accepted, RawRecord, Rejected

JSON, XML = harmoniser(JSON_FILE), harmoniser(XML_FILE)
(JSON_RAW, *_), (XML_RAW, *_) = json_raws(), xml_raws()


def with_title(raw: RawRecord, written: bytes) -> RawRecord:
    return RawRecord(
        connector=raw.connector,
        stream=raw.stream,
        native_id=raw.native_id,
        body=(raw.body or b"").replace(b"Bachelor of Science", b"Bachelor" + written, 1),
        media_type=raw.media_type,
    )


@pytest.mark.parametrize(
    "written",
    [
        b"\x7f",
        b"\\u007f",
        b"\\u0000",
        b"\\u001f",
        b"\\b",
        "\u202e".encode(),
        b"\\u202e",
        "\x85".encode(),
    ],
)
def test_invisible_text_in_json_is_found(written: bytes) -> None:
    raw = with_title(JSON_RAW, written)
    outcome = JSON(raw)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "control_character"
    assert outcome == JSON.harmonise_with_rules(raw)


@pytest.mark.parametrize(
    "written", [b"\x7f", b"&#127;", b"&#x7F;", "\u202e".encode(), b"&#x202e;", "\x85".encode()]
)
@pytest.mark.parametrize("head", [b"", b'<?xml version="1.0"?>', b"\xef\xbb\xbf", b"\n"])
def test_invisible_text_in_xml_is_found(head: bytes, written: bytes) -> None:
    raw = with_title(XML_RAW, written)
    raw = RawRecord(
        **{name: getattr(raw, name) for name in raw.__struct_fields__}
        | {"body": head + (raw.body or b"")}
    )
    outcome = XML(raw)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "control_character"
    assert outcome == XML.harmonise_with_rules(raw)


@pytest.mark.parametrize(
    "charset", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp037"]
)
def test_charset_that_hides_marks_is_not_trusted(charset: str) -> None:
    text = (XML_RAW.body or b"").decode().replace("Bachelor", "Bache\x7flor")
    assert may_hold_invisible_text(
        text.encode(charset)
        if charset != "utf-7"
        else f'<?xml version="1.0" encoding="utf-7"?>{text}'.encode("utf-7"),
        xml=True,
    )


def test_visible_texts_stay_unchanged() -> None:
    for harmonise, raw, written in (
        (JSON, JSON_RAW, b'\\"of\\" Science'),
        (XML, XML_RAW, b"&amp; Science"),
        (XML, XML_RAW, b"\t\r\nx"),
    ):
        changed = with_title(raw, written)
        outcome = harmonise(changed)
        assert isinstance(outcome, Accepted), outcome
        assert outcome == harmonise.harmonise_with_rules(changed)
    assert not may_hold_invisible_text(JSON_RAW.body or b"", xml=False)
    assert not may_hold_invisible_text(XML_RAW.body or b"", xml=True)


@pytest.mark.parametrize("head", [b"", b"<!--x-->", b'<?xml version="1.0"?>', b"\n"])
def test_doctype_is_detected(head: bytes) -> None:
    raw = RawRecord(
        **{name: getattr(XML_RAW, name) for name in XML_RAW.__struct_fields__}
        | {"body": head + b"<!DOCTYPE award>" + (XML_RAW.body or b"")}
    )
    outcome = XML(raw)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "doctype"
