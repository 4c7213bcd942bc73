"""Joins, details and loops read their list to its end, or say that it has more."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.errors import StreamError
from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream
from tests.support.raw_http_server import ReceivedRequest, reply

SCAN = "cursor: scan"
JOIN = "join: [{into: parts, request: {get: /parts%s}, records: items, key: of, to: id%s}]\n"
PAGED = ", paging: {offset: {size: 2}}"


class Registry:
    """Three awards, and a list of six parts in pages of two."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.parts: list[Any] = [{"of": f"a{number % 3}", "n": number} for number in range(6)]
        self.facts: Callable[[int], dict[str, Any]] = lambda _start: {}
        self.awards = [item(f"a{number}") for number in range(3)]

    def __call__(self, path: str, query: dict[str, str]) -> Any:
        self.requests.append(path)
        if path == "/parts":
            start = int(query.get("offset", 0))
            return {"items": self.parts[start : start + 2], **self.facts(start)}
        return {"items": self.awards}


def parts_of(state: MemoryStreamState) -> dict[str, list[int]]:
    return {
        name: [part["n"] for part in json.loads(body or b"")["parts"]]
        for name, body in state.bodies.items()
    }


def poll(registry: Any, text: str, state: MemoryStreamState, block: str = "") -> Any:
    return poll_route(registry, stream("", text), state, block=block)


ALL_PARTS = {"a0": [0, 3], "a1": [1, 4], "a2": [2, 5]}


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        (', query: {offset: "{offset}"}', ", paging: {offset: {size: 2}}"),
        (', query: {offset: "{offset}"}', ", paging: {offset: {size: 9, total: count}}"),
        ("", ", paging: {next_url: next}"),
        ("", ", paging: {next_url: next}, total: count"),
        (', query: {offset: "{cursor}"}', ", paging: {cursor: {from: token}}"),
    ],
)
def test_joined_list_is_read_to_its_end(query: str, keys: str) -> None:
    registry, state = Registry(), MemoryStreamState()
    registry.facts = lambda start: {
        "count": 6,
        "next": f"/parts?offset={start + 2}" if start < 4 else None,
        "token": start + 2 if start < 4 else None,
    }
    assert isinstance(poll(registry, JOIN % (query, keys) + SCAN, state), PollResult)
    assert parts_of(state) == ALL_PARTS


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"count": 6}, "`count` is 6, and 2 came"),
        ({"totalElements": "6"}, "`totalElements` is 6"),
        ({"total_records": 6}, "`total_records` is 6"),
        ({"next": "/parts?offset=2"}, "`next` names a next page"),
        ({"_links": {"next": {"href": "/x"}}}, "`next` names a next page"),
        ({"links": [{"rel": "self"}, {"rel": "next", "href": "/x"}]}, "`next` names a next page"),
        ({"meta": {"total": 6}}, "`total` is 6"),
        ({"@odata.nextLink": "/x"}, "`@odata.nextLink` names a next page"),
        ({"pageInfo": {"hasNextPage": True}}, "`hasNextPage` names a next page"),
        ({"totalPages": 3}, "`totalPages` is 3"),
        ({"last": False, "number": 0}, "`last` is false"),
        ({"isLast": False}, "`isLast` is false"),
        ({"meta": {"pagination": {"total": 6}}}, "`total` is 6"),
        ({"resumptionToken": "x"}, "`resumptionToken` names a next page"),
        ({"truncated": True}, "`truncated` is true"),
        ({"current_page": 1, "last_page": 3}, "`last_page` is 3"),
    ],
)
def test_joined_list_that_says_it_has_more_needs_paging(facts: dict[str, Any], named: str) -> None:
    registry, state = Registry(), MemoryStreamState()
    registry.facts = lambda _start: facts
    error = poll(registry, JOIN % ("", "") + SCAN, state)
    assert isinstance(error, StreamError)
    assert error.reason == "PAGING_MISSING"
    assert named in str(error)
    assert "join 'parts'" in str(error)
    assert "paging: {next_url: next}" in str(error)
    assert state.published == set()
    declared = JOIN % ("", ", paging: none") + SCAN
    assert isinstance(poll(registry, declared, state), PollResult)


@pytest.mark.parametrize(
    "facts",
    [
        {"count": 2},
        {"total": 1, "page": 1},
        {"next": None, "hasMore": False},
        {"links": {"next": ""}, "totalPages": 1},
        {"nextSteps": "apply", "country": 5},
        {"last": True, "isLast": "true", "truncated": False, "resumptionToken": ""},
        {"last": "/parts?offset=0", "meta": {"pagination": {"total": 2}}},
    ],
)
def test_joined_list_that_is_complete_needs_no_paging(facts: dict[str, Any]) -> None:
    registry, state = Registry(), MemoryStreamState()
    registry.facts = lambda _start: facts
    assert isinstance(poll(registry, JOIN % ("", "") + SCAN, state), PollResult)


