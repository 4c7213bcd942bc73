"""Change times are read as standards or the connector say, and a wrong one stops nothing."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.check import check_document
from gateway.cli.status import status_data
from gateway.config.change_times import ChangeTime
from gateway.config.yaml.document import parse_yaml
from gateway.errors import StreamError, StreamHalted
from gateway.fetch import TimeWindow, read_pages
from gateway.fetch.change_times import FUTURE_TOLERANCE, ChangeTimeReader
from gateway.fetch.registry_client import RegistryClient
from gateway.harmonise.harmoniser import Harmoniser
from gateway.messages.cloudevents import decode_raw, encode_raw_headers
from gateway.messages.status import StreamStatus, WorkerStatus
from gateway.observability import metrics
from gateway.observability.metric_readings import MetricReadings
from gateway.pipeline.page_writer import PollResult
from gateway.records import Accepted, RawRecord
from gateway.worker.status_reporter import record_counts
from tests.support.hostile_registry import connector_at
from tests.support.memory_stream import NOW, MemoryStreamState, item, poll_route, stream
from tests.support.one_stream import KEY, TABLES, connector
from tests.support.raw_http_server import ReceivedRequest, Server, reply

FIELD = "cursor: {field: changed_at, start: 2020-01-01}"
SINCE = 'since: "{since:iso}", person: p1'
JULY = datetime(2024, 7, 1, 10, tzinfo=UTC)
DAY_IN_TALLINN = datetime(2024, 6, 30, 21, tzinfo=UTC)


def reader(conversion: Any = None, *, zone: str = "Europe/Tallinn") -> ChangeTimeReader:
    rule = {"from": "at"} if conversion is None else {"from": "at", "as": conversion}
    return ChangeTimeReader(ChangeTime.model_validate(rule), zone, ("-",), lambda: NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-07-01T10:00:00Z", JULY),
        ("2024-07-01t10:00:00z", JULY),
        ("2024-07-01T12:00:00+02:00", JULY),
        ("2024-07-01T12:00:00+02", JULY),
        ("2024-07-01T12:00+0200", JULY),
        ("2024-07-01 12:00:00 +0200", JULY),
        ("2024-07-01T13:00:00", JULY),
        ("2024-07-01T13:00", JULY),
        ("2024-07-01T12:00:00+02:00[Europe/Brussels]", JULY),
        ("20240701T100000Z", JULY),
        ("20240701T1300", JULY),
        ("2024-W27-1T10:00:00Z", JULY),
        ("2024-07-01T10:00:00.123456789Z", JULY.replace(microsecond=123456)),
        ("2024-07-01T10:00:00,5Z", JULY.replace(microsecond=500000)),
        ("2024-06-30T24:00:00Z", datetime(2024, 7, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2024-07-01", DAY_IN_TALLINN),
        ("20240701", DAY_IN_TALLINN),
        ("2024-W27-1", DAY_IN_TALLINN),
        ("2024-07-01Z", datetime(2024, 7, 1, tzinfo=UTC)),
        ("2024-07-01+02:00", datetime(2024, 6, 30, 22, tzinfo=UTC)),
        ("2024-07-01-11:00", datetime(2024, 7, 1, 11, tzinfo=UTC)),
        ("Mon, 01 Jul 2024 10:00:00 GMT", JULY),
        ("Mon, 1 Jul 2024 12:00:00 +0200", JULY),
        ("1 Jul 2024 10:00 UTC", JULY),
        ("Mon Jul  1 10:00:00 2024", JULY),
        ("0001-01-01T00:00:00", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_time_in_a_standard_form_is_read(text: str, expected: datetime) -> None:
    assert reader().read(text).earliest == expected
    assert reader().read(text).problem == ""


@pytest.mark.parametrize(
    "text",
    [
        "01.07.2024 10:00",
        "01.07.2024",
        "01/07/2024",
        "07/13/2024 10:00",
        "2024/07/01",
        "01-07-2024",
        "1719828000",
        "1719828000000",
        "2024070110",
        "20240701100000",
        "20241301",
        "/Date(1719828000000)/",
        "01.07.24",
        "24-07-01",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Mon Jul 01 10:00:00 CEST 2024",
        "2024-07-01T10:00:00 CEST",
        "2024-07-01T24:00:01Z",
        "2024-07-01T10:00:61Z",
        "2024-07-01T10:07:60Z",
        "2024-02-30T10:00:00Z",
        "2024-02-30",
        "2024-07",
        "2024",
        "٢٠٢٤-07-01",
        "yesterday",
        "true",
        "+12024-07-01T10:00:00Z",
        "9" * 5000,
    ],
)
def test_time_in_another_form_is_a_problem(text: str) -> None:
    times = reader()
    assert times.read(text) == (None, None, "unreadable")
    assert times.unreadable_count == 1


@pytest.mark.parametrize("text", ["", "-"])
def test_time_that_is_not_stated_is_no_problem(text: str) -> None:
    assert reader().read(text) == (None, None, "")


@pytest.mark.parametrize(
    ("conversion", "text", "expected"),
    [
        ({"datetime": {"format": "%d.%m.%Y %H:%M"}}, "01.07.2024 13:00", JULY),
        ({"datetime": {"format": "%d.%m.%Y %H:%M", "zone": "UTC"}}, "01.07.2024 10:00", JULY),
        ({"datetime": {"format": "%d/%m/%Y %H:%M:%S"}}, "01/07/2024 13:00:00", JULY),
        ({"datetime": {"format": "%m/%d/%Y %I:%M %p"}}, "07/01/2024 01:00 PM", JULY),
        ({"datetime": {"format": ["%d.%m.%Y", "%d.%m.%Y %H:%M"]}}, "01.07.2024 13:00", JULY),
        ({"datetime": {"format": "%Y%m%d%H"}}, "2024070113", JULY),
        ({"datetime": {"format": "%d.%m.%y %H:%M %z"}}, "01.07.24 12:00 +0200", JULY),
        ({"datetime": {"format": "%d %b %Y %H:%M %Z"}}, "01 Jul 2024 10:00 GMT", JULY),
        ({"datetime": {"zone": "Europe/Brussels"}}, "2024-07-01T12:00:00", JULY),
        ({"date": "%d.%m.%Y"}, "01.07.2024", DAY_IN_TALLINN),
        ("datetime", "2024-07-01T10:00:00Z", JULY),
        ("epoch", "1719828000", JULY),
        ("epoch", "1719828000.5", JULY.replace(microsecond=500000)),
        ("epoch", "0", datetime(1970, 1, 1, tzinfo=UTC)),
        ("epoch_ms", "1719828000000", JULY),
        ([{"match": r"/Date\((\d+)(?:[+-]\d{4})?\)/"}, "epoch_ms"], "/Date(1719828000000)/", JULY),
        ([{"match": r"changed (.*)"}], "changed 2024-07-01T10:00:00Z", JULY),
    ],
)
def test_time_in_a_declared_form_is_read(conversion: Any, text: str, expected: datetime) -> None:
    assert reader(conversion).read(text).earliest == expected


@pytest.mark.parametrize(
    ("conversion", "text"),
    [
        ("epoch", "1719828000000000"),
        ("epoch", "2024-07-01"),
        ("epoch_ms", "1,7e12"),
        ({"datetime": {"format": "%d.%m.%Y %H:%M"}}, "2024-07-01T10:00:00Z"),
        ({"datetime": {"format": "%d.%m.%Y %H:%M"}}, "31.06.2024 10:00"),
        ({"datetime": {"format": "%d %b %Y %H:%M %Z"}}, "01 Jul 2024 10:00 CEST"),
        ([{"match": r"x(.*)"}, "epoch"], "1719828000"),
    ],
)
def test_time_in_another_form_than_declared_is_a_problem(conversion: Any, text: str) -> None:
    assert reader(conversion).read(text).problem == "unreadable"


@pytest.mark.parametrize(
    "conversion", ["integer", "epoch_date", {"decimal": ","}, ["epoch", "text"], ["html", "epoch"]]
)
def test_conversion_that_gives_no_time_is_refused(conversion: Any) -> None:
    with pytest.raises(ValueError, match="does not lead to a time of change; end with one of date"):
        reader(conversion)


def test_local_time_that_occurs_twice_or_never_is_open() -> None:
    twice = reader(zone="Europe/Brussels").read("2026-10-25T02:30:00")
    assert twice[:2] == (
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    )
    never = reader(zone="Europe/Brussels").read("2025-03-30T02:30:00")
    assert never[:2] == (
        datetime(2025, 3, 30, 0, 30, tzinfo=UTC),
        datetime(2025, 3, 30, 1, 30, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ((NOW + FUTURE_TOLERANCE).isoformat(), ""),
        ((NOW + FUTURE_TOLERANCE + timedelta(seconds=1)).isoformat(), "in_future"),
        ("2062-07-02T10:00:00Z", "in_future"),
        ("9999-12-31", "in_future"),
        ("9999-12-31T23:59:59", "in_future"),
        ("9999-12-31T24:00:00Z", "in_future"),
    ],
)
def test_time_in_the_future_is_a_problem(text: str, problem: str) -> None:
    assert reader().read(text).problem == problem


class Registry:
    """A registry that answers questions about changes since a time, compared as text."""

    def __init__(self, *items: dict[str, object]) -> None:
        self.items = list(items)
        self.since: list[str] = []

    def __call__(self, _path: str, query: dict[str, str]) -> Any:
        self.since.append(query.get("since", ""))
        return {"items": self.items}


def declared(text: str, conversion: str) -> str:
    return text.replace("changed_at: changed", f"changed_at: {{from: changed, as: {conversion}}}")


def test_stream_that_can_read_no_change_time_halts() -> None:
    registry, state = Registry(item(1, "01.02.2026 10:00"), item(2, "01.02.2026 10:01")), None
    state = MemoryStreamState()
    error = poll_route(registry, stream(SINCE, FIELD), state)
    assert isinstance(error, StreamHalted)
    assert error.reason == "CHANGED_AT_UNREADABLE"
    assert "changed looks like '99.99.9999 99:99'" in str(error)
    assert "%d.%m.%Y %H:%M" in str(error)
    assert state.cursor is None
    result = poll_route(
        registry,
        declared(stream(SINCE, FIELD), '{datetime: {format: "%d.%m.%Y %H:%M"}}'),
        state,
    )
    assert isinstance(result, PollResult)
    assert state.published == {"1", "2"}
    assert state.cursor == b'{"since":"2026-02-01T10:01:00Z"}'


@pytest.mark.parametrize("text", ["2024070110", "1719828000", "01/07/2024", "soon"])
def test_stream_with_one_unreadable_record_halts(text: str) -> None:
    error = poll_route(Registry(item(1, text)), stream(SINCE, FIELD), MemoryStreamState())
    assert isinstance(error, StreamHalted)
    assert error.reason == "CHANGED_AT_UNREADABLE"
    assert text not in str(error)


@pytest.mark.parametrize("cursor", ["cursor: scan", "cursor: {window: 90d, start: 2026-01-01}"])
def test_stream_that_does_not_continue_from_change_times_keeps_its_records(cursor: str) -> None:
    state = MemoryStreamState()
    query = 'since: "{since:iso}"' if "window" in cursor else ""
    result = poll_route(Registry(item(1, "01.02.2026 10:00")), stream(query, cursor), state)
    assert isinstance(result, PollResult)
    assert state.published == {"1"}


def test_single_unreadable_change_time_stops_nothing() -> None:
    registry = Registry(item(1, "2026-02-01T10:00:00Z"), item(2, "31.02.2026"), item(3, ""))
    state = MemoryStreamState()
    result = poll_route(registry, stream(SINCE, FIELD), state)
    assert isinstance(result, PollResult)
    assert state.published == {"1", "2", "3"}
    assert state.cursor == b'{"since":"2026-02-01T10:00:00Z"}'


def test_person_with_an_unreadable_change_time_is_read_like_the_others() -> None:
    def route(_path: str, query: dict[str, str]) -> Any:
        changed = {"p1": "2026-02-01T10:00:00Z", "p2": "31.02.2026"}[query["person"]]
        return {"items": [item(f"{query['person']}-{n}", changed) for n in (1, 2)]}

    state = MemoryStreamState()
    loop = "for_each: {person: {in: {values: [p1, p2]}}}"
    text = stream('since: "{since:iso}", person: "{person}"', f"{FIELD}\n{loop}")
    result = poll_route(route, text, state)
    assert isinstance(result, PollResult)
    assert not result.skipped
    assert state.published == {"p1-1", "p1-2", "p2-1", "p2-2"}


@pytest.mark.parametrize("future", ["2062-07-02T10:00:00Z", "9999-12-31", "2026-03-01T13:00:00Z"])
def test_record_from_the_future_does_not_stop_the_stream(future: str) -> None:
    registry = Registry(item("f1", "2026-02-20T10:00:00Z"), item("f2", future))
    state = MemoryStreamState()
    poll_route(registry, stream(SINCE, FIELD), state)
    assert state.published == {"f1", "f2"}
    registry.items.append(item("f3", "2026-03-01T12:05:00Z"))
    poll_route(registry, stream(SINCE, FIELD), state)
    assert state.published == {"f1", "f2", "f3"}
    assert registry.since[1] <= "2026-02-20T10:00:00Z"


def test_placeholder_date_does_not_move_the_cursor() -> None:
    state = MemoryStreamState()
    registry = Registry(item(1, "0001-01-01T00:00:00"), item(2, "1970-01-01T00:00:00Z"))
    for _ in range(2):
        assert isinstance(poll_route(registry, stream(SINCE, FIELD), state), PollResult)
    assert registry.since == ["2020-01-01T00:00:00Z"] * 2


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("2026-02-20T10:00:00Z", "2026-02-20T09:59:59Z"),
        ("2026-02-20T10:00:00.250Z", "2026-02-20T10:00:00.250000Z"),
        ("2026-02-20", "2026-02-19T00:00:00Z"),
        ("2026-02-20+02:00", "2026-02-18T21:59:59Z"),
    ],
)
def test_poll_overlaps_by_the_unit_of_the_change_times(text: str, since: str) -> None:
    registry, state = Registry(item(1, text)), MemoryStreamState()
    for _ in range(2):
        poll_route(registry, stream(SINCE, FIELD), state)
    assert registry.since[1] == since


def test_change_in_the_second_hour_is_found_when_clocks_go_back() -> None:
    """The registry compares local times as text, and one hour occurs twice."""
    stock = [item(1, "2025-10-26T02:50:00")]

    def route(_path: str, query: dict[str, str]) -> Any:
        return {"items": [one for one in stock if str(one["changed"]) >= query["since"]]}

    cursor = "cursor: {field: changed_at, start: 2020-01-01, zone: Europe/Brussels}"
    text = stream('since: "{since:%Y-%m-%dT%H:%M:%S}"', f"{cursor}\nzone: Europe/Brussels")
    state = MemoryStreamState()
    poll_route(route, text, state)
    stock.append(item(2, "2025-10-26T02:10:00"))
    poll_route(route, text, state)
    assert state.published == {"1", "2"}


def test_changes_after_the_clock_of_the_registry_was_set_back_are_found() -> None:
    stock = [item(1, "2026-03-01T11:59:00Z")]
    clock = [NOW]

    def route(_path: str, query: dict[str, str]) -> Any:
        found = [one for one in stock if str(one["changed"]) >= query["since"]]

        async def answer(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
            body = json.dumps({"items": found}).encode()
            date = clock[0].strftime("%a, %d %b %Y %H:%M:%S GMT")
            reply(writer, body, content_type="application/json", date=date)

        return answer

    state = MemoryStreamState()
    poll_route(route, stream(SINCE, FIELD), state)
    for number in (2, 3):  # Set back by an hour; ten minutes pass between two polls.
        changed = NOW + timedelta(minutes=10 * number - 15) - timedelta(hours=1)
        stock.append(item(number, changed.strftime("%Y-%m-%dT%H:%M:%SZ")))
        clock[0] = NOW + timedelta(minutes=10 * (number - 1)) - timedelta(hours=1)
        poll_route(route, stream(SINCE, FIELD), state)
    poll_route(route, stream(SINCE, FIELD), state)
    assert state.published == {"1", "2", "3"}


def raw_of(changed: str) -> RawRecord:
    """Return the raw record that a stream reads from a registry."""

    async def answer(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        body = json.dumps({"items": [item(1, changed), item(2)]}).encode()
        reply(writer, body, content_type="application/json")

    async def run() -> RawRecord:
        async with Server(answer) as server:
            made = connector_at(server.url, stream("", "cursor: scan"))
            async with RegistryClient(
                made, {"k": b""}.__getitem__, "production", now=lambda: NOW
            ) as client:
                window = TimeWindow(None, NOW)
                pages = [page async for page in read_pages(made, "awards", window, client)]
                return pages[0].records[0]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ("01.02.2026", "changed_at_unreadable"),
        ("2062-07-02T10:00:00Z", "changed_at_in_future"),
        ("2026-02-01", ""),
    ],
)
def test_record_with_a_change_time_problem_carries_an_issue(changed: str, code: str) -> None:
    raw = raw_of(changed)
    read_again = decode_raw(raw.key.encode(), raw.body, encode_raw_headers(raw))
    assert read_again.change_time_problem == code.removeprefix("changed_at_")
    body = json.dumps({"id": "1", "name": "Statistics", "day": "2024-01-01"}).encode()
    harmoniser = Harmoniser(connector(""), TABLES, pseudonym_key=KEY)
    record = RawRecord(
        connector="office",
        stream="awards",
        native_id="1",
        body=body,
        changed_at=read_again.changed_at,
        change_time_problem=read_again.change_time_problem,
    )
    outcome = harmoniser(record)
    assert isinstance(outcome, Accepted)
    assert [one.code for one in outcome.provenance.issues if one.field == "changed_at"] == (
        [code] if code else []
    )


def test_status_shows_the_problems_with_change_times() -> None:
    metrics.ISSUES.labels("edge", "awards", "changed_at_unreadable").inc(3)
    metrics.ISSUES.labels("edge", "awards", "sealing_required").inc(3)
    counts = record_counts(MetricReadings(metrics.REGISTRY))
    report = WorkerStatus(
        worker="a",
        at=0,
        started=0,
        roles=("poll",),
        last_commit={},
        waiting=0,
        counts=counts,
        tables_digest="t",
    )
    awards = StreamStatus(
        connector="edge",
        stream="awards",
        worker="a",
        at=0,
        state="running",
        reason="",
        every=1,
        read_up_to=None,
        last_success=None,
        config_digest="d",
        backfill=None,
    )
    (found,) = status_data({}, [awards], [report], 0)["streams"]
    assert found["issues"] == {"changed_at_unreadable": 3}


CHECKED = """\
language: 1
connector: office
country: FI
title: An office
owner: {name: Example office, contact: registry@office.example}
rest: {url: {production: "https://office.example"}, errors: by_status}
streams:
  awards:
    emits: qualification
    request: {get: /awards, query: {since: "{since:iso}"}}
    cursor: {field: changed_at, start: 2020-01-01}
    records: items
    id: id
