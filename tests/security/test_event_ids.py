"""Each event has an id of its own, so that a reader who skips the ids it has seen ends right."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gateway.harmonise.harmoniser import Harmoniser
from gateway.messages.cloudevents import content_digest, decode_raw, encode_raw_headers
from gateway.messages.event_ids import EventIds
from gateway.messages.notification import Notification, encode_notification
from gateway.messages.rejection import encode_rejection, encode_withdrawal
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pseudonym_keys import PseudonymKeys
from gateway.records import RawRecord, Rejected
from tests.support.hostile_registry import connector_at
from tests.support.memory_stream import stream

KEY = b"a key for tests only, never for people"
CONNECTOR = connector_at(
    "http://127.0.0.1:1",
    stream().replace(
        "title.en: t",
        "title.en: t, awarding_body.name.en: {const: A school}, awarding_body.country: "
        '{const: FI}, isced_f: {const: "0712"}, languages: {const: en}, '
        'learning_outcomes: {each: "[t]", map: {title.en: "@"}}',
    ),
    emits="qualification",
)


def processor(key: bytes = KEY) -> RecordProcessor:
    harmoniser = Harmoniser(CONNECTOR, None, pseudonym_key=b"k" * 32)
    return RecordProcessor(lambda _: harmoniser, b"", keys=PseudonymKeys((key,), (key,)))


class Topic:
    """The raw topic, with one partition."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def write(self, title: str | None, **more: Any) -> Any:
        body = None if title is None else msgspec.json.encode({"id": "1", "t": title})
        raw = RawRecord(
            connector="hostile", stream="awards", native_id="1", body=body, written_before=True
        )
        return self.add(msgspec.structs.replace(raw, **more))

    def add(self, raw: RawRecord, headers: list[tuple[str, bytes]] | None = None) -> Any:
        record = SimpleNamespace(
            topic="gateway.raw.v1",
            partition=0,
            offset=len(self.records),
            timestamp=1_770_000_000_000,
            key=raw.key.encode(),
            value=raw.body,
            headers=headers or encode_raw_headers(raw),
        )
        self.records.append(record)
        return record


def held_by_a_reader(outgoing: list[Any]) -> dict[tuple[str, bytes], bytes | None]:
    """Return what a reader holds that skips each id it has seen."""
    seen: set[bytes] = set()
    held: dict[tuple[str, bytes], bytes | None] = {}
    for message in outgoing:
        if (event := dict(message.headers)["ce_id"]) not in seen:
            held[message.topic, message.key] = message.value
        seen.add(event)
    return held


def published(records: list[Any]) -> list[Any]:
    process = processor()
    return [message for record in records for message in process(record).outgoing]


@pytest.mark.parametrize(
    "titles",
    [
        ["A", "B", "A"],
        ["A", None, "C", None],
        ["A", "B", "A", "B"],
        [None, "A", None, "A"],
        ["A", "A", None, "A", "B", "A", None],
        ["A", "B", "C", "A", "B", "C", "A"],
    ],
)
def test_a_reader_that_skips_known_ids_holds_the_last_content(titles: list[str | None]) -> None:
    topic = Topic()
    for title in titles:
        topic.write(title)
    outgoing = published(topic.records)
    assert {message.topic for message in outgoing if message.value} == {
        "europass.qualifications.v1"
    }
    last = {(message.topic, message.key): message.value for message in outgoing}
    assert held_by_a_reader(outgoing) == last
    ids = [dict(message.headers)["ce_id"] for message in outgoing]
    assert len(set(ids)) == len(ids)


def test_a_raw_record_that_is_processed_again_repeats_its_ids() -> None:
    record = Topic().write("A")
    first, second = published([record]), published([record])
    assert [message.headers for message in first] == [message.headers for message in second]


def test_a_replayed_raw_record_repeats_the_ids_of_its_documents() -> None:
    topic = Topic()
    first = topic.write("A")
    again = decode_raw(first.key, first.value, first.headers)
    second = topic.add(again)
    ids = [
        {dict(message.headers)["ce_id"] for message in published([record]) if message.value}
        for record in (first, second)
    ]
    assert ids[0]
    assert ids[0] == ids[1]


