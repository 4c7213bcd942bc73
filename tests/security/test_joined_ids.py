"""An id that is joined from parts belongs to one record only, and a constant part sets it apart."""

from __future__ import annotations

from itertools import combinations, product

import pytest

from gateway.fetch.loop_progress import LoopProgress
from gateway.fetch.loops import LoopIteration, _identity
from gateway.fetch.record_texts import join_parts
from gateway.messages.suppression import suppression_id
from gateway.pipeline.page_writer import PollResult
from gateway.render.record_ids import iri, person_iri, pseudonym_key
from tests.support.memory_stream import MemoryStreamState, poll_route, stream

PIECES = ("a", "b", "/", "%", "%2F", "%25", "a/b", "/a", "a/", "a%2Fb", "|", "..")


@pytest.mark.parametrize("count", [2, 3])
def test_other_parts_give_another_id(count: int) -> None:
    joined = {join_parts(parts) for parts in product(PIECES, repeat=count)}
    assert len(joined) == len(PIECES) ** count


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (["a"], "a"),
        (["a/b"], "a/b"),
        (["50%"], "50%"),
        (["a", "b"], "a/b"),
        (["a", "b", "c"], "a/b/c"),
        (["a/b", "c"], "a/b/c"),
        (["a", "b/c"], "a/b%2Fc"),
        (["a", "b%2Fc"], "a/b%252Fc"),
        (["50%", "1"], "50%/1"),
        (["ä", "ö|ü"], "ä/ö|ü"),
    ],
)
def test_a_joined_id_is_readable(parts: list[str], joined: str) -> None:
    assert join_parts(parts) == joined


def polled(items: list[dict[str, object]], native_id: str) -> set[str]:
    state = MemoryStreamState()
    text = stream().replace("id: id", f"id: {native_id}", 1)
    result = poll_route(lambda *_: {"items": items}, text, state)
    assert isinstance(result, PollResult), result
    return state.published


def test_records_whose_parts_share_a_separator_are_two_records() -> None:
    items = [{"id": "a/b", "n": "c", "t": "1"}, {"id": "a", "n": "b/c", "t": "2"}]
    assert polled(items, "[id, n]") == {"a/b/c", "a/b%2Fc"}


@pytest.mark.parametrize(
    "items",
    [
        [{"id": "x%2Fy", "n": "z"}, {"id": "x", "n": "y/z"}, {"id": "x/y", "n": "z"}],
        [{"id": "x", "n": "%2F"}, {"id": "x", "n": "/"}, {"id": "x", "n": "%252F"}],
        [{"id": "1/2", "n": 3}, {"id": 1, "n": "2/3"}],
    ],
)
def test_no_spelling_of_a_separator_joins_two_records(items: list[dict[str, object]]) -> None:
    assert len(polled([{**item, "t": "T"} for item in items], "[id, n]")) == len(items)


def test_a_constant_part_sets_the_ids_of_a_json_stream_apart() -> None:
    assert polled([{"id": 1, "t": "T"}], "[\"'course'\", id]") == {"course/1"}


def test_a_record_without_its_own_part_has_no_id() -> None:
    (native_id,) = polled([{"n": 1, "t": "T"}], "[\"'course'\", id]")
    assert native_id.startswith("?")


def test_a_constant_part_sets_the_ids_of_an_xml_stream_apart() -> None:
    text = """    request: {get: /r}
    decode: xml
    records: //r
    id: ["'course'", "@id"]
    map: {title.en: t}
    tests: [{name: shape, given: '<r id="1"><t>T</t></r>', expect_some: {id: course/1}}]
"""
    state = MemoryStreamState()

    async def xml(_asked: object, writer: object) -> None:
        from tests.support.raw_http_server import reply

        body = b'<l><r id="1"><t>T</t></r><r id="a/b"><t>T</t></r></l>'
        reply(writer, body, content_type="application/xml")  # type: ignore[arg-type]

    result = poll_route(lambda *_: xml, text, state)
    assert isinstance(result, PollResult), result
    assert state.published == {"course/1", "course/a%2Fb"}


def test_values_of_nested_loops_have_different_keys() -> None:
    start = LoopIteration({}, {})

    def identity(*pairs: tuple[str, str]) -> str:
        iteration = start
        for name, value in pairs:
            text = _identity(iteration, name, value)
            iteration = LoopIteration({}, {}, identities=(text,))
        return iteration.identities[0]

    identities = [
        identity(("a", "x"), ("b", "y")),
        identity(("a", "x\x1fb=y")),
        identity(("a", "x\x1f"), ("b", "y")),
        identity(("a", "x"), ("b", "\x1fy")),
        identity(("a", "x\x1f\x1fb=y")),
    ]
    progress = LoopProgress(b"k", {}, lambda _: [])
    keys = [progress.key(one) for one in identities]
    assert len(set(keys)) == len(keys)


def test_keys_of_two_connectors_never_meet() -> None:
    pairs = [("a", "b|c"), ("a-b", "c"), ("a", "b/c"), ("a", "b%7Cc")]
    for make in (
        lambda connector, native_id: pseudonym_key(b"k" * 32, connector, native_id),
        lambda connector, native_id: suppression_id(b"k" * 32, connector, native_id),
        lambda connector, native_id: person_iri(b"k" * 32, connector, native_id, None),
        lambda connector, native_id: iri(connector, native_id, None),
        lambda _, native_id: iri("a", native_id, "https://x.example/{id}"),
    ):
        values = {
            (connector, native_id): make(connector, native_id) for connector, native_id in pairs
        }
        for one, other in combinations(pairs, 2):
            if one[1] != other[1]:
                assert values[one] != values[other]


def test_an_id_with_a_bar_is_read_back_whole() -> None:
    assert polled([{"id": "1|2", "t": "T"}, {"id": "1", "t": "T"}], "id") == {"1|2", "1"}
