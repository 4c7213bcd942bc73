"""A loop value that no rule reads is not stored with a record."""

from __future__ import annotations

import pytest

from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream

SECRETS = {"people": b"secret-1\nsecret-2\n"}
LOOP = "for_each: {person: {in: {secret: people}}}"


class RecordingState(MemoryStreamState):
    """A stream state that remembers the context of each record."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: dict[str, dict[str, str]] = {}

    async def write(self, entries, cursor, **more) -> int:  # type: ignore[no-untyped-def]
        self.contexts |= {entry.raw.native_id: entry.raw.context for entry in entries}
        return await super().write(entries, cursor, **more)


def contexts(more: str, *, loop: str = LOOP, title: str = "t", query: str = "") -> list[dict]:
    state = RecordingState()
    text = stream(query or 'person: "{person}"', f"{loop}\n{more}")
    text = text.replace("title.en: t", f"title.en: {title}")

    def answer(path: str, asked: dict[str, str]) -> object:
        if path == "/people":
            return {"people": ["secret-1", "secret-2"]}
        return {"items": [item(asked["person"][-1]) | {"of": "x"}]}

    result = poll_route(answer, text, state, secrets=SECRETS)
    assert isinstance(result, PollResult), str(result)
    assert len(state.contexts) == 2
    return list(state.contexts.values())


REQUESTED = "for_each: {person: {in: {request: {request: {get: /people}, select: people}}}}"


@pytest.mark.parametrize("loop", [LOOP, REQUESTED], ids=["secret", "requested"])
def test_value_that_no_rule_reads_is_not_stored(loop: str) -> None:
    assert contexts("", loop=loop) == [{}, {}]


def test_value_in_a_header_or_a_query_only_is_not_stored() -> None:
    query = 'person: "{person}", again: "{person}"'
    assert contexts("keep: {of: of}", query=query) == [{"of": "x"}, {"of": "x"}]


def test_value_that_names_the_country_of_the_record_is_stored() -> None:
    found = contexts("record_country: $person")
    assert [context["person"] for context in found] == ["secret-1", "secret-2"]


def test_name_that_only_begins_alike_does_not_count() -> None:
    more = "keep: {personal: of}\ndeleted: {path: $personal, is: nobody}"
    assert contexts(more) == [{"personal": "x"}, {"personal": "x"}]


@pytest.mark.parametrize(
    ("more", "title"),
    [
        ("", "$person"),
        ("", "{from: $person}"),
        ("", "{join: {a: $person}, text: 'of {a}'}"),
        ("", "{from: t, when: {path: $person, is: 'secret*'}}"),
    ],
)
def test_value_that_a_rule_reads_is_stored(more: str, title: str) -> None:
    found = contexts(more, title=title)
    assert [context["person"] for context in found] == ["secret-1", "secret-2"]


@pytest.mark.parametrize(
    "more",
    [
        "deleted: {path: $person, is: nobody}",
        "keep: {whose: $person}",
        "keep: {whose: $person, again: $whose}",
        "kind: $person",
        "version: $person",
        'expand: {request: {get: /details, query: {person: "{person}"}}, id: id, into: more}',
    ],
)
def test_value_that_only_the_fetch_reads_is_not_stored(more: str) -> None:
    assert contexts(more) == [{}, {}]


def test_copy_that_a_rule_reads_is_stored_alone() -> None:
    found = contexts("keep: {whose: $person}", title="$whose")
    assert found == [{"whose": "secret-1"}, {"whose": "secret-2"}]


def test_kept_value_may_read_the_ones_before_it() -> None:
    found = contexts("keep: {of: of, whose: $person, last: $whose}", title="$last")
    assert found == [{"of": "x", "last": "secret-1"}, {"of": "x", "last": "secret-2"}]


def test_value_of_the_file_itself_is_stored() -> None:
    loop = "for_each: {person: {in: {values: [secret-1, secret-2]}}}"
    assert [context["person"] for context in contexts("", loop=loop)] == ["secret-1", "secret-2"]


def test_ids_of_another_stream_are_still_matched_by_the_outer_loop() -> None:
    """The inner loop reads the records of its own outer value only, although none is stored."""
    text = """    request: {get: /r, query: {school: "{school}", one: "{one}"}}
    records: items
    id: id
    for_each: {school: {in: {secret: people}}, one: {in: {stream: listed}}}
    map: {title.en: t}
    tests: [{name: shape, given: {id: "1"}, expect_some: {}}]
  listed:
    emits: learning_opportunity
    request: {get: /list, query: {school: "{school}"}}
    records: items
    id: id
    for_each: {school: {in: {secret: people}}}
    map: {title.en: t}
    tests: [{name: shape, given: {id: "1"}, expect_some: {}}]
"""
    asked: list[str] = []

    def answer(path: str, query: dict[str, str]) -> object:
        number = query["school"][-1]
        if path == "/list":
            return {"items": [{"id": f"of-{number}", "t": "T"}]}
        asked.append(f"{number}/{query['one']}")
        return {"items": [{"id": query["one"], "t": "T"}]}

    state = RecordingState()
    result = poll_route(answer, text, state, secrets=SECRETS)
    assert isinstance(result, PollResult), str(result)
    assert asked == ["1/of-1", "2/of-2"]
    assert state.contexts == {"of-1": {}, "of-2": {}}
