"""Each value of a loop has a position of its own, and one that fails affects no other."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import StreamError
from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream

FIELD = "cursor: {field: changed_at, start: 2020-01-01}"
WINDOW = "cursor: {window: 30d, start: 2025-10-01}"
SINCE = 'person: "{person},", since: "{since:iso}", until: "{until:iso}"'
LATE = "2026-02-20T10:00:00Z"
"""A change that moves the position of its person."""


def by_person(*names: str, batch: int = 1) -> str:
    listed = ", ".join(names)
    return f"for_each: {{person: {{in: {{values: [{listed}]}}, batch: {batch}}}}}"


class Registry:
    """A registry with awards by person, which answers questions about changes since a time."""

    def __init__(self, **awards: list[tuple[str, str]]) -> None:
        self.awards = awards
        self.refused: dict[str, int] = {}
        self.asked: list[tuple[str, str]] = []

    def __call__(self, _path: str, query: dict[str, str]) -> Any:
        asked, since = query["person"].strip(","), query.get("since", "")
        persons = asked.split(",")
        self.asked.append((asked, since[:10]))
        if refusal := next((self.refused[one] for one in persons if one in self.refused), 0):
            return refusal, {"error": "refused"}
        return {
            "items": [
                item(name, changed)
                for person in persons
                for name, changed in self.awards.get(person, [])
                if since[:19] <= changed[:19] <= query.get("until", "9999")[:19]
            ]
        }


@pytest.mark.parametrize("cursor", [FIELD, WINDOW])
def test_person_who_is_added_later_is_read_from_the_start(cursor: str) -> None:
    registry = Registry(p1=[("a1", LATE)], p2=[("old", "2025-11-05T00:00:00Z")])
    state = MemoryStreamState()
    poll_route(registry, stream(SINCE, f"{by_person('p1')}\n{cursor}"), state)
    assert state.published == {"a1"}
    registry.asked.clear()
    poll_route(registry, stream(SINCE, f"{by_person('p1', 'p2')}\n{cursor}"), state)
    assert state.published == {"a1", "old"}
    assert [since for person, since in registry.asked if person == "p1"] == (
        ["2026-02-20"] if cursor == FIELD else ["2026-03-01"]
    ), "the person who was read before is asked for changes only"


def test_person_in_a_batch_who_is_added_later_is_read_from_the_start() -> None:
    registry = Registry(p1=[("a1", LATE)], p2=[("a2", LATE)], p3=[("old", "2025-11-05T00:00:00Z")])
    state = MemoryStreamState()
    text = stream(SINCE, f"{by_person('p1', 'p2', batch=10)}\n{FIELD}")
    poll_route(registry, text, state)
    registry.asked.clear()
    text = stream(SINCE, f"{by_person('p3', 'p1', 'p2', batch=10)}\n{FIELD}")
    poll_route(registry, text, state)
    assert state.published == {"a1", "a2", "old"}
    assert registry.asked == [("p1,p2", "2026-02-20"), ("p3", "2020-01-01")]


def test_value_that_was_removed_and_comes_back_is_read_from_the_start() -> None:
    registry = Registry(p1=[("a1", LATE)], p2=[("a2", "2025-11-05T00:00:00Z")])
    state = MemoryStreamState()
    both, one = by_person("p1", "p2"), by_person("p1")
    for loop in (both, one, both):
        registry.asked.clear()
        poll_route(registry, stream(SINCE, f"{loop}\n{FIELD}"), state)
    assert ("p2", "2020-01-01") in registry.asked


def test_source_with_late_changes_is_asked_from_its_own_newest_change() -> None:
    """One institution shows its changes a week later than the other."""
    registry = Registry(fast=[("f1", LATE)], slow=[("s1", "2026-02-10T00:00:00Z")])
    state = MemoryStreamState()
    text = stream(SINCE, f"{by_person('fast', 'slow')}\n{FIELD}")
    poll_route(registry, text, state)
    registry.awards["slow"].append(("s2", "2026-02-12T00:00:00Z"))
    poll_route(registry, text, state)
    assert state.published == {"f1", "s1", "s2"}


def test_cursor_of_an_earlier_release_continues_for_every_value() -> None:
    registry, state = Registry(p1=[("a1", LATE)]), MemoryStreamState()
    state.cursor = b'{"since":"2026-02-01T00:00:00Z"}'
    poll_route(registry, stream(SINCE, f"{by_person('p1', 'p2')}\n{FIELD}"), state)
    assert {since for _, since in registry.asked} == {"2026-01-31"}
    registry.asked.clear()
    poll_route(registry, stream(SINCE, f"{by_person('p1', 'p2', 'p3')}\n{FIELD}"), state)
    assert ("p3", "2020-01-01") in registry.asked


@pytest.mark.parametrize("status", [401, 403, 404, 410, 500, 503])
@pytest.mark.parametrize("cursor", [FIELD, WINDOW, "cursor: scan"])
def test_value_that_is_refused_affects_no_other(cursor: str, status: int) -> None:
    registry = Registry(p1=[("a1", LATE)], p2=[("a2", LATE)], p3=[("a3", LATE)])
    state = MemoryStreamState()
    text = stream(SINCE, f"{by_person('p1', 'p2', 'p3')}\n{cursor}")
    poll_route(registry, text, state)
    assert state.published == {"a1", "a2", "a3"}
    registry.refused = {"p2": status}
    registry.awards = {"p1": [("b1", "2026-03-01T12:05:00Z")], "p3": [("a3", LATE)]}
    result = poll_route(registry, text, state)
    assert isinstance(result, PollResult)
    assert sum(result.skipped.values()) == 1
    assert result.loop_values == 3
    kept = {"a2", "a3", "b1"} | (set() if "scan" in cursor else {"a1"})
    assert state.published == kept, "the refused value keeps its records"


def test_value_that_was_refused_is_read_from_where_it_was() -> None:
    registry, state = Registry(p1=[("a1", LATE)], p2=[("a2", "2026-02-02T00:00:00Z")]), None
    state = MemoryStreamState()
    text = stream(SINCE, f"{by_person('p1', 'p2')}\n{WINDOW}")
    poll_route(registry, text, state)
    registry.refused = {"p2": 403}
    poll_route(registry, text, state)
    registry.refused = {}
    registry.asked.clear()
    registry.awards["p2"].append(("a4", "2026-03-01T12:05:00Z"))
    poll_route(registry, text, state)
    assert "a4" in state.published


def test_poll_fails_when_every_value_is_refused() -> None:
    registry, state = Registry(p1=[("a1", LATE)], p2=[("a2", LATE)]), MemoryStreamState()
    text = stream(SINCE, f"{by_person('p1', 'p2')}\ncursor: scan")
    poll_route(registry, text, state)
    registry.refused = {"p1": 401, "p2": 401}
    error = poll_route(registry, text, state)
    assert isinstance(error, StreamError)
    assert state.published == {"a1", "a2"}


def test_value_that_fails_is_read_last_at_the_next_poll() -> None:
    registry, state = Registry(p1=[("a1", LATE)], p2=[("a2", LATE)]), MemoryStreamState()
    text = stream(SINCE, f"{by_person('p1', 'p2')}\ncursor: scan")
    registry.refused = {"p1": 403}
    poll_route(registry, text, state)
    registry.asked.clear()
    poll_route(registry, text, state)
    assert [person for person, _ in registry.asked] == ["p2", "p1"]


def test_record_of_a_removed_value_is_deleted_by_a_complete_scan() -> None:
    registry, state = Registry(p1=[("a1", LATE)], p2=[("a2", LATE)]), MemoryStreamState()
    poll_route(registry, stream(SINCE, f"{by_person('p1', 'p2')}\ncursor: scan"), state)
    poll_route(registry, stream(SINCE, f"{by_person('p1')}\ncursor: scan"), state)
    assert state.published == {"a1"}


def test_position_in_the_future_is_not_trusted() -> None:
    registry, state = Registry(p1=[("f1", "2062-07-02T00:00:00Z"), ("a1", LATE)]), None
    state = MemoryStreamState()
    text = stream('since: "{since:iso}", person: p1', FIELD)
    poll_route(registry, text, state)
    registry.awards["p1"].append(("a2", "2026-02-21T00:00:00Z"))
    poll_route(registry, text, state)
    assert state.published == {"f1", "a1", "a2"}


def test_cursor_that_an_earlier_release_moved_into_the_future_is_read_from_the_start() -> None:
    registry, state = Registry(p1=[("a1", LATE)]), MemoryStreamState()
    state.cursor = b'{"since":"2062-07-02T00:00:00Z"}'
    poll_route(registry, stream('since: "{since:iso}", person: p1', FIELD), state)
    assert state.published == {"a1"}
    assert registry.asked == [("p1", "2020-01-01")]
