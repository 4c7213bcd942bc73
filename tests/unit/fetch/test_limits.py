"""Measure the request rate at the registry under network delays, takeovers and frozen workers."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from datetime import UTC, datetime

import pytest

from gateway.errors import RetryLater
from gateway.fetch.http import rate_limiter
from gateway.fetch.http.auth import OAuth2
from gateway.fetch.http.lease import Lease, UnlimitedLease
from gateway.fetch.http.rate_limiter import MAX_TRANSIT_SECONDS, RateLimiter
from gateway.fetch.registry_client import (
    Connection,
    RegistryLimits,
    RegistryRequest,
    Transport,
    origin,
)
from tests.support.raw_http_server import ReceivedRequest, Server, reply


def budget(**limits: object) -> RateLimiter:
    return RateLimiter("test", now=lambda: datetime.now(UTC), **limits)


def busiest(arrivals: list[float], window: float) -> int:
    """The most arrivals in any half-open window."""
    arrivals = sorted(arrivals)
    return max(sum(first <= one < first + window for one in arrivals) for first in arrivals)


async def ask(limit: RateLimiter, arrivals: list[float], delay: float, reply: float) -> None:
    async with limit.concurrency_slot(), limit.request_slot() as turn:
        if delay:
            await asyncio.sleep(delay / 2)
        turn.mark_sent(asyncio.get_running_loop().time())
        await asyncio.sleep(delay / 2)
        arrivals.append(asyncio.get_running_loop().time())
        await asyncio.sleep(reply)


@pytest.mark.parametrize(("rate", "concurrency"), [(40.0, 1), (40.0, 6), (25.5, 3)])
def test_rate_limit_holds_at_the_registry(rate: float, concurrency: int):
    dice = random.Random(7)
    arrivals: list[float] = []

    async def main() -> None:
        limit = budget(rate=rate, concurrency=concurrency)
        await asyncio.gather(
            *(ask(limit, arrivals, dice.uniform(0, 0.06), dice.uniform(0, 0.02)) for _ in range(60))
        )

    asyncio.run(main())
    assert len(arrivals) == 60
    assert busiest(arrivals, int(rate) / rate) <= int(rate)


def test_rate_limit_is_fully_used():
    arrivals: list[float] = []

    async def main() -> float:
        limit = budget(rate=50.0, concurrency=2)
        started = time.monotonic()
        await asyncio.gather(*(ask(limit, arrivals, 0, 0.005) for _ in range(100)))
        return time.monotonic() - started

    assert asyncio.run(main()) < 3 * 2.0


def test_slow_reply_does_not_block_the_next_request():
    async def main() -> float:
        limit = budget(rate=1.0, concurrency=2)
        async with limit.request_slot() as turn:
            turn.mark_sent(asyncio.get_running_loop().time())
            started = time.monotonic()
            async with limit.request_slot():
                return time.monotonic() - started

    assert MAX_TRANSIT_SECONDS + 0.9 < asyncio.run(main()) < MAX_TRANSIT_SECONDS + 10


def test_pause_applies_to_waiting_requests():
    async def main() -> float:
        limit = budget(rate=10.0, concurrency=2)
        async with limit.request_slot():
            pass
        started = time.monotonic()
        waiting = asyncio.create_task(ask(limit, [], 0, 0))
        await asyncio.sleep(0.02)
        limit.pause_for(0.5)
        await waiting
        return time.monotonic() - started

    assert asyncio.run(main()) >= 0.5


def test_new_owner_waits_one_rate_window():
    async def main() -> float:
        limit = budget(rate=4.0)
        limit.set_lease(UnlimitedLease())
        started = time.monotonic()
        async with limit.request_slot():
            return time.monotonic() - started

    assert 0.95 < asyncio.run(main()) < 5


def test_quiet_hours_raise_retry_later():
    from zoneinfo import ZoneInfo

    from gateway.fetch.http.rate_limiter import QuietHours

    async def main() -> None:
        midnight = datetime(2026, 1, 1).time()
        limit = budget(quiet=QuietHours(midnight, midnight, ZoneInfo("UTC")))
        async with limit.concurrency_slot():
            pass

    with pytest.raises(RetryLater) as raised:
        asyncio.run(main())
    assert raised.value.reason == "QUIET_HOURS"


def test_lease_counts_from_the_sent_heartbeat():
    tenure = Lease(1)
    assert not tenure.is_valid
    tenure.resume()
    assert not tenure.is_valid, "given out, but nobody has heard from us since"
    tenure.renew(time.monotonic() - 0.9)
    assert not tenure.is_valid, "sent before the connectors were given out"
    tenure.renew(time.monotonic())
    assert tenure.is_valid
    time.sleep(1.01)
    assert not tenure.is_valid, (
        "an answer that is processed late does not count from when it is processed"
    )
    tenure.renew(time.monotonic())
    tenure.suspend()
    assert not tenure.is_valid
    tenure.renew(time.monotonic())
    assert not tenure.is_valid, "heartbeats of a group that is giving out connectors anew"
    tenure.resume(tenure.assignment_number - 1)
    tenure.renew(time.monotonic())
    assert not tenure.is_valid, "what was given out before is over"


def test_requests_wait_for_the_lease():
    async def main() -> tuple[int, int]:
        tenure, arrivals = Lease(60), list[float]()
        limit = budget(rate=100.0)
        limit.set_lease(tenure)
        asking = asyncio.create_task(ask(limit, arrivals, 0, 0))
        await asyncio.sleep(0.3)
        before = len(arrivals)
        tenure.resume()
        tenure.renew(time.monotonic())
        await asyncio.wait_for(asking, 30)
        return before, len(arrivals)

    assert asyncio.run(main()) == (0, 1)


def served(
    rate: float, calls: int, *, concurrency: int = 1, hold: float = 0.0, auth: bool = False
) -> list[float]:
    """Send ``calls`` through a real connection; return when each request was read on the other side."""
    arrivals: list[float] = []

    async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        arrivals.append(asyncio.get_running_loop().time())
        await asyncio.sleep(hold)
        body = b'{"access_token": "a", "expires_in": 1}' if asked.target == "/token" else b"{}"
        reply(writer, body)

    async def main() -> None:
        async with Server(answer) as server:
            line = (
                Connection(OAuth2(server.url + "/token", lambda: "id", lambda: "secret"))
                if auth
                else Connection()
            )
            allowance = RegistryLimits(rate=rate, concurrency=concurrency, attempts=1)
            async with Transport("test", allowance, line, {origin(server.url)}) as client:
                await asyncio.gather(
                    *(
                        client.send(RegistryRequest("GET", server.url + "/", label="GET /"))
                        for _ in range(calls)
                    )
                )

    asyncio.run(main())
    return arrivals


def test_token_request_counts_against_the_rate():
    arrivals = served(4.0, 3, auth=True)
    assert len(arrivals) > 4, "three calls and some tokens"
    assert all(second - first > 0.1 for first, second in itertools.pairwise(arrivals)), (
        "evenly, not at once"
    )
    assert busiest(arrivals, 1.0) <= 4


def test_slow_registry_is_polled_at_its_rate(monkeypatch: pytest.MonkeyPatch):
    """With two places, the second request leaves while the first is being answered."""
    monkeypatch.setattr(rate_limiter, "MAX_TRANSIT_SECONDS", 0.5)
    arrivals = served(1.0, 2, concurrency=2, hold=4.0)
    assert 1.4 < arrivals[1] - arrivals[0] < 3.9
