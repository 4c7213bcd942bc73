"""Whether this process still speaks for the registries it was given.

Kafka's group coordinator gives a connector to another worker once it has not heard from this one for a session timeout. A process
that was frozen, or cut off from Kafka, does not notice: it goes on calling. Transactions keep it from writing, but not from asking,
and then a registry is asked at twice its rate. So a worker asks only while the coordinator has heard from it within the session
timeout, counted from when it *sent* what was answered: the coordinator cannot have given its connectors away before that.
"""

from __future__ import annotations

import asyncio
import time

CHECK_INTERVAL_SECONDS = 0.05


class Lease:
    """True for ``seconds`` after the last renewal. :meth:`renew` may be called from any thread."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._last_heartbeat = float("-inf")
        self._valid_from = float("inf")
        self.assignment_number = 0
        """How often connectors have been given out anew."""

    @property
    def is_valid(self) -> bool:
        """Whether the connectors are still ours at this moment."""
        return (
            self._last_heartbeat >= self._valid_from
            and time.monotonic() < self._last_heartbeat + self.seconds
        )

    @property
    def seconds_since_heartbeat(self) -> float:
        """Seconds since the coordinator last heard from this worker, infinite when it never did."""
        return time.monotonic() - self._last_heartbeat

    def renew(self, sent: float) -> None:
        """Note that the coordinator answered what was sent at ``sent`` (``time.monotonic``)."""
        self._last_heartbeat = max(self._last_heartbeat, sent)

    def suspend(self) -> None:
        """Call nobody until :meth:`begin`: connectors are being given out anew."""
        self._valid_from = float("inf")
        self.assignment_number += 1

    def resume(self, turn: int | None = None) -> None:
        """Count what is sent from now on: the connectors have been given out. Of a ``turn`` that is over nothing begins."""
        if turn in {None, self.assignment_number}:
            self._valid_from = time.monotonic()

    async def wait_until_valid(self) -> None:
        """Return as soon as it is valid."""
        while not self.is_valid:  # noqa: ASYNC110 - it ends by time, and is renewed from another thread: there is nothing to set an event
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)


class UnlimitedLease(Lease):
    """The tenure of somebody who shares no registry with other processes: ``gateway preview``, a test."""

    def __init__(self) -> None:
        super().__init__(float("inf"))

    @property
    def is_valid(self) -> bool:
        """Return true."""
        return True
