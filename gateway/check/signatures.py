"""Check that a connector does not weaken the signature that it requires."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.connector import Connector, Push, Soap
from gateway.config.requests import Decoder
from gateway.config.yaml.document import YamlDocument
from gateway.errors import Finding
from gateway.harmonise.tables.compiled_tables import Tables


def findings(
    connector: Connector, document: YamlDocument, _tables: Tables | None
) -> Iterator[Finding]:
    """Yield a warning for each part that no signature protects."""
    block = connector.protocol
    if isinstance(block, Soap) and block.security is not None and block.security.signature:
        yield from _unsigned_answers(block, document)
    if isinstance(block, Push):
        if block.security is not None:
            yield from _unsigned_parts(block, document)
        yield from _documents_of_anybody(connector, document)


def _unsigned_answers(block: Soap, document: YamlDocument) -> Iterator[Finding]:
    for number, rule in enumerate(block.replies):
        if rule.then in {"ok", "empty"} and (rule.when.status or rule.when.header):
            yield document.make_finding(
                "unsigned-answer",
                ("soap", "replies", number),
                f"then: {rule.then} applies only to a signed reply, because security.signature "
                "is required; expected a rule with path, for an element of the signed body",
                severity="warning",
            )


def _unsigned_parts(block: Push, document: YamlDocument) -> Iterator[Finding]:
    if block.security is not None and "timestamp" not in block.security.require:
        yield document.make_finding(
            "age-unsigned",
            ("push", "security"),
            "a caller may send an old message again, because its age is not signed; write "
            "require: [body, timestamp]",
            severity="warning",
        )
    if len(block.fields) > 1:
        yield document.make_finding(
            "unsigned-fields",
            ("push", "fields"),
            f"only {block.fields[0]} is read, because no signature covers the other fields; "
            "leave them out",
            severity="warning",
        )


def _documents_of_anybody(connector: Connector, document: YamlDocument) -> Iterator[Finding]:
    for name, stream in connector.streams.items():
        for number, step in enumerate(stream.decode):
            if isinstance(step, Decoder) and step.signed is not None and step.signed.trust is None:
                yield document.make_finding(
                    "trust-missing",
                    ("streams", name, "decode", number),
                    "anybody can sign such a message, because the connector names no signer; "
                    "write signed: {trust: {secret: NAME}}",
                    severity="warning",
                )
