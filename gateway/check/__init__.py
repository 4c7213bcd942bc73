"""Try a connector file without Kafka: syntax → shape → names → expressions → envelope → inline tests → coverage.

A mistake does not hide the others: what is wrong is left out and the rest is checked. Tests run for streams without mistakes, so
that no finding is only the consequence of another.
"""

from __future__ import annotations

from pathlib import Path

from gateway.check import compile_check, references, run_tests, soap_requests, unmapped_fields
from gateway.config.connector import Connector
from gateway.config.loading import build_connector
from gateway.config.yaml.document import YamlDocument, read_yaml
from gateway.errors import Finding
from gateway.harmonise.tables.compiled_tables import Tables


def check(path: Path | str, tables: Tables | None = None) -> list[Finding]:
    """Return everything that is wrong or odd about a connector file; without an error it may be plugged in.

    Without ``tables``, levels and credits are not judged and tests that need them fail.
    """
    return check_document(read_yaml(path), tables)


def check_document(document: YamlDocument, tables: Tables | None = None) -> list[Finding]:
    """As :func:`check`, for a document that was read already."""
    connector, found = build_connector(document, partially=True)
    if connector is not None:
        for stage in (references.findings, compile_check.findings, soap_requests.findings):
            found += stage(connector, document, tables)
        sound = _without_broken_streams(connector, found)
        if sound is not None:
            found += run_tests.findings(sound, document, tables)
        if not _errors(found):
            found += unmapped_fields.findings(connector, document, tables)
    unique = {
        (finding.line, finding.column, finding.code, finding.message): finding for finding in found
    }
    return sorted(unique.values(), key=lambda finding: (finding.line, finding.column))


def _errors(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "error"]


def _without_broken_streams(connector: Connector, findings: list[Finding]) -> Connector | None:
    """Return the connector with the streams that have no mistake and read no table that has one, or ``None``."""
    places = [finding.path.split(".") for finding in _errors(findings)]
    broken = {parts[1] for parts in places if parts[0] == "streams" and len(parts) > 1}
    tables = {parts[1] for parts in places if parts[0] == "tables" and len(parts) > 1}
    left = {
        name: stream
        for name, stream in connector.streams.items()
        if name not in broken and not tables & unmapped_fields.referenced_tables(stream)
    }
    if ["soap", "wsdl"] in places:  # no exchange can be played without it
        left = {
            name: stream.model_copy(
                update={"tests": tuple(test for test in stream.tests if test.exchange is None)}
            )
            for name, stream in left.items()
        }
    if not left:
        return None
    return connector.with_streams(left)


__all__ = ["check", "check_document"]
