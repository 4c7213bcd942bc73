"""The refusal of one listed record affects this record alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.errors import StreamError
from gateway.observability import metrics
from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream

SCAN = "cursor: scan"
EXPAND = "expand: {request: {get: '/one/{id}'}, id: id%s}\n"
JOIN = "join: [{into: info, request: {get: '/one/{id}'}, records: '[@]', key: id, to: id%s}]\n"


class Registry:
    """A registry that lists awards, and refuses the details of some."""

    def __init__(self, count: int) -> None:
        self.names = [f"a{number}" for number in range(count)]
        self.answers: dict[str, Any] = {}
        self.text = "first"

    def __call__(self, path: str, _query: dict[str, str]) -> Any:
        if path == "/r":
            return {"items": [item(name) for name in self.names]}
        name = path.rpartition("/")[2]
        return self.answers.get(name, item(name, info=self.text))


def poll(registry: Registry, rule: str, state: MemoryStreamState, keys: str = "") -> Any:
    return poll_route(registry, stream("", rule % keys + SCAN), state)


def skipped(reason: str) -> float:
    labels = {"connector": "hostile", "stream": "awards", "reason": reason}
    return metrics.REGISTRY.get_sample_value("gateway_records_skipped_total", labels) or 0


@pytest.mark.parametrize("rule", [EXPAND, JOIN])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((404, {}), "HTTP_404"),
        ((410, {}), "HTTP_410"),
        ((401, {}), "DENIED"),
        ((403, {}), "DENIED"),
    ],
)
def test_refused_record_keeps_what_is_published(rule: str, answer: Any, reason: str) -> None:
    registry, state, before = Registry(4), MemoryStreamState(), skipped(reason)
    poll(registry, rule, state)
    registry.text = "second"
    registry.answers["a1"] = answer
    for _ in range(3):
        assert isinstance(poll(registry, rule, state), PollResult)
    assert state.published == {"a0", "a1", "a2", "a3"}
    assert b"first" in (state.bodies["a1"] or b"")
    assert b"second" in (state.bodies["a2"] or b"")
    assert skipped(reason) == before + 3


@pytest.mark.parametrize("rule", [EXPAND, JOIN])
def test_refusal_does_not_protect_a_record_that_is_no_longer_listed(rule: str) -> None:
    registry, state = Registry(4), MemoryStreamState()
    poll(registry, rule, state)
    registry.answers["a1"] = (404, {})
    registry.names.remove("a2")
    poll(registry, rule, state)
    assert state.published == {"a0", "a1", "a3"}


@pytest.mark.parametrize("rule", [EXPAND, JOIN])
@pytest.mark.parametrize("status", [401, 404, 503])
def test_refusal_of_every_record_stops_the_stream(rule: str, status: int) -> None:
    registry, state = Registry(5), MemoryStreamState()
    poll(registry, rule, state)
    registry.answers = {name: (status, {}) for name in registry.names}
    assert isinstance(poll(registry, rule, state), StreamError)
    assert len(state.published) == 5


@pytest.mark.parametrize("rule", [EXPAND, JOIN])
def test_first_record_of_the_list_may_be_the_refused_one(rule: str) -> None:
    registry, state = Registry(3), MemoryStreamState()
    registry.answers["a0"] = (404, {})
    assert isinstance(poll(registry, rule, state), PollResult)
    assert state.published == {"a1", "a2"}


@pytest.mark.parametrize("rule", [EXPAND, JOIN])
def test_refused_record_is_tried_again_when_the_connector_says_so(rule: str) -> None:
    registry, state = Registry(3), MemoryStreamState()
    registry.answers["a1"] = (404, {})
    error = poll(registry, rule, state, ", missing: retry")
    assert isinstance(error, StreamError)
    assert state.published == set()


def test_refused_joined_record_can_be_left_out() -> None:
    registry, state = Registry(3), MemoryStreamState()
    registry.answers["a1"] = (404, {})
    poll(registry, JOIN, state, ", missing: empty")
    assert json.loads(state.bodies["a1"] or b"")["info"] == []
    assert state.published == {"a0", "a1", "a2"}


def test_details_under_another_id_delete_nothing_when_one_is_refused() -> None:
    """The list does not show the native id, so the scan cannot tell which record was refused."""
    registry, state = Registry(3), MemoryStreamState()
    registry.answers = {name: item(f"X-{name}") for name in registry.names}
    poll(registry, EXPAND, state)
    registry.answers["a1"] = (404, {})
    registry.names.remove("a2")
    poll(registry, EXPAND, state)
    assert state.published == {"X-a0", "X-a1", "X-a2"}


def test_error_inside_the_details_of_one_record_is_a_refusal() -> None:
    registry, state = Registry(3), MemoryStreamState()
    answers = {name: {"found": [item(name)]} for name in registry.names}
    registry.answers = {**answers, "a1": {"error": "locked"}}
    poll(registry, EXPAND, state, ", records: found")
    assert state.published == {"a0", "a2"}
    registry.answers = {name: {"error": "locked"} for name in registry.names}
    assert isinstance(poll(registry, EXPAND, state, ", records: found"), StreamError)
    assert state.published == {"a0", "a2"}


def test_reply_without_the_record_is_skipped_when_the_connector_says_so() -> None:
    registry, state = Registry(3), MemoryStreamState()
    answers: dict[str, Any] = {name: {"found": [item(name)]} for name in registry.names}
    registry.answers = {**answers, "a1": {"found": []}}
    assert isinstance(poll(registry, EXPAND, state, ", records: found"), StreamError)
    keys = ", records: found, missing: skip"
    assert isinstance(poll(registry, EXPAND, state, keys), PollResult)
    assert state.published == {"a0", "a2"}


def test_institution_credentials_that_fail_later_stop_the_stream() -> None:
    """More refusals in a row than single records explain are refusals of the gateway itself."""
    registry, state = Registry(60), MemoryStreamState()
    registry.answers = {name: (401, {}) for name in registry.names[5:]}
    assert isinstance(poll(registry, EXPAND, state), StreamError)
