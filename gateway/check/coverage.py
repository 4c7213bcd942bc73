"""What the tests show and no rule reads: fields a registry sends and nobody maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lxml import etree

from gateway.check.expressions import TEST_KEY
from gateway.errors import Finding
from gateway.harmonise import problems
from gateway.harmonise.payload import PayloadError, xml_element
from gateway.language.connector import Connector, Stream, payload_kind
from gateway.language.document import Document
from gateway.language.expressions import ExpressionError, compile_expression


def unread(connector: Connector, stream: Stream, tables: Any) -> set[str]:
    """Return the names in the stream's test payloads that neither a rule nor the stream itself reads."""
    kind = payload_kind(connector, stream)
    reads = set(problems(connector, stream, tables, TEST_KEY)[1])
    texts = [*stream.id, stream.version, stream.changed_at, stream.kind, stream.children, stream.deleted and stream.deleted.path]
    for text in filter(None, texts):
        try:
            reads |= compile_expression(kind, str(text), connector.protocol.namespaces).reads
        except ExpressionError:
            continue
    seen: set[str] = set()
    for example in stream.tests:
        if kind == "xml" and isinstance(example.given, str):
            seen |= _xml_names(example.given)
        elif isinstance(example.given, dict):
            seen |= set(example.given)
    return seen - reads


def _xml_names(text: str) -> set[str]:
    try:
        root = xml_element(text.strip().encode())
    except PayloadError:
        return set()
    return {etree.QName(child).localname for child in root if isinstance(child.tag, str)}


def findings(connector: Connector, document: Document, tables: Any) -> Iterator[Finding]:
    """Give one note a stream about fields nobody reads; never an error."""
    for name, stream in connector.streams.items():
        if left := unread(connector, stream, tables):
            shown = ", ".join(sorted(left)[:8]) + (" …" if len(left) > 8 else "")  # noqa: PLR2004
            yield document.finding(
                "unread-field",
                ("streams", name, "tests"),
                f"no rule reads {shown}; map them, or leave them out of the tests",
                severity="note",
            )
