"""One id with two contents on two pages, or in two loop values, is a conflict at each poll."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.check import check_document
from gateway.config.yaml.document import parse_yaml
from gateway.errors import StreamError
from gateway.fetch.registry_client import RegistryClient
from gateway.operations.served_records import ServedRecords, read_stream
from gateway.pipeline.page_writer import PollResult
from gateway.pipeline.scan_contents import is_conflict
from tests.support.hostile_registry import connector_at
from tests.support.memory_stream import NOW, MemoryStreamState, poll_route, stream
from tests.support.one_stream import TABLES, connector_text
from tests.support.raw_http_server import ReceivedRequest, Server, reply

PAGED = stream('page: "{page}"', "cursor: scan\npaging: {page_number: {start: 1}}")
LOOP = stream('s: "{s}"', "cursor: scan\nfor_each: {s: {in: {values: [a, b, c]}}}")
VERSIONS = PAGED.replace("    changed_at", "    version: v\n    changed_at")

Pages = Mapping[str, list[dict[str, Any]]]


def record(title: str, name: str = "1", **more: Any) -> dict[str, Any]:
    return {"id": name, "t": title, **more}


def poll(state: MemoryStreamState, text: str, pages: Pages | list[list[dict[str, Any]]]) -> int:
    """Poll once, and return the number of records that were written."""
    parts = dict(enumerate(pages, 1)) if isinstance(pages, list) else dict(pages)
    by_key = {str(key): items for key, items in parts.items()}
    before = state.writes

    def route(_path: str, query: dict[str, str]) -> Any:
        return {"items": by_key.get(query.get("page") or query["s"], [])}

    result = poll_route(route, text, state)
    assert isinstance(result, PollResult), result
    assert result.received == result.written + result.unchanged
    return state.writes - before


def conflicts(state: MemoryStreamState) -> set[str]:
    return {native_id for native_id, value in state.digests.items() if is_conflict(value)}


A, B, C = record("a"), record("b"), record("c")


@pytest.mark.parametrize(
    "pages",
    [
        [[A], [B]],
        [[B], [A]],
        [[A, record("x", "2")], [record("y", "3")], [B]],
        [[A], [B], [A, record("x", "2")]],
        [[A], [B], [C]],
        [[C], [A], [B]],
        [[B], [C], [A]],
        [[A, B], [C]],
        [[C], [B, A]],
        [[A, A], [B, B]],
    ],
)
def test_two_contents_on_two_pages_are_a_conflict_that_stays(pages: list[Any]) -> None:
    state = MemoryStreamState()
    poll(state, PAGED, pages)
    assert conflicts(state) == {"1"}
    assert [poll(state, PAGED, pages) for _ in range(3)] == [0, 0, 0]
    assert poll(state, PAGED, pages[::-1]) == 0, "the order of the pages does not matter"


def test_two_institutions_that_number_alike_are_a_conflict() -> None:
    pages = {
        "a": [record(f"a{number}", str(number)) for number in range(20)],
        "b": [record(f"b{number}", str(number)) for number in range(10, 30)],
    }
    state = MemoryStreamState()
    poll(state, LOOP, pages)
    assert conflicts(state) == {str(number) for number in range(10, 20)}
    assert [poll(state, LOOP, pages) for _ in range(2)] == [0, 0]
    assert len(state.published) == 30


def test_content_that_an_earlier_poll_published_is_no_exception() -> None:
    state = MemoryStreamState()
    poll(state, PAGED, [[A]])
    assert not conflicts(state)
    poll(state, PAGED, [[A], [B]])
    assert conflicts(state) == {"1"}
    assert poll(state, PAGED, [[A], [B]]) == 0


@pytest.mark.parametrize("left", [A, B, C])
def test_conflict_ends_with_the_scan_that_shows_one_content(left: dict[str, Any]) -> None:
    state = MemoryStreamState()
    poll(state, PAGED, [[A], [B]])
    assert poll(state, PAGED, [[record("x", "2")], [left]]) == 2
    assert not conflicts(state)
    assert poll(state, PAGED, [[record("x", "2")], [left]]) == 0
    body = state.bodies["1"]
    assert body is not None
    assert left["t"].encode() in body


def test_same_content_on_two_pages_is_no_conflict() -> None:
    state = MemoryStreamState()
    assert poll(state, PAGED, [[A], [A, record("x", "2")]]) == 2
    assert not conflicts(state)
    pages = {"a": [A], "b": [A, record("x", "2")]}
    poll(state, LOOP, pages)
    assert not conflicts(state)
    assert poll(state, LOOP, pages) == 0


@pytest.mark.parametrize(
    ("text", "earlier", "later"),
    [
        (PAGED, {"changed": "2026-02-01T00:00:00Z"}, {"changed": "2026-02-02T00:00:00Z"}),
        (VERSIONS, {"v": "1"}, {"v": "2"}),
    ],
)
def test_record_that_changed_while_it_moved_is_no_conflict(
    text: str, earlier: dict[str, str], later: dict[str, str]
) -> None:
    state = MemoryStreamState()
    poll(state, text, [[record("a", **earlier)], [record("b", **later)]])
    assert not conflicts(state)
    body = state.bodies["1"]
    assert body is not None
    assert b'"b"' in body
    assert poll(state, text, [[record("x", "2")], [record("b", **later)]]) == 1


def test_conflict_stays_while_a_loop_value_is_not_read() -> None:
    state = MemoryStreamState()
    poll(state, LOOP, {"a": [A], "b": [B]})

    def route(_path: str, query: dict[str, str]) -> Any:
        return (401, {}) if query["s"] == "b" else {"items": [A] if query["s"] == "a" else []}

    result = poll_route(route, LOOP, state)
    assert not isinstance(result, StreamError), result
    assert conflicts(state) == {"1"}
    assert poll(state, LOOP, {"a": [A], "b": [B]}) == 0


def test_record_of_a_conflict_that_is_gone_is_deleted() -> None:
    state = MemoryStreamState()
    poll(state, LOOP, {"a": [A, record("x", "2")], "b": [B]})
    poll(state, LOOP, {"a": [record("x", "2")]})
    poll(state, LOOP, {"a": [record("x", "2")]})
    assert state.published == {"2"}


@pytest.mark.parametrize(
    ("contents", "shared"),
    [({"a": "1", "b": "2"}, {"1"}), ({"a": "1", "b": "1"}, set()), ({"c": "1"}, set())],
)
def test_verify_sees_two_contents_of_one_id(contents: dict[str, str], shared: set[str]) -> None:
    async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        title = contents.get(asked.target.partition("s=")[2])
        items = [] if title is None else [record(title)]
        reply(writer, json.dumps({"items": items}).encode(), content_type="application/json")

    async def read() -> ServedRecords:
        async with Server(answer, None) as server:
            made = connector_at(server.url, LOOP)
            async with RegistryClient(made, {"k": b""}.__getitem__, "production") as client:
                return await read_stream(made, "awards", client, NOW)

    assert asyncio.run(read()).shared == shared


VALUES = "for_each: {s: {in: {values: [a, b]}}}"
REQUEST = "for_each: {s: {in: {request: {request: {get: /offices}, select: 'codes[]'}}}}"


@pytest.mark.parametrize(
    ("loop", "native_id", "warns"),
    [
        (VALUES, "id", True),
        (REQUEST, "id", True),
        ("for_each: {s: {in: {values: [a, b]}}, t: {in: {values: [x]}}}", "id", True),
        (VALUES, "[$s, id]", False),
        (VALUES, "[office, id]", False),
        ("for_each: {s: {in: {values: [a]}}}", "id", False),
        ("for_each: {s: {in: {secret: office/persons}}}", "id", False),
        ("", "id", False),
    ],
)
def test_check_warns_of_a_loop_whose_values_may_number_alike(
    loop: str, native_id: str, warns: bool
) -> None:
    lines = f"    {loop}\n" if loop else ""
    text = connector_text("", stream=lines).replace("    id: id\n", f"    id: {native_id}\n")
    if loop:
        text = text.replace("{get: /awards}", '{get: "/awards/{s}"}')
    found = [
        finding
        for finding in check_document(parse_yaml(text.encode(), "office.yaml"), TABLES)
        if finding.code == "id-without-loop-value"
    ]
    assert len(found) == warns
    for finding in found:
        assert finding.severity == "warning"
        assert finding.path == "streams.awards.id"
        assert "id: [$s, id]" in finding.message
