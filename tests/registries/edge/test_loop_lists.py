"""A list of loop values in which an item lacks its value is not complete."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lxml import etree

from gateway.config.expressions.missing_values import count_missing_values
from gateway.errors import StreamError
from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream
from tests.support.raw_http_server import ReceivedRequest, reply

NAMES = {"r": "urn:r"}


@pytest.mark.parametrize(
    ("select", "reply_text", "missing"),
    [
        ("items[].code", '{"items": [{"code": "a"}, {"kode": "b"}]}', 1),
        ("items[].code", '{"items": [{"code": "a"}, {"code": null}, {"code": " "}]}', 2),
        ("items[].code", '{"items": [{"code": "a"}, null, "b"]}', 2),
        ("items[].code", '{"items": [{"code": "a"}, {"code": {"x": 1}}]}', 1),
        ("items[].code", '{"items": [{"code": "a"}, {"code": 0}]}', 0),
        ("items[].code", '{"items": []}', 0),
        ("items[*].code", '{"items": [{"code": "a"}, {"kode": "b"}]}', 1),
        ("items[?open].code", '{"items": [{"code": "a", "open": true}, {"open": true}]}', 1),
        ("items[?open].code", '{"items": [{"code": "a", "open": true}, {"open": false}]}', 0),
        ("items[?t=='x'].[code][]", '{"items": [{"code": "a", "t": "x"}, {"t": "x"}]}', 1),
        ("items.*.code", '{"items": {"x": {"code": "a"}, "y": {}}}', 1),
        ("items[].org.code", '{"items": [{"org": {"code": "a"}}, {"org": {}}, {}]}', 2),
        ("items[].(code || kode)", '{"items": [{"code": "a"}, {"kode": "b"}]}', 0),
        ("items[].code || rows[].code", '{"rows": [{"code": "a"}, {}]}', 1),
        ("sort(items[].code)", '{"items": [{"code": "a"}, {}]}', 1),
        ("s[].p[].code", '{"s": [{"p": [{"code": "a"}]}, {"p": []}]}', 0),
        ("s[].p[].code", '{"s": [{"p": [{"code": "a"}]}, {"q": []}]}', 1),
        ("s[].p[].code", '{"s": [{"p": [{"code": "a"}, {}]}]}', 1),
        ("codes", '{"codes": ["a", "b"]}', 0),
        ("codes[]", '{"codes": ["a", "", null]}', 2),
        ("[].code", '[{"code": "a"}, {}]', 1),
        ("keys(items)", '{"items": {"a": null}}', 0),
    ],
)
def test_items_without_their_value_are_counted_in_json(
    select: str, reply_text: str, missing: int
) -> None:
    assert count_missing_values("json", select, json.loads(reply_text), {}) == missing


@pytest.mark.parametrize(
    ("select", "reply_text", "missing"),
    [
        ("//school/code", "<l><school><code>a</code></school><school><kode/></school></l>", 1),
        ("//school/code", "<l><school><code>a</code></school><school><code/></school></l>", 1),
        ("//school/code/text()", "<l><school><code>a</code></school><school/></l>", 1),
        ("/l/school/@code", '<l><school code="a"/><school/></l>', 1),
        ("//school/@code", '<l><school code="a"/><school code=""/></l>', 1),
        ("//school[@t='x']/code", "<l><school t='x'><code>a</code></school><school/></l>", 0),
        ("//school[@t='x']/code", "<l><school t='x'><code>a</code></school><school t='x'/></l>", 1),
        ("//school/info/code", "<l><school><info><code>a</code></info></school><school/></l>", 1),
        ("//code", "<l><school><code>a</code></school><school><kode>b</kode></school></l>", 1),
        ("//@code", '<l><school code="a"/><school/></l>', 1),
        ("//code", "<l><code>a</code><code>b</code><total>2</total></l>", 0),
        ("//school/code", "<l><school><code>a</code></school></l>", 0),
        (
            "//r/school/code",
            "<l><r><school><code>a</code></school><school><code>b</code></school></r><r/></l>",
            0,
        ),
        ("//a/code | //b/code", "<l><a><code>a</code></a><b><code>b</code></b><b/></l>", 1),
        (
            "//*[local-name()='school']/*[local-name()='code']",
            "<l><school><code>a</code></school><school/></l>",
            1,
        ),
        ("//r:s/r:c", '<l xmlns="urn:r"><s><c>a</c></s><s><d>b</d></s></l>', 1),
        ("//r:s/r:c", '<l xmlns="urn:r"><s><c>a</c></s><s><c xmlns="urn:x">b</c></s></l>', 1),
    ],
)
def test_items_without_their_value_are_counted_in_xml(
    select: str, reply_text: str, missing: int
) -> None:
    assert count_missing_values("xml", select, etree.fromstring(reply_text), NAMES) == missing


class Registry:
    """Two schools with an award each; the list of schools is the reply of ``/schools``."""

    def __init__(self, listed: Any) -> None:
        self.listed = listed

    def __call__(self, path: str, query: dict[str, str]) -> Any:
        return self.listed if path == "/schools" else {"items": [item(query["school"] + "1")]}


def poll(registry: Registry, select: str, state: MemoryStreamState, cursor: str = "scan") -> Any:
    text = stream(
        'school: "{school}"',
        f"for_each: {{school: {{in: {{request: {{request: {{get: /schools}}, select: '{select}'}}}}}}}}\n"
        f"cursor: {cursor}",
    )
    return poll_route(registry, text, state)


BOTH = {"items": [{"code": "a", "open": True}, {"code": "b", "open": True}]}


@pytest.mark.parametrize("select", ["items[].code", "items[?open].code", "sort(items[*].code)"])
@pytest.mark.parametrize(
    "second",
    [{"kode": "b", "open": True}, {"code": None, "open": True}, {"code": "", "open": True}],
)
def test_item_that_lost_its_code_deletes_nothing(select: str, second: dict[str, Any]) -> None:
    registry, state = Registry(BOTH), MemoryStreamState()
    poll(registry, select, state)
    assert state.published == {"a1", "b1"}
    registry.listed = {"items": [BOTH["items"][0], second]}
    for _ in range(3):
        result = poll(registry, select, state)
        assert isinstance(result, PollResult)
        assert (result.skipped, result.loop_values) == ({"LOOP_VALUE_MISSING": 1}, 2)
        assert state.published == {"a1", "b1"}
    registry.listed = {"items": BOTH["items"][:1]}
    for _ in range(2):
        result = poll(registry, select, state)
        assert result.skipped == {}
    assert state.published == {"a1"}


def test_item_of_an_xml_list_that_lost_its_code_deletes_nothing() -> None:
    def listed(second: str) -> Any:
        async def answer(_asked: ReceivedRequest, writer: Any) -> None:
            text = f"<l><school><code>a</code></school><school>{second}</school></l>"
            reply(writer, text.encode(), content_type="application/xml")

        return answer

    registry, state = Registry(listed("<code>b</code>")), MemoryStreamState()
    assert isinstance(poll(registry, "//school/code", state), PollResult)
    registry.listed = listed("<kode>b</kode>")
    poll(registry, "//school/code", state)
    assert state.published == {"a1", "b1"}


def test_record_of_another_stream_without_its_id_deletes_nothing() -> None:
    schools = {"items": [item("a"), item("b")]}
    asked: list[str] = []

    def route(path: str, query: dict[str, str]) -> Any:
        if path == "/schools":
            return schools
        asked.append(query["school"])
        return {"items": [item(query["school"] + "1")]}

    text = stream(
        'school: "{school}"', "for_each: {school: {in: {stream: schools}}}\ncursor: scan"
    ) + (
        "  schools:\n    emits: provider\n    request: {get: /schools}\n    records: items\n"
        "    id: id\n    cursor: scan\n    map: {name.en: t}\n"
        "    tests: [{name: shape, given: {id: '1'}, expect_some: {}}]\n"
    )
    state = MemoryStreamState()
    poll_route(route, text, state)
    assert state.published == {"a1", "b1"}
    schools["items"][1] = {"kode": "b", "t": "T"}
    result = poll_route(route, text, state)
    assert isinstance(result, PollResult)
    assert result.skipped == {"LOOP_VALUE_MISSING": 1}
    assert state.published == {"a1", "b1"}
    assert set(asked) == {"a", "b"}


def test_export_with_a_file_without_an_address_deletes_nothing() -> None:
    files = [{"url": "/f0"}, {"url": "/f1"}]

    def route(path: str, _query: dict[str, str]) -> Any:
        if path == "/start":
            return {"id": "j1"}
        if path == "/job/j1":
            return {"state": "DONE", "files": files}
        return {"items": [item(path[-1])]}

    text = stream().replace(
        "    request: {get: /r, query: {}}\n",
        "    export:\n      start: {post: /start}\n      keep: {job: id}\n"
        '      status: {get: "/job/{job}"}\n      state: state\n      pending: [RUNNING]\n'
        "      done: [DONE]\n      failed: [FAILED]\n      every: 1s\n      files: files[].url\n",
    )
    state = MemoryStreamState()
    assert isinstance(poll_route(route, text, state), PollResult)
    assert state.published == {"0", "1"}
    files[1] = {"uri": "/f1"}
    error = poll_route(route, text, state)
    assert isinstance(error, StreamError)
    assert error.reason == "EXPORT_FAILED"
    assert state.published == {"0", "1"}
