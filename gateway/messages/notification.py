"""What stands on ``gateway.notifications.v1``: what happened to a connector, and who answers for it; no payload, no personal data."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.messages.cloudevents import JSON, event_id
from gateway.messages.outgoing import OutgoingRecord, partition_for
from gateway.messages.topics import NOTIFICATIONS

SCHEMA = "https://schemas.qualification-gateway.eu/gateway.notifications.v1.json"
NotificationKind = Literal[
    "halted",
    "failing",
    "recovered",
    "paused",
    "resumed",
    "backfill_done",
    "backfill_cancelled",
    "replayed",
    "renormalised",
    "config_changed",
    "config_refused",
    "command_refused",
]


class RegistryOwner(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers for the registry, as the connector file says; whoever delivers to them reads it here."""

    name: str
    contact: str


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """The value of one notification."""

    kind: NotificationKind
    connector: str
    stream: str
    text: str
    """What happened, in one line for people."""
    reason: str
    """A stable code where there is one."""
    at: str
    worker: str
    owner: RegistryOwner | None
    """Set when the registry's owner is to be told: it keeps failing, needs them, or has recovered from that."""


def encode_notification(news: Notification) -> OutgoingRecord:
    """Return the record; its id is the same whenever the same is said again."""
    key = news.connector.encode()
    source = f"/connectors/{news.connector}" + (f"/{news.stream}" if news.stream else "")
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id(news.kind, news.connector, news.stream, news.reason, news.at).encode()),
        ("ce_source", source.encode()),
        ("ce_type", f"eu.qualification-gateway.{news.kind.replace('_', '-')}.v1".encode()),
        ("ce_subject", key),
        ("ce_time", news.at.encode()),
        ("ce_dataschema", SCHEMA.encode()),
        ("content-type", JSON),
    ]
    return OutgoingRecord(
        NOTIFICATIONS.name,
        key,
        msgspec.json.encode(news),
        headers,
        partition_for(key, NOTIFICATIONS.partitions),
    )
