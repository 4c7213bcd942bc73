"""A registry that errs deletes nothing: a poll that would delete much waits for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from gateway.errors import StreamError, StreamHalted
from gateway.pipeline import deletion_guard
from gateway.pipeline.deletion_note import accept_deletions, read_note, withheld_deletions
from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream

SCAN = "cursor: scan"
PAGED = stream('page: "{page}", size: 10', f"{SCAN}\npaging: {{page_number: {{size: 10}}}}")
FEED = stream(
    'after: "{cursor}"',
    "cursor: {feed: {position: pos, first: '0', operation: op, deleted: [delete]}}",
)


class Registry:
    """A registry that shows its records, in one list or in pages of ten."""

    def __init__(self, names: Iterable[object] = ()) -> None:
        self.items = [item(name) for name in names]
        self.answer: Any = None
        self.page_size: int | None = None

    def show(self, names: Iterable[object]) -> None:
        self.items, self.answer = [item(name) for name in names], None

    def __call__(self, _path: str, query: dict[str, str]) -> Any:
        if self.answer is not None:
            return self.answer
        if "page" not in query:
            return {"items": self.items}
        start = (int(query["page"]) - 1) * 10
        return {"items": self.items[start : start + 10]}


def names(numbers: Iterable[object]) -> set[str]:
    return set(map(str, numbers))


def read_first(count: int, text: str = "", block: str = "") -> tuple[Registry, MemoryStreamState]:
    registry, state = Registry(range(count)), MemoryStreamState()
    assert isinstance(
        poll_route(registry, text or stream(more=SCAN), state, block=block), PollResult
    )
    assert len(state.published) == count
    return registry, state


def assert_withheld(result: StreamError | PollResult, *texts: str) -> None:
    assert isinstance(result, StreamHalted), result
    assert result.reason == "DELETIONS_WITHHELD"
    for text in texts:
        assert text in str(result)


@pytest.mark.parametrize(
    ("known", "left", "withheld"),
    [
        (1000, 188, 812),
        (1000, 899, 101),
        (200, 0, 200),
        (11, 0, 11),
        (30, 19, 11),
    ],
)
def test_scan_that_shows_much_less_deletes_nothing(known: int, left: int, withheld: int) -> None:
    registry, state = read_first(known)
    registry.show([*range(left), "new"])
    text = f"deletions withheld: {withheld:,} of {known:,} records"
    for _ in range(3):
        assert_withheld(
            poll_route(registry, stream(more=SCAN), state),
            text,
            "`gateway resume hostile awards --accept-deletions`",
        )
        assert state.published == names([*range(known), "new"]), "additions are written"
    assert withheld_deletions(state) == (withheld, known)


@pytest.mark.parametrize(("known", "left"), [(1000, 900), (10, 0), (2, 0), (100, 90), (20, 10)])
def test_scan_that_shows_a_little_less_deletes(known: int, left: int) -> None:
    registry, state = read_first(known)
    registry.show(range(left))
    assert isinstance(poll_route(registry, stream(more=SCAN), state), PollResult)
    assert state.published == names(range(left))


def test_stream_continues_by_itself_when_the_registry_shows_the_records_again() -> None:
    registry, state = read_first(100)
    registry.show([])
    assert_withheld(poll_route(registry, stream(more=SCAN), state))
    registry.show(range(95))
    assert isinstance(poll_route(registry, stream(more=SCAN), state), PollResult)
    assert state.published == names(range(95))
    assert not state.other_notes


def test_accepted_deletions_are_written_by_the_next_poll() -> None:
    registry, state = read_first(100)
    registry.show([1])
    assert_withheld(poll_route(registry, stream(more=SCAN), state))
    assert asyncio.run(accept_deletions(state)) == 99
    assert asyncio.run(accept_deletions(state)) == 0, "an acceptance is given once"
    assert isinstance(poll_route(registry, stream(more=SCAN), state), PollResult)
    assert state.published == {"1"}
    assert not state.other_notes


@pytest.mark.parametrize("then", [range(10), range(95, 100)])
def test_acceptance_covers_no_larger_and_no_other_deletion(then: range) -> None:
    registry, state = read_first(100)
    registry.show(range(80))
    assert_withheld(poll_route(registry, stream(more=SCAN), state), "20 of 100")
    asyncio.run(accept_deletions(state))
    registry.show(then)
    assert_withheld(poll_route(registry, stream(more=SCAN), state), f"{100 - len(then)} of 100")
    assert len(state.published) == 100
    assert not read_note(state).accepted


def test_acceptance_covers_a_few_records_that_left_meanwhile() -> None:
    registry, state = read_first(100)
    registry.show(range(60))
    assert_withheld(poll_route(registry, stream(more=SCAN), state))
    asyncio.run(accept_deletions(state))
    registry.show(range(58))
    assert isinstance(poll_route(registry, stream(more=SCAN), state), PollResult)
    assert state.published == names(range(58))


def test_acceptance_ends_when_the_registry_shows_the_records_again() -> None:
    registry, state = read_first(100)
    registry.show([])
    assert_withheld(poll_route(registry, stream(more=SCAN), state))
    asyncio.run(accept_deletions(state))
    registry.show(range(100))
    poll_route(registry, stream(more=SCAN), state)
    registry.show([])
    assert_withheld(poll_route(registry, stream(more=SCAN), state))
    assert len(state.published) == 100


@pytest.mark.parametrize(("first", "second"), [(50, 500), (100, 2000)])
def test_new_ids_do_not_dilute_the_share(first: int, second: int) -> None:
    """A registry that renames every id shows many new records at the same time."""
    registry, state = read_first(first)
    registry.show(f"new-{number}" for number in range(second))
    for _ in range(2):
        result = poll_route(registry, stream(more=SCAN), state)
        assert_withheld(result, f"{first} of {first} records")
    assert len(state.published) == first + second


@pytest.mark.parametrize(
    ("rule", "left", "is_withheld"),
    [
        ("25%", 76, False),
        ("25%", 74, True),
        ("{share: 50 %}", 51, False),
        ("{records: 60}", 41, False),
        ("{records: 60}", 39, True),
        ("{share: 0%, records: 0}", 99, True),
        ("0", 99, True),
        ("0%", 99, True),
        ("0.0", 97, True),
        ("1%", 95, False),
        ("{share: 2.5%, records: 1}", 97, True),
        ("{share: 2.5%, records: 1}", 98, False),
        ("{unlimited: The register starts again each year}", 0, False),
    ],
)
def test_connector_states_its_limit(rule: str, left: int, is_withheld: bool) -> None:
    text = stream(more=f"{SCAN}\ndeletions: {rule}")
    registry, state = read_first(100, text)
    registry.show(range(left))
    result = poll_route(registry, text, state)
    assert isinstance(result, StreamHalted) is is_withheld
    assert len(state.published) == (100 if is_withheld else left)


def withheld_text(emits: str, names_shown: list[str]) -> str:
    registry, state = Registry(names_shown), MemoryStreamState()
    poll_route(registry, stream(more=SCAN), state, emits=emits)
    registry.show([])
    result = poll_route(registry, stream(more=SCAN), state, emits=emits)
    assert_withheld(result)
    return str(result)


def test_ten_ids_are_shown() -> None:
    text = withheld_text("qualification", [f"Q{number:02}" for number in range(40)])
    assert "(for example Q00, Q01, Q02, Q03, Q04, Q05, Q06, Q07, Q08, Q09)" in text


@pytest.mark.parametrize("emits", ["credential", "student_status", "card"])
def test_ids_of_records_about_persons_are_pseudonyms(emits: str) -> None:
    text = withheld_text(emits, [f"010190-{number:03}A" for number in range(40)])
    assert text.count("pseudonym ") == 10
    assert "010190" not in text


# --- a second look


def test_list_of_several_pages_deletes_at_the_second_look() -> None:
    registry, state = read_first(45, PAGED)
    registry.show(range(1, 45))
    poll_route(registry, PAGED, state)
    assert "0" in state.published
    poll_route(registry, PAGED, state)
    assert "0" not in state.published
    assert len(state.published) == 44


def test_record_that_moved_between_pages_is_kept() -> None:
    registry, state = read_first(45, PAGED)
    for shown in (range(1, 45), range(45), range(1, 45), range(45)):
        registry.show(shown)
        assert isinstance(poll_route(registry, PAGED, state), PollResult)
        assert len(state.published) == 45
    assert not state.other_notes


def test_withheld_scan_counts_as_the_first_look() -> None:
    registry, state = read_first(45, PAGED)
    registry.show(range(11))
    assert_withheld(poll_route(registry, PAGED, state), "34 of 45")
    asyncio.run(accept_deletions(state))
    poll_route(registry, PAGED, state)
    assert state.published == names(range(11))
    assert not state.other_notes


def test_accepted_deletions_that_do_not_fit_the_note_follow_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deletion_guard, "MAX_NOTED_IDS", 15)
    registry, state = read_first(45, PAGED)
    registry.show(range(11))
    assert_withheld(poll_route(registry, PAGED, state), "34 of 45")
    asyncio.run(accept_deletions(state))
    left = []
    while len(state.published) > 11:
        assert isinstance(poll_route(registry, PAGED, state), PollResult)
        left.append(len(state.published))
    assert left == [30, 15, 11]
    poll_route(registry, PAGED, state)
    assert not state.other_notes


def test_value_that_is_not_read_keeps_its_first_look() -> None:
    def route(_path: str, query: dict[str, str]) -> Any:
        if query["at"] in refused:
            return 403, {}
        start = (int(query["page"]) - 1) * 10
        return {"items": [item(f"{query['at']}{number}") for number in shown[start : start + 10]]}

    text = stream(
        'at: "{at}", page: "{page}"',
        f"{SCAN}\nfor_each: {{at: {{in: {{values: [a, b]}}}}}}\npaging: {{page_number: {{size: 10}}}}",
    )
    state, refused, shown = MemoryStreamState(), set[str](), list(range(15))
    poll_route(route, text, state)
    shown.remove(3)
    poll_route(route, text, state)
    assert {"a3", "b3"} <= state.published, "the first look"
    refused.add("b")
    poll_route(route, text, state)
    assert "a3" not in state.published, "the second look"
    assert "b3" in state.published, "the refused value was not looked at"
    refused.clear()
    poll_route(route, text, state)
    assert "b3" not in state.published


# --- the registry marks records as deleted


@pytest.mark.parametrize("cursor", [SCAN, "cursor: {scan: true, complete: false}"])
def test_flag_that_is_set_on_every_record_deletes_nothing(cursor: str) -> None:
    text = stream(more=f"{cursor}\ndeleted: {{path: gone, is: 'true'}}")
    registry, state = read_first(30, text)
    registry.items = [item("new"), *(item(number, gone=True) for number in range(30))]
    for _ in range(2):
        assert_withheld(poll_route(registry, text, state), "30 of 30 records")
        assert len(state.published) == 31
    asyncio.run(accept_deletions(state))
    assert isinstance(poll_route(registry, text, state), PollResult)
    assert state.published == {"new"}
    poll_route(registry, text, state)
    assert not state.other_notes


def test_flag_that_is_set_on_every_record_page_by_page_deletes_few() -> None:
    text = PAGED.replace("    id: id", "    id: id\n    deleted: {path: gone, is: 'true'}")
    registry, state = read_first(200, text)
    registry.items = [item(number, gone=True) for number in range(200)]
    assert_withheld(poll_route(registry, text, state), "180 of 200 records")
    assert len(state.published) == 180


def test_flag_and_absence_count_together() -> None:
    text = stream(more=f"{SCAN}\ndeleted: {{path: gone, is: 'true'}}")
    registry, state = read_first(100, text)
    registry.items = [item(number, gone=number < 8) for number in range(92)]
    poll_route(registry, text, state)
    assert len(state.published) == 84 + 8, "8 marked records are deleted, 8 missing ones are not"


def test_institution_that_is_removed_from_the_loop_waits_for_a_person() -> None:
    def loop(*listed: str) -> str:
        values = ", ".join(listed)
        return stream('at: "{at}"', f"{SCAN}\nfor_each: {{at: {{in: {{values: [{values}]}}}}}}")

    def route(_path: str, query: dict[str, str]) -> Any:
        return {"items": [item(f"{query['at']}{number}") for number in range(20)]}

    state = MemoryStreamState()
    poll_route(route, loop("a", "b"), state)
    assert_withheld(poll_route(route, loop("a"), state), "20 of 40 records")
    asyncio.run(accept_deletions(state))
    poll_route(route, loop("a"), state)
    assert len(state.published) == 20


def test_record_without_an_id_may_be_any_of_the_missing_ones() -> None:
    registry, state = read_first(30)
    registry.items = [{"t": "T"}, *(item(number) for number in range(29))]
    poll_route(registry, stream(more=SCAN), state)
    assert names(range(30)) <= state.published
    registry.show(range(29))
    poll_route(registry, stream(more=SCAN), state)
    assert state.published == names(range(29)), "the record without an id is gone as well"


def test_many_records_that_had_no_id_need_no_person() -> None:
    registry, state = Registry(), MemoryStreamState()
    registry.items = [{"t": f"T{number}"} for number in range(30)]
    poll_route(registry, stream(more=SCAN), state)
    registry.show(range(30))
    assert isinstance(poll_route(registry, stream(more=SCAN), state), PollResult)
    assert state.published == names(range(30))


def test_halt_lasts_while_scans_prove_nothing() -> None:
    block = "  replies: [{when: {status: 404}, then: empty}]\n"
    registry, state = read_first(30, block=block)
    registry.show([])
    assert_withheld(poll_route(registry, stream(more=SCAN), state, block=block))
    registry.answer = (404, {})
    assert_withheld(poll_route(registry, stream(more=SCAN), state, block=block), "30 of 30")
    registry.answer = (500, {})
    assert isinstance(poll_route(registry, stream(more=SCAN), state, block=block), StreamError)
    assert withheld_deletions(state) == (30, 30)
    registry.show(range(30))
    assert isinstance(poll_route(registry, stream(more=SCAN), state, block=block), PollResult)
    assert withheld_deletions(state) == (0, 0)


# --- change feeds, and details


class Feed:
    """A change feed in pages of 15 changes."""

    def __init__(self) -> None:
        self.changes: list[dict[str, object]] = []

    def add(self, numbers: Iterable[object], operation: str = "put") -> None:
        for number in numbers:
            position = len(self.changes) + 1
            self.changes.append(item(number, op=operation, pos=str(position)))

    def __call__(self, _path: str, query: dict[str, str]) -> Any:
        start = int(query["after"])
        return {"items": self.changes[start : start + 15]}


def test_first_read_of_a_feed_follows_records_that_come_and_go() -> None:
    feed, state = Feed(), MemoryStreamState()
    feed.add(range(30))
    feed.add(range(28), "delete")
    assert isinstance(poll_route(feed, FEED, state), PollResult)
    assert state.published == {"28", "29"}


def test_feed_that_deletes_everything_stays_before_the_deletions() -> None:
    feed, state = Feed(), MemoryStreamState()
    feed.add(range(100))
    poll_route(feed, FEED, state)
    cursor = state.cursor
    feed.add(range(5, 100), "delete")
    feed.add(["new"])
    for _ in range(2):
        assert_withheld(poll_route(feed, FEED, state), "95 of 100 records")
        assert (len(state.published), state.cursor) == (100, cursor)
    asyncio.run(accept_deletions(state))
    assert isinstance(poll_route(feed, FEED, state), PollResult)
    assert state.published == {*names(range(5)), "new"}
    assert not state.other_notes


def test_few_deletions_of_a_feed_need_no_person() -> None:
    feed, state = Feed(), MemoryStreamState()
    feed.add(range(100))
    poll_route(feed, FEED, state)
    feed.add(range(10), "delete")
    assert isinstance(poll_route(feed, FEED, state), PollResult)
    assert len(state.published) == 90


def test_details_that_are_all_not_found_delete_nothing() -> None:
    expand = 'expand: {request: {get: "/d/{id}"}, id: id, records: found, missing: deleted}'
    text = stream(more=f"{SCAN}\n{expand}")
    answers = [{"found": [{}]}]

    def route(path: str, _query: dict[str, str]) -> Any:
        if path == "/r":
            return {"items": [item(number) for number in range(20)]}
        return {"found": [item(path.removeprefix("/d/"))]} if answers[-1]["found"] else answers[-1]

    state = MemoryStreamState()
    assert isinstance(poll_route(route, text, state), PollResult)
    assert len(state.published) == 20
    answers.append({"found": []})
    assert_withheld(poll_route(route, text, state), "20 of 20 records")
    assert len(state.published) == 20


def test_page_that_became_empty_is_not_deleted_at_the_first_look() -> None:
    """The second page of a list by token lost its records, perhaps because they moved."""
    emptied: list[bool] = [False]

    def route(_path: str, query: dict[str, str]) -> Any:
        if query.get("cursor") == "2":
            return {"items": [] if emptied[-1] else [item(3), item(4)]}
        return {"items": [item(1), item(2)], "next": "2"}

    text = stream('cursor: "{cursor}"', "cursor: scan\npaging: {cursor: {from: next}}")
    state = MemoryStreamState()
    poll_route(route, text, state)
    emptied.append(True)
    poll_route(route, text, state)
    assert state.published == {"1", "2", "3", "4"}
    poll_route(route, text, state)
    assert state.published == {"1", "2"}
