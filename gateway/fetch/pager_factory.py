"""Build the pager of a stream, and find the path for streaming large replies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from gateway.config.connector import Connector, Push, Stream
from gateway.config.expressions.compiler import (
    CompiledExpression,
    ExpressionError,
    compile_expression,
)
from gateway.config.expressions.json_list_place import Gap
from gateway.config.paging import Paging
from gateway.fetch import paging
from gateway.fetch.expression_cache import ExpressionCache
from gateway.fetch.list_presence import json_place
from gateway.fetch.streamed_records import RecordPath

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
        block.namespace_versions
        or any(answer.when.path for answer in block.replies)
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
    depth = None if start == "//" else len(path) if start == "/" else len(path) + 1
    return RecordPath(path, depth, _plain_expressions(stream, block.namespaces))


def _plain_expressions(
    stream: Stream, namespaces: Mapping[str, str]
) -> tuple[CompiledExpression, ...]:
    """Return the expressions that the poller reads in each record, if all are plain paths."""
    if stream.deleted or stream.children:
        return ()
    texts = (*stream.id, stream.kind, stream.version, stream.changed_at)
    try:
        expressions = [
            compile_expression("xml", text, namespaces)
            for text in dict.fromkeys(filter(None, texts))
        ]
    except ExpressionError:  # the stream reads JSON, which its replies tell
        return ()
    is_plain = all(expression.direct_path is not None for expression in expressions)
    # The texts are found again by the expression as the connector file writes it.
    is_same = all(expression.text in texts for expression in expressions)
    return tuple(expressions) if is_plain and is_same else ()


def build_pager(
    rule: Paging,
    expressions: ExpressionCache,
    kind: Callable[[Any], str],
    since: datetime | None = None,
    feed: str = "",
) -> paging.Pager:
    """Return the pager for the ``paging`` rule of a list."""

    def look(text: str | None) -> paging.Expression | None:
        return None if text is None else lambda root: expressions(kind(root), text)(root, {})

    if by_header := rule.link_header:
        return paging.LinkHeader(
            by_header.rel, by_header.keep, look(by_header.total), by_header.after_last is not None
        )
    if by_url := rule.next_url:
        return paging.NextUrl(
            _required(look(by_url.from_)),
            by_url.keep,
            look(by_url.total),
            by_url.after_last is not None,
        )
    if rules := rule.atom:
        return paging.AtomArchive(
            since and since.astimezone(UTC),
            feed,
            look(rules.entry_id),
            rules.previous,
            rules.max_documents,
            rules.keep,
        )
    if token := rule.cursor:
        return paging.CursorToken(
            _required(look(token.from_)),
            look(token.more),
            look(token.total),
            token.after_last is not None,
        )
    if numbered := rule.page_number:
        return paging.PageNumber(
            numbered.start,
            look(numbered.more),
            look(numbered.pages),
            look(numbered.total),
            numbered.size,
            numbered.gaps,
            numbered.after_last,
            lambda root: _is_stated(numbered.more or "", root, look),
        )
    if by_offset := rule.offset:
        return paging.Offset(
            by_offset.size,
            by_offset.start,
            look(by_offset.total),
            by_offset.after_last,
        )
    return paging.single_page


def _is_stated(expression: str, root: Any, look: Callable[[str], paging.Expression | None]) -> bool:
    """Return whether a reply holds the place that an expression reads, even with null."""
    if hasattr(root, "iterchildren"):
        return bool(_required(look(expression))(root))
    try:
        alternatives = json_place(expression).alternatives
    except ValueError:
        return True
    return any(map(partial(_holds_place, root), alternatives))


def _holds_place(root: Any, alternative: Any) -> bool:
    try:
        alternative.resolve(root)
    except Gap:
        return False
    return True


def _required(look: paging.Expression | None) -> paging.Expression:
    if look is None:
        raise AssertionError
    return look
