"""Records that are read one by one are those of the ordinary way, and every fault is the same."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config.connector import Connector
from gateway.config.loading import load_connector
from gateway.errors import StreamError
from gateway.fetch import TimeWindow, read_pages, reply_shape, stream_reader
from gateway.fetch.decode.formats import DecodedDocument, read_json
from gateway.fetch.decode.json_records import RecordFields, read_records
from gateway.fetch.decode_budget import DecodeBudget, json_memory
from gateway.fetch.expression_cache import ExpressionCache
from gateway.fetch.http.body import ReplyBody
from gateway.fetch.record_fields import record_fields
from gateway.fetch.record_selector import RecordSelector
from gateway.fetch.registry_client import RegistryClient
from tests.support.fuzz_mutations import mutate
from tests.support.memory_stream import NOW
from tests.support.one_stream import connector
from tests.support.raw_http_server import ReceivedRequest, Server, reply
from tests.support.saved_replies import REGISTRIES, ROOT, here

PAGED = "    paging: {page_number: {more: more}}\n"
READS = (
    PAGED
    + """\
    changed_at: times.changed
    version: version
    kind: kind
    deleted: {path: state.code, is: gone}
    children: parts
    keep: {owner: owner.name, page: $root.number}
"""
)
CHANGES = 400
"""The number of changed replies for each expression."""
LARGEST = 300_000
"""The size of the largest saved reply that is read."""


def office(stream: str, records: str = "items", record_id: str = "id") -> Connector:
    made = connector("", stream=stream, tests=TEST)
    awards = made.streams["awards"]
    changed = awards.model_copy(update={"records": records, "id": (record_id,)})
    return made.with_streams({"awards": changed})


TEST = "    tests: [{name: t, given: {id: a}, expect_rejected: {reason: missing}}]\n"
EVERY = office(READS)


def award(number: int) -> dict[str, Any]:
    return {
        "id": f"a/{number}",
        "name": ["Größe", "Łódź \U0001f393", 'a "quoted": text', "\u2028\x7f"][number % 4],
        "times": {"changed": f"2026-01-{number % 28 + 1:02}T10:00:00Z"},
        "version": number % 3 or None,
        "kind": "award",
        "state": {"code": "gone" if number % 7 == 3 else "valid"},
        "parts": [{"id": f"p{number}"}] if number % 5 == 0 else [],
        "owner": {"name": "Kaja"},
        "numbers": [number / 7, 1e300, -0.0, 2**63, 10 ** (number % 19)],
        "empty": [{}, [], "", None, True],
    }


def page(count: int = 25) -> bytes:
    body = {"number": 1, "items": [award(number) for number in range(count)], "more": False}
    return json.dumps(body, ensure_ascii=False).encode()


def way(made: Connector, data: bytes, fields: RecordFields | None) -> Any:
    """Return the raw records and the shape of a reply, or how its reading fails."""
    stream = made.streams["awards"]
    selector = RecordSelector(
        made.connector, "awards", stream, ExpressionCache({}), lambda _: b"", lambda: NOW
    )
    bodies: list[bytes] = []
    try:
        root = read_json(
            ReplyBody.from_bytes(data), "w", record_fields=fields, record_bodies=bodies
        )
        document = DecodedDocument("json", root, record_bodies=bodies)
        shape = reply_shape.describe([document])
        items = selector.items(document, {"who": "x"})
        return shape, [raw for item in items for raw in selector.to_raw_records(item)]
    except StreamError as error:
        return type(error), error.reason, str(error)


def assert_same(made: Connector, data: bytes) -> bool:
    """Check that both ways agree, and return whether the records were read one by one."""
    fields = record_fields(made, made.streams["awards"])
    assert fields is not None
    assert way(made, data, fields) == way(made, data, None)
    return bool(read_records(data, fields)[1])


def saved_lists() -> Iterator[tuple[Path, tuple[str, ...], str, bytes]]:
    """Yield each list of objects in the saved replies, with the name of an id in it."""
    for file in sorted(REGISTRIES.rglob("*.json")):
        data = file.read_bytes()
        try:
            root = json.loads(data)
        except ValueError:
            continue
        for path, items in lists_in(root):
            names = [name for name, value in items[0].items() if isinstance(value, str | int)]
            if names and len(data) < LARGEST:
                yield file, path, names[0], data


def lists_in(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        yield path, value
    elif isinstance(value, dict) and len(path) < 4:
        for name, inner in value.items():
            yield from lists_in(inner, (*path, name))


def test_records_are_read_one_by_one_as_the_ordinary_way_reads_them():
    assert assert_same(EVERY, page())
    spellings = (
        json.dumps(json.loads(page()), indent=1, ensure_ascii=False).encode(),
        json.dumps(json.loads(page()), separators=(",", ":"), ensure_ascii=False).encode(),
        json.dumps(json.loads(page())).encode(),
    )
    for data in spellings:
        assert assert_same(EVERY, data)


@pytest.mark.skipif(not REGISTRIES.is_dir(), reason="needs the reference material")
def test_every_list_of_a_saved_reply_is_read_the_same_way():
    chance = random.Random(20261130)
    lists = one_by_one = 0
    for _, path, name, data in saved_lists():
        records = ".".join(f'"{step}"' for step in path) or "@"
        made = office("    paging: none\n", records, f'"{name}"')
        one_by_one += assert_same(made, data)
        lists += 1
        if len(data) < LARGEST // 10:
            for _ in range(5):
                assert_same(made, mutate(data, chance, [page(2)], LARGEST))
    assert lists > 50
    assert one_by_one > 0.9 * lists


@pytest.mark.parametrize("records", ["items", "items[]", "items[*]", "items || [@]"])
def test_changed_reply_is_read_the_same_way(records):
    made, chance = office(READS, records), random.Random(records)
    one_by_one = sum(
        assert_same(made, mutate(page(14), chance, [page(2)], 100_000)) for _ in range(CHANGES)
    )
    assert 0 < one_by_one < CHANGES


@pytest.mark.parametrize(
    "text",
    [
        b'{"items": [{"id": 1, "id": 2}]}',
        b'{"items": [{"id": 1}], "items": [{"id": 2}]}',
        b'{"items": [{"id": 1}], "more": {"a": 1, "a": 2}}',
        b'{"items": [{"id": 1, "i\\u0064": 2}]}',
        b'{"items": [{"id": "\\u003a", "id": ":"}]}',
        b'{"items": [{"id": "\\u003A", "a": 1, "a": 2}]}',
        b'{"items": [{"id": "\\u003c", "a": 1, "a": 2}]}',
        b'{"items": [{"id": "\\u003ca\\u003E"}]}',
        b'{"items": [{"id": ":", "name": "\\u003a"}]}',
        b'{"items": [{"id": 1}, null]}',
        b'{"items": [{"id": 1}, 7]}',
        b'{"items": [[{"id": 1}]]}',
        b'{"items": {"id": 1}}',
        b'{"items": []}',
        b'{"items": null}',
        b'{"others": [{"id": 1}]}',
        b'[{"id": 1}]',
        b'{"items": [{"id": NaN}]}',
        b'{"items": [{"id": 1}, {"id": "\xff"}]}',
        b'{"items": [{"id": 1}, {"id": "\\ud800"}]}',
        b'{"items": [{"id": 1}, {"id": 1e999}]}',
        b'{"items": [{"id": 1}, {"id": 99999999999999999999999}]}',
        b'{"items": [{"id": 1}, {"id": 2}',
        b'{"items": [{"id": 1}]} {}',
        b'\xef\xbb\xbf{"items": [{"id": 1}]}',
        b'{"items": [{"id": ' + b"[" * 300 + b"]" * 300 + b"}]}",
        b'{"items": [{"id": ' + b"[" * 5000 + b"]" * 5000 + b"}]}",
        b"",
    ],
)
def test_unusual_text_ends_the_same_way(text):
    assert_same(EVERY, text)


@pytest.mark.parametrize(
    ("stream", "records"),
    [
        ("", "items"),  # no paging: the reply is searched for signs of further pages
        ("    paging: {cursor: {from: 'items[-1].id'}}\n", "items"),
        ("    paging: {cursor: {from: items.next}}\n", "items"),
        ("    paging: {page_number: {more: data}}\n", "data.items"),
        ("    paging: {page_number: {total: length(items)}}\n", "items"),
        (PAGED + "    kind: type(@)\n", "items"),
        (PAGED + "    kind: $root\n", "items"),
        (PAGED + "    keep: {first: $root.items}\n", "items"),
        (PAGED + "    list: items\n", "items"),
        (PAGED + "    decode: [json, items]\n", "@"),
        (PAGED, "items[?id]"),
        (PAGED, "a || b.items[0]"),
    ],
)
def test_stream_that_reads_further_values_takes_the_ordinary_way(stream, records):
    made = office(stream, records)
    awards = made.streams["awards"]
    if records == "a || b.items[0]":
        assert record_fields(made, awards) == RecordFields(("a",), ("id",))
    else:
        assert record_fields(made, awards) is None


def test_reply_rule_may_read_around_the_list_only():
    demo = load_connector(ROOT / "connectors/demo-rest.yaml")
    stream = demo.streams["programmes"]
    assert record_fields(demo, stream) is not None
    first = demo.protocol.replies[0]
    inside = first.model_copy(
        update={"when": first.when.model_copy(update={"path": "items[0].error"})}
    )
    rest = demo.protocol.model_copy(update={"replies": (inside,)})
    assert record_fields(demo.model_copy(update={"rest": rest}), stream) is None


def polled(monkeypatch, *, one_by_one: bool) -> tuple[list[Any], list[Any]]:
    """Read three pages over HTTP, and return the pages and the shapes of the replies."""
    if not one_by_one:
        monkeypatch.setattr(stream_reader, "record_fields", lambda *_: None)
    awards = [award(number) for number in range(60)]

    async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        number = int(asked.target.rpartition("=")[2])
        items = awards[20 * number - 20 : 20 * number]
        body = {"number": number, "items": items, "more": number < 3}
        reply(writer, json.dumps(body).encode(), content_type="application/json")

    async def run() -> tuple[list[Any], list[Any]]:
        shapes: list[Any] = []
        async with Server(answer) as server:
            made = here(office(READS), server.url)
            stream = made.streams["awards"]
            request = stream.request.model_copy(update={"query": {"page": "{page}"}})
            made = made.with_streams({"awards": stream.model_copy(update={"request": request})})
            async with RegistryClient(made, lambda _: b"", "production", now=lambda: NOW) as client:
                pages = [
                    replace(found, watermark=None)
                    async for found in read_pages(
                        made,
                        "awards",
                        TimeWindow(None, NOW),
                        client,
                        on_reply=lambda _, documents: shapes.append(
                            reply_shape.describe(documents)
                        ),
                    )
                ]
        return pages, shapes

    return asyncio.run(run())


def test_pages_over_http_are_the_same(monkeypatch):
    fast = polled(monkeypatch, one_by_one=True)
    assert sum(len(found.records) for found in fast[0]) > 60
    assert fast == polled(monkeypatch, one_by_one=False)


def test_memory_of_a_json_value_is_bounded_by_its_size():
    for unit in (b"{", b"[", b'"', b":", b",", b"{:", b'{"":', "\U0001f393".encode(), b"a"):
        data = unit * 1_000
        assert json_memory(data + "\U0001f393".encode()) <= 124 * (len(data) + 4)


def test_uncounted_json_counts_before_the_next_document():
    data = b"[" + b"{}," * 500_000 + b"{}]"
    budget = DecodeBudget(memory=124 * len(data))
    budget.spend_json(data, "w")
    assert budget.needs_count(10)
    assert budget.memory == 124 * len(data) - json_memory(data)


def test_large_json_is_counted_when_it_may_not_fit():
    data = b"[" + b"{}," * 500_000 + b"{}]"
    with pytest.raises(StreamError, match="would not fit into memory"):
        DecodeBudget(memory=json_memory(data) - 1).spend_json(data, "w")
    DecodeBudget(memory=json_memory(data)).spend_json(data, "w")
