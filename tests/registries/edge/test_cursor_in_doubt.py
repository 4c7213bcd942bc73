"""A cursor that finds changes by time does not pass pages that may lack some of them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream

FIELD = "cursor: {field: changed_at, start: 2020-01-01}"
WINDOW = "cursor: {window: 3650d, start: 2020-01-01}"
SINCE = 'since: "{since:iso}", page: "{page}", size: "{size}"'
PAGED = "paging: {page_number: {size: 5}}"
LATE = "2026-02-20T10:00:00Z"
ERRORS = [(404, {"error": "no such page"}), {"error": "timeout"}, {"data": []}, (500, {})]


class Registry:
    """A registry with pages of which one fails at first."""

    def __init__(self, wrong: Any) -> None:
        self.wrong: Any = wrong
        self.pages = [range(5), range(5, 9), range(9, 14)]

    def __call__(self, _path: str, query: dict[str, str]) -> Any:
        number = int(query["page"])
        if number == 3 and self.wrong is not None:
            return self.wrong
        names = self.pages[number - 1] if number <= len(self.pages) else []
        records = [item(name, LATE) for name in names]
        return {"items": [one for one in records if query["since"][:10] <= LATE[:10]]}


@pytest.mark.parametrize("cursor", [FIELD, WINDOW])
@pytest.mark.parametrize("wrong", ERRORS)
def test_error_after_a_short_page_is_not_passed(cursor: str, wrong: Any) -> None:
    registry, state = Registry(wrong), MemoryStreamState()
    text = stream(SINCE, f"{cursor}\n{PAGED}")
    for _ in range(2):
        poll_route(registry, text, state)
    registry.wrong = None
    poll_route(registry, text, state)
    assert len(state.published) == 14


@pytest.mark.parametrize("cursor", [FIELD, WINDOW])
@pytest.mark.parametrize(
    "sign", [{"next": "/r?page=2"}, {"count": 9}, {"total": 9}, {"hasMore": True}]
)
def test_list_that_says_it_has_more_is_not_passed(cursor: str, sign: dict[str, Any]) -> None:
    asked: list[str] = []

    def route(_path: str, query: dict[str, str]) -> Any:
        asked.append(query["since"][:10])
        return {"items": [item(1, LATE), item(2, LATE)], **sign}

    state = MemoryStreamState()
    text = stream('since: "{since:iso}"', cursor)
    for _ in range(2):
        assert isinstance(poll_route(route, text, state), PollResult)
    assert asked == ["2020-01-01", "2020-01-01"], "the second poll asks for the same changes"


def test_loop_value_in_doubt_keeps_its_position() -> None:
    asked: list[tuple[str, str]] = []

    def route(_path: str, query: dict[str, str]) -> Any:
        asked.append((query["person"], query["since"][:10]))
        more = {"count": 9} if query["person"] == "p2" else {}
        return {"items": [item(query["person"], LATE)], **more}

    loop = "for_each: {person: {in: {values: [p1, p2]}}}"
    state = MemoryStreamState()
    text = stream('person: "{person}", since: "{since:iso}"', f"{loop}\n{FIELD}")
    for _ in range(2):
        poll_route(route, text, state)
    assert asked[2:] == [("p1", "2026-02-20"), ("p2", "2020-01-01")]
