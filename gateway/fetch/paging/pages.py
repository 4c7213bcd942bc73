"""Requests and replies of pagers, and the values that pagers read from a reply."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Literal

from lxml import etree

from gateway.errors import RetryLater, StreamError

State = dict[str, Any]
Expression = Callable[[Any], list[Any]]
"""A compiled expression that takes a document's root and returns the values."""

NO_SUCH_PAGE = frozenset(
    {"HTTP_400", "HTTP_404", "HTTP_416", "HTTP_422", "LIST_MISSING", "SOAP_FAULT", "EMPTY_BODY"}
)
"""The reasons for which a registry's answer refuses a page after the last one."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The next request: variables for the request's template, or a whole URL.

    A ``probe`` page only shows the way; its records come later.
    """

    state: State
    variables: dict[str, Any] = field(default_factory=dict)
    url: str | None = None
    probe: bool = False
    if_refused: Literal["error", "end", "unproved_end"] = "error"
    """What a refusal (:data:`NO_SUCH_PAGE`) means as the answer to this request.

    After an unproved end, a complete scan must not delete records.
    """

    def is_end(self, error: StreamError) -> bool:
        """Return whether this failure says that there is no such page."""
        return self.if_refused != "error" and error.reason in NO_SUCH_PAGE


@dataclass(frozen=True, slots=True)
class PageReply:
    """The facts about a page that a pager may use: root, links, record count and digest."""

    root: Any
    url: str
    count: int
    content: Callable[[], str] = str
    links: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """A digest that changes with any record, blank without records, computed on demand."""
        return self.content() if self.count else ""


PageSteps = Generator[PageRequest, PageReply, Any]
"""The pages of a list. The result is false when they end without a proof of the end.

The result is :data:`REPEATED` when the last page only repeats the page before it.
"""
REPEATED = "repeated"
Pager = Callable[[State | None], PageSteps]


def single_page(_: State | None) -> PageSteps:
    """Request the only page."""
    yield PageRequest({"page": 0})


@dataclass(frozen=True, slots=True)
class ChangeFeed:
    """A change feed, requested from its newest position until nothing new arrives."""

    position: Callable[[], str]

    def __call__(self, state: State | None) -> PageSteps:
        """Request pages until the position no longer changes."""
        number = int(state["page"]) if state else 0
        while True:
            before = self.position()
            seen = yield PageRequest({"page": number})
            if not seen.count or self.position() == before:
                return
            number += 1


@dataclass(slots=True)
class RecordTotal:
    """The number of records that arrived, and the number that the registry states.

    A restart continues with the number of the earlier pages, when its state contains that.
    """

    look: Expression | None
    received: int = 0
    is_known: bool = True
    stated: int | None = None

    @classmethod
    def resume(cls, look: Expression | None, state: State | None) -> RecordTotal:
        """Return the counts at the position of a restart."""
        return cls(look, int(state.get("got", 0)) if state else 0, not state or "got" in state)

    @property
    def state(self) -> State:
        """The part of a page's state that a restart needs."""
        return {"got": self.received} if self.look is not None and self.is_known else {}

    def add(self, seen: PageReply) -> None:
        """Count the records of a page, and read the total that it states."""
        self.received += seen.count
        if self.look is not None and first_text(values := self.look(seen.root)):
            self.stated = parse_count(values, "the total")

    def require_reached(self) -> None:
        """Raise ``COUNT_MISMATCH`` when fewer records arrived than the registry states."""
        if self.look is None or not self.is_known:
            return
        if self.stated is None:
            parse_count([], "the total")
        elif self.received < self.stated:
            raise count_mismatch(self.stated, self.received)


def count_mismatch(expected: int, received: int) -> RetryLater:
    """Return the error for a list with fewer records than its total."""
    return RetryLater(
        "COUNT_MISMATCH",
        f"the registry says there are {expected} records and served {received}; "
        "the next poll reads all pages again. If the number counts something else, correct `total`",
    )


def first_text(values: list[Any]) -> str | None:
    """Return the first value as text, or ``None`` when there is none."""
    for value in values:
        text = "".join(map(str, value.itertext())) if etree.iselement(value) else value
        if text is not None and text is not False and str(text).strip():
            return str(text).strip()
    return None


def is_true(values: list[Any]) -> bool:
    """Return whether the value announces more pages."""
    if values and isinstance(values[0], bool):
        return values[0]
    text = first_text(values)
    return text is not None and text.lower() not in {"false", "0", "no", "n"}


def parse_count(values: list[Any], what: str) -> int:
    """Return the whole number that a reply states.

    Raises ``COUNT_MISSING`` when the reply states none.
    """
    text = first_text(values)
    try:
        return int(float(text)) if text else int("")
    except (ValueError, OverflowError):
        raise RetryLater(
            "COUNT_MISSING",
            f"the reply does not state {what}, although the connector reads it there; "
            "compare `paging` with a reply",
        ) from None
