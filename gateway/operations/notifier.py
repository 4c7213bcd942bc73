"""Notify operators, and owners of registries, of events in connectors.

The event names the owner as the connector file does. A subscriber of ``gateway.notifications.v1``
delivers it, for example by email. See docs/decisions/0022.
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
from gateway.operations.command_results import CommandResults
from gateway.settings import Settings

FAILURES_BEFORE_NOTIFICATION = 5
"""The owner is notified after this number of failures in a row, because most shorter streaks end
without help."""


def worker_id(settings: Settings) -> str:
    """Return the name of this process.

    It is the setting ``instance``, or else the host and the process id.
    """
    return settings.instance or f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True, slots=True)
class Notifier:
    """The sender of the notifications of one worker."""

    worker: str
    writer: BackgroundWriter
    results: CommandResults = field(default_factory=CommandResults)
    """The results of commands, which the status of the worker reports."""

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
        """Queue a notification and return at once.

        ``owner`` addresses the owner of the registry, too. This needs a loaded connector.
        """
        loaded = None if isinstance(connector, str) else connector
        addressee = (
            notification.RegistryOwner(name=loaded.owner.name, contact=loaded.owner.contact)
            if owner and loaded
            else None
        )
        self.writer.enqueue(
            notification.encode_notification(
                notification.Notification(
                    kind=kind,
                    connector=loaded.connector if loaded else str(connector),
                    stream=stream,
                    text=text,
                    reason=reason,
                    at=to_rfc3339(datetime.now(UTC)),
                    worker=self.worker,
                    owner=addressee,
                )
            )
        )


@dataclass(slots=True)
class FailureStreak:
    """The failures of one stream in a row.

    Each kind of failure is notified once per streak. The end of a notified streak is notified, too.
    """

    notifier: Notifier
    connector: Connector
    stream: str
    count: int = 0
    notified: set[notification.NotificationKind] = field(default_factory=set)

    def poll_failed(self, outcome: str, reason: str, text: str) -> None:
        """Count a failed poll. A takeover by another worker does not count."""
        if outcome == "fenced":
            return
        self.count += 1
        kind: notification.NotificationKind = "halted" if outcome == "halt" else "failing"
        if kind not in self.notified and (
            kind == "halted" or self.count >= FAILURES_BEFORE_NOTIFICATION
        ):
            self.notified.add(kind)
            self.notifier.notify(
                kind, self.connector, self.stream, text=text, reason=reason, owner=True
            )

    def poll_succeeded(self) -> None:
        """End the streak."""
        if self.notified:
            self.notifier.notify(
                "recovered",
                self.connector,
                self.stream,
                text=f"after {self.count} failures",
                owner=True,
            )
            self.notified.clear()
        self.count = 0
