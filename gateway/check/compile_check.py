"""Check that all expressions compile and that each rule fits its target."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.connector import Connector, Stream, payload_format
from gateway.config.expressions.compiler import ExpressionError, PayloadKind, compile_expression
from gateway.config.expressions.json_paths import parse_json_path
from gateway.config.expressions.xpath_cost import xpath_cost
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import Finding
from gateway.harmonise.rule_findings import finding_at, rule_findings
from gateway.harmonise.tables.compiled_tables import Tables

_LIMIT = "expression-limit"
LocatedExpression = tuple[DocumentPath, PayloadKind, str]
"""The place of an expression inside its stream, the format it reads, and its text."""


def findings(
    connector: Connector, document: YamlDocument, tables: Tables | None
) -> Iterator[Finding]:
    """Yield a finding for each expression that does not compile and each rule that does not fit."""
    namespaces = connector.protocol.namespaces
    for index, reply in enumerate(connector.protocol.replies):
        if reply.when.path:
            kind: PayloadKind = (
                "xml"
                if connector.soap
                else payload_format(connector, next(iter(connector.streams.values())))
            )
            yield from _compile_or_finding(
                document,
                (_block(connector), "replies", index, "when", "path"),
                kind,
                reply.when.path,
                namespaces,
            )
    if (auth := getattr(connector.protocol, "auth", None)) and auth.login:
        yield from _compile_or_finding(
            document, (_block(connector), "auth", "login", "token"), "json", auth.login.token, {}
        )
    for name, stream in connector.streams.items():
        place: DocumentPath = ("streams", name)
        if problem := _growing_steps(stream, listing_payload_format(connector, stream)):
            yield finding_at(document, _LIMIT, (*place, "records"), problem, 0)
        for inner, kind, text in _stream_expressions(connector, stream):
            yield from _compile_or_finding(document, (*place, *inner), kind, text, namespaces)
    yield from rule_findings(connector, document, tables)


def _block(connector: Connector) -> str:
    return next(
        name for name in ("rest", "soap", "file", "push") if getattr(connector, name) is not None
    )


def listing_payload_format(connector: Connector, stream: Stream) -> PayloadKind:
    """Return the format of the first reply of a stream.

    A second request (``expand``) may return another format.
    """
    return payload_format(connector, stream.model_copy(update={"expand": None}))


def _stream_expressions(connector: Connector, stream: Stream) -> Iterator[LocatedExpression]:
    record, listed = payload_format(connector, stream), listing_payload_format(connector, stream)
    yield from _record_expressions(stream, listed, record)
    yield from _paging(stream, listed)
    yield from _request_expressions(stream, listed, record)


def _record_expressions(
    stream: Stream, listed: PayloadKind, record: PayloadKind
) -> Iterator[LocatedExpression]:
    """Yield the expressions that select records and read their metadata."""
    records = (stream.records,) if isinstance(stream.records, str) else stream.records
    for index, text in enumerate(records):
        yield (
            (("records",) if isinstance(stream.records, str) else ("records", index)),
            listed,
            text,
        )
    if stream.list_:
        yield ("list",), listed, stream.list_
    for name, text in stream.keep.items():
        yield ("keep", name), listed, text
    for index, text in enumerate(stream.id):
        yield ("id", index), record, text
    for key in ("version", "kind", "children"):
        if text := getattr(stream, key):
            yield (key,), record, text
    if stream.change_time:
        yield ("changed_at",), record, stream.change_time.from_
    if stream.deleted and stream.deleted.path:
        yield ("deleted", "path"), record, stream.deleted.path


def _request_expressions(
    stream: Stream, listed: PayloadKind, record: PayloadKind
) -> Iterator[LocatedExpression]:
    """Yield the expressions of the cursor, of the second request and of the export."""
    if stream.cursor and stream.cursor.feed:
        yield ("cursor", "feed", "position"), listed, stream.cursor.feed.position
        if stream.cursor.feed.operation:
            yield ("cursor", "feed", "operation"), listed, stream.cursor.feed.operation
    if expand := stream.expand:
        yield ("expand", "id"), listed, expand.id
        for key in ("records", "key"):
            if text := getattr(expand, key):
                yield ("expand", key), record if not expand.into else listed, text
        if expand.unless and expand.unless.path:
            yield ("expand", "unless", "path"), listed, expand.unless.path
    if export := stream.export:
        for key in ("state", "files"):
            yield ("export", key), "json", getattr(export, key)


def _paging(stream: Stream, kind: PayloadKind) -> Iterator[LocatedExpression]:
    paging = stream.paging
    for name in ("link_header", "next_url", "cursor", "page_number", "offset"):
        block = getattr(paging, name)
        for field, info in type(block).model_fields.items() if block is not None else ():
            if field in {"from_", "more", "pages", "total"} and (text := getattr(block, field)):
                yield ("paging", name, info.alias or field), kind, text


def _compile_or_finding(
    document: YamlDocument,
    place: DocumentPath,
    kind: PayloadKind,
    text: str,
    namespaces: dict[str, str],
) -> Iterator[Finding]:
    try:
        compiled = compile_expression(kind, text, namespaces)
    except ExpressionError as error:
        yield finding_at(document, error.code, place, str(error), error.column)
        return
    if kind == "xml" and _is_later_step(place) and text.lstrip("( ").startswith("/"):
        message = "this step would read the whole document for each element; remove the first /"
        yield finding_at(document, _LIMIT, place, message, 0)
    elif kind == "xml" and not compiled.is_direct_path and (problem := _costly(text, place)):
        yield finding_at(document, _LIMIT, place, problem, 0)


def _growing_steps(stream: Stream, kind: PayloadKind) -> str:
    """Return why the steps of ``records`` together make too much, or an empty text."""
    steps = () if isinstance(stream.records, str) else stream.records
    growing = [step for step in steps if parse_json_path(step) is None and "$" not in step]
    if kind != "json" or len(growing) <= 1:
        return ""
    try:
        compile_expression(kind, " | ".join(growing))
    except ExpressionError as error:
        return f"together, the steps are too much: {error}" if error.code == _LIMIT else ""
    return ""


def _is_later_step(place: DocumentPath) -> bool:
    return place[2:3] == ("records",) and len(place) > 3 and place[3] != 0  # noqa: PLR2004


def _costly(text: str, place: DocumentPath) -> str:
    """Return why the time of an XPath grows faster than the document, or an empty text."""
    cost = xpath_cost(text)
    selects_records = bool({"records", "list"} & set(place))
    if cost.is_quadratic and (cost.is_wide or selects_records):
        return (
            "for each element this reads the document again, so that a large reply would take "
            "hours; write it without paths from the root, // and axes such as preceding:: "
            "inside [ ] and after //"
        )
    return ""
