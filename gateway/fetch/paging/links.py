"""Follow the link to the next page, from the ``Link`` header or from the reply."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urljoin, urlsplit, urlunsplit

from gateway.errors import StreamHalted
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
)

KeptPart = Literal["query", "path"] | None
"""The part of a link that is followed; the whole link when ``None``."""
MAX_HEADER_LENGTH = 16_384
"""A longer ``Link`` header is left unread."""
_LINK = re.compile(r"<([^<>]*)>")
_PARAMETER = re.compile(r"\s*+;\s*+([^;,\"=]++)(?:=\s*+(?:\"([^\"]*+)\"|([^;,\"]*+)))?")
"""A parameter of a link, as its name and its value with or without quotes."""


@dataclass(frozen=True, slots=True)
class LinkHeader:
    """Paging by the URL in the ``Link`` header (RFC 8288)."""

    relation: str = "next"
    keep: KeptPart = None
    total: Expression | None = None
    last_page_repeats: bool = False

    def __call__(self, state: State | None) -> PageSteps:
        """Follow links until a reply has none."""
        return _follow_urls(
            state,
            lambda seen: link(seen.links, self.relation),
            self.keep,
            RecordTotal.resume(self.total, state),
            LoopDetector(last_page_repeats=self.last_page_repeats),
        )


@dataclass(frozen=True, slots=True)
class NextUrl:
    """Paging by a URL in the reply's document."""

    look: Expression
    keep: KeptPart = None
    total: Expression | None = None
    last_page_repeats: bool = False

    def __call__(self, state: State | None) -> PageSteps:
        """Follow URLs until a reply has none."""
        return _follow_urls(
            state,
            lambda seen: first_text(self.look(seen.root)),
            self.keep,
            RecordTotal.resume(self.total, state),
            LoopDetector(last_page_repeats=self.last_page_repeats),
        )


def _follow_urls(
    state: State | None,
    find: Callable[[PageReply], str | None],
    keep: KeptPart,
    total: RecordTotal,
    watch: LoopDetector,
) -> PageSteps:
    url = state.get("url") if state else None
    while True:
        watch.before_request(url or "")
        seen = yield PageRequest({"url": url, **total.state} if url else {}, url=url)
        if watch.is_last_page_again(seen):
            total.require_reached()
            return REPEATED
        watch.after_reply(seen)
        total.add(seen)
        found = find(seen)
        if not found:
            break
        following = join_link(seen.url, found, keep)
        if watch.is_declared_end(url or seen.url, following):
            break
        url = following
    total.require_reached()
    return None


def join_link(page_url: str, target: str, keep: KeptPart = None) -> str:
    """Return the URL of a link in a page.

    ``keep`` follows only the link's query, or only its path and query, at the address of the page.
    Registries behind a proxy write links with an inner host. Raise ``URL_INVALID`` for a text that
    is no address.
    """
    try:
        joined = urljoin(page_url, target.strip())
        page, linked = urlsplit(page_url), urlsplit(joined)
    except ValueError:
        raise StreamHalted(
            "URL_INVALID",
            "a link in the registry's reply has no valid host or port; "
            "expected an address or a path",
        ) from None
    if keep is None:
        return joined
    path = page.path if keep == "query" else linked.path
    return urlunsplit((page.scheme, page.netloc, path, linked.query, ""))


def link(headers: Sequence[str], relation: str) -> str | None:
    """Return the target of the first ``Link`` with this relation."""
    for header in headers:
        if len(header) > MAX_HEADER_LENGTH:
            continue
        position = 0
        while target := _LINK.search(header, position):
            position = target.end()
            while parameter := _PARAMETER.match(header, position):
                position = parameter.end()
                name, value = parameter[1].strip().lower(), parameter[2] or parameter[3] or ""
                if name == "rel" and relation in value.lower().split():
                    return str(target[1])
    return None
