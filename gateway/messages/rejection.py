"""Encode the rejections on ``gateway.rejections.v1``.

A rejection contains the reason and the position of the raw record. It never contains the
payload.
"""

from __future__ import annotations

import msgspec

from gateway.messages.cloudevents import CONTENT_ID_HEADER, JSON, content_id, to_rfc3339
from gateway.messages.event_ids import new_event_id
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
    """Topic, partition and offset of the raw record.

    Partition and offset are -1 if the record was too large for the raw topic and was not stored.
    """


_ENCODER = msgspec.json.Encoder()


def encode_rejection(
    rejected: Rejected, raw: RawRecord, *, topic: str, partition: int, offset: int, key: str = ""
) -> OutgoingRecord:
    """Return the record of a rejection.

    Its key is the key of the raw record, unless ``key`` is another one. A repeat gets the same
    event id.
    """
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
    position = (topic, str(partition), str(offset))
    event_id = (
        content_id(*position, rejected.config_digest, rejected.tables_digest)
        if offset >= 0
        else new_event_id()
    )
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        (CONTENT_ID_HEADER, content_id(REJECTIONS.name, key or raw.key, value).encode()),
        ("ce_source", f"/connectors/{raw.connector}/{raw.stream}".encode()),
        ("ce_type", b"eu.qualification-gateway.record.rejected.v1"),
        ("ce_dataschema", SCHEMA.encode()),
        ("content-type", JSON),
    ]
    if raw.changed_at:
        headers.append(("ce_time", to_rfc3339(raw.changed_at).encode()))
    return OutgoingRecord(REJECTIONS.name, (key or raw.key).encode(), value, headers)


def encode_withdrawal(raw: RawRecord, *position: str, key: str = "") -> OutgoingRecord:
    """Return the tombstone that removes the rejections of a record from the compacted topic.

    ``position`` is the topic, the partition and the offset of the raw record. ``key`` is the key of
    the rejection, if it is not that of the record.
    """
    event = raw.event_id or ("" if position else new_event_id())
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", content_id("withdrawn", raw.key, event, *position).encode()),
        (CONTENT_ID_HEADER, content_id(REJECTIONS.name, key or raw.key, None).encode()),
        ("ce_source", f"/connectors/{raw.connector}/{raw.stream}".encode()),
        ("ce_type", b"eu.qualification-gateway.record.withdrawn.v1"),
        ("content-type", JSON),
    ]
    return OutgoingRecord(REJECTIONS.name, (key or raw.key).encode(), None, headers)
