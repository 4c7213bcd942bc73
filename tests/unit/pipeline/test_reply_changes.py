"""Check what a stream remembers of its replies, by polls of a real HTTP server."""

from __future__ import annotations

from typing import Any

from gateway.errors import StreamError
from gateway.fetch.decode.formats import DecodedDocument
from gateway.fetch.reply_shape import ShapeDifference
from gateway.pipeline.reply_changes import NOTE_NAME, ReplyChanges
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream

MORE = "cursor: {scan: true}"


def serve(*items: dict[str, Any], **around: Any):
    return lambda _path, _query: {"items": list(items), "total": len(items), **around}


def test_a_failing_reply_is_compared_with_the_good_ones():
    state = MemoryStreamState()
    poll_route(serve(item(1), item(2)), stream(more=MORE), state)
    assert state.reply_changes.difference() is None
    error = poll_route(lambda *_: {"results": [item(1)], "total": 1}, stream(more=MORE), state)
    assert isinstance(error, StreamError)
    assert error.reason == "LIST_MISSING"
    assert state.reply_changes.difference() == ShapeDifference(("items[]",), ("results[]",))


def test_the_good_shape_survives_a_restart_and_a_good_reply_ends_the_difference():
    state = MemoryStreamState()
    poll_route(serve(item(1)), stream(more=MORE), state)
    assert b"2026" not in state.notes[NOTE_NAME]
    state.reply_changes, state.takeover_number = ReplyChanges(), 1
    poll_route(lambda *_: {"results": []}, stream(more=MORE), state)
    assert state.reply_changes.difference() == ShapeDifference(("items[]", "total"), ("results[]",))
    poll_route(serve(item(1)), stream(more=MORE), state)
    assert state.reply_changes.difference() is None


def test_the_note_is_written_only_when_a_field_is_new():
    state = MemoryStreamState()
    poll_route(serve(item(1)), stream(more=MORE), state)
    first = state.notes.pop(NOTE_NAME)
    poll_route(serve(item(1), item(2)), stream(more=MORE), state)
    assert NOTE_NAME not in state.notes
    poll_route(serve(item(1, label="x")), stream(more=MORE), state)
    assert state.notes[NOTE_NAME] != first


def test_a_damaged_note_stops_nothing():
    state = MemoryStreamState()
    state.notes[NOTE_NAME] = b"\xff{"
    assert not isinstance(poll_route(serve(item(1)), stream(more=MORE), state), StreamError)


def test_a_failure_without_a_reply_has_no_difference():
    state = MemoryStreamState()
    poll_route(serve(item(1)), stream(more=MORE), state)
    error = poll_route(lambda *_: (404, {"error": "gone"}), stream(more=MORE), state)
    assert isinstance(error, StreamError)
    assert state.reply_changes.difference() is None


def test_details_of_another_form_are_named_with_their_request():
    text = stream(more=MORE + "\nexpand: {id: id, request: {get: '/d/{id}'}}")
    state = MemoryStreamState()

    def route(path: str, _query: object) -> dict[str, Any]:
        if path == "/r":
            return {"items": [item(1), item(2)]}
        return {"id": path[-1], "changed": "2026-02-01T00:00:00Z", "t": "T"}

    poll_route(route, text, state)
    state.reply_changes.begin(state)
    changed = {"id": "1", "changed": "2026-02-01T00:00:00Z", "label": "T"}
    state.reply_changes.note("expand", [DecodedDocument("json", changed)])
    assert state.reply_changes.difference() == ShapeDifference(("expand: t",), ("expand: label",))
