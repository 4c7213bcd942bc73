"""An index in JSON, and documents in XML behind it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import StreamError
from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, poll_route
from tests.support.raw_http_server import ReceivedRequest, reply

STREAM = """    request: {get: /index}
    cursor: scan
    records: items
    expand: {request: {get: "/documents/{id}"}, id: number, decode: xml%s}
    id: d:number
    changed_at: d:changed
    version: d:version
    deleted: {path: d:status, is: gone}
%s    map: {title.en: d:title}
    tests: [{name: shape, given: "<d:doc xmlns:d='urn:d'><d:number>1</d:number></d:doc>", expect_some: {}}]
"""
DOCUMENT = (
    "<d:doc xmlns:d='urn:d'><d:number>{0}</d:number><d:changed>2026-02-01T00:00:00Z</d:changed>"
    "<d:status>{1}</d:status><d:title>T</d:title></d:doc>"
)


class Registry:
    """A registry with an index of numbers, and a document for each."""

    def __init__(self, *numbers: str) -> None:
        self.index: Any = {"items": [{"number": number} for number in numbers]}
        self.status = dict.fromkeys(numbers, "valid")

    def __call__(self, path: str, _query: dict[str, str]) -> Any:
        if path == "/index":
            return self.index
        number = path.rpartition("/")[2]
        if number not in self.status:
            return 404, {}

        async def document(_asked: ReceivedRequest, writer: Any) -> None:
            body = DOCUMENT.format(number, self.status[number]).encode()
            reply(writer, body, content_type="application/xml")

        return document


def poll(registry: Registry, state: MemoryStreamState, expand: str = "", more: str = "") -> Any:
    block = "  namespaces: {d: 'urn:d'}\n"
    return poll_route(registry, STREAM % (expand, more), state, block=block)


def test_documents_of_an_index_are_read() -> None:
    registry, state = Registry("1", "2"), MemoryStreamState()
    assert isinstance(poll(registry, state), PollResult)
    assert state.published == {"1", "2"}
    registry.status["2"] = "gone"
    poll(registry, state)
    assert state.published == {"1"}


def test_empty_index_is_a_complete_scan() -> None:
    registry, state = Registry("1"), MemoryStreamState()
    poll(registry, state)
    registry.index = {"items": []}
    assert isinstance(poll(registry, state), PollResult)
    assert state.published == set()


@pytest.mark.parametrize(
    "index",
    [
        {"items": [{"nr": "1"}]},
        {"items": {"nr": "1"}},
        {"items": [{"number": None}]},
        {"items": ["1"]},
        {"rows": []},
        {"items": [{"number": "1"}, {}]},
    ],
)
def test_index_in_another_form_deletes_nothing_and_names_the_cause(index: Any) -> None:
    registry, state = Registry("1", "2"), MemoryStreamState()
    poll(registry, state)
    registry.index = index
    result = poll(registry, state)
    assert state.published >= {"1", "2"}
    if isinstance(result, StreamError):
        assert result.reason == "LIST_MISSING"


@pytest.mark.parametrize("missing", ["deleted", "reject", "skip", "retry"])
def test_missing_document_follows_the_connector(missing: str) -> None:
    registry, state = Registry("1", "2", "3"), MemoryStreamState()
    poll(registry, state)
    del registry.status["2"]
    block = "  namespaces: {d: 'urn:d'}\n  replies: [{when: {status: 404}, then: empty}]\n"
    text = STREAM % (f", missing: {missing}", "")
    result = poll_route(registry, text, state, block=block)
    assert getattr(result, "reason", "") == ("EXPAND_MISSING" if missing == "retry" else "")
    assert state.published >= {"1", "3"}
    assert ("2" in state.published) == (missing != "deleted")


def test_refused_document_deletes_nothing() -> None:
    """The index has no native id, so the scan cannot tell which document was refused."""
    registry, state = Registry("1", "2", "3"), MemoryStreamState()
    poll(registry, state)
    del registry.status["2"]
    assert isinstance(poll(registry, state), PollResult)
    assert state.published == {"1", "2", "3"}


@pytest.mark.parametrize(
    "more", ["    keep: {n: number}\n", "    children: d:doc\n", "    kind: d:status\n"]
)
def test_further_expressions_read_their_own_format(more: str) -> None:
    registry, state = Registry("1", "2"), MemoryStreamState()
    assert isinstance(poll(registry, state, more=more), PollResult)
    assert state.published == {"1", "2"}


@pytest.mark.parametrize(
    "rule",
    [
        "expand: {request: {get: '/documents/{id}'}, id: number, decode: xml, into: doc}",
        "join: [{into: doc, request: {get: '/documents/{id}'}, decode: xml, key: ., to: number}]",
    ],
)
def test_document_inside_a_record_of_another_format_is_refused_clearly(rule: str) -> None:
    text = (
        f"    request: {{get: /index}}\n    records: items\n    {rule}\n    id: number\n"
        "    map: {title.en: number}\n"
        "    tests: [{name: shape, given: {number: '1'}, expect_some: {}}]\n"
    )
    error = poll_route(
        Registry("1"), text, MemoryStreamState(), block="  namespaces: {d: 'urn:d'}\n"
    )
    assert isinstance(error, StreamError)
    assert error.reason == "FORMAT_MIXED"
    assert "into" in str(error)
