"""Go from one page to the next, for every paging scheme that a connector can name.

A pager is a generator without I/O. It yields a :class:`PageRequest`, receives a :class:`PageReply`,
and ends after the last page. A restart uses ``PageRequest.state`` to request that page again. A
repeated link, a repeated page and a total that is not reached are errors, never an end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

from lxml import etree

from gateway.errors import RetryLater, StreamHalted

State = dict[str, Any]
Expression = Callable[[Any], list[Any]]
"""A compiled expression that takes a document's root and returns the values."""

MAX_EMPTY = 50
_LINK = re.compile(r"<([^>]*)>((?:\s*;\s*[^;,\"=]+(?:=(?:\"[^\"]*\"|[^;,\"]*))?)*)")
_REL = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^;,\s\"]+))", re.IGNORECASE)
_ATOM = "{http://www.w3.org/2005/Atom}"


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The next request: variables for the request's template, or a whole URL.

    A ``probe`` page only shows the way; its records come later.
    """

    state: State
    variables: dict[str, Any] = field(default_factory=dict)
    url: str | None = None
    probe: bool = False


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


PageSteps = Generator[PageRequest, PageReply, None]
Pager = Callable[[State | None], PageSteps]


class WindowShrunk(Exception):
    """The window holds fewer records than at its start, so continuing would skip some of them."""


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


class LoopDetector:
    """A detector for paging loops and repeated pages during one run."""

    def __init__(self) -> None:
        self._places: set[str] = set()
        self._previous = ""
        self._pages: set[str] = set()
        self._empty = 0

    def before_request(self, place: str) -> None:
        """Raise ``CURSOR_LOOP`` when a page would be requested a second time."""
        if place in self._places:
            raise StreamHalted(
                "CURSOR_LOOP",
                "the registry's next page is one that was read before; the paging does not end",
            )
        self._places.add(place)

    def after_reply(self, seen: PageReply) -> None:
        """Check a page against the earlier ones.

        Raises ``PAGE_REPEATED`` when the same records come twice in a row. Raises ``CURSOR_LOOP``
        when they come again later, or after too many empty pages.
        """
        digest = seen.digest
        if digest and digest == self._previous:
            raise RetryLater(
                "PAGE_REPEATED",
                "the registry served the same page twice, "
                "so the records of the second page are missing",
            )
        if digest in self._pages:
            raise StreamHalted(
                "CURSOR_LOOP",
                "the registry serves pages again that were read before; the paging does not end",
            )
        if digest:
            self._pages.add(digest)
        self._previous = digest
        self._empty = 0 if seen.count else self._empty + 1
        if self._empty > MAX_EMPTY:
            raise StreamHalted(
                "CURSOR_LOOP",
                f"{MAX_EMPTY} empty pages in a row, and the registry says there are more",
            )


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


@dataclass(frozen=True, slots=True)
class LinkHeader:
    """Paging by the URL in the ``Link`` header (RFC 8288)."""

    relation: str = "next"

    def __call__(self, state: State | None) -> PageSteps:
        """Follow links until a reply has none."""
        return _follow_urls(state, lambda seen: link(seen.links, self.relation))


@dataclass(frozen=True, slots=True)
class NextUrl:
    """Paging by a URL in the reply's document."""

    look: Expression

    def __call__(self, state: State | None) -> PageSteps:
        """Follow URLs until a reply has none."""
        return _follow_urls(state, lambda seen: first_text(self.look(seen.root)))


def _follow_urls(state: State | None, find: Callable[[PageReply], str | None]) -> PageSteps:
    watch = LoopDetector()
    url = state.get("url") if state else None
    while True:
        watch.before_request(url or "")
        seen = yield PageRequest({"url": url} if url else {}, url=url)
        watch.after_reply(seen)
        found = find(seen)
        if not found:
            return
        url = urljoin(seen.url, found)


@dataclass(frozen=True, slots=True)
class CursorToken:
    """Paging by a token that the reply contains. The first request has no token."""

    look: Expression
    more: Expression | None = None

    def __call__(self, state: State | None) -> PageSteps:
        """Send tokens back until a reply has none.

        A repeated token is the end only when the page is empty.
        """
        watch = LoopDetector()
        token = state.get("token") if state else None
        while True:
            watch.before_request(token or "")
            seen = yield PageRequest(
                {"token": token} if token else {}, {"cursor": token} if token else {}
            )
            found = first_text(self.look(seen.root))
            if (
                not found
                or (self.more is not None and not is_true(self.more(seen.root)))
                or (found == token and not seen.count)
            ):
                return
            watch.after_reply(seen)
            token = found


