"""Check the names of character encodings in the decode steps of a connector file."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.check.model_walk import walk_values
from gateway.config.charsets import find_charset, suggest_charset
from gateway.config.connector import Connector
from gateway.config.requests import Archive, Csv, Json, Text
from gateway.config.yaml.document import YamlDocument
from gateway.errors import Finding
from gateway.harmonise.tables.compiled_tables import Tables


def findings(
    connector: Connector, document: YamlDocument, _tables: Tables | None
) -> Iterator[Finding]:
    """Yield a finding for each name that no character encoding has."""
    for place, value in walk_values(connector.streams, ("streams",)):
        if not isinstance(value, Csv | Json | Text | Archive) or find_charset(value.encoding):
            continue
        near = suggest_charset(value.encoding)
        yield document.make_finding(
            "unknown-charset",
            (*place, "encoding"),
            f"there is no character encoding '{value.encoding}'; "
            + (
                f"did you mean '{near}'?"
                if near
                else "write its name in the IANA registry, such as utf-8, windows-1250 or "
                "iso-8859-2"
            ),
            key=False,
        )
