"""Says what happens to connectors: news for operators, and for a registry's owner when it keeps failing or needs them.

The event carries the owner as the connector file names them; a subscriber of ``gateway.notifications.v1`` delivers it, by mail or as
the house does it.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gateway.config.connector import Connector
from gateway.kafka.background_writer import BackgroundWriter
from gateway.messages import notification
from gateway.messages.cloudevents import to_rfc3339
from gateway.settings import Settings

FAILURES_BEFORE_NOTIFICATION = 5
"""After so many failures in a row the owner is told; the first ones mend themselves."""


def worker_id(settings: Settings) -> str:
    """Return what this process calls itself: its instance, else host and process."""
    return settings.instance or f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True, slots=True)
class Notifier:
    """The voice of one worker."""

    worker: str
    writer: BackgroundWriter

    def notify(
        self,
        kind: notification.NotificationKind,
        connector: Connector | str,
        stream: str = "",
        *,
        text: str = "",
        reason: str = "",
        owner: bool = False,
    ) -> None:
        """Say it soon; nothing waits for it. ``owner`` addresses it to the registry's owner too."""
        known = None if isinstance(connector, str) else connector
        told = (
            notification.RegistryOwner(name=known.owner.name, contact=known.owner.contact)
            if owner and known
            else None
        )
        self.writer.enqueue(
            notification.encode_notification(
                notification.Notification(
                    kind=kind,
                    connector=known.connector if known else str(connector),
                    stream=stream,
                    text=text,
                    reason=reason,
                    at=to_rfc3339(datetime.now(UTC)),
                    worker=self.worker,
                    owner=told,
                )
            )
        )


@dataclass(slots=True)
class FailureStreak:
    """The failures of one stream in a row: each run of them is told of once, and its end once."""

    herald: Notifier
    connector: Connector
    stream: str
    count: int = 0
    notified: set[notification.NotificationKind] = field(default_factory=set)

    def poll_failed(self, outcome: str, reason: str, text: str) -> None:
        """Note a failed poll; another worker's taking over is none."""
        if outcome == "fenced":
            return
        self.count += 1
        kind: notification.NotificationKind = "halted" if outcome == "halt" else "failing"
        if kind not in self.notified and (
            kind == "halted" or self.count >= FAILURES_BEFORE_NOTIFICATION
        ):
            self.notified.add(kind)
            self.herald.notify(
                kind, self.connector, self.stream, text=text, reason=reason, owner=True
            )

    def poll_succeeded(self) -> None:
        """Note a poll that ended well."""
        if self.notified:
            self.herald.notify(
                "recovered",
                self.connector,
                self.stream,
                text=f"after {self.count} failures",
                owner=True,
            )
            self.notified.clear()
        self.count = 0
