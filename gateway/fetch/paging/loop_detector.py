"""Detect paging that does not end."""

from __future__ import annotations

from gateway.errors import RetryLater, StreamHalted
from gateway.fetch.paging.pages import PageReply

MAX_EMPTY = 50


class LoopDetector:
    """A detector for paging loops and repeated pages during one run."""

    def __init__(self, *, last_page_repeats: bool = False) -> None:
        self._last_page_repeats = last_page_repeats
        self._places: set[str] = set()
        self._previous = ""
        self._pages: set[str] = set()
        self._empty = 0

    def before_request(self, place: str) -> None:
        """Raise ``CURSOR_LOOP`` when a page would be requested a second time."""
        if place in self._places:
            raise StreamHalted(
                "CURSOR_LOOP",
                "the registry's next page is one that was read before; the paging does not end. "
                "Check how the registry says that a page is the last one, and correct `paging`",
            )
        self._places.add(place)

    def is_last_page_again(self, seen: PageReply, *, total_is_reached: bool = False) -> bool:
        """Return whether this is the last page again, which is the end.

        The connector declares that the registry serves its last page again. The same page also
        ends a list whose total is reached.
        """
        return (self._last_page_repeats or total_is_reached) and self.is_repeated(seen)

    def is_repeated(self, seen: PageReply) -> bool:
        """Return whether a page has the records of the page before it."""
        return self._previous != "" and seen.digest == self._previous

    def is_declared_end(self, place: str, following: str) -> bool:
        """Return whether the next page is this one, and the connector declares that as the end."""
        return self._last_page_repeats and following == place

    def after_reply(self, seen: PageReply) -> None:
        """Check a page against the earlier ones.

        Raises ``PAGE_REPEATED`` when the same records come twice in a row. Raises ``CURSOR_LOOP``
        when they come again later, or after too many empty pages.
        """
        digest = seen.digest
        if digest and digest == self._previous:
            raise RetryLater(
                "PAGE_REPEATED",
                "the registry served the same page twice, so records can be missing; "
                "if it serves its last page again at the end, "
                "write `after_last: repeated` in `paging`",
            )
        if digest in self._pages:
            raise StreamHalted(
                "CURSOR_LOOP",
                "the registry serves pages again that were read before; the paging does not end. "
                "Check whether the request contains the page, and correct `paging`",
            )
        if digest:
            self._pages.add(digest)
        self._previous = digest
        self._empty = 0 if seen.count else self._empty + 1
        if self._empty > MAX_EMPTY:
            raise StreamHalted(
                "CURSOR_LOOP",
                f"{MAX_EMPTY} empty pages in a row, and the registry says there are more; "
                "correct `paging`, or request a smaller period",
            )
