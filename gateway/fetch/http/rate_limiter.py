"""How fast, how many at once and when a registry may be called: one budget per registry, shared by all its streams."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from gateway.errors import RetryLater
from gateway.fetch.http.lease import Tenure, Unlimited
from gateway.observability import metrics

TRANSIT_SECONDS = 2.0
"""A request has arrived so long after its last byte left, whether it is answered yet or not."""
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Quiet:
    """Hours in which a registry asks not to be called; may run over midnight. ``start == end`` means the whole day."""

    start: time
    end: time
    zone: ZoneInfo

    def remaining(self, now: datetime) -> float:
        """Return the seconds until calls are allowed again, 0 when they are allowed now."""
        local = now.astimezone(self.zone)
        clock = local.time()
        inside = self.start <= clock < self.end if self.start < self.end else (clock >= self.start or clock < self.end)
        if not inside:
            return 0.0
        end = local.replace(hour=self.end.hour, minute=self.end.minute, second=self.end.second, microsecond=0)
        if end <= local:
            end = (end + timedelta(days=1)).replace(hour=self.end.hour, minute=self.end.minute)
        return max(1.0, end.timestamp() - local.timestamp())


class Budget:
    """The shared allowance of one registry: ``rate`` requests per second, ``concurrency`` at once, none in quiet hours.

    The rate holds as the registry sees it, whatever the network does: requests are spread evenly, and the one after ``rate`` others
    is not sent before a whole second has passed since the first of them *arrived*. When it arrived is not known; it was not later
    than its reply, nor, so that a slow reply does not hold up the others, two seconds after its last byte left.
    """

    def __init__(
        self,
        connector: str,
        *,
        rate: float | None = None,
        concurrency: int = 1,
        quiet: Quiet | None = None,
        now: Callable[[], datetime],
    ) -> None:
        self._connector = connector
        burst = max(1, int(rate)) if rate else 0
        self._interval = 1 / rate if rate else 0.0
        self._window = burst * self._interval
        self._sent: deque[Sent] = deque(maxlen=burst)
        self._slots = asyncio.Semaphore(concurrency)
        self._turn = asyncio.Lock()
        self._quiet = quiet
        self._now = now
        self._held_until = 0.0
        self._tenure: Tenure = Unlimited()

    def under(self, tenure: Tenure) -> None:
        """Call only while ``tenure`` is valid, and not before what another process sent has left the registry's window."""
        self._tenure = tenure
        self.hold(self._window)

    def hold(self, seconds: float) -> None:
        """Let nobody call before ``seconds`` from now: a registry said ``Retry-After``."""
        self._held_until = max(self._held_until, asyncio.get_running_loop().time() + seconds)

    async def allowed(self) -> None:
        """Return when this process may speak for the registry."""
        await self._tenure.held()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a place among the ``concurrency``, then hold it.

        Raises :class:`~gateway.errors.RetryLater` (``QUIET_HOURS``) rather than sleep through the registry's closed hours.
        """
        if self._quiet and (closed := self._quiet.remaining(self._now())):
            raise RetryLater("QUIET_HOURS", f"{self._connector}: the registry asks not to be called now", after=closed)
        async with self._slots:
            yield

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Sent]:
        """Wait until one request may be sent; say :meth:`Sent.left` when its last byte has, and leave when its reply is there."""
        clock = asyncio.get_running_loop().time
        async with self._turn:
            began = clock()
            while (wait := self._earliest(clock()) - clock()) > 0 or not self._tenure.valid:
                await (asyncio.sleep(wait) if wait > 0 else self._tenure.held())
            if (waited := clock() - began) > 0:
                metrics.RATE_LIMIT_WAIT.labels(self._connector).inc(waited)
            sent = Sent()
            self._sent.append(sent)
        try:
            yield sent
        finally:
            sent.ended(clock())

    def _earliest(self, now: float) -> float:
        """Return when the next request may be sent, or when to look again."""
        earliest = self._held_until
        if self._sent:
            left = self._sent[-1].at
            earliest = max(earliest, now + LOOK_SECONDS if left is None else left + self._interval)
            if len(self._sent) == self._sent.maxlen:
                arrived = self._sent[0].arrived
                earliest = max(earliest, now + LOOK_SECONDS if arrived is None else arrived + self._window)
        return earliest


@dataclass(slots=True)
class Sent:
    """A request: when it left, and when it has arrived at the latest, once that is known. A busy process sends late."""

    at: float | None = None
    arrived: float | None = None

    def left(self, now: float) -> None:
        """Note that its last byte was handed to the network."""
        self.at, self.arrived = now, now + TRANSIT_SECONDS

    def ended(self, now: float) -> None:
        """Note that there is a reply, or that there will be none."""
        self.at = now if self.at is None else self.at
        self.arrived = now if self.arrived is None else min(self.arrived, now)
