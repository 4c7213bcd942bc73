"""Note which values of a record no table contains, for the status page."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.config.connector import Connector
from gateway.harmonise.explanation_values import source_text
from gateway.observability import lookup_labels
from gateway.observability.unmapped_samples import SAMPLES, UnmappedPlace
from gateway.records import Issue, Lookup, RawRecord, Rejected


def note_unmapped(
    connector: Connector,
    raw: RawRecord,
    country: str,
    lookups: Iterable[Lookup] = (),
    issues: Iterable[Issue] = (),
    rejected: Rejected | None = None,
) -> None:
    """Note the values of a record that no table contains. Does nothing for most records."""
    for table, field in lookup_labels.unmapped_fields(lookups, issues, rejected):
        place = UnmappedPlace(connector.connector, raw.stream, country, table, field)
        if SAMPLES.wants(place):
            try:
                value, is_about_person = source_text(connector, raw, field)
            except Exception:  # noqa: BLE001 - the page must never reject a record
                value, is_about_person = "(cannot be shown)", True
            SAMPLES.add(place, value, is_about_person=is_about_person)
