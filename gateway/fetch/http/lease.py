"""Whether this process still speaks for the registries it was given.

Kafka's group coordinator gives a connector to another worker once it has not heard from this one for a session timeout. A process
that was frozen, or cut off from Kafka, does not notice: it goes on calling. Transactions keep it from writing, but not from asking,
and then a registry is asked at twice its rate. So a worker asks only while the coordinator has heard from it within the session
timeout, counted from when it *sent* what was answered: the coordinator cannot have given its connectors away before that.
"""

from __future__ import annotations

import asyncio
import time

LOOK_SECONDS = 0.05


class Tenure:
    """True for ``seconds`` after the last renewal. :meth:`renew` may be called from any thread."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._heard = float("-inf")
        self._since = float("inf")
        self.turn = 0
        """How often connectors have been given out anew."""

    @property
    def valid(self) -> bool:
        """Whether the connectors are still ours at this moment."""
        return self._heard >= self._since and time.monotonic() < self._heard + self.seconds

    @property
    def silence(self) -> float:
        """Seconds since the coordinator last heard from this worker, infinite when it never did."""
        return time.monotonic() - self._heard

    def renew(self, sent: float) -> None:
        """Note that the coordinator answered what was sent at ``sent`` (``time.monotonic``)."""
        self._heard = max(self._heard, sent)

    def suspend(self) -> None:
        """Call nobody until :meth:`begin`: connectors are being given out anew."""
        self._since = float("inf")
        self.turn += 1

    def begin(self, turn: int | None = None) -> None:
        """Count what is sent from now on: the connectors have been given out. Of a ``turn`` that is over nothing begins."""
        if turn in {None, self.turn}:
            self._since = time.monotonic()

    async def held(self) -> None:
        """Return as soon as it is valid."""
        while not self.valid:  # noqa: ASYNC110 - it ends by time, and is renewed from another thread: there is nothing to set an event
            await asyncio.sleep(LOOK_SECONDS)


class Unlimited(Tenure):
    """The tenure of somebody who shares no registry with other processes: ``gateway preview``, a test."""

    def __init__(self) -> None:
        super().__init__(float("inf"))

    @property
    def valid(self) -> bool:
        """Return true."""
        return True
