"""The position of a stream reader, as the caller stores it, and the time windows in it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote, unquote_plus

from gateway.errors import StreamHalted
from gateway.fetch import paging


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The time range of a poll, from ``since`` (``None``: the beginning) up to ``until``."""

    since: datetime | None
    until: datetime


def halve_window(window: TimeWindow, smallest: timedelta, where: str) -> list[TimeWindow]:
    """Return the two halves of a window; raise ``WINDOW_TOO_SMALL`` when it cannot be halved."""
    if window.since is None:
        raise StreamHalted(
            "WINDOW_TOO_SMALL",
            f"{where}: too many results, and the window has no start; set cursor.start",
        )
    half = (window.until - window.since) / 2
    if half < smallest:
        raise StreamHalted(
            "WINDOW_TOO_SMALL",
            f"{where}: too many results even within {window.until - window.since}; "
            "lower cursor.smallest, or divide the list with for_each",
        )
    middle = (window.since + half).replace(microsecond=0)
    return [TimeWindow(window.since, middle), TimeWindow(middle, window.until)]


def decode_position(position: str | None) -> dict[str, Any]:
    """Return a stored position as its fields; raise ``CURSOR_INVALID`` when it is not one."""
    try:
        found = json.loads(position) if position else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise StreamHalted(
            "CURSOR_INVALID",
            "the stored position was not written by this release; run the release that wrote it",
        )
    return found


@dataclass(slots=True)
class ReadPosition:
    """The reader's position, as stored in :attr:`RecordPage.position`."""

    iteration_index: int = 0
    windows: list[TimeWindow] = field(default_factory=list)
    pager: paging.State | None = None
    already_written: int = 0
    digest: str = ""
    resumed: bool = False
    secrets: Collection[str] = ()
    """Texts that must not be stored."""

    def encode(self, iterations: str, feed: str) -> str:
        """Return the position as JSON text. ``iterations`` is the digest of the loop values.

        The address of the next page may repeat a secret of the request. Such a place is not stored,
        and a restart reads the window from its first page.
        """
        if self.pager and self.secrets:
            text = json.dumps(self.pager, ensure_ascii=False)
            forms = (text, unquote(text), unquote_plus(text))
            if any(secret in form for secret in self.secrets for form in forms):
                return replace(self, pager=None, already_written=0).encode(iterations, feed)
        state = {
            "turn": self.iteration_index,
            "loops": iterations,
            "windows": [
                [w.since and w.since.isoformat(), w.until.isoformat()] for w in self.windows
            ],
            "pager": self.pager,
            "skip": self.already_written,
            "digest": self.digest if self.already_written else "",
            "feed": feed,
        }
        return json.dumps(
            {key: value for key, value in state.items() if value}, separators=(",", ":")
        )

    def after_page(self, following: paging.PageRequest | None) -> ReadPosition:
        """Return where a restart resumes after everything up to here is durable.

        ``following`` is the request for the next page, or ``None`` after the last one.
        """
        if following is not None:
            return replace(
                self, windows=list(self.windows), pager=following.state, already_written=0
            )
        if len(self.windows) > 1:
            return replace(self, windows=self.windows[1:], pager=None, already_written=0)
        return replace(
            self,
            iteration_index=self.iteration_index + 1,
            windows=[],
            pager=None,
            already_written=0,
        )

    @classmethod
    def decode(cls, state: Mapping[str, Any], iterations: str, count: int) -> ReadPosition:
        """Return a stored position, or the start when the loop values are other ones.

        Positions of earlier releases hold only the number of iterations.
        """
        if not state or (state.get("loops") != iterations and state.get("turns") != count):
            return cls()
        windows = [
            TimeWindow(datetime.fromisoformat(s) if s else None, datetime.fromisoformat(u))
            for s, u in state.get("windows", ())
        ]
        return cls(
            int(state.get("turn", 0)),
            windows,
            state.get("pager"),
            int(state.get("skip", 0)),
            state.get("digest", ""),
        )
