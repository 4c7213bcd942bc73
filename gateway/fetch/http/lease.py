"""Hold a lease on the connectors that Kafka assigned to this worker.

The group coordinator of Kafka reassigns the connectors of a worker after a session timeout without
heartbeats. A worker that was frozen, or that lost its connection to Kafka, does not notice this.
Transactions prevent such a worker from writing, but not from sending requests. The registry would
then receive requests at twice its rate.

A worker therefore sends requests only while its lease is valid. The lease lasts one session timeout
and begins when the worker *sent* the last heartbeat that was answered. The coordinator cannot
have reassigned the connectors earlier. See docs/decisions/0027.
"""

from __future__ import annotations

import asyncio
import time

CHECK_INTERVAL_SECONDS = 0.05


class Lease:
    """A lease that is valid for ``seconds`` after its last renewal.

    :meth:`renew` may be called from any thread.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._last_heartbeat = float("-inf")
        self._valid_from = float("inf")
        self.assignment_number = 0
        """The number of times that Kafka began to reassign connectors."""

    @property
    def is_valid(self) -> bool:
        """Whether this worker owns its connectors at this moment."""
        return (
            self._last_heartbeat >= self._valid_from
            and time.monotonic() < self._last_heartbeat + self.seconds
        )

    @property
    def seconds_since_heartbeat(self) -> float:
        """The seconds since the last answered heartbeat, infinite before the first one."""
        return time.monotonic() - self._last_heartbeat

    def renew(self, sent: float) -> None:
        """Record the answer to a heartbeat that was sent at ``sent`` (``time.monotonic``)."""
        self._last_heartbeat = max(self._last_heartbeat, sent)

    def suspend(self) -> None:
        """Make the lease invalid until :meth:`resume`, because Kafka reassigns the connectors."""
        self._valid_from = float("inf")
        self.assignment_number += 1

    def resume(self, assignment_number: int | None = None) -> None:
        """Accept heartbeats that are sent from now on, because Kafka has assigned the connectors.

        Do nothing when ``assignment_number`` belongs to an earlier assignment.
        """
        if assignment_number in {None, self.assignment_number}:
            self._valid_from = time.monotonic()

    async def wait_until_valid(self) -> None:
        """Wait until the lease is valid."""
        # The lease expires by time, and another thread renews it, so no event can be set.
        while not self.is_valid:  # noqa: ASYNC110
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)


class UnlimitedLease(Lease):
    """A lease that is always valid.

    It serves callers that share no registry with other processes, for example
    ``gateway preview`` and tests.
    """

    def __init__(self) -> None:
        super().__init__(float("inf"))

    @property
    def is_valid(self) -> bool:
        """Return true."""
        return True
