"""A list ends where the registry says so, or at an empty page, and never at a short one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.errors import StreamError
from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream
from tests.support.raw_http_server import reply

SCAN = "cursor: scan"
BY_PAGE = 'page: "{page}", size: "{size}"'
BY_OFFSET = 'offset: "{offset}", size: "{size}"'


def ids(count: int) -> set[str]:
    return {f"a{number}" for number in range(count)}


class Registry:
    """A registry with ``count`` records, which cuts the size of a page."""

    def __init__(self, count: int, caps: list[int], after_last: Any = None) -> None:
        self.records = [item(f"a{number}") for number in range(count)]
        self.caps = caps
        self.after_last = after_last
        self.requests: list[dict[str, str]] = []
        self.more: dict[str, Any] = {}

    def __call__(self, _path: str, query: dict[str, str]) -> Any:
        self.requests.append(query)
        pages, start = [], 0
        while start < len(self.records):
            cap = self.caps[min(len(pages), len(self.caps) - 1)]
            pages.append(self.records[start : start + cap])
            start += cap
        if "offset" in query:
            offset = int(query["offset"])
            found = self.records[offset : offset + self.caps[0]]
        else:
            number = int(query["page"]) - 1
            found = pages[number] if number < len(pages) else []
        if not found and self.after_last is not None:
            return self.after_last(self.records) if callable(self.after_last) else self.after_last
        return {"items": found, **self.more}


def read(registry: Callable[..., Any], query: str, paging: str, state: MemoryStreamState) -> Any:
    return poll_route(registry, stream(query, f"paging: {paging}\n{SCAN}"), state)


@pytest.mark.parametrize(
    ("count", "caps", "query", "paging"),
    [
        (250, [100], BY_PAGE, "{page_number: {size: 200}}"),
        (250, [100], BY_OFFSET, "{offset: {size: 200}}"),
        (45, [7, 20, 3, 15], BY_PAGE, "{page_number: {size: 50}}"),
        (30, [30], BY_PAGE, "{page_number: {size: 50}}"),
        (21, [10], BY_OFFSET, "{offset: {size: 500}}"),
        (250, [100], BY_PAGE, "{page_number: {size: 200, total: n}}"),
        (250, [100], BY_OFFSET, "{offset: {size: 200, total: n}}"),
    ],
)
def test_smaller_pages_than_requested_are_read_to_the_end(count, caps, query, paging) -> None:
    registry, state = Registry(count, caps), MemoryStreamState()
    registry.more = {"n": count}
    assert isinstance(read(registry, query, paging, state), PollResult)
    assert state.published == ids(count)


def test_lowered_page_size_deletes_nothing() -> None:
    registry, state = Registry(25, [25]), MemoryStreamState()
    read(registry, BY_PAGE, "{page_number: {size: 50}}", state)
    registry.caps = [10]
    for _ in range(3):
        read(registry, BY_PAGE, "{page_number: {size: 50}}", state)
    assert state.published == ids(25)


def test_complete_list_costs_one_further_request() -> None:
    registry, state = Registry(5, [50]), MemoryStreamState()
    read(registry, BY_PAGE, "{page_number: {size: 50}}", state)
    assert [query["page"] for query in registry.requests] == ["1", "2"]


@pytest.mark.parametrize("status", [400, 404, 416, 422])
@pytest.mark.parametrize(
    ("query", "paging"), [(BY_PAGE, "page_number: {size: 9"), (BY_OFFSET, "offset: {size: 9")]
)
def test_refused_page_after_the_last_deletes_only_when_declared(status, query, paging) -> None:
    registry = Registry(3, [9], (status, {"detail": "Invalid page."}))
    state = MemoryStreamState()
    for declared, left in (("", ids(3)), (", after_last: refused", ids(2))):
        registry.records = [item(f"a{number}") for number in range(3)]
        assert isinstance(read(registry, query, f"{{{paging}{declared}}}}}", state), PollResult)
        registry.records.pop()
        for _ in range(2):
            read(registry, query, f"{{{paging}{declared}}}}}", state)
        assert state.published == left


def test_page_without_a_list_after_a_short_page_deletes_nothing() -> None:
    registry, state = Registry(3, [9], {"message": "no more pages"}), MemoryStreamState()
    read(registry, BY_PAGE, "{page_number: {size: 9}}", state)
    registry.records.pop()
    assert isinstance(read(registry, BY_PAGE, "{page_number: {size: 9}}", state), PollResult)
    assert state.published == ids(3)


def test_refused_page_in_the_middle_is_an_error() -> None:
    registry, state = Registry(3, [9]), MemoryStreamState()
    registry.more = {"n": 20}
    registry.after_last = (404, {})
    error = read(registry, BY_PAGE, "{page_number: {size: 9, total: n}}", state)
    assert isinstance(error, StreamError)
    assert error.reason == "HTTP_404"


def test_refusal_read_as_empty_does_not_cut_a_counted_list() -> None:
    """Without an error, an incremental stream would move on and never read the rest."""
    registry, state = Registry(9, [3]), MemoryStreamState()
    registry.more = {"n": 9}

    def route(path: str, query: dict[str, str]) -> Any:
        return (404, {}) if query["page"] == "2" else registry(path, query)

    error = poll_route(
        route,
        stream(BY_PAGE, f"paging: {{page_number: {{size: 3, total: n}}}}\n{SCAN}"),
        state,
        block="  replies: [{when: {status: 404}, then: empty}]\n",
    )
    assert isinstance(error, StreamError)
    assert error.reason == "COUNT_MISMATCH"


@pytest.mark.parametrize(
    ("query", "paging"),
    [
        (BY_PAGE, "page_number: {size: 2"),
        (BY_PAGE, "page_number: {size: 9"),
        ('page: "{page}"', "page_number: {more: more"),
    ],
)
def test_last_page_served_again_ends_a_list_only_when_declared(query, paging) -> None:
    registry, state = Registry(5, [2]), MemoryStreamState()
    registry.more = {"more": True}
    registry.after_last = lambda records: {"items": records[4:], "more": True}
    error = read(registry, query, f"{{{paging}}}}}", state)
    assert isinstance(error, StreamError)
    assert error.reason == "PAGE_REPEATED"
    assert "after_last: repeated" in str(error)
    declared = f"{{{paging}, after_last: repeated}}}}"
    assert isinstance(read(registry, query, declared, state), PollResult)
    assert state.published == ids(5)


def test_declared_repetition_does_not_hide_a_total() -> None:
    registry, state = Registry(5, [2]), MemoryStreamState()
    registry.more = {"n": 7}
    registry.after_last = lambda records: {"items": records[4:], "n": 7}
    error = read(
        registry, BY_PAGE, "{page_number: {size: 2, total: n, after_last: repeated}}", state
    )
    assert isinstance(error, StreamError)
    assert error.reason == "COUNT_MISMATCH"


def test_renamed_end_sign_does_not_end_a_list() -> None:
    registry, state = Registry(5, [2]), MemoryStreamState()
    paging = "{page_number: {more: hasNextPage}}"
    registry.more = {"nextPageExists": True}
    assert isinstance(read(registry, 'page: "{page}"', paging, state), PollResult)
    assert state.published == ids(5)


@pytest.mark.parametrize("value", [None, False, "", 0, "false"])
def test_stated_end_needs_no_further_request(value: Any) -> None:
    registry, state = Registry(2, [2]), MemoryStreamState()
    registry.more = {"next": value}
    read(registry, 'page: "{page}"', "{page_number: {more: next}}", state)
    assert len(registry.requests) == 1


def test_page_without_a_fitting_record_is_not_the_end() -> None:
    """A filter hides the records of the second page."""
    records = [item(f"a{number}", kind="x" if 2 <= number < 4 else "y") for number in range(6)]

    def route(_path: str, query: dict[str, str]) -> Any:
        start = 2 * int(query["page"]) - 2
        return {"items": records[start : start + 2]}

    text = stream(BY_PAGE, f"paging: {{page_number: {{size: 2}}}}\n{SCAN}")
    state = MemoryStreamState()
    poll_route(route, text.replace("records: items", "records: \"items[?kind=='y']\""), state)
    assert state.published == ids(6) - {"a2", "a3"}


@pytest.mark.parametrize("last", [[], [item("a4")]])
def test_token_paging_ends_with_the_same_token(last: list[Any]) -> None:
    pages = {"": ("t1", ["a0", "a1"]), "t1": ("t2", ["a2", "a3"]), "t2": ("t2", [])}

    def route(_path: str, query: dict[str, str]) -> Any:
        token, names = pages[query.get("cursor", "")]
        return {
            "items": [*map(item, names), *(last if token == query.get("cursor") else [])],
            "next": token,
        }

    state = MemoryStreamState()
    result = poll_route(
        route, stream('cursor: "{cursor}"', f"paging: {{cursor: {{from: next}}}}\n{SCAN}"), state
    )
    assert isinstance(result, PollResult)
    assert state.published == ids(4) | {one["id"] for one in last}


def test_token_that_changes_back_is_a_loop() -> None:
    def route(_path: str, query: dict[str, str]) -> Any:
        return {
            "items": [item(query.get("cursor", "start"))],
            "next": "b" if query.get("cursor") == "a" else "a",
        }

    error = poll_route(
        route,
        stream('cursor: "{cursor}"', f"paging: {{cursor: {{from: next}}}}\n{SCAN}"),
        MemoryStreamState(),
    )
    assert isinstance(error, StreamError)
    assert error.reason == "CURSOR_LOOP"


@pytest.mark.parametrize(
    "facts",
    [{"next": "/r?page=2"}, {"total": 9}, {"links": {"next": {"href": "/x"}}}, {"totalPages": 4}],
)
def test_list_that_says_it_has_more_deletes_nothing_without_paging(facts: Any) -> None:
    found: dict[str, Any] = {"items": [item("a1"), item("a2")]}
    state = MemoryStreamState()
    for answer in (found, {"items": [item("a1")], **facts}):
        result = poll_route(lambda *_, answer=answer: answer, stream("", SCAN), state)
        assert isinstance(result, PollResult)
    assert state.published == {"a1", "a2"}
    text = stream("", f"paging: none\n{SCAN}")
    poll_route(lambda *_: {"items": [item("a1")], **facts}, text, state)
    assert state.published == {"a1"}


@pytest.mark.parametrize("query", [BY_PAGE, BY_OFFSET])
def test_registry_that_ignores_the_page_is_read_and_deletes_nothing(query: str) -> None:
    """It worked before the gateway confirmed the end of a list, so it must not stop now."""
    paging = "{page_number: {size: 9}}" if query == BY_PAGE else "{offset: {size: 9}}"
    records, state = [item("a1"), item("a2")], MemoryStreamState()
    for _ in range(2):
        assert isinstance(read(lambda *_: {"items": records}, query, paging, state), PollResult)
        assert state.published == {"a1", "a2"}
        del records[1:]


@pytest.mark.parametrize("status", [500, 502, 204])
def test_failure_after_a_short_page_ends_a_scan_without_deletions(status: int) -> None:
    async def fail(_asked: Any, writer: Any) -> None:
        reply(writer, b"", status)

    records, state = [item("a1"), item("a2")], MemoryStreamState()
    for _ in range(2):
        result = read(
            lambda _path, query: {"items": records} if query["page"] == "1" else fail,
            BY_PAGE,
            "{page_number: {size: 9}}",
            state,
        )
        assert isinstance(result, PollResult)
        assert state.published == {"a1", "a2"}
        del records[1:]


def test_failure_after_a_short_page_is_an_error_of_an_incremental_stream() -> None:
    """Its cursor would move past the records of the page that failed."""
    text = stream(BY_PAGE, "paging: {page_number: {size: 9}}\ncursor: {field: changed_at}")
    error = poll_route(
        lambda _path, query: {"items": [item("a1")]} if query["page"] == "1" else (500, {}),
        text,
        MemoryStreamState(),
    )
    assert isinstance(error, StreamError)
    assert error.reason == "HTTP_500"


@pytest.mark.parametrize(("query", "paging"), [(BY_PAGE, "page_number"), (BY_OFFSET, "offset")])
def test_count_of_one_page_is_not_taken_for_the_total(query: str, paging: str) -> None:
    registry, state = Registry(7, [3]), MemoryStreamState()
    registry.more = {"total": 3}
    assert isinstance(
        read(registry, query, f"{{{paging}: {{size: 3, total: total}}}}", state), PollResult
    )
    assert state.published == ids(7)


@pytest.mark.parametrize("token", [None, "", " "])
def test_page_that_announces_more_without_a_token_is_no_end(token: Any) -> None:
    def route(_path: str, query: dict[str, str]) -> Any:
        if query.get("page") == "2":
            return {"items": [item("a1")], "next": token, "more": more}
        return {"items": [item("a0")], "next": "2", "more": True}

    paging, more, state = "{cursor: {from: next, more: more}}", False, MemoryStreamState()
    assert isinstance(read(route, 'page: "{cursor}"', paging, state), PollResult)
    more = True
    error = read(route, 'page: "{cursor}"', paging, state)
    assert isinstance(error, StreamError)
    assert error.reason == "CURSOR_MISSING"
    assert state.published == ids(2)