def test_link_header_of_a_joined_list_needs_paging() -> None:
    async def with_link(_asked: ReceivedRequest, writer: Any) -> None:
        reply(writer, b'{"items": []}', link='</parts?page=2>; rel="next"')

    def route(path: str, _query: dict[str, str]) -> Any:
        return with_link if path == "/parts" else {"items": [item(1)]}

    error = poll(route, JOIN % ("", "") + SCAN, MemoryStreamState())
    assert isinstance(error, StreamError)
    assert "Link header" in str(error)


def test_joined_list_below_its_total_is_an_error() -> None:
    registry, state = Registry(), MemoryStreamState()
    registry.facts = lambda _start: {"count": 7}
    for keys in (", paging: {offset: {size: 2, total: count}}", f"{PAGED}, total: count"):
        error = poll(registry, JOIN % (', query: {offset: "{offset}"}', keys) + SCAN, state)
        assert isinstance(error, StreamError)
        assert error.reason == "COUNT_MISMATCH"
        assert "join 'parts': the registry says there are 7 records and served 6" in str(error)
        assert state.published == set()


def test_joined_list_is_requested_once_for_all_pages_of_the_first() -> None:
    registry, state = Registry(), MemoryStreamState()

    def route(path: str, query: dict[str, str]) -> Any:
        found = registry(path, query)
        if path == "/parts":
            return {"items": registry.parts}
        start = int(query["offset"])
        return {"items": found["items"][start : start + 1]}

    text = JOIN % ("", "") + f"paging: {{offset: {{size: 1}}}}\n{SCAN}"
    poll_route(route, stream('offset: "{offset}"', text), state)
    assert parts_of(state) == ALL_PARTS
    assert registry.requests.count("/parts") == 1


def test_joined_list_is_requested_once_for_each_loop_value() -> None:
    registry, state = Registry(), MemoryStreamState()
    loop = "for_each: {school: {in: {values: [x, y]}}}\n"

    def route(path: str, query: dict[str, str]) -> Any:
        registry.requests.append(path + query.get("school", ""))
        if path == "/parts":
            return {"items": [{"of": f"{query['school']}1", "n": query["school"]}]}
        return {"items": [item(f"{query['school']}1")]}

    join = JOIN % (', query: {school: "{school}"}', "")
    poll_route(route, stream('school: "{school}"', loop + join + SCAN), state)
    assert parts_of(state) == {"x1": ["x"], "y1": ["y"]}
    assert sorted(registry.requests) == ["/partsx", "/partsy", "/rx", "/ry"]


@pytest.mark.parametrize("reply_without_list", [{"error": "busy"}, {}, {"items": None}])
def test_reply_without_the_joined_list_is_an_error(reply_without_list: Any) -> None:
    registry, state = Registry(), MemoryStreamState()

    def route(path: str, query: dict[str, str]) -> Any:
        return reply_without_list if path == "/parts" else registry(path, query)

    error = poll(route, JOIN % ("", "") + SCAN, state)
    assert isinstance(error, StreamError)
    assert error.reason == "LIST_MISSING"
    assert state.published == set()


def test_empty_joined_list_joins_nothing() -> None:
    registry, state = Registry(), MemoryStreamState()
    registry.parts = []
    poll(registry, JOIN % ("", "") + SCAN, state)
    assert parts_of(state) == {"a0": [], "a1": [], "a2": []}


@pytest.mark.parametrize("keys", ["", ", paging: {next_url: next}", ", total: count"])
def test_loop_values_are_read_to_the_end_or_refused(keys: str) -> None:
    registry, state = Registry(), MemoryStreamState()
    registry.parts = [{"id": f"s{number}"} for number in range(5)]
    registry.facts = lambda start: {
        "count": 5,
        "next": f"/parts?offset={start + 2}" if start < 4 else None,
    }
    loop = f"for_each: {{s: {{in: {{request: {{request: {{get: /parts}}, select: 'items[].id'{keys}}}}}}}}}\n"

    def route(path: str, query: dict[str, str]) -> Any:
        return registry(path, query) if path == "/parts" else {"items": [item(query["s"])]}

    result = poll_route(route, stream('s: "{s}"', loop + SCAN), state)
    if "paging" in keys:
        assert isinstance(result, PollResult)
        assert state.published == {f"s{number}" for number in range(5)}
    else:
        assert isinstance(result, StreamError)
        assert result.reason == "PAGING_MISSING"
        assert "for_each 's'" in str(result)


