"""The refusal of one listed record affects this record alone."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest

from gateway.errors import RetryLater, StreamError, StreamHalted
from gateway.observability import metrics
from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream
from tests.support.raw_http_server import ReceivedRequest, reply

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


def poll(
    registry: Any, rule: str, state: MemoryStreamState, keys: str = "", cursor: str = SCAN
) -> Any:
    return poll_route(registry, stream("", rule % keys + cursor), state)


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
    keys = ", records: found, missing: retry"
    assert isinstance(poll(registry, EXPAND, state, keys), StreamError)
    keys = ", records: found, missing: skip"
    assert isinstance(poll(registry, EXPAND, state, keys), PollResult)
    assert state.published == {"a0", "a2"}


def test_institution_credentials_that_fail_later_stop_the_stream() -> None:
    """More refusals in a row than single records explain are refusals of the gateway itself."""
    registry, state = Registry(60), MemoryStreamState()
    registry.answers = {name: (401, {}) for name in registry.names[5:]}
    assert isinstance(poll(registry, EXPAND, state), StreamError)


async def web_page(_asked: ReceivedRequest, writer: Any) -> None:
    reply(writer, b"<!DOCTYPE html><html><body>Maintenance</body></html>", content_type="text/html")


async def no_content(_asked: ReceivedRequest, writer: Any) -> None:
    reply(writer, b"", 204)


async def cut_off(_asked: ReceivedRequest, writer: Any) -> None:
    reply(writer, b'{"id": "a1", "t":', content_type="application/json")


async def hang_up(_asked: ReceivedRequest, writer: Any) -> None:
    writer.close()


FAULTS = [
    ((500, {}), "HTTP_500"),
    ((503, {}), "BUSY"),
    ((429, {}), "BUSY"),
    ((400, {}), "HTTP_400"),
    ((423, {}), "HTTP_423"),
    (no_content, "EMPTY_BODY"),
    (web_page, "NOT_A_REGISTRY_RESPONSE"),
    (cut_off, "JSON_MALFORMED"),
    (hang_up, "CONNECTION_LOST"),
]


@pytest.mark.parametrize("rule", [EXPAND, JOIN])
@pytest.mark.parametrize(("answer", "reason"), FAULTS)
@pytest.mark.parametrize("failing", ["a0", "a3"])
def test_record_whose_request_keeps_failing_stops_no_other_of_a_scan(
    rule: str, answer: Any, reason: str, failing: str
) -> None:
    registry, state = Registry(4), MemoryStreamState()
    poll(registry, rule, state)
    registry.text = "second"
    registry.answers[failing] = answer
    registry.names.remove("a2")
    for _ in range(3):
        result = poll(registry, rule, state)
        assert isinstance(result, PollResult)
        assert dict(result.skipped_records) == {reason: 1}
    assert state.published == {"a0", "a1", "a3"}
    assert b"first" in (state.bodies[failing] or b"")
    assert b"second" in (state.bodies["a1"] or b"")
    registry.answers = {}
    poll(registry, rule, state)
    assert b"second" in (state.bodies[failing] or b"")


@pytest.mark.parametrize("rule", [EXPAND, JOIN])
@pytest.mark.parametrize(("answer", "reason"), FAULTS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_failure_of_every_record_stops_the_scan(
    rule: str, answer: Any, reason: str, count: int
) -> None:
    registry, state = Registry(count), MemoryStreamState()
    poll(registry, rule, state)
    registry.answers = dict.fromkeys(registry.names, answer)
    error = poll(registry, rule, state)
    assert isinstance(error, StreamError)
    assert error.reason == reason
    assert len(state.published) == count


@pytest.mark.parametrize("rule", [EXPAND, JOIN])
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("cursor", [SCAN, "cursor: {field: changed_at}"])
def test_credentials_that_no_record_accepts_stop_the_stream(
    rule: str, status: int, count: int, cursor: str
) -> None:
    registry, state = Registry(count), MemoryStreamState()
    registry.answers = dict.fromkeys(registry.names, (status, {}))
    for keys in ("", ", missing: empty") if rule == JOIN else ("",):
        error = poll(registry, rule, state, keys, cursor)
        assert isinstance(error, StreamHalted)
        assert error.reason == "DENIED"
    assert state.published == set()


@pytest.mark.parametrize("rule", [EXPAND, JOIN])
@pytest.mark.parametrize("count", [1, 2])
def test_only_listed_records_may_be_absent(rule: str, count: int) -> None:
    registry, state = Registry(count), MemoryStreamState()
    registry.answers = dict.fromkeys(registry.names, (404, {}))
    assert isinstance(poll(registry, rule, state), PollResult)


@pytest.mark.parametrize("rule", [EXPAND, JOIN])
@pytest.mark.parametrize("answer", [(500, {}), no_content, web_page])
def test_record_that_fails_keeps_the_position_of_a_change_cursor(rule: str, answer: Any) -> None:
    registry, state = Registry(3), MemoryStreamState()
    registry.answers["a1"] = answer
    assert isinstance(poll(registry, rule, state, "", "cursor: {field: changed_at}"), RetryLater)
    registry.answers = {}
    poll(registry, rule, state, "", "cursor: {field: changed_at}")
    assert state.published == {"a0", "a1", "a2"}


def test_more_failures_in_a_row_than_single_records_explain_stop_the_scan() -> None:
    registry, state = Registry(60), MemoryStreamState()
    poll(registry, EXPAND, state)
    registry.answers = {name: (500, {}) for name in registry.names[5:]}
    assert isinstance(poll(registry, EXPAND, state), StreamError)
    assert len(state.published) == 60


@pytest.mark.parametrize("rule", [EXPAND, JOIN])
def test_refusal_of_every_record_of_one_loop_value_keeps_its_records(rule: str) -> None:
    refused: set[str] = set()

    def route(path: str, query: dict[str, str]) -> Any:
        if path == "/r":
            return {"items": [item(f"{query['school']}{number}") for number in range(2)]}
        name = path.rpartition("/")[2]
        return (401, {}) if name[0] in refused else item(name)

    state = MemoryStreamState()
    text = stream(
        'school: "{school}"',
        rule % "" + "for_each: {school: {in: {values: [x, y]}}}\n" + SCAN,
    )
    poll_route(route, text, state)
    refused.add("y")
    result = poll_route(route, text, state)
    assert isinstance(result, PollResult)
    assert result.skipped == {"DENIED": 1}
    assert state.published == {"x0", "x1", "y0", "y1"}


class BatchRegistry(Registry):
    """A registry that serves the details of several records, and none with a poisoned one."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.poisoned: set[str] = set()
        self.refusal: Any = (404, {})
        self.batches: list[int] = []

    def __call__(self, path: str, query: dict[str, str]) -> Any:
        if path == "/r":
            return super().__call__(path, query)
        names = unquote(path.rpartition("/")[2]).split(",")
        self.batches.append(len(names))
        if self.poisoned & set(names):
            return self.refusal
        return {"found": [item(name, info=self.text) for name in names]}


