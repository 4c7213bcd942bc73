"""A change feed whose entries do not state their position stops, because it would repeat itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.errors import StreamHalted
from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream

FEED = stream(
    'after: "{cursor}"',
    "cursor: {feed: {position: p, first: '0', operation: op, deleted: [delete]}}",
)


def entry(name: str, **position: object) -> dict[str, object]:
    return item(name, op="put", **position)


def poll(entries: list[dict[str, object]], state: MemoryStreamState) -> Any:
    def route(_path: str, query: dict[str, str]) -> Any:
        after = int(query["after"])
        return {"items": [one for one in entries if int(str(one.get("p") or 99)) > after]}

    return poll_route(route, FEED, state)


@pytest.mark.parametrize("position", [{}, {"pos": 4}, {"p": None}, {"p": ""}, {"P": 4}])
def test_feed_without_positions_halts_and_writes_nothing(position: dict[str, object]) -> None:
    state = MemoryStreamState()
    for _ in range(2):
        result = poll([entry("1", **position), entry("2", **position)], state)
        assert isinstance(result, StreamHalted)
        assert result.reason == "FEED_POSITION_MISSING"
        assert "`p`" in str(result)
        assert not state.published
    poll([entry("1", p=1), entry("2", p=2)], state)
    assert state.published == {"1", "2"}


def test_feed_continues_at_the_last_position_that_an_entry_states() -> None:
    state = MemoryStreamState()
    assert isinstance(poll([entry("1", p=1), entry("2", p=2)], state), PollResult)
    assert isinstance(poll([], state), PollResult), "a feed without changes is read"
    assert state.cursor is not None
    assert json.loads(json.loads(state.cursor)["position"])["feed"] == "2"