CHANGED
    map: {title.en: name}
    tests:
      - name: one
        given: {id: "1", name: Statistics, at: "01.07.2024 10:00"}
        expect_some: {id: "1"}
"""


def findings_of(line: str) -> list[str]:
    text = CHECKED.replace("CHANGED\n", f"    {line}\n" if line else "")
    return [str(one) for one in check_document(parse_yaml(text.encode(), "office.yaml"), TABLES)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "field: changed_at needs the stream's changed_at"),
        ("changed_at: {from: at, as: integer}", "integer does not lead to a time of change"),
        ("changed_at: at", "changed_at cannot be read"),
        ("changed_at: {from: 'at[', as: epoch}", "changed_at"),
    ],
)
def test_check_finds_change_times_that_cannot_be_read(line: str, expected: str) -> None:
    assert any(expected in one for one in findings_of(line)), findings_of(line)


def test_check_accepts_a_declared_change_time() -> None:
    rule = 'changed_at: {from: at, as: {datetime: {format: "%d.%m.%Y %H:%M"}}}'
    assert not [one for one in findings_of(rule) if "changed_at" in one]


def test_problem_with_a_change_time_is_no_stream_error() -> None:
    assert not isinstance(
        poll_route(Registry(item(1, "nonsense")), stream("", "cursor: scan"), MemoryStreamState()),
        StreamError,
    )


def test_check_notes_a_stream_whose_tests_show_no_change_time() -> None:
    found = [one for one in findings_of("changed_at: modified") if "change-time-untested" in one]
    assert len(found) == 1
    assert "no test has a value at modified" in found[0]


@pytest.mark.parametrize(("count", "halts"), [(12, True), (3, False)])
def test_field_stream_halts_when_many_records_have_no_change_time(count: int, halts: bool) -> None:
    """The field has another name, or one record has no change time yet."""
    records = [{"id": str(number), "altered": "2026-02-01", "t": "T"} for number in range(count)]
    state = MemoryStreamState()
    ended = poll_route(lambda *_: {"items": records}, stream(SINCE, FIELD), state)
    assert isinstance(ended, StreamHalted) == halts
    if isinstance(ended, StreamHalted):
        assert ended.reason == "CHANGED_AT_UNREADABLE"
        assert not state.published
