"""Find loops whose values may give the same id to different records."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.connector import Connector
from gateway.config.second_lists import LoopSource
from gateway.config.yaml.document import YamlDocument
from gateway.errors import Finding
from gateway.harmonise.tables.compiled_tables import Tables


def findings(
    connector: Connector, document: YamlDocument, _tables: Tables | None
) -> Iterator[Finding]:
    """Yield a warning for each loop whose value is not in the id, if the id has one part only.

    An id of several parts names what tells the records apart. Persons of a secret, and the records
    of another stream, are parts of one numbering.
    """
    for name, stream in connector.streams.items():
        if len(stream.id) > 1 or any("$" in part for part in stream.id):
            continue
        for loop_name, loop in stream.for_each.items():
            if loop.batch == 1 and _has_several_values(loop.in_):
                yield document.make_finding(
                    "id-without-loop-value",
                    ("streams", name, "id"),
                    f"two values of the loop '{loop_name}' may number alike, and then the gateway "
                    "rejects the records that share an id as a conflict; "
                    f"write id: [${loop_name}, {stream.id[0]}] unless the registry numbers all "
                    "records in one sequence",
                    severity="warning",
                )


def _has_several_values(source: LoopSource) -> bool:
    written = source.values or source.parties or ()
    return bool(len(written) > 1 or source.request or source.table)
