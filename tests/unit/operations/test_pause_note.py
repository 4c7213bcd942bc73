"""Check that the gateway remembers when a stream was paused."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import msgspec

from gateway.messages import commands
from gateway.observability import metrics
from gateway.operations.stream_requests import PAUSE, StreamRequests
from gateway.settings import Settings


class State:
    """The notes of a stream, in memory. Only Kafka is left out."""

    connector, stream = "aa-awards", "credentials"

    def __init__(self, **notes: bytes) -> None:
        self.notes: dict[str, bytes] = notes

    async def open(self) -> None:
        """The notes are there."""

    async def write(self, _records: Any, _cursor: Any, *, notes: dict[str, bytes | None]) -> None:
        for name, value in notes.items():
            self.notes.pop(name, None)
            if value is not None:
                self.notes[name] = value


def requests(state: State) -> StreamRequests:
    connector: Any = SimpleNamespace(connector=state.connector, push=None, streams={})
    return StreamRequests(Settings(), connector, state)  # type: ignore[arg-type]


def since() -> float | None:
    return metrics.REGISTRY.get_sample_value(
        "gateway_paused_since_timestamp_seconds",
        {"connector": "aa-awards", "stream": "credentials"},
    )


def pause(state: State, ident: str, reason: str = "") -> None:
    command = commands.Pause(connector=state.connector, id=ident, reason=reason)
    asyncio.run(requests(state).store(command))
    requests(state).set_pause_metrics()


def test_pause_keeps_its_time_over_a_restart_and_a_repeated_command():
    state = State()
    pause(state, "1", "planned work")
    first = since()
    assert first is not None
    assert abs(first - time.time()) < 5
    assert requests(state).pause_reason == "planned work"
    pause(state, "1", "planned work")
    assert since() == first
    pause(state, "2", "longer work")
    assert since() > first
    asyncio.run(requests(state)._write_note(PAUSE, None))
    requests(state).set_pause_metrics()
    assert since() is None


def test_pause_of_an_earlier_release_counts_from_the_start_of_the_worker():
    command = commands.Pause(connector="aa-awards", id="1", reason="planned work")
    note = msgspec.json.encode(command).replace(b',"since":0.0', b"")
    assert b"since" not in note
    state = State(pause=note)
    found = requests(state)
    found.set_pause_metrics()
    first = since()
    assert first is not None
    assert abs(first - time.time()) < 5
    found.set_pause_metrics()
    assert since() == first
    assert found.pause_reason == "planned work"


def test_pause_that_cannot_be_read_still_counts():
    state = State(pause=b"not JSON")
    requests(state).set_pause_metrics()
    assert abs((since() or 0) - time.time()) < 5
    assert requests(state).pause_reason == "the reason cannot be read"
