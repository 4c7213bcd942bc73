"""Report fields that the inline tests contain and no rule reads."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from lxml import etree

from gateway.config.connector import Connector, Stream, payload_format
from gateway.config.expressions.compiler import ExpressionError, compile_expression
from gateway.config.yaml.document import YamlDocument
from gateway.errors import Finding
from gateway.fetch.charset import text_bytes
from gateway.harmonise.compiled_stream import find_rule_problems
from gateway.harmonise.rule_findings import CHECK_KEY
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.values.payload import PayloadError, xml_element

MAX_SHOWN_FIELDS = 8
"""The number of unread fields that a finding names."""


def unread_and_unknown_names(
    connector: Connector, stream: Stream, tables: Tables | None
) -> tuple[set[str], set[str]]:
    """Return two sets of names: payload fields without a reader, and fields read but absent."""
    kind = payload_format(connector, stream)
    reads = set(find_rule_problems(connector, stream, tables, CHECK_KEY)[1])
    texts = [
        *stream.id,
        stream.version,
        stream.changed_at,
        stream.kind,
        stream.children,
        stream.deleted and stream.deleted.path,
        *(join.to for join in stream.join),
    ]
    for text in filter(None, texts):
        try:
            reads |= compile_expression(kind, str(text), connector.protocol.namespaces).first_names
        except ExpressionError:
            continue
    test_names: set[str] = set()
    for example in stream.tests:
        if kind == "xml" and isinstance(example.given, str):
            test_names |= _xml_names(example.given)
        elif isinstance(example.given, dict):
            test_names |= set(example.given)
    return test_names - reads, reads - test_names


def _xml_names(text: str) -> set[str]:
    try:
        root = xml_element(text_bytes(text.strip()))
    except PayloadError:
        return set()
    return {etree.QName(child).localname for child in root if isinstance(child.tag, str)}


def findings(
    connector: Connector, document: YamlDocument, tables: Tables | None
) -> Iterator[Finding]:
    """Yield findings about unread fields, likely typing mistakes and unused tables."""
    read = {table for stream in connector.streams.values() for table in referenced_tables(stream)}
    for table in sorted(connector.tables.keys() - read):
        yield document.make_finding(
            "unused-table",
            ("tables", table),
            "no rule reads it; remove it, or name it in a rule",
            severity="note",
        )
    for name, stream in connector.streams.items():
        unread, unknown_names = unread_and_unknown_names(connector, stream, tables)
        if not unread:
            continue
        shown = ", ".join(sorted(unread)[:MAX_SHOWN_FIELDS])
        if len(unread) > MAX_SHOWN_FIELDS:
            shown += " …"
        slips = (
            f"'{word}', which no test has; did you mean '{near[0]}'?"
            for word in sorted(unknown_names)
            if (near := _similar_names(word, unread))
        )
        suspected_typo = next(slips, "")
        yield document.make_finding(
            "unread-field",
            ("streams", name, "tests"),
            f"no rule reads {shown}; "
            + (
                f"a rule reads {suspected_typo}"
                if suspected_typo
                else "map them, or leave them out of the tests"
            ),
            severity="warning" if suspected_typo else "note",
        )


def referenced_tables(stream: Stream) -> set[str]:
    """Return the tables that the rules and loops of a stream name, at any depth."""
    return set(re.findall(r'"table":"([^"]+)"', stream.model_dump_json()))


def _similar_names(word: str, unread: set[str]) -> list[str]:
    return difflib.get_close_matches(word, sorted(unread), 1, 0.75)
