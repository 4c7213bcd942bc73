"""Limit the rate, the concurrency and the hours of requests to one registry."""

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
"""The limiter assumes that a request has arrived this long after its last byte was sent."""
CHECK_INTERVAL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class QuietHours:
    """The hours in which a registry must not receive requests.

    They may extend over midnight. The whole day is quiet when ``start`` equals ``end``.
    """

    start: time
    end: time
    zone: ZoneInfo

    def seconds_until_open(self, now: datetime) -> float:
        """Return the seconds until requests are allowed, or 0 when they are allowed now."""
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
    """A rate limiter for one registry, shared by all its streams.

    It allows ``rate`` requests per second, ``concurrency`` requests at a time, and none in
    quiet hours. The registry never observes a higher rate, even when the network delays requests.

    Requests are spread evenly. After ``rate`` requests, the next one waits until a whole second has
    passed since the first of them *arrived*. The exact time of arrival is unknown. A request
    arrived before its reply at the latest. The limiter also assumes that a request arrives within
    :data:`MAX_TRANSIT_SECONDS` of its last byte. A slow reply therefore delays no other requests.
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

    def set_lease(self, lease: Lease) -> None:
        """Send requests only while ``lease`` is valid.

        Wait for one window of the rate first, because another process may have sent requests.
        """
        self._lease = lease
        self.pause_for(self._window)

    def pause_for(self, seconds: float) -> None:
        """Send no request for ``seconds``, for example because of ``Retry-After``."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)

    async def wait_for_lease(self) -> None:
        """Wait until the lease is valid."""
        await self._lease.wait_until_valid()

    @asynccontextmanager
    async def concurrency_slot(self) -> AsyncIterator[None]:
        """Wait for one of the ``concurrency`` slots and hold it for the length of the block.

        Raise :class:`~gateway.errors.RetryLater` (``QUIET_HOURS``) in quiet hours.
        """
        if self._quiet and (closed := self._quiet.seconds_until_open(self._now())):
            raise RetryLater(
                "QUIET_HOURS",
                f"{self._connector}: the registry accepts no requests in its quiet hours; "
                "the gateway waits for their end",
                after=closed,
            )
        async with self._slots:
            yield

    @asynccontextmanager
    async def request_slot(self) -> AsyncIterator[SentRequest]:
        """Wait until one request may be sent.

        Inside the block, call :meth:`SentRequest.mark_sent` after the last byte was sent. Leave
        the block when the reply has arrived.
        """
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
        """Return the time at which the next request may be sent, or at which to check again."""
        earliest = self._paused_until
        if self._sent:
            sent_at = self._sent[-1].sent_at
            earliest = max(
                earliest,
                now + CHECK_INTERVAL_SECONDS if sent_at is None else sent_at + self._interval,
            )
            if len(self._sent) == self._sent.maxlen:
                arrived_by = self._sent[0].arrived_by
                earliest = max(
                    earliest,
                    now + CHECK_INTERVAL_SECONDS
                    if arrived_by is None
                    else arrived_by + self._window,
                )
        return earliest


@dataclass(slots=True)
class SentRequest:
    """The times of one request, in seconds of the event loop.

    ``sent_at`` is the time at which its last byte was sent, and ``arrived_by`` the latest time of
    its arrival. Both are ``None`` until they are known, because a busy process may send late.
    """

    sent_at: float | None = None
    arrived_by: float | None = None

    def mark_sent(self, now: float) -> None:
        """Record that the network accepted the last byte of the request."""
        self.sent_at, self.arrived_by = now, now + MAX_TRANSIT_SECONDS

    def mark_answered(self, now: float) -> None:
        """Record that the reply has arrived, or that the request failed."""
        self.sent_at = now if self.sent_at is None else self.sent_at
        self.arrived_by = now if self.arrived_by is None else min(self.arrived_by, now)
