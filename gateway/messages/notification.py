"""Encode the notifications on ``gateway.notifications.v1``.

A notification names an event of a connector and the owner of its registry. It contains
neither a payload nor personal data.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.messages.cloudevents import CONTENT_ID_HEADER, JSON, content_id
from gateway.messages.outgoing import OutgoingRecord, partition_for
from gateway.messages.topics import NOTIFICATIONS

SCHEMA = "https://schemas.qualification-gateway.eu/gateway.notifications.v1.json"
NotificationKind = Literal[
    "halted",
    "failing",
    "values_skipped",
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
    """Who answers for the registry, as the connector file says; whoever delivers to them reads it here."""  # noqa: E501 - the published schema contains this text

    name: str
    contact: str


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """The value of one notification."""

    kind: NotificationKind
    connector: str
    stream: str
    text: str
    """Description of the event, in one line for people."""
    reason: str
    """Stable code of the reason; empty if there is none."""
    at: str
    worker: str
    owner: RegistryOwner | None
    """Set if the owner of the registry should receive the notification.

    The stream keeps failing, needs action by the owner, or has recovered from either.
    """


def encode_notification(notification: Notification) -> OutgoingRecord:
    """Return the record of a notification."""
    kind, connector, stream = notification.kind, notification.connector, notification.stream
    key = connector.encode()
    source = f"/connectors/{connector}" + (f"/{stream}" if stream else "")
    what = (kind, connector, stream, notification.reason, notification.text)
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", content_id(*what, notification.at, notification.worker).encode()),
        (CONTENT_ID_HEADER, content_id(*what).encode()),
        ("ce_source", source.encode()),
        ("ce_type", f"eu.qualification-gateway.{kind.replace('_', '-')}.v1".encode()),
        ("ce_subject", key),
        ("ce_time", notification.at.encode()),
        ("ce_dataschema", SCHEMA.encode()),
        ("content-type", JSON),
    ]
    return OutgoingRecord(
        NOTIFICATIONS.name,
        key,
        msgspec.json.encode(notification),
        headers,
        partition_for(key, NOTIFICATIONS.partitions),
    )