BATCH = "expand: {request: {get: '/many/{ids}'}, id: id, batch: 8, records: found, key: id%s}\n"


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ((404, {}), "HTTP_404"),
        ((403, {}), "DENIED"),
        ((400, {}), "HTTP_400"),
        ((500, {}), "HTTP_500"),
        ((200, {"error": "no such id"}), "LIST_MISSING"),
        (no_content, "EMPTY_BODY"),
    ],
)
@pytest.mark.parametrize("poisoned", [{"a0"}, {"a13"}, {"a1", "a9"}])
def test_refused_batch_is_divided_down_to_its_refused_record(
    refusal: Any, reason: str, poisoned: set[str]
) -> None:
    registry, state = BatchRegistry(16), MemoryStreamState()
    poll(registry, BATCH, state)
    assert registry.batches == [8, 8]
    registry.text, registry.poisoned, registry.refusal = "second", poisoned, refusal
    result = poll(registry, BATCH, state)
    assert isinstance(result, PollResult)
    assert dict(result.skipped_records) == {reason: len(poisoned)}
    assert state.published == set(registry.names)
    changed = {name for name, body in state.bodies.items() if b"second" in (body or b"")}
    assert changed == set(registry.names) - poisoned


@pytest.mark.parametrize("status", [401, 404, 500])
def test_refusal_of_all_batches_stops_the_stream_after_few_requests(status: int) -> None:
    registry, state = BatchRegistry(100), MemoryStreamState()
    registry.poisoned, registry.refusal = set(registry.names), (status, {})
    error = poll(registry, BATCH, state)
    assert isinstance(error, StreamError)
    assert error.reason in {"DENIED", f"HTTP_{status}"}
    assert len(registry.batches) <= 30


FIELD, WINDOW = "cursor: {field: changed_at}", "cursor: {window: 30d, start: 2026-01-01}"


