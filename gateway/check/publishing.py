"""Report what a stream must fill so that its records can be published."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.connector import Connector, Stream
from gateway.config.publishing_needs import sentence, unmapped_needs
from gateway.config.rules import Rules
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import Finding
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.messages.topics import INCOMPLETE_ENTRIES_TOPIC

UNPUBLISHED = "unpublished"
"""The code of a finding about records that the gateway cannot publish."""


def findings(
    connector: Connector, document: YamlDocument, _tables: Tables | None
) -> Iterator[Finding]:
    """Yield a finding for each value that publishing needs and that no rule fills.

    The finding is a note if a register of providers may know the value.
    """
    for name, stream in connector.streams.items():
        for place, emits, rules in _kinds(name, stream):
            for need in unmapped_needs(emits, rules):
                known = need.known_by and any(
                    target.startswith(f"{need.known_by}.") for target in rules
                )
                text = sentence(emits, need)
                end = (
                    f"publishes every such record on {INCOMPLETE_ENTRIES_TOPIC} alone"
                    if need.only_loq and stream.incomplete_entries == "publish"
                    else f"{'withholds' if need.withheld else 'rejects'} every such record"
                )
                yield document.make_finding(
                    UNPUBLISHED,
                    place,
                    f"{text}, unless a register of providers knows its identifiers"
                    if known
                    else f"{text}. Without it the gateway {end}",
                    severity="note" if known else "warning",
                )


def lacks_a_need(stream: Stream) -> bool:
    """Return whether the rules of a stream, or of one of its kinds, leave a need unfilled."""
    return any(any(unmapped_needs(emits, rules)) for _, emits, rules in _kinds("", stream))


def _kinds(name: str, stream: Stream) -> Iterator[tuple[DocumentPath, str, Rules]]:
    """Yield the place, the type and the rules of each kind of record that is published."""
    place: DocumentPath = ("streams", name)
    if not stream.kinds:
        yield (*place, "map"), stream.emits, stream.map
    for kind_name, kind in stream.kinds.items():
        if not kind.skip:
            emits = kind.emits or stream.emits
            yield (*place, "kinds", kind_name), emits, {**stream.map, **kind.map}
