"""One raw record from the topic → what is written instead: documents, tombstones, or one rejection. Pure and total."""

from __future__ import annotations

from collections.abc import Callable

from aiokafka import ConsumerRecord

from gateway import render
from gateway.harmonise import Harmoniser
from gateway.publish.events import document_headers, raw_from
from gateway.publish.rejections import rejection
from gateway.publish.transactions import Outgoing
from gateway.records import Accepted, Document, Provenance, Raw, Rejected, Withheld
from gateway.stage import Result

UNKNOWN_CONNECTOR = "unknown_connector"


class Deliver:
    """Turns records of ``gateway.raw.v1`` into results; ``harmoniser`` finds the one for a connector, or ``None``."""

    def __init__(self, harmoniser: Callable[[str], Harmoniser | None], audience_key: bytes) -> None:
        self._harmoniser = harmoniser
        self._audience_key = audience_key

    def __call__(self, record: ConsumerRecord) -> Result:
        """Return what the record becomes."""
        raw = raw_from(record.key, record.value, record.headers)
        harmoniser = self._harmoniser(raw.connector)
        if harmoniser is None:
            return self._reject(record, raw, Rejected(stage="decode", field="connector", reason=UNKNOWN_CONNECTOR))
        stream = harmoniser.connector.streams.get(raw.stream)
        if raw.body is None:
            emits = stream.emits if stream else ""
            return self._delete(raw, emits, stream.iri if stream else None)
        outcome = harmoniser(raw)
        if isinstance(outcome, Withheld):
            return self._delete(raw, stream.emits if stream else "", stream.iri if stream else None)
        if isinstance(outcome, Rejected):
            return self._reject(record, raw, outcome)
        documents = render.render(outcome, raw=raw, audience_key=self._audience_key)
        if isinstance(documents, Rejected):
            return self._reject(record, raw, documents)
        return self._accept(raw, outcome, documents)

    def shrink(self, record: ConsumerRecord) -> Result:
        """Return the rejection that stands for a record whose documents do not fit their topic."""
        raw = raw_from(record.key, record.value, record.headers)
        return self._reject(
            record, raw, Rejected(stage="size", field="document", reason="too_large", detail="larger than the topic's max.message.bytes")
        )

    def _accept(self, raw: Raw, outcome: Accepted, documents: tuple[Document, ...]) -> Result:
        outgoing = [self._outgoing(document, raw, outcome.provenance) for document in documents]
        issues = tuple(issue.code for issue in outcome.provenance.issues)
        return Result(outgoing, raw.connector, raw.stream, "accepted", issues=issues)

    def _delete(self, raw: Raw, emits: str, iri: str | None) -> Result:
        documents = render.tombstones(emits, raw.connector, raw.native_id, iri, audience_key=self._audience_key)
        return Result([self._outgoing(document, raw, None) for document in documents], raw.connector, raw.stream, "deleted")

    def _reject(self, record: ConsumerRecord, raw: Raw, rejected: Rejected) -> Result:
        outgoing = rejection(rejected, raw, topic=record.topic, partition=record.partition, offset=record.offset)
        return Result([outgoing], raw.connector, raw.stream, "rejected", reason=rejected.reason, field=rejected.field)

    @staticmethod
    def _outgoing(document: Document, raw: Raw, provenance: Provenance | None) -> Outgoing:
        return Outgoing(document.topic, document.key.encode(), document.value, document_headers(document, raw, provenance))
