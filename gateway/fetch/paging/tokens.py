"""Follow the token that a reply contains for the next page."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.fetch.paging.loop_detector import LoopDetector
from gateway.fetch.paging.pages import (
    REPEATED,
    Expression,
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