def test_loop_over_groups_ignores_the_count_of_another_list() -> None:
    """The reply counts all records, and the loop reads the names of groups."""
    loop = "for_each: {s: {in: {request: {request: {get: /parts}, select: 'keys(facets)'}}}}\n"

    def route(path: str, query: dict[str, str]) -> Any:
        if path == "/parts":
            return {"count": 500, "items": [], "facets": {"x": 400, "y": 100}}
        return {"items": [item(query["s"])]}

    state = MemoryStreamState()
    assert isinstance(poll_route(route, stream('s: "{s}"', loop + SCAN), state), PollResult)
    assert state.published == {"x", "y"}


@pytest.mark.parametrize("found", [{"items": []}, {"itmes": [{"id": "s"}]}, {"error": 1}])
def test_loop_without_values_deletes_nothing(found: Any, capsys: Any) -> None:
    loop = "for_each: {s: {in: {request: {request: {get: /parts}, select: 'items[].id'}}}}\n"
    listed: list[Any] = [{"items": [{"id": "s1"}]}]

    def route(path: str, query: dict[str, str]) -> Any:
        return listed[-1] if path == "/parts" else {"items": [item(query["s"])]}

    state = MemoryStreamState()
    poll_route(route, stream('s: "{s}"', loop + SCAN), state)
    listed.append(found)
    result = poll_route(route, stream('s: "{s}"', loop + SCAN), state)
    assert state.published == {"s1"}
    if found == {"items": []}:
        assert isinstance(result, PollResult)
        assert "loop has no value" in capsys.readouterr().out
        assert result.empty_loop == "s"
    else:
        assert isinstance(result, StreamError)
        assert result.reason == "LIST_MISSING"


def test_details_in_pages_are_read_to_the_end() -> None:
    expand = (
        "expand: {request: {get: '/parts', query: {offset: '{offset}', of: '{id}'}}, id: id, "
        "records: items, into: parts, paging: {offset: {size: 2, total: count}}}\n"
    )

    def route(path: str, query: dict[str, str]) -> Any:
        if path != "/parts":
            return {"items": [item("a1"), item("a2")]}
        start = int(query["offset"])
        rows = [{"n": number, "of": query["of"]} for number in range(5)]
        return {"items": rows[start : start + 2], "count": 5}

    state = MemoryStreamState()
    assert isinstance(poll(route, expand + SCAN, state), PollResult)
    assert parts_of(state) == {"a1": [0, 1, 2, 3, 4], "a2": [0, 1, 2, 3, 4]}


XML_LIST = (
    "<r:reply xmlns:r='urn:r'><r:head>{head}</r:head>"
    "<r:parts{attributes}><r:part of='a0'>x</r:part></r:parts></r:reply>"
)


@pytest.mark.parametrize(
    ("head", "attributes", "complete"),
    [
        ("", " total='4'", False),
        ("<r:more>true</r:more>", "", False),
        ("", "", True),
        ("", " total='1'", True),
    ],
)
def test_joined_xml_list_that_says_it_has_more_needs_paging(head, attributes, complete) -> None:
    join = (
        "join: [{into: parts, request: {get: /parts}, records: '//r:part', key: '@of', to: r:id}]\n"
    )

    async def answer(asked: ReceivedRequest, writer: Any) -> None:
        body = (
            XML_LIST.format(head=head, attributes=attributes)
            if asked.target.startswith("/parts")
            else "<r:awards xmlns:r='urn:r'><r:a><r:id>a0</r:id></r:a></r:awards>"
        )
        reply(writer, body.encode(), content_type="application/xml")

    text = stream("", join + "decode: xml\n" + SCAN)
    for old, new in (("records: items", "records: r:a"), ("id: id", "id: r:id")):
        text = text.replace(old, new)
    text = text.replace("changed_at: changed", "changed_at: r:c").replace(
        "title.en: t", "title.en: r:t"
    )
    text = text.replace('given: {id: "1"}', "given: \"<r:a xmlns:r='urn:r'><r:id>1</r:id></r:a>\"")
    result = poll_route(
        lambda *_: answer, text, MemoryStreamState(), block="  namespaces: {r: 'urn:r'}\n"
    )
    assert isinstance(result, PollResult if complete else StreamError)


