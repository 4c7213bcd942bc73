"""Try a connector file without Kafka: syntax → shape → names → expressions → envelope → inline tests → coverage.

Each stage runs only when the one before found no error, so the first list a person sees is about causes, not consequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gateway.check import coverage, envelope, expressions, names, trials
from gateway.errors import Finding
from gateway.language import connector_of
from gateway.language.connector import Connector
from gateway.language.document import Document, read

Stage = Callable[[Connector, Document, Any], Iterator[Finding]]

STAGES: tuple[tuple[str, Stage], ...] = (
    ("names", names.findings),
    ("expressions", expressions.findings),
    ("envelope", envelope.findings),
    ("tests", trials.findings),
    ("coverage", coverage.findings),
)


def check(path: Path | str, tables: Any = None) -> list[Finding]:
    """Return everything that is wrong or odd about a connector file; an empty list means it may be plugged in.

    ``tables`` is a :class:`~gateway.harmonise.tables.Tables`; without it, levels and credits are not judged and tests that need
    them fail.
    """
    return check_document(read(path), tables)


def check_document(document: Document, tables: Any = None) -> list[Finding]:
    """As :func:`check`, for a document that was read already."""
    connector, found = connector_of(document)
    if connector is None:
        return found
    for _name, stage in STAGES:
        found += stage(connector, document, tables)
        if any(finding.severity == "error" for finding in found):
            break
    return sorted(found, key=lambda finding: (finding.line, finding.column))


__all__ = ["STAGES", "check", "check_document"]
