"""Read an archived Atom feed (RFC 5005)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lxml import etree

from gateway.errors import StreamHalted
from gateway.fetch.decode.atom_feed import parse_updated
from gateway.fetch.paging.links import KeptPart, join_link
from gateway.fetch.paging.loop_detector import LoopDetector
from gateway.fetch.paging.pages import (
    Expression,
    PageReply,
    PageRequest,
    PageSteps,
    State,
    first_text,
)

_ATOM = "{http://www.w3.org/2005/Atom}"


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
    keep: KeptPart = None

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
                visited.append((url, {url, seen.url, _atom_link(seen, "self", self.keep)}))
                if len(visited) > self.max_documents:
                    raise StreamHalted(
                        "CURSOR_LOOP",
                        f"the archive has more than {self.max_documents} documents; "
                        "raise paging.atom.max_documents",
                    )
                earlier = _atom_link(seen, self.previous, self.keep)
                if not earlier or self._reached(seen.root):
                    break
                url = earlier
            visited.pop()
        while True:
            watch.before_request(url or "")
            seen = yield PageRequest({"url": url} if url else {}, url=url)
            onward = _atom_link(seen, "next-archive", self.keep)
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
        return bool(self.since and stamps and min(map(parse_updated, stamps)) < self.since)


def _atom_link(seen: PageReply, relation: str, keep: KeptPart = None) -> str | None:
    for element in seen.root.findall(f"{_ATOM}link"):
        if element.get("rel") == relation and (target := element.get("href")):
            return join_link(seen.url, str(target), keep)
    return None