def test_refused_list_of_inner_values_deletes_nothing() -> None:
    """One school does not show its programmes for a while, and the other one does."""
    loops = (
        "for_each:\n"
        "  school: {in: {values: [x, y]}}\n"
        "  p: {in: {request: {request: {get: '/list/{school}'}, select: 'items[].id'}}}\n"
    )
    refused: set[str] = set()

    def route(path: str, query: dict[str, str]) -> Any:
        school = path.rpartition("/")[2]
        if path.startswith("/list"):
            return (404, {}) if school in refused else {"items": [{"id": f"{school}1"}]}
        return {"items": [item(query["p"])]}

    state = MemoryStreamState()
    for _ in range(3):
        result = poll_route(
            route,
            stream('p: "{p}"', loops + SCAN),
            state,
            block="  replies: [{when: {status: 404}, then: empty}]\n",
        )
        assert isinstance(result, PollResult)
        assert state.published == {"x1", "y1"}
        refused.add("x")


def test_joined_list_that_is_refused_is_not_an_empty_one() -> None:
    registry, state = Registry(), MemoryStreamState()
    text = JOIN % ("", ", paging: none") + SCAN
    block = "  replies: [{when: {status: 404}, then: empty}]\n"
    poll(registry, text, state, block)
    before = parts_of(state)

    def refused(path: str, query: dict[str, str]) -> Any:
        return (404, {}) if path == "/parts" else registry(path, query)

    error = poll(refused, text, state, block)
    assert isinstance(error, StreamError)
    assert error.reason == "LIST_REFUSED"
    assert parts_of(state) == before


@pytest.mark.parametrize("finished", [{"output": None}, {}, {"error": "expired"}, {"output": []}])
def test_finished_export_without_its_files_is_no_empty_list(finished: dict[str, Any]) -> None:
    export = (
        "    export: {start: {post: /jobs}, keep: {job: id}, status: {get: '/jobs/{job}'}, "
        "state: state, pending: [running], done: [done], files: 'output[].url'}\n"
    )
    text = stream("", SCAN).replace("    request: {get: /r, query: {}}\n", export)
    answers: list[dict[str, Any]] = [{"output": [{"url": "/file"}]}]

    def route(path: str, _query: dict[str, str]) -> Any:
        if path == "/file":
            return {"items": [item("a1")]}
        return {"id": "j", "state": "done", **answers[-1]}

    state = MemoryStreamState()
    poll_route(route, text, state)
    assert state.published == {"a1"}
    answers.append(finished)
    result = poll_route(route, text, state)
    if finished == {"output": []}:
        assert isinstance(result, PollResult)
    else:
        assert isinstance(result, StreamError)
        assert result.reason == "LIST_MISSING"
        assert state.published == {"a1"}


@pytest.mark.parametrize(
    ("query", "paging"),
    [
        ('{page: "{page}"}', "page_number: {start: 0, after_last: repeated}"),
        ('{page: "{page}"}', "page_number: {start: 0, size: 2, after_last: repeated}"),
        ('{offset: "{offset}"}', "offset: {size: 2, after_last: repeated}"),
        ('{page: "{cursor}"}', "cursor: {from: token}"),
        ('{page: "{cursor}"}', "cursor: {from: token, after_last: repeated}"),
    ],
)
@pytest.mark.parametrize("count", [3, 4])
def test_last_page_that_comes_again_is_joined_once(query: str, paging: str, count: int) -> None:
    parts = [{"of": "a0", "n": number} for number in range(count)]

    def route(path: str, asked: dict[str, str]) -> Any:
        if path != "/parts":
            return {"items": [item("a0")]}
        number = int(asked.get("offset", 0)) // 2 + int(asked.get("page") or 0)
        start = 2 * min(number, 1)
        return {"items": parts[start : start + 2], "token": 1}

    state = MemoryStreamState()
    keys = (f", query: {query}", f", paging: {{{paging}}}")
    assert isinstance(poll(route, JOIN % keys + SCAN, state), PollResult)
    assert parts_of(state) == {"a0": list(range(count))}


def test_repeated_last_page_does_not_count_for_the_total() -> None:
    def route(path: str, asked: dict[str, str]) -> Any:
        if path != "/parts":
            return {"items": [item("a0")]}
        start = 2 * min(int(asked["page"]), 1)
        return {"items": [{"of": "a0", "n": start}, {"of": "a0", "n": start + 1}], "count": 5}

    keys = (
        ', query: {page: "{page}"}',
        ", paging: {page_number: {start: 0, after_last: repeated}}, total: count",
    )
    error = poll(route, JOIN % keys + SCAN, MemoryStreamState())
    assert isinstance(error, StreamError)
    assert error.reason == "COUNT_MISMATCH"


