"""Faults of reading that have a planted defect.

They concern absent lists, change times, loops and pages. Each assertion holds without the defect
and fails with it. See test_registry_defects.py for the faults of the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.errors import StreamHalted
from gateway.fetch import fault_text, paging, stream_reader
from gateway.fetch import second_list as lists
from gateway.fetch.change_times import ChangeTimeReader
from gateway.fetch.list_presence import StreamList
from gateway.fetch.loop_progress import LoopProgress
from gateway.fetch.paging import numbers
from gateway.fetch.paging.loop_detector import LoopDetector
from gateway.messages.cloudevents import content_digest
from gateway.pipeline import poll
from gateway.pipeline.page_writer import PollResult
from gateway.pipeline.raw_entry import RawEntry
from gateway.pipeline.version_order import VersionOrder
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream

Patch = pytest.MonkeyPatch
SCAN = stream(more="cursor: scan")
SINCE = stream('since: "{since:iso}"', "cursor: {field: changed_at, start: 2020-01-01}")
PERSONS = 'person: "{person}", since: "{since:iso}"'


def by_person(*names: str, cursor: str = "scan") -> str:
    loop = f"for_each: {{person: {{in: {{values: [{', '.join(names)}]}}}}}}"
    return stream(PERSONS, f"{loop}\ncursor: {cursor}")


def polls_of(*replies: Any, text: str = SCAN) -> tuple[MemoryStreamState, Any]:
    """Poll once for each reply, and return the state and the end of the last poll."""
    state, ended = MemoryStreamState(), None
    for reply in replies:
        ended = poll_route(lambda *_, found=reply: found, text, state)
    return state, ended


def absent_list(_: Patch) -> bool:
    """A reply in which the list has another name is no empty list."""
    state, ended = polls_of({"items": [item(1)]}, {"elements": [item(1)]})
    return isinstance(ended, StreamHalted) and state.published == {"1"}


def error_inside(_: Patch) -> bool:
    """An error with HTTP 200 is no empty list."""
    state, ended = polls_of({"items": [item(1)]}, {"errors": [{"code": "E17"}]})
    return isinstance(ended, StreamHalted) and state.published == {"1"}


def null_list(_: Patch) -> bool:
    """A null in place of the list is no empty list."""
    state, ended = polls_of({"items": [item(1)]}, {"items": None})
    return isinstance(ended, StreamHalted) and state.published == {"1"}


def absence_is_empty(patch: Patch) -> None:
    def select(self: Any, number: int, kind: str, node: Any, context: Any, _: Any) -> list[Any]:
        return self._evaluate(kind, self.steps[number], node, context)

    patch.setattr(StreamList, "select", select)
    patch.setattr(StreamList, "check_document", lambda *_, **__: None)


def unreadable_id(_: Patch) -> bool:
    """A record whose id cannot be read may be one of the records that seem to be missing."""
    state, _ended = polls_of({"items": [item(1), item(2)]}, {"items": [item(1), {"t": "T"}]})
    return {"1", "2"} <= state.published


def unreadable_ids_do_not_count(patch: Patch) -> None:
    patch.setattr(poll, "MISSING_ID_PREFIX", "an id that no record has")


def future_change(_: Patch) -> bool:
    """A change time in the future does not move the cursor there."""
    records = [item(1), item(2, "2062-07-02T10:00:00Z")]
    state = MemoryStreamState()

    def route(_path: str, query: dict[str, str]) -> Any:
        return {"items": [one for one in records if str(one["changed"]) >= query["since"][:19]]}

    poll_route(route, SINCE, state)
    records.append(item(3, "2026-02-25T00:00:00Z"))
    poll_route(route, SINCE, state)
    return state.published == {"1", "2", "3"}


def future_moves_the_cursor(patch: Patch) -> None:
    """The watermark is the newest time of a page, whatever it is, and a cursor is trusted."""
    real = poll.advance_cursor

    def advance(cursor: Any, window: Any, page: Any, **more: Any) -> Any:
        newest = max(raw.changed_at for raw in page.records)
        far = replace(window, until=newest + timedelta(days=1))
        return real(cursor, far, replace(page, watermark=newest), **more)

    patch.setattr(poll, "advance_cursor", advance)
    future_cursor_is_trusted(patch)


def future_cursor(_: Patch) -> bool:
    """A cursor that an earlier release moved into the future is not trusted."""
    state = MemoryStreamState()
    state.cursor = b'{"since":"2062-07-02T00:00:00Z"}'
    poll_route(lambda *_: {"items": [item(1)]}, SINCE, state)
    return state.published == {"1"}


def future_cursor_is_trusted(patch: Patch) -> None:
    patch.setattr(poll, "FUTURE_TOLERANCE", timedelta(days=36_500))


def unreadable_times(_: Patch) -> bool:
    """A stream that finds its changes by time halts when no time can be read."""
    state, ended = polls_of({"items": [item(1, "12/31/2024 5 PM")]}, text=SINCE)
    return isinstance(ended, StreamHalted) and not state.published


def unreadable_times_are_silent(patch: Patch) -> None:
    patch.setattr(ChangeTimeReader, "require_readable", lambda *_, **__: None)


def corrected_date(_: Patch) -> bool:
    """A correction of a record with a wrong date in the future is taken."""
    state, _ended = polls_of(
        {"items": [item(1, "2062-07-02T10:00:00Z", t="old")]},
        {"items": [item(1, "2026-02-25T00:00:00Z", t="new")]},
    )
    return b"new" in (state.bodies["1"] or b"")


def future_versions_win(patch: Patch) -> None:
    """A change time is kept and compared as it is."""
    patch.setattr(
        VersionOrder,
        "entry",
        lambda _self, raw, key=b"": RawEntry(raw, content_digest(raw), raw.changed_at, key),
    )
    patch.setattr(VersionOrder, "takes", lambda _self, entry, known: entry.supersedes(known))


def person_added_later(_: Patch) -> bool:
    """A person who was added to a loop is read from the start."""
    state, asked = MemoryStreamState(), []

    def route(_path: str, query: dict[str, str]) -> Any:
        asked.append((query["person"], query["since"][:4]))
        return {"items": [item(query["person"], "2026-02-20T00:00:00Z")]}

    cursor = "{field: changed_at, start: 2020-01-01}"
    poll_route(route, by_person("p1", cursor=cursor), state)
    poll_route(route, by_person("p1", "p2", cursor=cursor), state)
    return ("p2", "2020") in asked


def one_position_for_all(patch: Patch) -> None:
    def windows(self: LoopProgress, _identities: Any) -> Any:
        return self.windows_since(max(filter(None, self.positions.values()), default=None))

    patch.setattr(LoopProgress, "windows", windows)


def refused_person(_: Patch) -> bool:
    """A person whose request is refused keeps the records, and the others are read."""
    state, refused = MemoryStreamState(), [False]

    def route(_path: str, query: dict[str, str]) -> Any:
        if refused[-1] and query["person"] == "p2":
            return 403, {}
        changed = "2026-02-21T00:00:00Z" if refused[-1] else "2026-02-20T00:00:00Z"
        return {"items": [item(query["person"], changed, t=changed)]}

    poll_route(route, by_person("p1", "p2", "p3"), state)
    refused.append(True)
    ended = poll_route(route, by_person("p1", "p2", "p3"), state)
    return (
        isinstance(ended, PollResult)
        and state.published == {"p1", "p2", "p3"}
        and b"02-21" in (state.bodies["p3"] or b"")
    )


def skipped_values_count_as_read(patch: Patch) -> None:
    patch.setattr(LoopProgress, "unread_record_keys", lambda _: frozenset())


def one_failure_stops_all(patch: Patch) -> None:
    def skip(_self: LoopProgress, _identities: Any, error: Exception) -> None:
        raise error

    patch.setattr(LoopProgress, "skip", skip)


def capped_pages(_: Patch) -> bool:
    """A page that is shorter than asked for is not the end."""
    state = MemoryStreamState()

    def route(_path: str, query: dict[str, str]) -> Any:
        start = 2 * (int(query["page"]) - 1)
        return {"items": [item(number) for number in range(5)][start : start + 2]}

    text = stream(
        'page: "{page}", size: "{size}"', "cursor: scan\npaging: {page_number: {size: 4}}"
    )
    poll_route(route, text, state)
    return state.published == set("01234")


def short_page_is_the_end(patch: Patch) -> None:
    real = numbers.PageNumber._has_ended

    def ended(self: Any, seen: Any, *more: Any, **named: Any) -> bool:
        return bool(real(self, seen, *more, **named) or (self.size and seen.count < self.size))

    patch.setattr(numbers.PageNumber, "_has_ended", ended)


def repeated_page(_: Patch) -> bool:
    """A page that is served twice is an error, unless the connector declares it as the end."""
    state = MemoryStreamState()

    def route(_path: str, query: dict[str, str]) -> Any:
        start = 2 * (min(int(query["page"]), 2) - 1)
        return {"items": [item(number) for number in range(9)][start : start + 2]}

    text = stream('page: "{page}"', "cursor: scan\npaging: {page_number: {size: 2}}")
    ended = poll_route(route, text, state)
    return not isinstance(ended, PollResult)


def repetition_is_the_end(patch: Patch) -> None:
    patch.setattr(
        LoopDetector, "is_last_page_again", lambda self, seen, **_: self.is_repeated(seen)
    )


def second_list(_: Patch) -> bool:
    """A second list is read to its last page."""
    state = MemoryStreamState()

    def route(path: str, query: dict[str, str]) -> Any:
        if path.endswith("/outcomes"):
            page = int(query["page"])
            return {"outcomes": [{"of": str(page), "text": f"outcome {page}"}], "more": page < 3}
        return {"items": [item(number) for number in (1, 2, 3)]}

    text = stream(
        more="cursor: scan\njoin: [{into: o, request: {get: /outcomes, query: {page: '{page}'}},"
        " paging: {page_number: {more: more}}, records: outcomes, key: of, to: id}]"
    )
    poll_route(route, text, state)
    return all(f"outcome {name}".encode() in (state.bodies.get(name) or b"") for name in "123")


def first_page_is_all(patch: Patch) -> None:
    patch.setattr(lists, "build_pager", lambda *_, **__: paging.single_page)


def quoted_person(_: Patch) -> bool:
    """A message quotes how a registry explains an error, and no person in it."""
    refused = {"error": {"message": "no rights for Aoife Murphy 1990"}}
    _state, ended = polls_of((400, refused))
    return "no rights for" in str(ended) and not {"Aoife", "1990"} & set(str(ended).split())


def person_is_quoted(patch: Patch) -> None:
    patch.setattr(fault_text, "mask_fault_text", lambda text: text)


def loop_without_values(_: Patch) -> bool:
    """A loop without values is reported, because its stream reads nothing."""
    loop = "for_each: {s: {in: {request: {request: {get: /s}, select: 'items[].id'}}}}"
    _state, ended = polls_of({"items": []}, text=stream('s: "{s}"', f"{loop}\ncursor: scan"))
    return isinstance(ended, PollResult) and ended.empty_loop == "s"


def empty_loop_is_silent(patch: Patch) -> None:
    real = stream_reader.loop_iterations

    async def quiet(*arguments: Any) -> Any:
        return await real(*arguments[:-1], lambda _: arguments[-1](""))

    patch.setattr(stream_reader, "loop_iterations", quiet)


ROWS: dict[str, tuple[Callable[..., bool], Callable[[Patch], None]]] = {
    "an absent list counts as empty": (absent_list, absence_is_empty),
    "an error inside a 200 counts as empty": (error_inside, absence_is_empty),
    "a null list counts as empty": (null_list, absence_is_empty),
    "an unreadable id counts as a missing record": (unreadable_id, unreadable_ids_do_not_count),
    "a change in the future moves the cursor": (future_change, future_moves_the_cursor),
    "a cursor in the future is trusted": (future_cursor, future_cursor_is_trusted),
    "unreadable change times are silent": (unreadable_times, unreadable_times_are_silent),
    "a version from the future is never corrected": (corrected_date, future_versions_win),
    "one position for all loop values": (person_added_later, one_position_for_all),
    "a skipped loop value counts as read": (refused_person, skipped_values_count_as_read),
    "one loop value stops the others": (refused_person, one_failure_stops_all),
    "a short page is the end": (capped_pages, short_page_is_the_end),
    "a repeated page is the end": (repeated_page, repetition_is_the_end),
    "the first page of a second list is all of it": (second_list, first_page_is_all),
    "a message quotes a person": (quoted_person, person_is_quoted),
    "a loop without values is silent": (loop_without_values, empty_loop_is_silent),
}


@pytest.mark.parametrize("row", ROWS)
def test_reading_fault_loses_nothing(row: str, monkeypatch: Patch) -> None:
    assert ROWS[row][0](monkeypatch)


@pytest.mark.parametrize("row", ROWS)
def test_planted_reading_defect_is_detected(row: str, monkeypatch: Patch) -> None:
    holds, plant = ROWS[row]
    plant(monkeypatch)
    assert not holds(monkeypatch)
