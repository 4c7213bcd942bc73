"""Turn one raw record into documents, tombstones or one rejection.

The result depends on the record and the configuration alone. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from gateway.config.connector import Connector, Stream
from gateway.config.rejected_rows import with_row
from gateway.harmonise.harmoniser import Harmoniser
from gateway.messages.cloudevents import decode_raw, encode_document_headers
from gateway.messages.event_ids import EventIds
from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.rejection import encode_rejection, encode_withdrawal
from gateway.messages.topics import (
    COMPLETE_ENTRY_TOPICS,
    DAY_MS,
    PERSONAL_DOCUMENT_TOPICS,
    REJECTIONS,
)
from gateway.observability import lookup_labels
from gateway.pipeline.fast_path.fast_path import DocumentSettings
from gateway.pipeline.fast_path.fast_paths import FastPaths
from gateway.pipeline.processed_record import ProcessedRecord
from gateway.pipeline.unmapped_notes import note_unmapped
from gateway.pseudonym_keys import CREDENTIAL_ID_AUDIENCE, ESC_AUDIENCE, PseudonymKeys, load_keys
from gateway.records import (
    Accepted,
    Document,
    LearningOpportunity,
    Provenance,
    Qualification,
    RawRecord,
    Rejected,
    Withheld,
)
from gateway.render import render
from gateway.render.render import Rendered
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord


_ANY_TIME = datetime.fromtimestamp(0, UTC)


class RecordProcessor:
    """A function from records of ``gateway.raw.v1`` to their results.

    ``harmoniser`` returns the harmoniser of a connector, or ``None`` for an unknown one. Without
    ``fast_path`` every record goes the ordinary way, with the same results.
    """

    def __init__(
        self,
        harmoniser: Callable[[str], Harmoniser | None],
        key: bytes,
        *,
        keys: PseudonymKeys | None = None,
        loq_version: str = "3.1",
        fast_path: bool = True,
    ) -> None:
        self._harmoniser = harmoniser
        self._loq_version = loq_version
        keys = keys or PseudonymKeys((key,), (key,))
        self._audience_key, self._id_key = (
            keys.for_audience(ESC_AUDIENCE)[0],
            keys.for_audience(CREDENTIAL_ID_AUDIENCE)[0],
        )
        self._previous_keys = keys.previous_pairs()
        self._event_ids = EventIds(keys.secrets[0] if keys.secrets else b"")
        # While old pseudonym keys are configured, a record has tombstones beside its documents.
        usable = fast_path and not self._previous_keys
        fast_settings = DocumentSettings(
            self._event_ids, loq_version, self._audience_key, self._id_key
        )
        self.fast_paths = FastPaths(fast_settings) if usable else None

    def __call__(self, record: ConsumerRecord) -> ProcessedRecord:
        """Return the result of one raw record.

        1. Decode the raw record, and find its connector and stream.
        2. Harmonise it. A deleted or withheld record becomes tombstones.
        3. Render the documents.
        4. Add the CloudEvents headers.
        5. Add tombstones for documents that are no longer valid.
        6. Withdraw an earlier rejection if the record is not rejected now.
        7. For a stream in shadow mode, keep only rejections and their withdrawals.

        A failure in steps 1 to 3 becomes a rejection. A rejection of a record that was
        written before also contains the tombstones of step 5.
        """
        # 1. Decode, and find the connector and the stream.
        raw = decode_raw(record.key, record.value, record.headers)
        if not raw.event_id:
            raw = _with_position(raw, record)
        harmoniser = self._harmoniser(raw.connector)
        if harmoniser is None:
            detail = "expected a connector that this worker runs: its file is missing or not valid"
            rejected = Rejected(
                stage="decode", field="connector", reason="unknown_connector", detail=detail
            )
            return self._reject(record, raw, rejected)
        stream = harmoniser.connector.streams.get(raw.stream)
        if stream is None:
            names = ", ".join(harmoniser.connector.streams)
            detail = (
                f"expected a stream of the connector file, which has {names}: "
                "it was renamed or removed"
            )
            return self._reject(
                record,
                raw,
                Rejected(stage="decode", field="stream", reason="unknown_stream", detail=detail),
            )
        # 2. to 5. Harmonise, render, add headers and tombstones.
        result = self._process(record, raw, harmoniser, stream)
        # 6. A record is never both accepted and rejected. Withdraw a rejection of an earlier
        #    version, or one that was made with other tables.
        if raw.written_before and result.outcome != "rejected" and not raw.erasure:
            result.outgoing.append(
                encode_withdrawal(raw, record.topic, str(record.partition), str(record.offset))
            )
        # 7. A stream in shadow mode publishes no documents and no deletions.
        if stream.mode == "shadow":
            result.outgoing = [
                outgoing for outgoing in result.outgoing if outgoing.topic == REJECTIONS.name
            ]
        return _with_days(result, record)

    def _process(
        self, record: ConsumerRecord, raw: RawRecord, harmoniser: Harmoniser, stream: Stream
    ) -> ProcessedRecord:
        if raw.body is None:
            return self._delete(raw, stream)
        fast = self.fast_paths.find(harmoniser, raw) if self.fast_paths else None
        if fast is not None and (result := fast.process(raw, record.timestamp)) is not None:
            if fast.trials:
                ordinary = self._process_in_steps(record, raw, harmoniser, stream)
                return fast.compare(result, ordinary)
            return result
        return self._process_in_steps(record, raw, harmoniser, stream)

    def _process_in_steps(
        self, record: ConsumerRecord, raw: RawRecord, harmoniser: Harmoniser, stream: Stream
    ) -> ProcessedRecord:
        # 2. Harmonise.
        outcome = harmoniser(raw)
        if isinstance(outcome, Withheld):
            withheld = self._delete(raw, stream)
            withheld.reason = outcome.reason
            return withheld
        if isinstance(outcome, Rejected):
            country = outcome.country or harmoniser.connector.country
            note_unmapped(harmoniser.connector, raw, country, rejected=outcome)
            return self._reject(record, raw, with_row(outcome, raw, stream), country)
        # 3. Render.
        country = outcome.provenance.country or harmoniser.connector.country
        rendered = self._render(
            outcome,
            raw,
            harmoniser.connector,
            stream,
            # A catalogue entry contains no time of its publication.
            _ANY_TIME
            if isinstance(outcome.record, Qualification | LearningOpportunity)
            else datetime.fromtimestamp(record.timestamp / 1000, UTC),
        )
        if isinstance(rendered, Rejected):
            provenance = outcome.provenance
            digests = {
                "config_digest": provenance.config_digest,
                "tables_digest": provenance.tables_digest,
            }
            rejected = msgspec.structs.replace(with_row(rendered, raw, stream), **digests)
            return self._reject(record, raw, rejected)
        # 4. Add the headers.
        result = self._accept(raw, rendered, country)
        if result.unmapped_values:
            provenance = rendered.provenance
            note_unmapped(harmoniser.connector, raw, country, provenance.lookups, provenance.issues)
        # 5. Add tombstones.
        if self._previous_keys:
            result.outgoing += self._tombstones_under_old_keys(raw, stream)
        if raw.written_before and result.missing_fields:
            # The stage adds the tombstones for the opposite case: see entry_moves.
            result.outgoing += [
                tombstone
                for tombstone in self._tombstones(raw, stream, self._audience_key, self._id_key)
                if tombstone.topic in COMPLETE_ENTRY_TOPICS
            ]
        return result

    def preview(self, raw: RawRecord) -> Rendered | Rejected | Withheld | None:
        """Return the result that a record would have if it were written now.

        Returns ``None`` if the connector or the stream is unknown. An exception becomes a
        rejection, as in the harmonise stage.
        """
        harmoniser = self._harmoniser(raw.connector)
        stream = harmoniser.connector.streams.get(raw.stream) if harmoniser else None
        if harmoniser is None or stream is None:
            return None
        try:
            outcome = harmoniser(raw)
            if isinstance(outcome, Rejected):
                country = outcome.country or harmoniser.connector.country
                note_unmapped(harmoniser.connector, raw, country, rejected=outcome)
            if isinstance(outcome, Rejected | Withheld):
                return outcome
            return self._render(outcome, raw, harmoniser.connector, stream, datetime.now(UTC))
        except Exception as error:  # noqa: BLE001 - the stage rejects such a record, too
            return Rejected(
                stage="decode", field="", reason="internal_error", detail=type(error).__name__
            )

    def _render(
        self, accepted: Accepted, raw: RawRecord, connector: Connector, stream: Stream, at: datetime
    ) -> Rendered | Rejected:
        return render.render(
            accepted,
            render.TopicKeys(raw, stream.iri, self._audience_key, self._id_key),
            country=accepted.provenance.country or connector.country,
            at=at,
            loq_version=self._loq_version,
            incomplete=stream.incomplete_entries == "publish",
        )

    def reject_as_too_large(self, record: ConsumerRecord) -> ProcessedRecord:
        """Return the rejection of a record whose documents exceed the size limit of a topic."""
        raw = decode_raw(record.key, record.value, record.headers)
        if not raw.event_id:
            raw = _with_position(raw, record)
        rejected = Rejected(
            stage="size",
            field="document",
            reason="too_large",
            detail="larger than the topic's max.message.bytes",
        )
        return _with_days(self._reject(record, raw, rejected), record)

    def tombstones_for(self, raw: RawRecord) -> list[OutgoingRecord]:
        """Return tombstones for every document that a record may have become.

        The connector, the stream and the native id of ``raw`` determine them. Returns an
        empty list if the connector or the stream is unknown.
        """
        harmoniser = self._harmoniser(raw.connector)
        stream = harmoniser.connector.streams.get(raw.stream) if harmoniser else None
        return self._delete(raw, stream).outgoing if stream else []

    def output_topics(self, connector: str) -> set[str]:
        """Return the topics on which documents of a connector may be published."""
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
        table_versions, unmapped = lookup_labels.lookup_labels(country, provenance.lookups)
        result = ProcessedRecord(
            [self._outgoing(document, raw, provenance) for document in rendered.documents],
            raw.connector,
            raw.stream,
            "accepted",
            table_versions=table_versions,
            unmapped_values=unmapped,
        )
        if provenance.issues:
            result.issues = tuple([issue.code for issue in provenance.issues])
            if "unmapped" in result.issues:
                result.unmapped_values += lookup_labels.unmapped_values(
                    country, (), provenance.issues
                )
            result.missing_fields = rendered.documents[0].missing
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
            emitted_types(stream), render.TopicKeys(raw, stream.iri, audience_key, id_key)
        )
        return [self._outgoing(document, raw, None) for document in documents]

    def _tombstones_under_old_keys(self, raw: RawRecord, stream: Stream) -> list[OutgoingRecord]:
        """Return tombstones for the documents whose ids depend on a previous pseudonym key.

        Returns an empty list if no previous key is configured.
        """
        if not self._previous_keys:
            return []
        present = {
            (tombstone.topic, tombstone.key)
            for tombstone in self._tombstones(raw, stream, self._audience_key, self._id_key)
        }
        previous = {
            (tombstone.topic, tombstone.key): tombstone
            for pair in self._previous_keys
            for tombstone in self._tombstones(raw, stream, *pair)
        }
        return [tombstone for key, tombstone in previous.items() if key not in present]

    def _reject(
        self, record: ConsumerRecord, raw: RawRecord, rejected: Rejected, country: str = ""
    ) -> ProcessedRecord:
        outgoing = [
            encode_rejection(
                rejected, raw, topic=record.topic, partition=record.partition, offset=record.offset
            )
        ]
        if raw.written_before:
            # A record is never both accepted and rejected: remove documents of earlier versions.
            outgoing += self.tombstones_for(raw)
        unmapped = lookup_labels.unmapped_values(country, (), (), rejected)
        return ProcessedRecord(
            outgoing,
            raw.connector,
            raw.stream,
            "rejected",
            reason=rejected.reason,
            field=rejected.field,
            unmapped_values=unmapped,
        )

    def _outgoing(
        self, document: Document, raw: RawRecord, provenance: Provenance | None
    ) -> OutgoingRecord:
        return OutgoingRecord(
            document.topic,
            document.key.encode(),
            document.value,
            encode_document_headers(document, raw, provenance, self._event_ids),
        )


def _with_position(raw: RawRecord, record: ConsumerRecord) -> RawRecord:
    """Return the raw record of an earlier release with its position as event id."""
    position = f"{record.topic}-{record.partition}-{record.offset}"
    return msgspec.structs.replace(raw, event_id=position)


def _with_days(result: ProcessedRecord, record: ConsumerRecord) -> ProcessedRecord:
    """Give the records about persons the day of the raw record as their time on the topic.

    Exact times would join the records of a person on the topics of two platforms.
    """
    for outgoing in result.outgoing:
        if outgoing.topic in PERSONAL_DOCUMENT_TOPICS:
            outgoing.timestamp = record.timestamp // DAY_MS * DAY_MS
    return result


def build_record_processor(
    settings: Settings, harmoniser: Callable[[str], Harmoniser | None]
) -> RecordProcessor:
    """Return a :class:`RecordProcessor` with the keys and versions of the settings."""
    return RecordProcessor(
        harmoniser, b"", keys=load_keys(settings), loq_version=settings.elm_catalogue_version
    )


def emitted_types(stream: Stream) -> set[str]:
    """Return the record types that a stream may emit."""
    return {stream.emits, *(kind.emits for kind in stream.kinds.values() if kind.emits)}