def test_the_content_id_is_the_same_for_the_same_content() -> None:
    topic = Topic()
    first, _, third = (published([topic.write(title)]) for title in ("A", "B", "A"))

    def contents(outgoing: list[Any]) -> list[bytes]:
        return [
            dict(message.headers)["ce_contentid"]
            for message in outgoing
            if message.value is not None
        ]

    assert contents(first) == contents(third)


def test_raw_records_of_an_earlier_release_give_unique_ids() -> None:
    topic = Topic()
    for title in ("A", "B", "A"):
        raw = RawRecord(
            connector="hostile",
            stream="awards",
            native_id="1",
            body=msgspec.json.encode({"id": "1", "t": title}),
        )
        headers = [
            (name, b"the same for the same content" if name == "ce_id" else value)
            for name, value in encode_raw_headers(raw)
            if name != "ce_contentid"
        ]
        topic.add(raw, headers)
    ids = [dict(message.headers)["ce_id"] for message in published(topic.records)]
    assert len(set(ids)) == len(ids) >= 3


def test_ids_on_two_topics_cannot_be_joined_without_the_key() -> None:
    content, raw_event = "c" * 32, "gateway.raw.v1-0-41"
    ids = EventIds(KEY)
    assert ids("esc.cards.v1", raw_event, content) != ids(
        "europass.credentials.v1", raw_event, content
    )
    assert ids("t", raw_event, content) != EventIds(b"another key")("t", raw_event, content)
    assert ids("t", raw_event, content) == EventIds(KEY)("t", raw_event, content)


def test_each_raw_record_has_another_event_id() -> None:
    raw = RawRecord(connector="c", stream="s", native_id="1", body=b"{}")
    first, second = dict(encode_raw_headers(raw)), dict(encode_raw_headers(raw))
    assert first["ce_id"] != second["ce_id"]
    assert first["ce_contentid"] == second["ce_contentid"]


def test_rejections_and_withdrawals_have_ids_of_their_own() -> None:
    raw = RawRecord(connector="c", stream="s", native_id="1", body=b"{}", event_id="e1")
    rejected = Rejected(stage="size", field="body", reason="too_large")
    messages = [
        encode_rejection(rejected, raw, topic="t", partition=-1, offset=-1) for _ in range(2)
    ]
    messages += [
        encode_rejection(rejected, raw, topic="t", partition=0, offset=offset) for offset in (1, 2)
    ]
    messages += [
        encode_withdrawal(msgspec.structs.replace(raw, event_id=event)) for event in ("e1", "e2")
    ]
    ids = [dict(message.headers)["ce_id"] for message in messages]
    assert len(set(ids)) == len(ids)


def test_two_notifications_at_one_moment_have_different_ids() -> None:
    first = Notification(
        kind="paused",
        connector="c",
        stream="s",
        text="by A",
        reason="",
        at="2026-01-01T00:00:00Z",
        worker="w",
        owner=None,
    )
    second = msgspec.structs.replace(first, text="by B")
    ids = {dict(encode_notification(one).headers)["ce_id"] for one in (first, second)}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": "x\x00b\x00y"}, {"a": "x", "b": "y"}),
        ({"a": "x\x02"}, {"a": "x\x02\x02"}),
        ({"a": "x\x020"}, {"a": "x\x00"}),
        ({"a": "\x00"}, {"a": "\x01"}),
    ],
)
def test_contexts_that_differ_have_different_digests(
    one: dict[str, str], other: dict[str, str]
) -> None:
    raw = RawRecord(connector="c", stream="s", native_id="1", body=b"{}")
    digests = {content_digest(msgspec.structs.replace(raw, context=c)) for c in (one, other)}
    assert len(digests) == 2
    kind = msgspec.structs.replace(raw, context={"a": "x\x01k"})
    assert content_digest(kind) != content_digest(
        msgspec.structs.replace(raw, context={"a": "x"}, kind="k")
    )
