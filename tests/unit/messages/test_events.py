"""Check the CloudEvents headers of raw records and documents."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.messages.cloudevents import (
    content_digest,
    content_id,
    decode_raw,
    encode_document_headers,
    encode_raw_headers,
)
from gateway.messages.event_ids import EventIds
from gateway.messages.rejection import encode_rejection
from gateway.records import Document, Provenance, RawRecord, Rejected

WORDS = st.text(st.characters(codec="utf-8"), max_size=20)
RAWS = st.builds(
    RawRecord,
    connector=st.from_regex(r"[a-z]{2}-[a-z0-9-]{1,12}", fullmatch=True),
    stream=st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True),
    native_id=WORDS,
    body=st.none() | st.binary(max_size=50),
    media_type=st.sampled_from(["application/json", "application/xml"]),
    kind=WORDS,
    context=st.dictionaries(WORDS, WORDS, max_size=3),
    changed_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    version=WORDS,
)


@given(RAWS)
def test_raw_record_round_trips(raw: RawRecord) -> None:
    read = decode_raw(raw.key.encode(), raw.body, encode_raw_headers(raw))
    assert read.event_id
    assert replace(read, event_id="") == raw
    assert decode_raw(raw.key.encode(), raw.body, encode_raw_headers(read)) == read


@given(RAWS)
def test_headers_follow_cloudevents(raw: RawRecord) -> None:
    headers = dict(encode_raw_headers(raw))
    assert headers["ce_specversion"] == b"1.0"
    assert all(headers[name] for name in ("ce_id", "ce_source", "ce_type", "content-type"))
    assert all(name == name.lower() for name in headers)


def test_content_id_follows_the_content() -> None:
    assert content_id("a", b"b", None) == content_id("a", b"b", None)
    assert content_id("ab", b"c") != content_id("a", b"bc")
    assert content_id("a", None) != content_id("a", b"")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        (
            {
                "written_before": True,
                "media_type": "application/xml",
                "changed_at": datetime(2026, 1, 3, tzinfo=UTC),
            },
            True,
        ),
        ({"body": b"{} "}, False),
        ({"body": None}, False),
        ({"version": "2"}, False),
        ({"kind": "course"}, False),
        ({"context": {"parent": "2"}}, False),
        ({"native_id": "8"}, False),
    ],
)
def test_raw_content_id_covers_everything_rules_read(change: dict[str, object], same: bool) -> None:
    raw = RawRecord(
        connector="xx-registry",
        stream="degrees",
        native_id="7",
        body=b"{}",
        version="1",
        context={"parent": "1"},
    )
    other = replace(raw, **change)
    assert (
        dict(encode_raw_headers(raw))["ce_contentid"]
        == dict(encode_raw_headers(other))["ce_contentid"]
    ) is same
    written = replace(other, event_id="e")
    assert encode_raw_headers(written, content_digest(other)) == encode_raw_headers(written)


def test_document_headers_name_the_source() -> None:
    raw = RawRecord(
        connector="xx-registry",
        stream="degrees",
        native_id="7",
        body=b"{}",
        changed_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    document = Document(
        topic="t",
        key="k",
        value=b"{}",
        type="eu.europass.credential.changed.v1",
        subject="k",
        schema="https://example.org/s.json",
    )
    headers = dict(
        encode_document_headers(
            document,
            raw,
            Provenance(connector="xx-registry", stream="degrees", config_digest="abc"),
            EventIds(b"k"),
        )
    )
    assert headers["ce_source"] == b"/connectors/xx-registry/degrees"
    assert headers["ce_time"] == b"2026-01-02T00:00:00Z"
    assert msgspec.json.decode(headers["provenance"])["config_digest"] == "abc"


def test_rejection_names_the_position_not_the_payload() -> None:
    raw = RawRecord(
        connector="xx-registry", stream="degrees", native_id="7", body=b'{"name":"Canary Person"}'
    )
    rejected = Rejected(
        stage="map", field="title", reason="missing", config_digest="c1", tables_digest="t1"
    )
    out = encode_rejection(rejected, raw, topic="gateway.raw.v1", partition=2, offset=41)
    value = msgspec.json.decode(out.value or b"")
    assert value["raw"] == {"topic": "gateway.raw.v1", "partition": 2, "offset": 41}
    assert (value["stage"], value["field"], value["reason"], value["config_digest"]) == (
        "map",
        "title",
        "missing",
        "c1",
    )
    assert b"Canary" not in (out.value or b"") + b"".join(header for _, header in out.headers)
    again = encode_rejection(rejected, raw, topic="gateway.raw.v1", partition=2, offset=41)
    assert dict(again.headers)["ce_id"] == dict(out.headers)["ce_id"]
    nowhere = {
        dict(
            encode_rejection(
                rejected,
                RawRecord(connector="c", stream="s", native_id=one, body=b""),
                topic="t",
                partition=-1,
                offset=-1,
            ).headers
        )["ce_id"]
        for one in "ab"
    }
    assert len(nowhere) == 2
