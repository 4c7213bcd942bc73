"""Two platforms cannot join a person's records by their times.

A registry may change all records of a person in one transaction, and the gateway may publish them
in one batch. Catalogue entries keep exact times.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import msgspec
import pytest
from aiokafka import ConsumerRecord

from gateway.messages.cloudevents import encode_document_headers, encode_raw_headers, has_exact_time
from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.topics import PERSONAL_DOCUMENT_TOPICS, QUALIFICATIONS_TOPIC, TOPICS
from gateway.pipeline.record_processor import RecordProcessor, build_record_processor
from gateway.records import RawRecord
from tests.end_to_end.test_audiences import PERSONS, fleet, raws, settings
from tests.support import samples

__all__ = ["fleet"]

NUMBER = next(iter(PERSONS))
READ_AT = int(datetime(2026, 11, 3, 15, 1, 2, 345000, tzinfo=UTC).timestamp() * 1000)
CHANGES = {
    "with microseconds": datetime(2026, 11, 3, 14, 7, 31, 482913, tzinfo=UTC),
    "with milliseconds": datetime(2026, 11, 3, 14, 7, 31, 482000, tzinfo=UTC),
    "to the second": datetime(2026, 11, 3, 14, 7, 31, tzinfo=UTC),
    "to the minute": datetime(2026, 11, 3, 14, 7, tzinfo=UTC),
    "east of Greenwich": datetime(
        2026, 11, 3, 1, 7, 31, 482913, tzinfo=timezone(timedelta(hours=2))
    ),
    "west of Greenwich": datetime(2026, 11, 3, 23, 30, tzinfo=timezone(timedelta(hours=-5))),
    "at midnight": datetime(2026, 11, 3, tzinfo=UTC),
    "the last microsecond of a day": datetime(2026, 11, 3, 23, 59, 59, 999999, tzinfo=UTC),
}
A_TIME = re.compile(r"\d{2}:\d{2}(?::\d{2})?(?:\.\d+)?")


def processed(
    processor: RecordProcessor, raw: RawRecord, *, offset: int, at: int = READ_AT
) -> list[OutgoingRecord]:
    record = ConsumerRecord(
        "gateway.raw.v1",
        0,
        offset,
        at,
        0,
        raw.key.encode(),
        raw.body,
        None,
        0,
        0,
        encode_raw_headers(raw),
    )
    return processor(record).outgoing


def told(
    changed_at: datetime | None, number: str, consent: str, processor: RecordProcessor
) -> dict[str, list[OutgoingRecord]]:
    """Return the records that each platform receives about a person."""
    by_platform: dict[str, list[OutgoingRecord]] = {"europass": [], "esc": []}
    for offset, raw in enumerate(raws(number, consent)):
        changed = msgspec.structs.replace(raw, changed_at=changed_at)
        for outgoing in processed(processor, changed, offset=offset):
            by_platform[outgoing.topic.partition(".")[0]].append(outgoing)
    return by_platform


def values_of(outgoing: OutgoingRecord) -> set[str]:
    """Return every text of a record: its key, its headers, its time and the texts of its value."""
    texts = {outgoing.key.decode(), str(outgoing.timestamp)}
    for _, value in outgoing.headers:
        texts.add(value.decode())
        texts.update(re.findall(r'"((?:[^"\\]|\\.)*)"', value.decode()))
    return texts | set(re.findall(r'"((?:[^"\\]|\\.)*)"', (outgoing.value or b"").decode()))


@pytest.fixture(scope="module")
def processor(fleet) -> RecordProcessor:
    return build_record_processor(settings(), fleet.harmonisers.get)


def test_personal_topics_are_those_that_platforms_read():
    assert {
        "europass.credentials.v1",
        "esc.student-status.v1",
        "esc.cards.v1",
        "esc.credential-pointers.v1",
    } == PERSONAL_DOCUMENT_TOPICS
    assert {topic.name for topic in TOPICS} >= PERSONAL_DOCUMENT_TOPICS


@pytest.mark.parametrize("consent", ["true", "false"])
@pytest.mark.parametrize("changed_at", CHANGES.values(), ids=CHANGES)
def test_no_value_joins_the_platforms_when_a_registry_changes_all_records_at_once(
    processor: RecordProcessor, changed_at: datetime, consent: str
):
    """Another person, changed and read at another moment of the same days, has the same values."""
    [number, other_number] = PERSONS
    person = told(changed_at, number, consent, processor)
    day = changed_at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    other = told(
        day + timedelta(hours=11, minutes=3, microseconds=77), other_number, consent, processor
    )
    distinctive = {
        platform: set().union(*map(values_of, records))
        - set().union(*map(values_of, other[platform]))
        for platform, records in person.items()
    }
    shared = distinctive["europass"] & distinctive["esc"]
    agreed = {PERSONS[number][3]} | {
        outgoing.key.decode()
        for outgoing in person["europass"]
        if consent == "true" or outgoing.value is None
    }
    if consent == "false":
        # The stage writes no tombstone where nothing stood: see test_holders_without_consent.py.
        agreed |= {one.key.decode() for one in person["esc"] if one.value is None}
    assert shared <= agreed


@pytest.mark.parametrize("changed_at", [*CHANGES.values(), None], ids=[*CHANGES, "not stated"])
def test_records_of_persons_state_no_time_of_day(
    processor: RecordProcessor, changed_at: datetime | None
):
    person = told(changed_at, NUMBER, "true", processor)
    records = person["europass"] + person["esc"]
    assert len(records) == 3
    for outgoing in records:
        texts = [value.decode() for _, value in outgoing.headers] + [outgoing.value.decode()]
        times = {time for text in texts for time in re.findall(r"\d{4}-\d\d-\d\dT([\d:.]+)", text)}
        assert times <= {"00:00:00"}, (outgoing.topic, times)
        assert outgoing.timestamp % 86_400_000 == 0
        assert outgoing.timestamp <= READ_AT


def test_deletions_of_persons_state_no_time_of_day(processor: RecordProcessor):
    for stream in ("degrees", "enrolments"):
        gone = RawRecord(
            connector="demo-soap",
            stream=stream,
            native_id=NUMBER,
            body=None,
            changed_at=CHANGES["with microseconds"],
        )
        for outgoing in processed(processor, gone, offset=9):
            assert dict(outgoing.headers)["ce_time"] == b"2026-11-03T00:00:00Z"
            assert outgoing.timestamp % 86_400_000 == 0


def test_event_ids_are_unique_within_a_day_and_reveal_no_time(fleet):
    processor = build_record_processor(settings(), fleet.harmonisers.get)
    enrolment = raws(NUMBER, "true")[1]
    at = [READ_AT, READ_AT + 1, READ_AT + 1000]
    documents = [
        json.loads(processed(processor, enrolment, offset=offset, at=moment)[0].value)
        for offset, moment in enumerate(at)
    ]
    assert len({document["eventId"] for document in documents}) == len(at)
    assert all(a | {"eventId": ""} == b | {"eventId": ""} for a, b in pairwise(documents))
    other_key = build_record_processor(
        settings(pseudonym_key="another key for tests only, never for people"),
        fleet.harmonisers.get,
    )
    again = json.loads(processed(other_key, enrolment, offset=0)[0].value)
    assert again["eventId"] != documents[0]["eventId"], "an id without a key can be searched for"
    same = json.loads(processed(processor, enrolment, offset=0)[0].value)
    assert same["eventId"] == documents[0]["eventId"]


@pytest.mark.parametrize(
    ("topic", "ce_time", "at", "exact"),
    [
        ("europass.credentials.v1", b"2026-11-03T14:07:31Z", 0, True),
        ("europass.credentials.v1", b"2026-11-03T00:00:00.000001Z", 0, True),
        ("europass.credentials.v1", b"2026-11-03T00:00:00Z", 1, True),
        ("europass.credentials.v1", b"2026-11-03T00:00:00Z", 0, False),
        ("esc.student-status.v1", None, 77, True),
        ("esc.student-status.v1", None, 86_400_000, False),
        ("europass.qualifications.v1", b"2026-11-03T14:07:31Z", 1, False),
    ],
)
def test_documents_of_earlier_releases_are_found(
    topic: str, ce_time: bytes | None, at: int, exact: bool
):
    """A renormalisation publishes them again, with days."""
    headers = [("ce_time", ce_time)] if ce_time else []
    record = ConsumerRecord(topic, 0, 1, at, 0, b"k", b"{}", None, 0, 0, headers)
    assert has_exact_time(record) is exact


def test_catalogue_entries_keep_exact_times():
    from gateway.messages.event_ids import EventIds
    from gateway.render.render import Rendered, render

    changed_at = CHANGES["with microseconds"]
    rendered = render(
        samples.accepted(samples.RECORDS["qualification"]),
        samples.keys("qualification"),
        country="IE",
        at=samples.AT,
    )
    assert isinstance(rendered, Rendered)
    [document] = rendered.documents
    assert document.topic == QUALIFICATIONS_TOPIC
    raw = RawRecord(connector="x", stream="s", native_id="1", body=b"{}", changed_at=changed_at)
    headers = dict(encode_document_headers(document, raw, None, EventIds(b"k")))
    assert headers["ce_time"] == b"2026-11-03T14:07:31.482913Z"
