"""Check since when a stream does not run, across restarts and takeovers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.errors import Unavailable
from gateway.messages.status import StreamStateName, StreamStatus
from gateway.worker.state_times import StateTimes

NAME = ("aa", "awards")


def status(state: StreamStateName, since: float | None) -> StreamStatus:
    return StreamStatus(
        connector="aa",
        stream="awards",
        worker="w",
        at=0,
        state=state,
        reason="",
        every=60,
        read_up_to=None,
        last_success=None,
        config_digest="",
        backfill=None,
        since=since,
    )


def loaded(*statuses: StreamStatus) -> StateTimes:
    async def read() -> tuple[Sequence[StreamStatus], object]:
        return statuses, ()

    times = StateTimes(read)
    asyncio.run(times.load_earlier({NAME}))
    return times


def test_the_time_of_the_first_failure_stays_until_the_stream_runs():
    times = StateTimes()
    assert times.since(NAME, "retrying", 10) == 10
    assert times.since(NAME, "halted", 20) == 10
    assert times.since(NAME, "running", 30) is None
    assert times.since(NAME, "halted", 40) == 40


def test_a_success_between_two_reports_ends_the_time():
    times = StateTimes()
    assert times.since(NAME, "halted", 10) == 10
    assert times.since(NAME, "halted", 30, last_success=20) == 30
    assert times.since(NAME, "halted", 40, last_success=20) == 30


def test_a_restart_continues_the_time():
    times = loaded(status("halted", 5.0))
    assert times.since(NAME, "starting", 10) == 5
    assert times.since(NAME, "halted", 20) == 5


def test_a_stream_that_ran_before_the_restart_begins_anew():
    assert loaded(status("running", None)).since(NAME, "halted", 20) == 20


def test_a_kafka_that_does_not_answer_does_not_stop_the_report():
    async def read() -> tuple[Sequence[StreamStatus], object]:
        raise Unavailable("no broker")

    times = StateTimes(read)
    asyncio.run(times.load_earlier({NAME}))
    assert times.since(NAME, "halted", 7) == 7


def test_the_topic_is_read_once_for_the_streams_of_a_worker():
    reads = []

    async def read() -> tuple[Sequence[StreamStatus], object]:
        reads.append(1)
        return (), ()

    async def run() -> None:
        times = StateTimes(read)
        for _ in range(3):
            await times.load_earlier({NAME})

    asyncio.run(run())
    assert len(reads) == 1
