"""One raw record from the topic → what is written instead: documents, tombstones, or one rejection. Pure and total."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from gateway.config.connector import Connector, Stream
from gateway.harmonise.harmoniser import Harmoniser
from gateway.messages.cloudevents import document_headers, raw_from
from gateway.messages.outgoing import Outgoing
from gateway.messages.rejection import rejection, withdrawal
from gateway.messages.topics import REJECTIONS
from gateway.observability import lookup_labels
from gateway.pipeline.processed_record import Result
from gateway.pseudonym_keys import ESC, IDS, Keys, keys_of
from gateway.records import Accepted, Document, Provenance, Raw, Rejected, Withheld
from gateway.render import render
from gateway.render.render import Rendered
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord


class Deliver:
    """Turns records of ``gateway.raw.v1`` into results; ``harmoniser`` finds the one for a connector, or ``None``."""

    def __init__(
        self, harmoniser: Callable[[str], Harmoniser | None], key: bytes, *, keys: Keys | None = None, loq_version: str = "3.1"
    ) -> None:
        self._harmoniser = harmoniser
        self._loq_version = loq_version
        keys = keys or Keys((key,), (key,))
        self._audience_key, self._id_key = keys.of(ESC)[0], keys.of(IDS)[0]
        self._before = keys.before()

    def __call__(self, record: ConsumerRecord) -> Result:
        """Return what the record becomes; of a stream in shadow mode only rejections leave."""
        raw = raw_from(record.key, record.value, record.headers)
        harmoniser = self._harmoniser(raw.connector)
        if harmoniser is None:
            return self._reject(record, raw, Rejected(stage="decode", field="connector", reason="unknown_connector"))
        stream = harmoniser.connector.streams.get(raw.stream)
        if stream is None:
            detail = (
                f"expected a stream of the connector file, which has {', '.join(harmoniser.connector.streams)}: it was renamed or removed"
            )
            return self._reject(record, raw, Rejected(stage="decode", field="stream", reason="unknown_stream", detail=detail))
        result = self._judge(record, raw, harmoniser, stream)
        if raw.again and result.outcome != "rejected" and not raw.erased:
            # Never both: what was said of an earlier version, or of this one with other tables, does not hold any more.
            result.outgoing.append(withdrawal(raw, record.topic, str(record.partition), str(record.offset)))
        if stream.mode == "shadow":
            result.outgoing = [one for one in result.outgoing if one.topic == REJECTIONS.name]
        return result

    def _judge(self, record: ConsumerRecord, raw: Raw, harmoniser: Harmoniser, stream: Stream) -> Result:
        if raw.body is None:
            return self._delete(raw, stream)
        outcome = harmoniser(raw)
        if isinstance(outcome, Withheld):
            return self._delete(raw, stream)
        if isinstance(outcome, Rejected):
            return self._reject(record, raw, outcome, harmoniser.connector.country)
        country = harmoniser.connector.country
        rendered = self._render(outcome, raw, harmoniser.connector, stream, datetime.fromtimestamp(record.timestamp / 1000, UTC))
        if isinstance(rendered, Rejected):
            provenance = outcome.provenance
            digests = {"config_digest": provenance.config_digest, "tables_digest": provenance.tables_digest}
            return self._reject(record, raw, msgspec.structs.replace(rendered, **digests))
        result = self._accept(raw, rendered, country)
        if self._before:
            result.outgoing += self._moved(raw, stream)
        return result

    def preview(self, raw: Raw) -> Rendered | Rejected | Withheld | None:
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
            return Rejected(stage="decode", field="", reason="internal_error", detail=type(error).__name__)

    def _render(self, accepted: Accepted, raw: Raw, connector: Connector, stream: Stream, at: datetime) -> Rendered | Rejected:
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

    def shrink(self, record: ConsumerRecord) -> Result:
        """Return the rejection that stands for a record whose documents do not fit their topic."""
        raw = raw_from(record.key, record.value, record.headers)
        return self._reject(
            record, raw, Rejected(stage="size", field="document", reason="too_large", detail="larger than the topic's max.message.bytes")
        )

    def erased(self, raw: Raw) -> list[Outgoing]:
        """Return what takes away whatever a record of this connector, stream and native id may have become, on every topic."""
        harmoniser = self._harmoniser(raw.connector)
        stream = harmoniser.connector.streams.get(raw.stream) if harmoniser else None
        return self._delete(raw, stream).outgoing if stream else []

    def topics(self, connector: str) -> set[str]:
        """Return the topics that records of a connector may stand on."""
        harmoniser = self._harmoniser(connector)
        streams = harmoniser.connector.streams.values() if harmoniser else ()
        return {topic for stream in streams for emits in emitted(stream) for topic in render.TOPICS_OF[emits]}

    def _accept(self, raw: Raw, rendered: Rendered, country: str) -> Result:
        provenance = rendered.provenance
        used, missing = lookup_labels.read(country, provenance.lookups)
        result = Result(
            [self._outgoing(document, raw, provenance) for document in rendered.documents],
            raw.connector,
            raw.stream,
            "accepted",
            used=used,
            missing=missing,
        )
        if provenance.issues:
            result.issues = tuple([issue.code for issue in provenance.issues])
            result.missing += lookup_labels.missing(country, (), provenance.issues)
        return result

    def _delete(self, raw: Raw, stream: Stream) -> Result:
        outgoing = self._tombstones(raw, stream, self._audience_key, self._id_key) + self._moved(raw, stream)
        if raw.erased:
            outgoing.append(withdrawal(raw))
        return Result(outgoing, raw.connector, raw.stream, "deleted", asked=raw.erased == "asked")

    def _tombstones(self, raw: Raw, stream: Stream, audience_key: bytes, id_key: bytes) -> list[Outgoing]:
        documents = render.tombstones(emitted(stream), raw, template=stream.iri, audience_key=audience_key, id_key=id_key)
        return [self._outgoing(document, raw, None) for document in documents]

    def _moved(self, raw: Raw, stream: Stream) -> list[Outgoing]:
        """Return what takes a record away from where it stood under a key of before, while such a key is known."""
        if not self._before:
            return []
        here = {(one.topic, one.key) for one in self._tombstones(raw, stream, self._audience_key, self._id_key)}
        old = {(one.topic, one.key): one for pair in self._before for one in self._tombstones(raw, stream, *pair)}
        return [one for place, one in old.items() if place not in here]

    def _reject(self, record: ConsumerRecord, raw: Raw, rejected: Rejected, country: str = "") -> Result:
        outgoing = [rejection(rejected, raw, topic=record.topic, partition=record.partition, offset=record.offset)]
        if raw.again:
            outgoing += self.erased(raw)  # never both: what came of an earlier version goes
        missing = lookup_labels.missing(country, (), (), rejected)
        return Result(outgoing, raw.connector, raw.stream, "rejected", reason=rejected.reason, field=rejected.field, missing=missing)

    @staticmethod
    def _outgoing(document: Document, raw: Raw, provenance: Provenance | None) -> Outgoing:
        return Outgoing(document.topic, document.key.encode(), document.value, document_headers(document, raw, provenance))


def deliver_for(settings: Settings, harmoniser: Callable[[str], Harmoniser | None]) -> Deliver:
    """Return a :class:`Deliver` with the keys and versions that the settings say."""
    return Deliver(harmoniser, b"", keys=keys_of(settings), loq_version=settings.loq_version)


def emitted(stream: Stream) -> set[str]:
    """Return everything that records of a stream may become."""
    return {stream.emits, *(kind.emits for kind in stream.kinds.values() if kind.emits)}
