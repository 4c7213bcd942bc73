"""Go from one page to the next, for every paging scheme that a connector can name.

A pager is a generator without I/O. It yields a :class:`PageRequest`, receives a :class:`PageReply`,
and ends after the last page. A restart uses ``PageRequest.state`` to request that page again. A
repeated link, a repeated page and a total that is not reached are errors, unless the connector
declares a repeated page as the end.
"""

from gateway.fetch.paging.atom import AtomArchive
from gateway.fetch.paging.links import LinkHeader, NextUrl, join_link, link
from gateway.fetch.paging.loop_detector import LoopDetector
from gateway.fetch.paging.numbers import Offset, PageNumber, WindowShrunk
from gateway.fetch.paging.pages import (
    REPEATED,
    ChangeFeed,
    Expression,
    Pager,
    PageReply,
    PageRequest,
    PageSteps,
    State,
    first_text,
    is_true,
    parse_count,
    single_page,
)
from gateway.fetch.paging.tokens import CursorToken

__all__ = [
    "REPEATED",
    "AtomArchive",
    "ChangeFeed",
    "CursorToken",
    "Expression",
    "LinkHeader",
    "LoopDetector",
    "NextUrl",
    "Offset",
    "PageNumber",
    "PageReply",
    "PageRequest",
    "PageSteps",
    "Pager",
    "State",
    "WindowShrunk",
    "first_text",
    "is_true",
    "join_link",
    "link",
    "parse_count",
    "single_page",
]
