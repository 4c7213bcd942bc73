"""A registry that errs deletes nothing: a poll that would delete much waits for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from gateway.errors import StreamError, StreamHalted
from gateway.pipeline.deletion_guard import accept_deletions, read_note, withheld_deletions
from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream

SCAN = "cursor: scan"
PAGED = stream('page: "{page}", size: 10', f"{SCAN}\npaging: {{page_number: {{size: 10}}}}")
FEED = stream(
    'after: "{position}"',
    "deleted: {path: gone, is: 'true'}\ncursor: {feed: {position: next, start: '0', until: last}}",
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
    assert not state.notes


def test_accepted_deletions_are_written_by_the_next_poll() -> None:
    registry, state = read_first(100)
    registry.show([1])
    assert_withheld(poll_route(registry, stream(more=SCAN), state))
    assert asyncio.run(accept_deletions(state)) == 99
    assert asyncio.run(accept_deletions(state)) == 0, "an acceptance is given once"
    assert isinstance(poll_route(registry, stream(more=SCAN), state), PollResult)
    assert state.published == {"1"}
    assert not state.notes


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
    assert not state.notes


def test_withheld_scan_counts_as_the_first_look() -> None:
    registry, state = read_first(45, PAGED)
    registry.show(range(11))
    assert_withheld(poll_route(registry, PAGED, state), "34 of 45")
    asyncio.run(accept_deletions(state))
    poll_route(registry, PAGED, state)
    assert state.published == names(range(11))
    assert not state.notes


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
    assert not state.notes


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