@dataclass(frozen=True, slots=True)
class PageNumber:
    """Paging by numbers from ``start``, up to the end signs of the reply or an empty page.

    An empty page that announces more pages raises ``PAGE_EMPTY`` unless ``gaps`` allows it, because
    continuing would skip records.
    """

    start: int = 1
    more: Expression | None = None
    pages: Expression | None = None
    total: Expression | None = None
    size: int | None = None
    gaps: bool = False

    def __call__(self, state: State | None) -> PageSteps:
        """Count up until an end sign."""
        watch = LoopDetector()
        page = int(state["page"]) if state else self.start
        received = int(state.get("got", 0)) if state else 0
        total_state = {"total": state["total"]} if state and "total" in state else {}
        while True:
            seen = yield PageRequest(
                {"page": page, "got": received, **total_state},
                {"page": page, **({"size": self.size} if self.size else {})},
            )
            total_state = window_total(total_state, seen, self.total or self.pages)
            watch.after_reply(seen)
            received += seen.count
            if self._ended(seen, page, received):
                return
            if not seen.count and not self.gaps:
                raise RetryLater(
                    "PAGE_EMPTY",
                    f"page {page} is empty but announces more pages; "
                    "allow it with paging.page_number.gaps",
                )
            page += 1

    def _ended(self, seen: PageReply, page: int, received: int) -> bool:
        if self.more is not None:
            ended = not is_true(self.more(seen.root))
            if (
                ended
                and self.total is not None
                and not is_last_by_count(seen, received, self.total, None)
            ):
                raise RetryLater(
                    "COUNT_MISMATCH",
                    "the registry announces no further page, "
                    f"but reports more records than the {received} that it served",
                )
            return ended
        if self.pages is not None:
            return page - self.start + 1 >= parse_count(
                self.pages(seen.root), "the number of pages"
            )
        return is_last_by_count(seen, received, self.total, self.size)


@dataclass(frozen=True, slots=True)
class Offset:
    """Paging by the number of records to skip."""

    size: int
    start: int = 0
    total: Expression | None = None

    def __call__(self, state: State | None) -> PageSteps:
        """Skip the received records until an end sign."""
        watch = LoopDetector()
        offset = int(state["offset"]) if state else self.start
        total_state = {"total": state["total"]} if state and "total" in state else {}
        while True:
            seen = yield PageRequest(
                {"offset": offset, **total_state}, {"offset": offset, "size": self.size}
            )
            total_state = window_total(total_state, seen, self.total)
            watch.after_reply(seen)
            offset += seen.count
            if is_last_by_count(seen, offset - self.start, self.total, self.size):
                return


def is_last_by_count(
    seen: PageReply, received: int, total: Expression | None, size: int | None
) -> bool:
    """Return whether the record counts show that this is the last page.

    Raises ``COUNT_MISMATCH`` when the pages end before the total is reached.
    """
    if total is not None:
        expected = parse_count(total(seen.root), "the total")
        if received >= expected:
            return True
        if seen.count == 0 or (size and seen.count < size):
            raise RetryLater(
                "COUNT_MISMATCH",
                f"the registry says there are {expected} records and served {received}",
            )
        return False
    return seen.count == 0 or (size is not None and seen.count < size)


@dataclass(frozen=True, slots=True)
class AtomArchive:
    """An archived Atom feed (RFC 5005).

    The pager walks back to the start of the window, then reads forward, oldest first.
    """

    since: datetime | None = None
    """The start of the window; ``None`` means the first archive."""
    last_seen: str = ""
    """The last entry of the previous poll; the walk back ends at it."""
    entry_id: Expression | None = None
    previous: str = "prev-archive"
    max_documents: int = 10_000

    def __call__(self, state: State | None) -> PageSteps:
        """Find the oldest feed of the window, then follow ``next-archive``."""
        watch = LoopDetector()
        visited: list[tuple[str | None, set[str | None]]] = []
        url = state.get("url") if state else None
        if url is None:
            watch_back = LoopDetector()
            while True:
                watch_back.before_request(url or "")
                seen = yield PageRequest({}, url=url, probe=True)
                visited.append((url, {url, seen.url, _atom_link(seen, "self")}))
                if len(visited) > self.max_documents:
                    raise StreamHalted(
                        "CURSOR_LOOP",
                        f"the archive has more than {self.max_documents} documents; "
                        "raise paging.atom.max_documents",
                    )
                earlier = _atom_link(seen, self.previous)
                if not earlier or self._reached(seen.root):
                    break
                url = earlier
            visited.pop()
        while True:
            watch.before_request(url or "")
            seen = yield PageRequest({"url": url} if url else {}, url=url)
            onward = _atom_link(seen, "next-archive")
            if onward:
                url = onward
            elif visited:
                url = visited.pop()[0]
            else:
                return
            if visited and url in visited[-1][1]:
                visited.pop()

    def _reached(self, root: etree._Element) -> bool:
        if self.last_seen and self.entry_id is not None:
            return any(
                first_text(self.entry_id(entry)) == self.last_seen
                for entry in root.iter(f"{_ATOM}entry")
            )
        stamps = [
            text
            for text in (entry.findtext(f"{_ATOM}updated") for entry in root.iter(f"{_ATOM}entry"))
            if text
        ]
        return bool(self.since and stamps and min(map(_parse_instant, stamps)) < self.since)


def _parse_instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise StreamHalted("FEED_MALFORMED", "an Atom entry has no valid <updated>") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _atom_link(seen: PageReply, relation: str) -> str | None:
    for element in seen.root.findall(f"{_ATOM}link"):
        if element.get("rel") == relation and (target := element.get("href")):
            return urljoin(seen.url, str(target))
    return None


def link(headers: Sequence[str], relation: str) -> str | None:
    """Return the target of the first ``Link`` with this relation."""
    for header in headers:
        for target, parameters in _LINK.findall(header):
            for quoted, bare in _REL.findall(parameters):
                if relation in (quoted or bare).lower().split():
                    return str(target)
    return None


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
            f"the reply does not state {what}, although the connector reads it there",
        ) from None