@pytest.mark.parametrize("records", ["items", "items[?n]", "sort_by(items, &n)"])
def test_joined_list_whose_key_was_renamed_is_an_error(records: str) -> None:
    registry, state = Registry(), MemoryStreamState()
    registry.parts = registry.parts[:2]
    text = JOIN.replace("records: items", f"records: '{records}'") % ("", "") + SCAN
    assert isinstance(poll(registry, text, state), PollResult)
    registry.parts = [{"award": part["of"], "n": part["n"] + 9} for part in registry.parts]
    error = poll(registry, text, state)
    assert isinstance(error, StreamError)
    assert error.reason == "JOIN_KEY"
    assert "join 'parts': no record of the list has `of`" in str(error)
    assert parts_of(state) == {"a0": [0], "a1": [1], "a2": []}


@pytest.mark.parametrize("second", [{"of": None, "n": 1}, {"award": "a1", "n": 1}])
def test_joined_record_without_a_key_stops_no_other(second: dict[str, Any], capsys: Any) -> None:
    registry, state = Registry(), MemoryStreamState()
    registry.parts = [{"of": "a0", "n": 0}, second]
    assert isinstance(poll(registry, JOIN % ("", "") + SCAN, state), PollResult)
    assert parts_of(state) == {"a0": [0], "a1": [], "a2": []}
    assert "joined records without a key" in capsys.readouterr().out


@pytest.mark.parametrize("parts", [[], [{"of": None, "n": 1}], [{"of": "", "n": 1}]])
def test_joined_list_of_records_for_no_award_is_complete(parts: list[Any]) -> None:
    registry, state = Registry(), MemoryStreamState()
    registry.parts = parts
    assert isinstance(poll(registry, JOIN % ("", "") + SCAN, state), PollResult)
    assert parts_of(state) == {"a0": [], "a1": [], "a2": []}


@pytest.mark.parametrize("fact", [{"last": False}, {"truncated": True}, {"count": 9}])
def test_values_of_one_record_are_no_sign_of_more(fact: dict[str, Any]) -> None:
    def route(path: str, _query: dict[str, str]) -> Any:
        return {"items": [item("a0")]} if path == "/r" else item("a0", **fact)

    text = "expand: {request: {get: '/one/{id}'}, id: id}\n" + SCAN
    assert isinstance(poll(route, text, MemoryStreamState()), PollResult)


EACH = "join: [{into: parts, request: {get: '/parts/{id}'}, records: items, to: %s}]\n"


def test_records_of_a_page_that_share_a_key_need_one_request() -> None:
    registry, state = Registry(), MemoryStreamState()
    for number, award in enumerate(registry.awards):
        award["of"] = f"k{number // 2}"
    registry.parts = [{"n": 0}]
    assert isinstance(poll(registry, EACH % "of" + SCAN, state), PollResult)
    assert registry.requests == ["/r", "/parts/k0", "/parts/k1"]
    assert len(state.bodies) == 3


@pytest.mark.parametrize("join", [EACH % "of", JOIN.replace("to: id", "to: of") % ("", "")])
def test_record_with_several_keys_gets_the_records_of_each(join: str) -> None:
    parts = {"k0": [0, 1], "k1": [2], "k2": [3]}

    def registry(path: str, _query: dict[str, str]) -> Any:
        if path == "/parts":
            return {"items": [{"of": of, "n": n} for of, ns in parts.items() for n in ns]}
        if path.startswith("/parts/"):
            return {"items": [{"n": n} for n in parts[path.removeprefix("/parts/")]]}
        return {"items": [item("a0", of=["k0", "k2", "k0"]), item("a1", of=[])]}

    state = MemoryStreamState()
    assert isinstance(poll(registry, join + SCAN, state), PollResult)
    assert parts_of(state) == {"a0": [0, 1, 3], "a1": []}


@pytest.mark.parametrize(("missing", "expected"), [("empty", {"a0": [0]}), ("skip", {})])
def test_record_of_which_one_key_is_refused(missing: str, expected: Any) -> None:
    def registry(path: str, _query: dict[str, str]) -> Any:
        if path == "/parts/k0":
            return {"items": [{"n": 0}]}
        if path == "/parts/k1":
            return 404, {}
        return {"items": [item("a0", of=["k0", "k1"])]}

    state = MemoryStreamState()
    poll(registry, (EACH % "of").replace("to: of", f"to: of, missing: {missing}") + SCAN, state)
    assert parts_of(state) == expected
