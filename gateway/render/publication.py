"""Tell what a run would publish of a record, for the tools that authors of connectors use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from gateway.config.connector import Connector
from gateway.config.rejected_rows import with_row
from gateway.records import Accepted, Document, Outcome, RawRecord, Rejected
from gateway.render.elm_catalogue import DEFAULT_VERSION
from gateway.render.render import TopicKeys, render

KEY = b"the key of previews, never of a gateway"
"""Previews publish nothing, so the pseudonyms that are made with this key protect nothing."""


@dataclass(frozen=True, slots=True)
class Publication:
    """The outcome of a record in a run, and the documents that the run would publish.

    A run rejects a record that cannot become a document, even if its rules accept it.
    """

    outcome: Outcome
    documents: tuple[Document, ...] = ()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics of the documents, without those on which the record would be deleted."""
        return tuple(
            dict.fromkeys(
                document.topic for document in self.documents if document.value is not None
            )
        )

    @property
    def missing(self) -> tuple[str, ...]:
        """The fields that LOQ requires and that an incomplete entry lacks."""
        return tuple(field for document in self.documents for field in document.missing)


def publication(
    outcome: Outcome,
    raw: RawRecord,
    connector: Connector,
    loq_version: str = DEFAULT_VERSION,
    at: datetime | None = None,
) -> Publication:
    """Return what a run would do with a record whose rules gave ``outcome``.

    ``at`` is the time of the run, or now.
    """
    stream = connector.streams.get(raw.stream)
    if stream is not None and isinstance(outcome, Rejected):
        return Publication(with_row(outcome, raw, stream))
    if stream is None or not isinstance(outcome, Accepted):
        return Publication(outcome)
    rendered = render(
        outcome,
        TopicKeys(raw, stream.iri, KEY),
        country=outcome.provenance.country or connector.country,
        at=at or datetime.now(UTC),
        loq_version=loq_version,
        incomplete=connector.streams[raw.stream].incomplete_entries == "publish",
    )
    if isinstance(rendered, Rejected):
        provenance = outcome.provenance
        return Publication(
            msgspec.structs.replace(
                with_row(rendered, raw, stream),
                config_digest=provenance.config_digest,
                tables_digest=provenance.tables_digest,
            )
        )
    accepted = msgspec.structs.replace(outcome, provenance=rendered.provenance)
    return Publication(accepted, tuple(rendered.documents))