class ChangingRegistry(Registry):
    """A registry that lists the awards that changed since a time."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.changed = {
            name: f"2026-0{1 + number % 2}-{10 + number}T00:00:00Z"
            for number, name in enumerate(self.names)
        }

    def __call__(self, path: str, query: dict[str, str]) -> Any:
        if path == "/r":
            since, until = query.get("since", "")[:19], query.get("until", "9")[:19]
            listed = [name for name in self.names if since <= self.changed[name][:19] < until]
            start = int(query.get("offset", 0))
            return {"items": [item(name, self.changed[name]) for name in listed[start : start + 2]]}
        name = path.rpartition("/")[2]
        return self.answers.get(name, item(name, self.changed[name], info=self.text))


def poll_changes(registry: Any, rule: str, state: Any, cursor: str, more: str = "") -> Any:
    until = ', until: "{until:iso}"' if cursor == WINDOW else ""
    query = f'since: "{{since:iso}}"{until}, offset: "{{offset}}"'
    text = stream(query, f"{rule}paging: {{offset: {{size: 2}}}}\n{more}{cursor}")
    return poll_route(registry, text, state)


@pytest.mark.parametrize("rule", [EXPAND % "", JOIN % ""])
@pytest.mark.parametrize("cursor", [FIELD, WINDOW])
@pytest.mark.parametrize("answer", [(404, {}), (403, {}), (410, {})])
@pytest.mark.parametrize("refused", ["a0", "a2", "a4"])
def test_change_that_was_refused_is_requested_until_it_is_read(
    rule: str, cursor: str, answer: Any, refused: str
) -> None:
    registry, state = ChangingRegistry(5), MemoryStreamState()
    registry.answers[refused] = answer
    for _ in range(3):
        result = poll_changes(registry, rule, state, cursor)
        assert isinstance(result, PollResult)
        assert result.skipped_records.total() == 1
        assert state.published == set(registry.names) - {refused}
    registry.answers = {}
    poll_changes(registry, rule, state, cursor)
    assert state.published == set(registry.names)
    result = poll_changes(registry, rule, state, cursor)
    assert result.received < 5, "the cursor moves on once each record was read"


@pytest.mark.parametrize("cursor", [FIELD, WINDOW])
def test_change_of_a_loop_value_that_was_refused_is_requested_again(cursor: str) -> None:
    registry, state = ChangingRegistry(4), MemoryStreamState()
    loop = "for_each: {school: {in: {values: [x]}}}\n"
    registry.answers["a2"] = (404, {})
    for _ in range(2):
        poll_changes(registry, EXPAND % "", state, cursor, loop)
        assert state.published == {"a0", "a1", "a3"}
    registry.answers = {}
    poll_changes(registry, EXPAND % "", state, cursor, loop)
    assert state.published == {"a0", "a1", "a2", "a3"}


def test_refused_change_is_passed_over_when_the_connector_says_so() -> None:
    registry, state = ChangingRegistry(5), MemoryStreamState()
    registry.answers["a2"] = (404, {})
    rule = EXPAND % ", missing: skip"
    assert poll_changes(registry, rule, state, FIELD).received == 4
    assert poll_changes(registry, rule, state, FIELD).received < 4


def test_entry_of_a_feed_that_was_refused_is_requested_again() -> None:
    registry, state = Registry(4), MemoryStreamState()

    def route(path: str, query: dict[str, str]) -> Any:
        if path != "/r":
            return registry(path, query)
        after = query.get("after") or ""
        return {"items": [item(name, p=name) for name in registry.names if name > after]}

    text = stream('after: "{cursor}"', EXPAND % "" + "cursor: {feed: {position: p}}")
    registry.answers["a1"] = (404, {})
    for _ in range(2):
        assert isinstance(poll_route(route, text, state), PollResult)
        assert state.published == {"a0", "a2", "a3"}
    registry.answers = {}
    poll_route(route, text, state)
    assert state.published == {"a0", "a1", "a2", "a3"}


@pytest.mark.parametrize("cursor", [SCAN, FIELD])
@pytest.mark.parametrize("answer", [{}, {"error": "locked"}, {"id": None}, {"id": ""}])
def test_details_that_are_no_record_are_skipped(cursor: str, answer: Any) -> None:
    registry, state = ChangingRegistry(3), MemoryStreamState()
    registry.answers["a1"] = answer
    result = poll_changes(registry, EXPAND % ", missing: skip", state, cursor)
    assert dict(result.skipped_records) == {"LIST_MISSING": 1}
    assert state.published == {"a0", "a2"}


@pytest.mark.parametrize("answer", [{}, {"error": "locked"}, {"errors": [{"code": "E17"}]}])
def test_details_that_are_no_record_prove_no_deletion(answer: Any) -> None:
    """The connector reads a missing record as deleted, but an error is no missing record."""
    registry, state = ChangingRegistry(3), MemoryStreamState()
    poll_changes(registry, EXPAND % ", missing: deleted", state, SCAN)
    registry.answers["a1"] = answer
    poll_changes(registry, EXPAND % ", missing: deleted", state, SCAN)
    assert state.published == {"a0", "a1", "a2"}
