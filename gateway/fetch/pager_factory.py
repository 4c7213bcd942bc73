"""Build the pager of a stream, and find the path for streaming large replies."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gateway.config.connector import Connector, Push, Stream
from gateway.config.paging import Paging
from gateway.fetch import paging
from gateway.fetch.record_selector import ExpressionCache
from gateway.fetch.xml_parser import RecordPath

_NAME = r"(?:[A-Za-z_][\w.-]*:)?[A-Za-z_][\w.-]*"
_SIMPLE_PATH = re.compile(rf"(//|/|)({_NAME}(?:/{_NAME})*)")


def streaming_record_path(connector: Connector, stream: Stream) -> RecordPath | None:
    """Return the path of the records, or ``None`` when replies cannot be streamed.

    A reply cannot be streamed when another rule reads the document around a record.
    """
    block = connector.protocol
    match = _SIMPLE_PATH.fullmatch(stream.records) if isinstance(stream.records, str) else None
    looks_around = (
        stream.schema_
        or stream.keep
        or stream.join
        or stream.expand
        or (stream.cursor and stream.cursor.feed)
    )
    if (
        match is None
        or looks_around
        or any(step != "xml" for step in stream.decode)
        or isinstance(block, Push)
    ):
        return None
    if (
        any(answer.when.path for answer in block.replies)
        or getattr(block, "security", None) is not None
    ):
        return None
    start, names = match[1], [name.rpartition(":") for name in match[2].split("/")]
    if re.search(
        rf"(?<![\w.-]){re.escape(names[-1][2])}(?![\w.-])", stream.paging.model_dump_json()
    ) or any(prefix and prefix not in block.namespaces for prefix, _, _ in names):
        return None
    path = tuple(
        f"{{{block.namespaces[prefix]}}}{name}" if prefix else name for prefix, _, name in names
    )
    return RecordPath(path, None if start == "//" else len(path) if start == "/" else len(path) + 1)


def build_pager(
    rule: Paging,
    expressions: ExpressionCache,
    kind: Callable[[Any], str],
    since: datetime | None,
    feed: str = "",
) -> paging.Pager:
    """Return the pager for the ``paging`` rule of a stream."""

    def look(text: str | None) -> paging.Expression | None:
        return None if text is None else lambda root: expressions(kind(root), text)(root, {})

    if rule.link_header:
        return paging.LinkHeader(rule.link_header.rel)
    if rule.next_url:
        return paging.NextUrl(_required(look(rule.next_url.from_)))
    if rule.atom:
        start, rules = since and since.astimezone(UTC), rule.atom
        return paging.AtomArchive(
            start, feed, look(rules.entry_id), rules.previous, rules.max_documents
        )
    if rule.cursor:
        return paging.CursorToken(_required(look(rule.cursor.from_)), look(rule.cursor.more))
    if rule.page_number:
        numbered = rule.page_number
        return paging.PageNumber(
            numbered.start,
            look(numbered.more),
            look(numbered.pages),
            look(numbered.total),
            numbered.size,
            numbered.gaps,
        )
    if rule.offset:
        return paging.Offset(rule.offset.size, rule.offset.start, look(rule.offset.total))
    return paging.single_page


def _required(look: paging.Expression | None) -> paging.Expression:
    if look is None:
        raise AssertionError
    return look
