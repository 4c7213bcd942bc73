"""Follow the token that a reply contains for the next page."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import RetryLater
from gateway.fetch.paging.loop_detector import LoopDetector
from gateway.fetch.paging.pages import (
    REPEATED,
    Expression,
    PageReply,
    PageRequest,
    PageSteps,
    RecordTotal,
    State,
    first_text,
    is_true,
)


@dataclass(frozen=True, slots=True)
class CursorToken:
    """Paging by a token that the reply contains. The first request has no token."""

    look: Expression
    more: Expression | None = None
    total: Expression | None = None
    last_page_repeats: bool = False

    def __call__(self, state: State | None) -> PageSteps:
        """Send tokens back until a reply has none, or the token of its own request again.

        A repeated token is an error when ``more`` announces another page.
        """
        watch = LoopDetector(last_page_repeats=self.last_page_repeats)
        total = RecordTotal.resume(self.total, state)
        token = state.get("token") if state else None
        while True:
            watch.before_request(token or "")
            seen = yield PageRequest(
                {"token": token, **total.state} if token else {},
                {"cursor": token} if token else {},
            )
            if watch.is_last_page_again(seen):
                total.require_reached()
                return REPEATED
            total.add(seen)
            found = first_text(self.look(seen.root))
            if not found:
                self._require_no_more(seen)
                break
            if found == token and (self.more is None or not seen.count):
                if not watch.is_repeated(seen):
                    break
                total.received -= seen.count
                total.require_reached()
                return REPEATED
            if self.more is not None and not is_true(self.more(seen.root)):
                break
            watch.after_reply(seen)
            token = found
        total.require_reached()
        return None

    def _require_no_more(self, seen: PageReply) -> None:
        """Raise ``CURSOR_MISSING`` for a reply without a token that says that there is more."""
        if self.more is not None and is_true(self.more(seen.root)):
            raise RetryLater(
                "CURSOR_MISSING",
                "the reply says that there are more pages, and has no token for the next one; "
                "compare `from` and `more` in paging.cursor with the reply",
            )
