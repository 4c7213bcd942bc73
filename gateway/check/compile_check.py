"""See whether all expressions compile, and all rules fill a target they can fill."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.connector import Connector, Stream, payload_format
from gateway.config.expressions.compiler import ExpressionError, PayloadKind, compile_expression
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import Finding
from gateway.harmonise.rule_findings import finding_at, rule_findings
from gateway.harmonise.tables.compiled_tables import Tables


def findings(
    connector: Connector, document: YamlDocument, tables: Tables | None
) -> Iterator[Finding]:
    """Give every expression that cannot work and every rule that does not fit."""
    namespaces = connector.protocol.namespaces
    for index, answer in enumerate(connector.protocol.replies):
        if answer.when.path:
            kind: PayloadKind = (
                "xml"
                if connector.soap
                else payload_format(connector, next(iter(connector.streams.values())))
            )
            yield from _compile_or_finding(
                document,
                (_block(connector), "replies", index, "when", "path"),
                kind,
                answer.when.path,
                namespaces,
            )
    if (auth := getattr(connector.protocol, "auth", None)) and auth.login:
        yield from _compile_or_finding(
            document, (_block(connector), "auth", "login", "token"), "json", auth.login.token, {}
        )
    for name, stream in connector.streams.items():
        place: DocumentPath = ("streams", name)
        for where, kind, text in _stream(connector, stream):
            yield from _compile_or_finding(document, (*place, *where), kind, text, namespaces)
    yield from rule_findings(connector, document, tables)


def _block(connector: Connector) -> str:
    return next(
        name for name in ("rest", "soap", "file", "push") if getattr(connector, name) is not None
    )


def listing_payload_format(connector: Connector, stream: Stream) -> PayloadKind:
    """Return what expressions about the first reply read; a second request may read something else."""
    return payload_format(connector, stream.model_copy(update={"expand": None}))


def _stream(
    connector: Connector, stream: Stream
) -> Iterator[tuple[DocumentPath, PayloadKind, str]]:
    record, listed = payload_format(connector, stream), listing_payload_format(connector, stream)
    records = (stream.records,) if isinstance(stream.records, str) else stream.records
    for index, text in enumerate(records):
        yield (
            (("records",) if isinstance(stream.records, str) else ("records", index)),
            listed,
            text,
        )
    for name, text in stream.keep.items():
        yield ("keep", name), listed, text
    for index, text in enumerate(stream.id):
        yield ("id", index), record, text
    for key in ("version", "changed_at", "kind", "children"):
        if text := getattr(stream, key):
            yield (key,), record, text
    if stream.deleted and stream.deleted.path:
        yield ("deleted", "path"), record, stream.deleted.path
    yield from _paging(stream, listed)
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


def _paging(stream: Stream, kind: PayloadKind) -> Iterator[tuple[DocumentPath, PayloadKind, str]]:
    paging = stream.paging
    for name in ("next_url", "cursor", "page_number", "offset"):
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
        compile_expression(kind, text, namespaces)
    except ExpressionError as error:
        yield finding_at(document, error.code, place, str(error), error.column)
