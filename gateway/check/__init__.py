"""Check a connector file without Kafka.

The checks run in a fixed order. They read the syntax, the shape, the names, the expressions,
the SOAP requests and the inline tests. The last check looks for fields without a rule.

One mistake does not hide the others, because each check skips the faulty parts of the file.
Inline tests run only for streams without an error. No finding is therefore a consequence of
another finding.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from gateway.check import (
    achievements,
    agreements,
    cast_chains,
    change_times,
    compile_check,
    complete_reading,
    encodings,
    loop_ids,
    placeholders,
    publishing,
    references,
    refusals,
    run_tests,
    signatures,
    soap_requests,
    table_values,
    unmapped_fields,
    wrong_replies,
)
from gateway.config.connector import Connector
from gateway.config.loading import build_connector
from gateway.config.yaml.document import (
    MAX_FINDINGS,
    YamlDocument,
    are_incomplete,
    limit_findings,
    read_yaml,
)
from gateway.errors import Finding
from gateway.harmonise.tables.compiled_tables import Tables

_ENOUGH_FINDINGS = 10 * MAX_FINDINGS
"""The number of findings after which no further check starts."""
MISSING_STATEMENTS = frozenset(
    {achievements.MISSING, wrong_replies.ERRORS_MISSING, wrong_replies.LIST_MISSING}
)
"""Codes of findings about statements that a new connector file must contain, and an old one may
lack."""


def check(path: Path | str, tables: Tables | None = None) -> list[Finding]:
    """Return all findings about a connector file, sorted by line and column.

    The gateway accepts the file when no finding has the severity ``error``. Without ``tables``,
    levels and credits are not checked, and the tests that need them fail.
    """
    return check_document(read_yaml(path), tables)


def check_document(document: YamlDocument, tables: Tables | None = None) -> list[Finding]:
    """Return the findings about a document that the caller has already read.

    A last finding counts those that :data:`MAX_FINDINGS` leaves out.
    """
    connector, all_findings = build_connector(document, partially=True)
    if are_incomplete(all_findings):
        return all_findings
    if connector is not None:
        for stage in (
            references.findings,
            placeholders.findings,
            encodings.findings,
            compile_check.findings,
            complete_reading.findings,
            table_values.findings,
            cast_chains.findings,
            soap_requests.findings,
            achievements.findings,
            wrong_replies.findings,
            signatures.findings,
            refusals.findings,
            loop_ids.findings,
        ):
            if len(all_findings) < _ENOUGH_FINDINGS:
                all_findings += islice(stage(connector, document, tables), _ENOUGH_FINDINGS)
        sound = _without_broken_streams(connector, all_findings)
        if sound is not None:
            all_findings += publishing.findings(sound, document, tables)
            all_findings += agreements.findings(sound, document, tables)
            all_findings += run_tests.findings(sound, document, tables)
            all_findings += change_times.findings(sound, document)
        if not _errors(all_findings):
            all_findings += unmapped_fields.findings(connector, document, tables)
    unique = {
        (finding.line, finding.column, finding.code, finding.message): finding
        for finding in all_findings
    }
    is_exact = len(all_findings) < _ENOUGH_FINDINGS
    return limit_findings([*unique.values()], document.file, is_exact=is_exact)


def _errors(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "error"]


def _without_broken_streams(connector: Connector, findings: list[Finding]) -> Connector | None:
    """Return the connector with its sound streams alone, or ``None`` without such a stream.

    A stream is sound when neither the stream nor a table that it reads has an error. A stream that
    lacks ``achieved`` is sound, because its tests can run.
    """
    places = [
        finding.path.split(".")
        for finding in _errors(findings)
        if finding.code not in {achievements.MISSING, wrong_replies.LIST_MISSING}
    ]
    broken = {parts[1] for parts in places if parts[0] == "streams" and len(parts) > 1}
    tables = {parts[1] for parts in places if parts[0] == "tables" and len(parts) > 1}
    sound_streams = {
        name: stream
        for name, stream in connector.streams.items()
        if name not in broken and not tables & unmapped_fields.referenced_tables(stream)
    }
    if ["soap", "wsdl"] in places:  # an exchange test needs the WSDL file
        sound_streams = {
            name: stream.model_copy(
                update={"tests": tuple(test for test in stream.tests if test.exchange is None)}
            )
            for name, stream in sound_streams.items()
        }
    if not sound_streams:
        return None
    return connector.with_streams(sound_streams)


__all__ = ["MISSING_STATEMENTS", "check", "check_document"]
