"""Corrections and revocations are taken even when a change time was wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.messages.cloudevents import content_digest
from gateway.pipeline.older_contents import OlderContents
from gateway.pipeline.page_writer import select_changes
from gateway.pipeline.raw_entry import RawEntry, repeated_entry
from gateway.pipeline.version_order import VersionOrder
from gateway.records import RawRecord
from tests.support.memory_stream import NOW, MemoryStreamState, item, poll_route, stream

FIELD = "cursor: {field: changed_at, start: 2020-01-01}"
SINCE = 'since: "{since:iso}", person: p1'
DELETED = "deleted: {path: gone, is: yes}"
TALLINN = "zone: Europe/Tallinn"


class Registry:
    """A registry whose one record changes from poll to poll."""

    def __init__(self, *versions: tuple[str, str], **more: object) -> None:
        self.versions, self.more = list(versions), more

    def __call__(self, *_: Any) -> Any:
        return {
            "items": [item(1, changed, t=title, **self.more) for changed, title in self.versions]
        }


def publish(*polls: list[tuple[str, str]], more: str = FIELD, query: str = SINCE) -> str:
    """Poll once for each list of versions, and return the title that is published at the end."""
    state, registry = MemoryStreamState(), Registry()
    for versions in polls:
        registry.versions = versions
        poll_route(registry, stream(query, more), state)
    body = (state.bodies["1"] or b'"deleted"').decode()
    return body.partition('"t":"')[2].partition('"')[0] or body


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("2062-07-02T10:00:00Z", "2026-02-20T10:00:00Z"),
        ("2026-03-01T13:00:00Z", "2026-02-28T10:00:00Z"),
        ("9999-12-31", "2026-02-20"),
        ("2026-03-02", "2026-03-01"),
        ("2062-07-02T10:00:00Z", "2062-07-01T10:00:00Z"),
    ],
)
@pytest.mark.parametrize("cursor", [FIELD, "cursor: scan"])
def test_correction_of_a_time_in_the_future_is_taken(wrong: str, right: str, cursor: str) -> None:
    query = SINCE if "field" in cursor else ""
    polls = [[(wrong, "wrong")], [(right, "right")], [("2026-03-01T12:15:00Z", "later")]]
    assert publish(*polls[:2], more=cursor, query=query) == "right"
    assert publish(*polls, more=cursor, query=query) == "later"


def test_revocation_of_a_record_from_the_future_is_taken() -> None:
    state, registry = MemoryStreamState(), Registry(("2062-07-02T10:00:00Z", "T"), gone="no")
    poll_route(registry, stream(SINCE, f"{FIELD}\n{DELETED}"), state)
    registry.versions, registry.more = [("2026-02-20T10:00:00Z", "T")], {"gone": "yes"}
    poll_route(registry, stream(SINCE, f"{FIELD}\n{DELETED}"), state)
    assert state.bodies["1"] is None


def test_correction_is_taken_when_an_earlier_release_stored_a_time_in_the_future() -> None:
    state, registry = MemoryStreamState(), Registry(("2026-02-20T10:00:00Z", "right"))
    raw = RawRecord(connector="hostile", stream="awards", native_id="1", body=b"{}")
    future = datetime(2062, 7, 2, tzinfo=UTC)
    state.digests["1"] = RawEntry(raw, content_digest(raw), future).value
    poll_route(registry, stream(SINCE, FIELD), state)
    assert b"right" in (state.bodies["1"] or b"")


def test_older_content_is_not_taken_once() -> None:
    new, old = ("2026-02-02T00:00:00Z", "new"), ("2026-02-01T00:00:00Z", "old")
    assert publish([new], [old], more="cursor: scan", query="") == "new"
    assert publish([new], [old], [new], [old], more="cursor: scan", query="") == "new"
    assert publish([new], [old, new], [old, new], more="cursor: scan", query="") == "new"
    assert publish([new], [new, old], [new, old], more="cursor: scan", query="") == "new"


def test_older_content_is_taken_when_a_second_reading_shows_it_again() -> None:
    new, old = ("2026-02-02T00:00:00Z", "new"), ("2026-02-01T00:00:00Z", "old")
    assert publish([new], [old], [old], more="cursor: scan", query="") == "old"


def test_revocation_with_an_older_time_is_taken_when_a_second_reading_shows_it_again() -> None:
    state, registry = MemoryStreamState(), Registry(("2026-02-20T10:00:00Z", "T"), gone="no")
    text = stream("", f"cursor: scan\n{DELETED}")
    poll_route(registry, text, state)
    registry.versions, registry.more = [("2026-02-20T09:00:00Z", "T")], {"gone": "yes"}
    poll_route(registry, text, state)
    assert state.bodies["1"] is not None
    poll_route(registry, text, state)
    assert state.bodies["1"] is None


def test_two_different_older_contents_confirm_nothing() -> None:
    polls = [[("2026-02-03T00:00:00Z", "new")]]
    polls += [[("2026-02-01T00:00:00Z", title)] for title in ("a", "b", "a", "b")]
    assert publish(*polls, more="cursor: scan", query="") == "new"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2025-10-26T03:50:00", "2025-10-26T03:10:00"),
        ("2025-03-30T03:50:00", "2025-03-30T03:10:00"),
        ("2026-02-20T15:00:00", "2026-02-20"),
        ("2026-02-20", "2026-02-20"),
        ("2026-02-20T10:00:00Z", "2026-02-20T10:00:00Z"),
        ("2025-10-26T03:50:00", "2025-10-26"),
    ],
)
def test_correction_is_taken_when_its_time_is_open(first: str, second: str) -> None:
    """In Tallinn, the hour from three o'clock occurs twice in October and never in March."""
    polls = [[(first, "first")], [(second, "second")]]
    assert publish(*polls, more=f"cursor: scan\n{TALLINN}", query="") == "second"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2025-10-26T04:30:00", "2025-10-26T02:30:00"),
        ("2026-02-21", "2026-02-20"),
        ("2026-02-21T00:00:00", "2026-02-20"),
        ("2026-02-20T10:00:00.002Z", "2026-02-20T10:00:00.001Z"),
    ],
)
def test_content_that_is_older_for_certain_is_not_taken(first: str, second: str) -> None:
    polls = [[(first, "first")], [(second, "second")]]
    assert publish(*polls, more=f"cursor: scan\n{TALLINN}", query="") == "first"


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([("2", "b"), ("1", "a")], "b"),
        ([("9", "a"), ("10", "b")], "b"),
        ([("10", "b"), ("9", "a")], "b"),
        ([("v2", "a"), ("v1", "b")], "b"),
        ([("002", "b"), ("1", "a")], "b"),
    ],
)
@pytest.mark.parametrize("changed", ["2026-02-20", ""])
def test_version_decides_when_times_do_not(
    versions: list[tuple[str, str]], expected: str, changed: str
) -> None:
    state = MemoryStreamState()
    found = {"items": [item(1, changed, v=version, t=title) for version, title in versions]}
    poll_route(lambda *_: found, stream("", "cursor: scan\nversion: v"), state)
    assert f'"t":"{expected}"'.encode() in (state.bodies["1"] or b"")


