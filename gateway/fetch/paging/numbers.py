"""Count pages or records, up to a sign of the end.

A reply can announce the end with ``more``, ``pages`` or ``total``. Without such a sign, only an
empty page is the end: registries reduce the size of a page without a notice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gateway.errors import RetryLater
from gateway.fetch.paging.loop_detector import LoopDetector
from gateway.fetch.paging.pages import (
    REPEATED,
    Expression,
    PageReply,
    PageRequest,
    PageSteps,
    State,
    count_mismatch,
    first_text,
    is_true,
    parse_count,
)

AfterLast = Literal["empty", "repeated", "refused"]
"""The answer of a registry to the request for a page after the last one."""


class WindowShrunk(Exception):
    """The window holds fewer records than at its start, so continuing would skip some of them."""


@dataclass(slots=True)
class _Position:
    """The pages and records that arrived so far in one run of a pager."""

    received: int
    total: State
    pages: int = 0
    last_count: int = 0
    total_is_reached: bool = False
    more_is_unknown: bool = False

    @classmethod
    def resume(cls, state: State | None, received: int) -> _Position:
        """Return the position of a restart."""
        if not state:
            return cls(received, {})
        total = {"total": state["total"]} if "total" in state else {}
        return cls(
            received,
            total,
            int("last" in state),
            int(state.get("last", 0)),
            more_is_unknown="unknown" in state,
        )

    @property
    def state(self) -> State:
        """The part of a page's state that a restart needs."""
        last = {"last": self.last_count} if self.pages else {}
        return {**self.total, **last, **({"unknown": True} if self.more_is_unknown else {})}


@dataclass(frozen=True, slots=True)
class PageNumber:
    """Paging by numbers from ``start``, up to the end signs of the reply or an empty page.

    An empty page that announces more pages raises ``PAGE_EMPTY`` unless ``gaps`` allows it, because
    continuing would skip records. ``states_more`` returns whether ``more`` is in a reply.
    """

    start: int = 1
    more: Expression | None = None
    pages: Expression | None = None
    total: Expression | None = None
    size: int | None = None
    gaps: bool = False
    after_last: AfterLast = "empty"
    states_more: Callable[[object], bool] = lambda _root: True

    def __call__(self, state: State | None) -> PageSteps:
        """Count up until an end sign."""
        watch = LoopDetector(last_page_repeats=self.after_last == "repeated")
        page = int(state["page"]) if state else self.start
        position = _Position.resume(state, int(state.get("got", 0)) if state else 0)
        while True:
            seen = yield PageRequest(
                {"page": page, "got": position.received, **position.state},
                {"page": page, **({"size": self.size} if self.size else {})},
                if_refused=_if_refused(self.after_last, position, self.size),
            )
            if watch.is_last_page_again(seen, total_is_reached=position.total_is_reached):
                _require_total(self.total, position)
                return REPEATED
            if _is_first_page_again(watch, seen, position, self.size):
                return False
            _refuse_repetition(watch, seen, self.total, position, self.size)
            if not position.total_is_reached:
                position.total = window_total(position.total, seen, self.total or self.pages)
            watch.after_reply(seen)
            position.received += seen.count
            is_first = page == self.start
            if self._has_ended(seen, page, position, is_first=is_first):
                return True
            announces_more = self.pages is not None or (
                self.more is not None and not position.more_is_unknown
            )
            if not seen.count and announces_more and not self.gaps:
                raise RetryLater(
                    "PAGE_EMPTY",
                    f"page {page} is empty but announces more pages; "
                    "allow it with paging.page_number.gaps",
                )
            position.pages += 1
            position.last_count = seen.count
            page += 1

    def _has_ended(
        self, seen: PageReply, page: int, position: _Position, *, is_first: bool
    ) -> bool:
        if self.pages is not None:
            number = parse_count(self.pages(seen.root), "the number of pages")
            ended = page - self.start + 1 >= number
            if ended:
                _require_total(self.total, position, seen)
            return ended
        if self.more is not None:
            is_stated = self.states_more(seen.root)
            if is_first and seen.count and not is_stated:
                # The first page does not say whether there are more, so the next one has to.
                position.more_is_unknown = True
            elif is_stated:
                position.more_is_unknown = False
            if not position.more_is_unknown:
                ended = not is_true(self.more(seen.root))
                if ended:
                    _require_total(self.total, position, seen)
                return ended
        return _has_ended_by_count(seen, position, self.total, self.size)


