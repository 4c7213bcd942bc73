"""Report the mistakes in mapping rules with their line in the connector file."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.connector import Connector
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import Finding
from gateway.harmonise.compiled_stream import find_rule_problems
from gateway.harmonise.tables.compiled_tables import Tables

CHECK_KEY = b"the key of inline tests, never of a gateway"
"""The pseudonym key of checks and inline tests."""

_AT_KEY = {
    "unknown-field",
    "derived-field",
    "personal-field",
    "language-needed",
    "wrong-rule",
    "bad-language",
    "unknown-word",
}


def rule_findings(
    connector: Connector, document: YamlDocument, tables: Tables | None
) -> Iterator[Finding]:
    """Yield a finding for each rule that cannot be compiled or does not fit its target.

    ``document`` is the file of ``connector``, before its streams are split by institution.
    """
    for name, stream in connector.streams.items():
        for problem in find_rule_problems(connector, stream, tables, CHECK_KEY)[0]:
            yield finding_at(
                document,
                problem.code,
                ("streams", name, *problem.place),
                problem.message,
                problem.column,
            )


def finding_at(
    document: YamlDocument, code: str, place: DocumentPath, message: str, column: int
) -> Finding:
    """Return a finding at a path of the document.

    ``column`` counts the characters inside the value from 1. With 0, the finding points at the
    value itself.
    """
    if code in _AT_KEY:
        return document.make_finding(code, place, message)
    finding = document.make_finding(code, place, message, key=False)
    if not column:
        return finding
    is_quoted = document.line(finding.line)[finding.column - 1 : finding.column] in {"'", '"'}
    return Finding(
        finding.file,
        finding.line,
        finding.column + column + is_quoted,
        finding.code,
        finding.path,
        finding.message,
    )
