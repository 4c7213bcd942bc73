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
from gateway.kafka.background_writer import Teller
from gateway.messages import notification
from gateway.messages.cloudevents import iso
from gateway.settings import Settings

PERSISTENT = 5
"""After so many failures in a row the owner is told; the first ones mend themselves."""


def worker_name(settings: Settings) -> str:
    """Return what this process calls itself: its instance, else host and process."""
    return settings.instance or f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True, slots=True)
class Herald:
    """The voice of one worker."""

    worker: str
    teller: Teller

    def say(
        self,
        kind: notification.Kind,
        connector: Connector | str,
        stream: str = "",
        *,
        text: str = "",
        reason: str = "",
        owner: bool = False,
    ) -> None:
        """Say it soon; nothing waits for it. ``owner`` addresses it to the registry's owner too."""
        known = None if isinstance(connector, str) else connector
        told = notification.Owner(name=known.owner.name, contact=known.owner.contact) if owner and known else None
        self.teller.say(
            notification.outgoing(
                notification.News(
                    kind=kind,
                    connector=known.connector if known else str(connector),
                    stream=stream,
                    text=text,
                    reason=reason,
                    at=iso(datetime.now(UTC)),
                    worker=self.worker,
                    owner=told,
                )
            )
        )


@dataclass(slots=True)
class Troubles:
    """The failures of one stream in a row: each run of them is told of once, and its end once."""

    herald: Herald
    connector: Connector
    stream: str
    count: int = 0
    told: set[notification.Kind] = field(default_factory=set)

    def failed(self, outcome: str, reason: str, text: str) -> None:
        """Note a failed poll; another worker's taking over is none."""
        if outcome == "fenced":
            return
        self.count += 1
        kind: notification.Kind = "halted" if outcome == "halt" else "failing"
        if kind not in self.told and (kind == "halted" or self.count >= PERSISTENT):
            self.told.add(kind)
            self.herald.say(kind, self.connector, self.stream, text=text, reason=reason, owner=True)

    def ended(self) -> None:
        """Note a poll that ended well."""
        if self.told:
            self.herald.say("recovered", self.connector, self.stream, text=f"after {self.count} failures", owner=True)
            self.told.clear()
        self.count = 0
