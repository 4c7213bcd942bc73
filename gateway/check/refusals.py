"""Report rules that read a refusal of the registry as an empty list."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.connection import ReplyRule
from gateway.config.connector import Connector, Stream
from gateway.config.yaml.document import YamlDocument
from gateway.errors import Finding
from gateway.harmonise.tables.compiled_tables import Tables

REFUSAL_READ_AS_EMPTY = "refusal-read-as-empty"
FIRST_ERROR_STATUS = 400


def findings(
    connector: Connector, document: YamlDocument, _tables: Tables | None
) -> Iterator[Finding]:
    """Yield a finding for each rule that reads a refusal as an empty list without proof.

    Such a rule deletes nothing, which matters only for streams that compare scans.
    """
    if not any(map(_compares_scans, connector.streams.values())):
        return
    protocol = next(name for name in ("rest", "soap", "file", "push") if getattr(connector, name))
    for number, rule in enumerate(connector.protocol.replies):
        if rule.then == "empty" and not rule.complete and (refusal := _refusal(rule)):
            yield document.make_finding(
                REFUSAL_READ_AS_EMPTY,
                (protocol, "replies", number, "then"),
                f"{refusal}, so the gateway deletes no record because of it; test for a code that "
                "only an empty list has, or add complete: true if every such reply proves that "
                "there are no records",
                severity="warning",
            )


def _compares_scans(stream: Stream) -> bool:
    return stream.cursor is None or (stream.cursor.scan and stream.cursor.complete)


def _refusal(rule: ReplyRule) -> str:
    """Return why a rule's status or fault may mean something else, or an empty text."""
    status = rule.when.status
    if status is None:
        return "a SOAP fault may have other causes" if rule.when.fault is not None else ""
    if isinstance(status, int) and status < FIRST_ERROR_STATUS:
        return ""
    if isinstance(status, str) and status[0] not in "45":
        return ""
    return f"status {status} may also come from a wrong address or a broken proxy"
