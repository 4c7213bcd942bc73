"""One record with a value that cannot be stored is rejected, and its neighbours are written."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from gateway.errors import RetryLater
from gateway.harmonise.harmoniser import Harmoniser
from gateway.kafka import topic_admin
from gateway.messages.topics import RAW
from gateway.pipeline.page_writer import PollResult
from gateway.pipeline.stream_state import StreamState
from gateway.pipeline.version_order import VersionOrder
from gateway.records import RawRecord, Rejected
from gateway.settings import Settings
from tests.support.hostile_registry import connector_at
from tests.support.memory_stream import MemoryStreamState, poll_route, stream
from tests.support.topic_records import read_all

GOOD = [{"id": "1", "t": "First"}, {"id": "3", "t": "Third"}]
LONE = "\ud800"
TIME = {"id": "2", "t": "Second"}


def written(bad: Any, more: str = "") -> MemoryStreamState:
    """Poll a page whose second record is ``bad``, and return what was written."""
    body = f'{{"items": [{json.dumps(GOOD[0])}, {bad}, {json.dumps(GOOD[1])}]}}'.encode()
    state = MemoryStreamState()

    def route(path: str, _: dict[str, str]) -> Any:
        return body if path == "/r" else {"id": path.split("/")[2], "t": "Details"}

    result = poll_route(route, stream(more=more), state)
    assert isinstance(result, PollResult), result
    return state


def outcome_of(raw: RawRecord, more: str) -> object:
    connector = connector_at("http://127.0.0.1:1", stream(more=more), emits="credential")
    return Harmoniser(connector, None, pseudonym_key=b"k" * 32)(raw)


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("v", "version: v"),
        ("v", "kind: v"),
        ("v", "keep: {kept: v}"),
        ("v", "version: v\nkeep: {kept: v, other: id}"),
        ("v", "keep: {first: id, second: v}"),
    ],
)
@pytest.mark.parametrize("text", [LONE, f"a{LONE}b", "\udfff", "\udc80\ud800"])
def test_a_text_without_utf8_rejects_its_record(field: str, more: str, text: str) -> None:
    state = written(json.dumps({**TIME, field: text}), more)
    assert state.published == {"1", "2", "3"}
    rejected = outcome_of(state.raws["2"], more)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "unreadable"
    assert text not in rejected.detail
    for native_id in ("1", "3"):
        accepted = outcome_of(state.raws[native_id], more)
        assert not (isinstance(accepted, Rejected) and accepted.reason == "unreadable")


@pytest.mark.parametrize("text", [f"2{LONE}", "2\x00", "2" * 256, "", "  ", "\u200b", "2\u202e"])
def test_an_id_that_cannot_be_a_key_rejects_its_record(text: str) -> None:
    state = written(json.dumps({"id": text, "t": "Second"}))
    assert {"1", "3"} < state.published
    (other,) = state.published - {"1", "3"}
    assert other.startswith("?")


@pytest.mark.parametrize("text", ["\U0001f393" * 255, ".", "..", "a|b", "a/../b", "%2e%2e", "\\"])
def test_an_id_that_is_only_unusual_is_written(text: str) -> None:
    assert written(json.dumps({"id": text, "t": "Second"})).published == {"1", text, "3"}


@pytest.mark.parametrize(
    "time",
    [
        "0001-01-01T00:00:00",
        "0001-01-01T00:00:00+02:00",
        "0001-01-01T00:00:00.0000000+14:00",
        "0001-01-01",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59",
        "9999-12-31T23:59:59-12:00",
        "9999-12-31T24:00:00Z",
        "9999-12-31",
        "0000-00-00T00:00:00",
        "2026-13-45T99:99:99Z",
        "-0001-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "2026-01-01T00:00:00+99:99",
        "1e400",
        "9" * 400,
    ],
)
@pytest.mark.parametrize("zone", ["Europe/Helsinki", "America/Los_Angeles", "Pacific/Kiritimati"])
def test_a_time_out_of_range_holds_up_no_neighbour(time: str, zone: str) -> None:
    state = written(json.dumps({**TIME, "changed": time}), f"zone: {zone}")
    assert state.published == {"1", "2", "3"}


@pytest.mark.parametrize("cast", ["epoch", "epoch_ms"])
@pytest.mark.parametrize("number", ["-1e400", "1e400", "9" * 30, "-9999999999999999", "NaN"])
def test_a_number_of_seconds_out_of_range_holds_up_no_neighbour(cast: str, number: str) -> None:
    text = stream().replace("changed_at: changed", f"changed_at: {{from: changed, as: {cast}}}")
    state = MemoryStreamState()
    items = [*GOOD, {**TIME, "changed": number}]
    assert isinstance(poll_route(lambda *_: {"items": items}, text, state), PollResult)
    assert state.published == {"1", "2", "3"}


EXPAND = 'expand: {request: {get: "/d/{id}"}, id: id}'


@pytest.mark.parametrize("text", [".", "..", LONE, f"x{LONE}"])
@pytest.mark.parametrize("more", [EXPAND, EXPAND.replace("/d/{id}", "/d/{id}/full")])
def test_an_id_that_no_path_can_hold_rejects_its_record(text: str, more: str) -> None:
    state = written(json.dumps({"id": text, "t": "Second"}), more)
    assert {"1", "3"} < state.published
    (other,) = state.published - {"1", "3"}
    assert other == text or other.startswith("?!")
    rejected = outcome_of(state.raws[other], more)
    assert isinstance(rejected, Rejected)


@pytest.mark.parametrize("text", ["a/b", "a?b", "a#b", "%2e%2e", "a\\b", "a b", "%", "é"])
def test_an_id_is_encoded_in_the_path_of_its_details(text: str) -> None:
    state = written(json.dumps({"id": text, "t": "Second"}), EXPAND)
    assert {"1", "3"} < state.published
    assert len(state.published) == 3


@pytest.mark.parametrize("literal", ["1e400", "-1e400", "1" + "0" * 5000, "true", "1.0", "-0"])
def test_a_number_that_is_no_usual_id_holds_up_no_neighbour(literal: str) -> None:
    state = written(f'{{"id": {literal}, "t": "Second"}}')
    assert {"1", "3"} < state.published or literal == "1.0"


@pytest.mark.parametrize(
    "bad",
    [
        json.dumps({"id": "2", LONE: "x"}),
        json.dumps({"id": "2", "t": [LONE, {LONE: LONE}]}),
        json.dumps(LONE),
        "[" * 200 + "]" * 200,
        "12",
        '{"id": "2", "v": ' + "[" * 300 + "]" * 300 + "}",
    ],
)
@pytest.mark.parametrize("more", ["version: v", "kind: t", "keep: {kept: v}\nversion: t"])
def test_a_record_of_a_strange_form_holds_up_no_neighbour(bad: str, more: str) -> None:
    assert {"1", "3"} <= written(bad, more).published


@pytest.mark.parametrize("value", ["1e999", "NaN", "9" * 5000, "-Infinity"])
@pytest.mark.parametrize(
    "more",
    [
        "version: to_string(floor(to_number(v || `1`)))",
        "kind: to_string(ceil(to_number(v || `1`)))",
        "keep: {kept: 'to_string(floor(to_number(v || `1`)))'}",
        "deleted: {path: 'to_string(floor(to_number(v || `1`)))', is: '7'}",
    ],
)
def test_a_number_that_an_expression_cannot_use_rejects_its_record(value: str, more: str) -> None:
    state = written(json.dumps({**TIME, "v": value}), more)
    assert state.published == {"1", "2", "3"}
    rejected = outcome_of(state.raws["2"], more)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "unreadable"


@pytest.mark.parametrize("value", [["a", 1], "one", 5, {"x": 1}])
@pytest.mark.parametrize(
    "more",
    [
        "version: join('-', v || `[]`)",
        "keep: {kept: 'max(v || `[]`)'}",
        "children: 'sort_by(v || `[]`, &id)'",
        'expand: {request: {get: "/d/{id}"}, id: "join(\'-\', v || [id])"}',
        'expand: {request: {get: "/d/{id}"}, id: id, unless: {path: "max(v || `[1]`)", is: "2"}}',
    ],
)
def test_a_type_that_an_expression_cannot_use_rejects_its_record(value: Any, more: str) -> None:
    state = written(json.dumps({**TIME, "v": value}), more)
    assert {"1", "2", "3"} <= state.published


@pytest.mark.parametrize("per_record", [False, True])
@pytest.mark.parametrize("to", ["k", "join('-', k)"])
def test_a_join_that_fails_for_one_record_rejects_it(to: str, *, per_record: bool) -> None:
    path = "/j?id={id}" if per_record else "/j"
    more = (
        f'join: [{{into: more, to: "{to}", key: key, many: false, '
        f'request: {{get: "{path}"}}, records: items}}]'
    )
    items = [
        {**GOOD[0], "k": "one" if to == "k" else ["one"]},
        {**TIME, "k": "two"},
        {**GOOD[1], "k": "three" if to == "k" else ["three"]},
    ]
    joined = [
        {"key": key, "x": number} for number, key in enumerate(("one", "two", "two", "three"))
    ]

    def route(asked: str, _: dict[str, str]) -> Any:
        return {"items": joined if asked == "/j" else items}

    state = MemoryStreamState()
    result = poll_route(route, stream(more=more), state)
    assert isinstance(result, PollResult), result
    assert state.published == {"1", "2", "3"}
    rejected = outcome_of(state.raws["2"], more)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "unreadable"


@pytest.mark.parametrize("value", ["1e999", "NaN", "9" * 5000])
def test_ids_that_no_expression_can_make_are_told_apart(value: str) -> None:
    state = MemoryStreamState()
    bad = [{**TIME, "v": value, "t": title} for title in ("Second", "Fourth")]
    text = stream().replace("id: id", "id: [id, to_string(floor(to_number(v || `1`)))]")
    assert isinstance(poll_route(lambda *_: {"items": [*GOOD, *bad]}, text, state), PollResult)
    assert {"1/1", "3/1"} < state.published
    assert len(state.published) == 4


@pytest.mark.parametrize("text", [LONE, f"7{LONE}"])
def test_a_position_that_no_request_can_state_is_not_continued_from(text: str) -> None:
    state = MemoryStreamState()
    asked: list[str] = []

    def route(_: str, query: dict[str, str]) -> Any:
        asked.append(query.get("after", ""))
        return {"items": [{**GOOD[0], "p": "5"}, {**GOOD[1], "p": text}]}

    text_of_stream = stream("after: '{position}'", "cursor: {feed: {position: p}}\npaging: none")
    for _ in range(2):
        result = poll_route(route, text_of_stream, state)
        assert isinstance(result, PollResult), result
    assert state.published == {"1", "3"}


@pytest.mark.kafka
@pytest.mark.timeout(240)
@pytest.mark.parametrize("megabytes", [2, 6])
def test_a_version_of_megabytes_holds_up_no_neighbour(
    settings: Settings, name: str, megabytes: int
) -> None:
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        state = StreamState(settings, name, "s")
        entries = [
            VersionOrder().entry(
                RawRecord(
                    connector=name,
                    stream="s",
                    native_id=native_id,
                    body=b"{}",
                    version="v" * megabytes * 1_000_000 if native_id == "2" else "",
                    context={"nul": "\x00"},
                )
            )
            for native_id in ("1", "2", "3", "\U0001f393" * 255)
        ]
        for _ in range(20):
            await state.open()
            with contextlib.suppress(RetryLater):
                await state.write(entries, b"cursor")
                break
        else:
            pytest.fail("nothing was written")
        await state.close()
        keys = {
            record.key.decode().partition("|")[2]
            for record in await read_all(settings.kafka_bootstrap, RAW.name)
            if record.key.startswith(f"{name}|".encode())
        }
        assert {"1", "3", "\U0001f393" * 255} <= keys
        assert ("2" in keys) is (megabytes < 5)

    asyncio.run(scenario())