@dataclass(frozen=True, slots=True)
class Offset:
    """Paging by the number of records to skip."""

    size: int
    start: int = 0
    total: Expression | None = None
    after_last: AfterLast = "empty"

    def __call__(self, state: State | None) -> PageSteps:
        """Skip the received records until an end sign."""
        watch = LoopDetector(last_page_repeats=self.after_last == "repeated")
        offset = int(state["offset"]) if state else self.start
        position = _Position.resume(state, offset - self.start)
        while True:
            seen = yield PageRequest(
                {"offset": offset, **position.state},
                {"offset": offset, "size": self.size},
                if_refused=_if_refused(self.after_last, position, self.size),
            )
            if watch.is_last_page_again(seen, total_is_reached=position.total_is_reached):
                _require_total(self.total, position)
                return REPEATED
            if _is_first_page_again(watch, seen, position, self.size):
                return False
            _refuse_repetition(watch, seen, self.total, position, self.size)
            if not position.total_is_reached:
                position.total = window_total(position.total, seen, self.total)
            watch.after_reply(seen)
            offset += seen.count
            position.received += seen.count
            if _has_ended_by_count(seen, position, self.total, self.size):
                return True
            position.pages += 1
            position.last_count = seen.count


def _has_ended_by_count(
    seen: PageReply, position: _Position, total: Expression | None, size: int | None
) -> bool:
    """Return whether the record counts show that this is the last page.

    A total below the number of records does not count these records, so an empty page is then the
    end. Raises ``COUNT_MISMATCH`` when the pages end before the total is reached.
    """
    if total is not None and not position.total_is_reached:
        expected = parse_count(total(seen.root), "the total")
        if position.received < expected:
            if seen.count == 0:
                raise count_mismatch(expected, position.received)
            return False
        position.total_is_reached = True
        # A total that equals one full page may count the records of this page alone.
        is_full_page = not position.pages and size is not None and seen.count >= size
        return position.received == expected and not (is_full_page and expected > 0)
    return seen.count == 0


def _is_first_page_again(
    watch: LoopDetector, seen: PageReply, position: _Position, size: int | None
) -> bool:
    """Return whether a short first page comes again.

    The registry serves all records for each requested page, or serves its last page again. It
    could also serve a wrong page once, so this is no proof of the end.
    """
    was_short = size is not None and position.last_count < size
    return position.pages == 1 and was_short and not position.total and watch.is_repeated(seen)


def _refuse_repetition(
    watch: LoopDetector,
    seen: PageReply,
    total: Expression | None,
    position: _Position,
    size: int | None,
) -> None:
    """Raise ``COUNT_MISMATCH`` when a short page comes again before the total is reached."""
    stated = position.total.get("total")
    was_short = size is not None and position.last_count < size
    if total is not None and stated is not None and was_short and watch.is_repeated(seen):
        raise count_mismatch(int(stated), position.received)


def _if_refused(
    after_last: AfterLast, position: _Position, size: int | None
) -> Literal["error", "end", "unproved_end"]:
    """Return what the refusal of the next page means.

    Only after a page, and without a total that is not reached, can it mean the end. After a full
    page, a refusal can also be a fault in the middle of the list.
    """
    if not position.pages or (position.total and not position.total_is_reached):
        return "error"
    if position.total_is_reached:
        return "end"
    if after_last == "refused":
        return "end" if size is None or position.last_count < size else "unproved_end"
    was_short = size is not None and position.last_count < size
    return "unproved_end" if was_short or position.more_is_unknown else "error"


def _require_total(
    total: Expression | None, position: _Position, seen: PageReply | None = None
) -> None:
    """Raise ``COUNT_MISMATCH`` when fewer records arrived than the registry states."""
    if total is None:
        return
    stated = parse_count(total(seen.root), "the total") if seen else position.total.get("total", 0)
    if position.received < int(stated):
        raise count_mismatch(int(stated), position.received)


def window_total(state: State | None, seen: PageReply, look: Expression | None) -> State:
    """Return the window's total for the state of the next page.

    Raises :class:`WindowShrunk` when the total is smaller than before.
    """
    values = look(seen.root) if look is not None else []
    if not first_text(values):
        return state or {}
    found = parse_count(values, "the total")
    if state and found < int(state.get("total", found)):
        raise WindowShrunk
    return {"total": found}
