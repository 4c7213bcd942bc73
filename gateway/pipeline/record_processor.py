"""One raw record from the topic → what is written instead: documents, tombstones, or one rejection. Pure and total."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from gateway.config.connector import Connector, Stream
from gateway.harmonise.harmoniser import Harmoniser
from gateway.messages.cloudevents import decode_raw, encode_document_headers
from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.rejection import encode_rejection, encode_withdrawal
from gateway.messages.topics import REJECTIONS
from gateway.observability import lookup_labels
from gateway.pipeline.processed_record import ProcessedRecord
from gateway.pseudonym_keys import CREDENTIAL_ID_AUDIENCE, ESC_AUDIENCE, PseudonymKeys, load_keys
from gateway.records import Accepted, Document, Provenance, RawRecord, Rejected, Withheld
from gateway.render import render
from gateway.render.render import Rendered
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord


class RecordProcessor:
    """Turns records of ``gateway.raw.v1`` into results; ``harmoniser`` finds the one for a connector, or ``None``."""

    def __init__(
        self,
        harmoniser: Callable[[str], Harmoniser | None],
        key: bytes,
        *,
        keys: PseudonymKeys | None = None,
        loq_version: str = "3.1",
    ) -> None:
        self._harmoniser = harmoniser
        self._loq_version = loq_version
        keys = keys or PseudonymKeys((key,), (key,))
        self._audience_key, self._id_key = (
            keys.for_audience(ESC_AUDIENCE)[0],
            keys.for_audience(CREDENTIAL_ID_AUDIENCE)[0],
        )
        self._previous_keys = keys.previous_pairs()

    def __call__(self, record: ConsumerRecord) -> ProcessedRecord:
        """Return what the record becomes; of a stream in shadow mode only rejections leave."""
        raw = decode_raw(record.key, record.value, record.headers)
        harmoniser = self._harmoniser(raw.connector)
        if harmoniser is None:
            return self._reject(
                record, raw, Rejected(stage="decode", field="connector", reason="unknown_connector")
            )
        stream = harmoniser.connector.streams.get(raw.stream)
        if stream is None:
            detail = f"expected a stream of the connector file, which has {', '.join(harmoniser.connector.streams)}: it was renamed or removed"
            return self._reject(
                record,
                raw,
                Rejected(stage="decode", field="stream", reason="unknown_stream", detail=detail),
            )
        result = self._process(record, raw, harmoniser, stream)
        if raw.written_before and result.outcome != "rejected" and not raw.erasure:
            # Never both: what was said of an earlier version, or of this one with other tables, does not hold any more.
            result.outgoing.append(
                encode_withdrawal(raw, record.topic, str(record.partition), str(record.offset))
            )
        if stream.mode == "shadow":
            result.outgoing = [one for one in result.outgoing if one.topic == REJECTIONS.name]
        return result

    def _process(
        self, record: ConsumerRecord, raw: RawRecord, harmoniser: Harmoniser, stream: Stream
    ) -> ProcessedRecord:
        if raw.body is None:
            return self._delete(raw, stream)
        outcome = harmoniser(raw)
        if isinstance(outcome, Withheld):
            return self._delete(raw, stream)
        if isinstance(outcome, Rejected):
            return self._reject(record, raw, outcome, harmoniser.connector.country)
        country = harmoniser.connector.country
        rendered = self._render(
            outcome,
            raw,
            harmoniser.connector,
            stream,
            datetime.fromtimestamp(record.timestamp / 1000, UTC),
        )
        if isinstance(rendered, Rejected):
            provenance = outcome.provenance
            digests = {
                "config_digest": provenance.config_digest,
                "tables_digest": provenance.tables_digest,
            }
            return self._reject(record, raw, msgspec.structs.replace(rendered, **digests))
        result = self._accept(raw, rendered, country)
        if self._previous_keys:
            result.outgoing += self._tombstones_under_old_keys(raw, stream)
        return result

    def preview(self, raw: RawRecord) -> Rendered | Rejected | Withheld | None:
        """Return what a record would become if it were written now; ``None`` when its stream is not known here. Total, as the stage is."""
        harmoniser = self._harmoniser(raw.connector)
        stream = harmoniser.connector.streams.get(raw.stream) if harmoniser else None
        if harmoniser is None or stream is None:
            return None
        try:
            outcome = harmoniser(raw)
            if isinstance(outcome, Rejected | Withheld):
                return outcome
            return self._render(outcome, raw, harmoniser.connector, stream, datetime.now(UTC))
        except Exception as error:  # noqa: BLE001 - the stage makes a rejection of it, too
            return Rejected(
                stage="decode", field="", reason="internal_error", detail=type(error).__name__
            )

    def _render(
        self, accepted: Accepted, raw: RawRecord, connector: Connector, stream: Stream, at: datetime
    ) -> Rendered | Rejected:
        return render.render(
            accepted,
            raw,
            template=stream.iri,
            country=connector.country,
            at=at,
            audience_key=self._audience_key,
            id_key=self._id_key,
            loq_version=self._loq_version,
        )

    def reject_as_too_large(self, record: ConsumerRecord) -> ProcessedRecord:
        """Return the rejection that stands for a record whose documents do not fit their topic."""
        raw = decode_raw(record.key, record.value, record.headers)
        return self._reject(
            record,
            raw,
            Rejected(
                stage="size",
                field="document",
                reason="too_large",
                detail="larger than the topic's max.message.bytes",
            ),
        )

    def tombstones_for(self, raw: RawRecord) -> list[OutgoingRecord]:
        """Return what takes away whatever a record of this connector, stream and native id may have become, on every topic."""
        harmoniser = self._harmoniser(raw.connector)
        stream = harmoniser.connector.streams.get(raw.stream) if harmoniser else None
        return self._delete(raw, stream).outgoing if stream else []

    def output_topics(self, connector: str) -> set[str]:
        """Return the topics that records of a connector may stand on."""
        harmoniser = self._harmoniser(connector)
        streams = harmoniser.connector.streams.values() if harmoniser else ()
        return {
            topic
            for stream in streams
            for emits in emitted_types(stream)
            for topic in render.TOPICS_OF[emits]
        }

    def _accept(self, raw: RawRecord, rendered: Rendered, country: str) -> ProcessedRecord:
        provenance = rendered.provenance
        used, missing = lookup_labels.lookup_labels(country, provenance.lookups)
        result = ProcessedRecord(
            [self._outgoing(document, raw, provenance) for document in rendered.documents],
            raw.connector,
            raw.stream,
            "accepted",
            table_versions=used,
            unmapped_values=missing,
        )
        if provenance.issues:
            result.issues = tuple([issue.code for issue in provenance.issues])
            result.unmapped_values += lookup_labels.unmapped_values(country, (), provenance.issues)
        return result

    def _delete(self, raw: RawRecord, stream: Stream) -> ProcessedRecord:
        outgoing = self._tombstones(
            raw, stream, self._audience_key, self._id_key
        ) + self._tombstones_under_old_keys(raw, stream)
        if raw.erasure:
            outgoing.append(encode_withdrawal(raw))
        return ProcessedRecord(
            outgoing,
            raw.connector,
            raw.stream,
            "deleted",
            counts_as_received=raw.erasure == "asked",
        )

    def _tombstones(
        self, raw: RawRecord, stream: Stream, audience_key: bytes, id_key: bytes
    ) -> list[OutgoingRecord]:
        documents = render.tombstones(
            emitted_types(stream),
            raw,
            template=stream.iri,
            audience_key=audience_key,
            id_key=id_key,
        )
        return [self._outgoing(document, raw, None) for document in documents]

    def _tombstones_under_old_keys(self, raw: RawRecord, stream: Stream) -> list[OutgoingRecord]:
        """Return what takes a record away from where it stood under a key of before, while such a key is known."""
        if not self._previous_keys:
            return []
        here = {
            (one.topic, one.key)
            for one in self._tombstones(raw, stream, self._audience_key, self._id_key)
        }
        old = {
            (one.topic, one.key): one
            for pair in self._previous_keys
            for one in self._tombstones(raw, stream, *pair)
        }
        return [one for place, one in old.items() if place not in here]

    def _reject(
        self, record: ConsumerRecord, raw: RawRecord, rejected: Rejected, country: str = ""
    ) -> ProcessedRecord:
        outgoing = [
            encode_rejection(
                rejected, raw, topic=record.topic, partition=record.partition, offset=record.offset
            )
        ]
        if raw.written_before:
            outgoing += self.tombstones_for(raw)  # never both: what came of an earlier version goes
        missing = lookup_labels.unmapped_values(country, (), (), rejected)
        return ProcessedRecord(
            outgoing,
            raw.connector,
            raw.stream,
            "rejected",
            reason=rejected.reason,
            field=rejected.field,
            unmapped_values=missing,
        )

    @staticmethod
    def _outgoing(
        document: Document, raw: RawRecord, provenance: Provenance | None
    ) -> OutgoingRecord:
        return OutgoingRecord(
            document.topic,
            document.key.encode(),
            document.value,
            encode_document_headers(document, raw, provenance),
        )


def build_record_processor(
    settings: Settings, harmoniser: Callable[[str], Harmoniser | None]
) -> RecordProcessor:
    """Return a :class:`Deliver` with the keys and versions that the settings say."""
    return RecordProcessor(
        harmoniser, b"", keys=load_keys(settings), loq_version=settings.elm_catalogue_version
    )


def emitted_types(stream: Stream) -> set[str]:
    """Return everything that records of a stream may become."""
    return {stream.emits, *(kind.emits for kind in stream.kinds.values() if kind.emits)}
