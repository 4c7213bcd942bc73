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
from gateway.fetch.http.lease import Lease, UnlimitedLease
from gateway.observability import metrics

MAX_TRANSIT_SECONDS = 2.0
"""A request has arrived so long after its last byte left, whether it is answered yet or not."""
CHECK_INTERVAL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Hours in which a registry asks not to be called; may run over midnight. ``start == end`` means the whole day."""

    start: time
    end: time
    zone: ZoneInfo

    def seconds_until_open(self, now: datetime) -> float:
        """Return the seconds until calls are allowed again, 0 when they are allowed now."""
        local = now.astimezone(self.zone)
        clock = local.time()
        inside = (
            self.start <= clock < self.end
            if self.start < self.end
            else (clock >= self.start or clock < self.end)
        )
        if not inside:
            return 0.0
        end = local.replace(
            hour=self.end.hour, minute=self.end.minute, second=self.end.second, microsecond=0
        )
        if end <= local:
            end = (end + timedelta(days=1)).replace(hour=self.end.hour, minute=self.end.minute)
        return max(1.0, end.timestamp() - local.timestamp())


class RateLimiter:
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
        quiet: QuietHours | None = None,
        now: Callable[[], datetime],
    ) -> None:
        self._connector = connector
        burst = max(1, int(rate)) if rate else 0
        self._interval = 1 / rate if rate else 0.0
        self._window = burst * self._interval
        self._sent: deque[SentRequest] = deque(maxlen=burst)
        self._slots = asyncio.Semaphore(concurrency)
        self._send_lock = asyncio.Lock()
        self._quiet = quiet
        self._now = now
        self._paused_until = 0.0
        self._lease: Lease = UnlimitedLease()

    def set_lease(self, tenure: Lease) -> None:
        """Call only while ``tenure`` is valid, and not before what another process sent has left the registry's window."""
        self._lease = tenure
        self.pause_for(self._window)

    def pause_for(self, seconds: float) -> None:
        """Let nobody call before ``seconds`` from now: a registry said ``Retry-After``."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)

    async def wait_for_lease(self) -> None:
        """Return when this process may speak for the registry."""
        await self._lease.wait_until_valid()

    @asynccontextmanager
    async def concurrency_slot(self) -> AsyncIterator[None]:
        """Wait for a place among the ``concurrency``, then hold it.

        Raises :class:`~gateway.errors.RetryLater` (``QUIET_HOURS``) rather than sleep through the registry's closed hours.
        """
        if self._quiet and (closed := self._quiet.seconds_until_open(self._now())):
            raise RetryLater(
                "QUIET_HOURS",
                f"{self._connector}: the registry asks not to be called now",
                after=closed,
            )
        async with self._slots:
            yield

    @asynccontextmanager
    async def request_slot(self) -> AsyncIterator[SentRequest]:
        """Wait until one request may be sent; say :meth:`Sent.left` when its last byte has, and leave when its reply is there."""
        clock = asyncio.get_running_loop().time
        async with self._send_lock:
            began = clock()
            while (wait := self._next_send_time(clock()) - clock()) > 0 or not self._lease.is_valid:
                await (asyncio.sleep(wait) if wait > 0 else self._lease.wait_until_valid())
            if (waited := clock() - began) > 0:
                metrics.RATE_LIMIT_WAIT.labels(self._connector).inc(waited)
            sent = SentRequest()
            self._sent.append(sent)
        try:
            yield sent
        finally:
            sent.mark_answered(clock())

    def _next_send_time(self, now: float) -> float:
        """Return when the next request may be sent, or when to look again."""
        earliest = self._paused_until
        if self._sent:
            left = self._sent[-1].sent_at
            earliest = max(
                earliest, now + CHECK_INTERVAL_SECONDS if left is None else left + self._interval
            )
            if len(self._sent) == self._sent.maxlen:
                arrived = self._sent[0].arrived_by
                earliest = max(
                    earliest,
                    now + CHECK_INTERVAL_SECONDS if arrived is None else arrived + self._window,
                )
        return earliest


@dataclass(slots=True)
class SentRequest:
    """A request: when it left, and when it has arrived at the latest, once that is known. A busy process sends late."""

    sent_at: float | None = None
    arrived_by: float | None = None

    def mark_sent(self, now: float) -> None:
        """Note that its last byte was handed to the network."""
        self.sent_at, self.arrived_by = now, now + MAX_TRANSIT_SECONDS

    def mark_answered(self, now: float) -> None:
        """Note that there is a reply, or that there will be none."""
        self.sent_at = now if self.sent_at is None else self.sent_at
        self.arrived_by = now if self.arrived_by is None else min(self.arrived_by, now)
