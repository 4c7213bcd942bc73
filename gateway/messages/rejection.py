"""What stands on ``gateway.rejections.v1``: why a record was rejected and where its raw form is; never the payload."""

from __future__ import annotations

import msgspec

from gateway.messages.cloudevents import JSON, event_id, to_rfc3339
from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.topics import REJECTIONS
from gateway.records import RawRecord, Rejected

SCHEMA = "https://schemas.qualification-gateway.eu/gateway.rejections.v1.json"


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """The value of one rejection."""

    connector: str
    stream: str
    stage: str
    field: str
    reason: str
    detail: str
    config_digest: str
    tables_digest: str
    raw: dict[str, str | int]
    """Where the raw record is: topic, partition, offset; -1 when it did not fit the topic and is nowhere."""


_ENCODER = msgspec.json.Encoder()


def encode_rejection(
    rejected: Rejected, raw: RawRecord, *, topic: str, partition: int, offset: int
) -> OutgoingRecord:
    """Return the record for ``gateway.rejections.v1``; its key is the raw record's, its id the same on every repeat."""
    value = _ENCODER.encode(
        Rejection(
            connector=raw.connector,
            stream=raw.stream,
            stage=rejected.stage,
            field=rejected.field,
            reason=rejected.reason,
            detail=rejected.detail,
            config_digest=rejected.config_digest,
            tables_digest=rejected.tables_digest,
            raw={"topic": topic, "partition": partition, "offset": offset},
        )
    )
    place = (
        (topic, str(partition), str(offset)) if offset >= 0 else (raw.key, raw.version, raw.body)
    )
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id(*place, rejected.config_digest, rejected.tables_digest).encode()),
        ("ce_source", f"/connectors/{raw.connector}/{raw.stream}".encode()),
        ("ce_type", b"eu.qualification-gateway.record.rejected.v1"),
        ("ce_dataschema", SCHEMA.encode()),
        ("content-type", JSON),
    ]
    if raw.changed_at:
        headers.append(("ce_time", to_rfc3339(raw.changed_at).encode()))
    return OutgoingRecord(REJECTIONS.name, raw.key.encode(), value, headers)


def encode_withdrawal(raw: RawRecord, *place: str) -> OutgoingRecord:
    """Return what takes the rejections of a record away: a tombstone, for the topic is compacted. ``place`` is that of the raw record."""
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id("withdrawn", raw.key, *place).encode()),
        ("ce_source", f"/connectors/{raw.connector}/{raw.stream}".encode()),
        ("ce_type", b"eu.qualification-gateway.record.withdrawn.v1"),
        ("content-type", JSON),
    ]
    return OutgoingRecord(REJECTIONS.name, raw.key.encode(), None, headers)
