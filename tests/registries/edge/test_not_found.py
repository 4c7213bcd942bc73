"""A refusal that a connector reads as "no records" deletes nothing, unless the connector says so."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import StreamHalted
from gateway.observability import metrics
from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, Route, item, poll_route, stream

SCAN = stream(more="cursor: scan")
NAMES = ("1", "2")


def replies(*rules: str) -> str:
    return "".join(["  replies:\n", *(f"    - {rule}\n" for rule in rules)])


def poll_twice(second: Any, block: str, text: str = SCAN) -> tuple[MemoryStreamState, Any]:
    """Read two records, and then poll a registry that gives another answer."""
    answers: list[Any] = [{"items": [item(name) for name in NAMES]}]
    state = MemoryStreamState()
    for _ in range(2):
        result = poll_route(lambda _path, _query: answers[-1], text, state, block=block)
        answers.append(second)
    return state, result


@pytest.mark.parametrize(
    ("when", "status"),
    [
        ("{status: 404}", 404),
        ("{status: 4xx}", 410),
        ("{status: 5xx}", 500),
        ("{status: 403}", 403),
        ("{path: error, is: 'not found'}", 404),
        ("{path: error, is: 'not found'}", 400),
        ("{header: content-type, is: 'application/json*'}", 404),
    ],
)
def test_refusal_that_is_read_as_empty_deletes_nothing(when: str, status: int) -> None:
    block = replies(f"{{when: {when}, then: empty}}")
    if "header" in when:
        block = replies("{when: {status: 200}, then: ok}", f"{{when: {when}, then: empty}}")
    state, result = poll_twice((status, {"error": "not found"}), block)
    assert isinstance(result, PollResult)
    assert state.published == set(NAMES)


def test_connector_can_say_that_a_refusal_proves_an_empty_list() -> None:
    block = replies("{when: {status: 404}, then: empty, complete: true}")
    state, _ = poll_twice((404, {}), block)
    assert not state.published


@pytest.mark.parametrize(
    "answer", [{"items": []}, {"code": "NO_RECORDS"}, (203, {"code": "NO_RECORDS"})]
)
def test_empty_list_and_a_code_in_an_ordinary_reply_prove_that_there_are_no_records(
    answer: Any,
) -> None:
    state, _ = poll_twice(answer, replies("{when: {path: code, is: NO_RECORDS}, then: empty}"))
    assert not state.published


@pytest.mark.parametrize("status", [404, 410])
def test_refusal_that_no_rule_mentions_stops_the_stream(status: int) -> None:
    state, result = poll_twice((status, {}), "")
    assert isinstance(result, StreamHalted)
    assert state.published == set(NAMES)


@pytest.mark.parametrize("failing", ["1", "2", "3"])
def test_refusal_of_any_page_deletes_nothing(failing: str) -> None:
    text = stream('page: "{page}"', "cursor: scan\npaging: {page_number: {size: 1}}")
    refused: set[str] = set()

    def route(_path: str, query: dict[str, str]) -> Any:
        number = query["page"]
        if number in refused:
            return 404, {}
        return {"items": [item(number)] if int(number) < 4 else []}

    state = MemoryStreamState()
    block = replies("{when: {status: 404}, then: empty}")
    poll_route(route, text, state, block=block)
    assert state.published == {"1", "2", "3"}
    refused.add(failing)
    for _ in range(3):
        poll_route(route, text, state, block=block)
        assert state.published == {"1", "2", "3"}


def by_institution(gone: set[str]) -> Route:
    def route(_path: str, query: dict[str, str]) -> Any:
        name = query["at"]
        if name in gone:
            return 404, {"status": "404", "title": "Resource not found"}
        return {"items": [item(f"{name}{number}") for number in range(3)]}

    return route


def test_institution_that_is_not_found_keeps_its_records_and_the_others_are_compared() -> None:
    text = stream('at: "{at}"', "cursor: scan\nfor_each: {at: {in: {values: [a, b, c]}}}")
    block = replies("{when: {path: status, is: '404'}, then: empty}")
    state, gone = MemoryStreamState(), set[str]()
    poll_route(by_institution(gone), text, state, block=block)
    gone.add("b")

    def fewer(path: str, query: dict[str, str]) -> Any:
        answer = by_institution(gone)(path, query)
        return {"items": answer["items"][:2]} if query["at"] == "a" else answer

    assert isinstance(poll_route(fewer, text, state, block=block), PollResult)
    assert state.published == {"a0", "a1", "b0", "b1", "b2", "c0", "c1", "c2"}


def test_scan_without_proof_is_counted() -> None:
    labels = {"connector": "hostile", "stream": "awards", "cause": "incomplete"}

    def unproven() -> float:
        return metrics.REGISTRY.get_sample_value("gateway_unproven_scans_total", labels) or 0

    before = unproven()
    poll_twice((404, {}), replies("{when: {status: 404}, then: empty}"))
    assert unproven() == before + 1


def test_records_of_an_institution_that_left_go_while_another_is_not_found() -> None:
    state, gone = MemoryStreamState(), set[str]()
    block = replies("{when: {path: status, is: '404'}, then: empty}")
    for listed in ("[a, b, c]", "[b, c]"):
        loop = f"for_each: {{at: {{in: {{values: {listed}}}}}}}"
        text = stream('at: "{at}"', f"cursor: scan\n{loop}")
        assert isinstance(poll_route(by_institution(gone), text, state, block=block), PollResult)
        gone.add("b")
    assert state.published == {"b0", "b1", "b2", "c0", "c1", "c2"}


@pytest.mark.parametrize("status", [202, 206])
@pytest.mark.parametrize("items", [[], [item(1)]])
def test_reply_that_is_not_finished_deletes_nothing(status: int, items: list[Any]) -> None:
    """202 says that the request is not done, and 206 that the reply is a part."""
    state = MemoryStreamState()
    text = stream(more="cursor: scan")
    for answer in ((200, {"items": [item(1), item(2)]}), *[(status, {"items": items})] * 2):
        poll_route(lambda *_, found=answer: found, text, state)
    assert state.published == {"1", "2"}