def raw(title: str, changed: datetime | None) -> RawRecord:
    return RawRecord(
        connector="c", stream="s", native_id="1", body=title.encode(), changed_at=changed
    )


def test_time_slightly_ahead_counts_as_the_time_of_the_reading() -> None:
    """The registry's clock is three minutes ahead, and is set right after the first reading."""
    order = VersionOrder(read_at=NOW, registry_now=NOW)
    (entry,), _ = select_changes([raw("a", NOW + timedelta(minutes=3))], {}, order=order)
    later = NOW + timedelta(minutes=1)
    order = VersionOrder(read_at=later, registry_now=later)
    (taken,), _ = select_changes([raw("b", later)], {"1": entry.value}, order=order)
    assert taken.raw.body == b"b"


def test_known_time_after_the_present_of_the_registry_refuses_nothing() -> None:
    """The registry's clock was set back by an hour after the first reading."""
    order = VersionOrder(read_at=NOW, registry_now=NOW)
    (entry,), _ = select_changes([raw("a", NOW - timedelta(minutes=1))], {}, order=order)
    later = NOW + timedelta(minutes=10)
    behind = later - timedelta(hours=1)
    order = VersionOrder(later, behind, OlderContents())
    (taken,), _ = select_changes([raw("b", behind)], {"1": entry.value}, order=order)
    assert taken.raw.body == b"b"


def test_change_feed_is_taken_in_its_order() -> None:
    order = VersionOrder(read_at=NOW, registry_now=NOW, in_order=True)
    (entry,), _ = select_changes([raw("a", NOW)], {}, order=order)
    served = [raw("b", NOW - timedelta(hours=1))]
    (taken,), _ = select_changes(served, {"1": entry.value}, order=order)
    assert taken.raw.body == b"b"


@pytest.mark.parametrize("changed", [NOW - timedelta(days=1), NOW + timedelta(days=1), None])
@pytest.mark.parametrize("loop_key", [b"", b"loop"])
def test_record_that_is_written_again_keeps_its_place(
    changed: datetime | None, loop_key: bytes
) -> None:
    """A replay does not make a wrong time trusted, and does not lose the loop value."""
    order = VersionOrder(read_at=NOW, registry_now=NOW)
    entry = order.entry(raw("a", changed), loop_key)
    assert repeated_entry(entry.raw, entry.value).value == entry.value
