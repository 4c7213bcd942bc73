"""What a worker says of itself every few seconds, on ``gateway.status.v1``: the state of its streams, and what it has counted.

It is made from the metrics registry and the pollers, so it never disagrees with ``/metrics``; it holds codes and numbers alone.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from gateway.kafka.background_writer import Teller
from gateway.messages.cloudevents import iso
from gateway.messages.status import Backfilling, State, StreamStatus, WorkerStatus, gone, outgoing
from gateway.observability import blocked_commits, metrics
from gateway.observability.status_page import Readings
from gateway.operations.backfill import Progress
from gateway.pipeline.loaded_config import Fleet
from gateway.worker.push_streams import Intake
from gateway.worker.stream_poller import StreamPoller

REPORT_SECONDS = 5.0


@dataclass(slots=True)
class Reporter:
    """Reports one worker. :meth:`run` reports until cancelled; then it says that the worker has ended."""

    worker: str
    roles: tuple[str, ...]
    fleet: Callable[[], Fleet]
    streams: Callable[[], Iterable[StreamPoller | Intake]]
    teller: Teller
    started: float = field(default_factory=time.time)

    async def run(self) -> None:
        """Say how everything is, every few seconds."""
        try:
            while True:
                for status in self.statuses():
                    self.teller.say(outgoing(status))
                await asyncio.sleep(REPORT_SECONDS)
        finally:
            self.teller.say(gone(self.worker))

    def statuses(self) -> Iterator[StreamStatus | WorkerStatus]:
        """Give the state of each stream that is polled here, and of the worker."""
        now = time.time()
        readings = Readings(metrics.REGISTRY)
        read_up_to = readings.by("gateway_cursor_timestamp_seconds", "connector", "stream")
        success = readings.by("gateway_last_success_timestamp_seconds", "connector", "stream")
        for one in self.streams():
            name = (one.connector.connector, one.stream)
            state, reason = state_of(one)
            yield StreamStatus(
                connector=name[0],
                stream=name[1],
                worker=self.worker,
                at=now,
                state=state,
                reason=reason,
                every=one.connector.streams[one.stream].every.total_seconds(),
                read_up_to=read_up_to.get(name),
                last_success=success.get(name),
                config_digest=one.connector.digest,
                backfill=told(one.backfill),
            )
        yield WorkerStatus(
            worker=self.worker,
            at=now,
            started=self.started,
            roles=self.roles,
            last_commit={role: when for (role,), when in readings.by("gateway_last_commit_timestamp_seconds", "role").items()},
            waiting=int(sum(readings.by("gateway_consumer_lag_records").values())),
            counts=counts(readings),
            tables_digest=self.fleet().tables.digest,
            connectors=tuple(sorted(self.fleet().connectors)),
            blocked={role: why for role in self.roles if (why := blocked_commits.why(role))},
        )


def state_of(one: StreamPoller | Intake) -> tuple[State, str]:
    """Return how a stream is and why, the first that applies."""
    backfill = one.backfill
    possible: tuple[tuple[object, State, str], ...] = (
        (one.asked.paused, "paused", one.asked.pause_reason),
        (one.failed == "halt", "halted", one.problem),
        (one.problem, "retrying", one.problem),
        (not one.ended_well, "starting", ""),
        (backfill and backfill.state == "running", "backfilling", ""),
        (one.connector.push, "receiving", ""),
    )
    return next(((state, reason) for applies, state, reason in possible if applies), ("running", ""))


def told(progress: Progress | None) -> Backfilling | None:
    """Return how far a backfill is, in the words of the status."""
    if progress is None:
        return None
    return Backfilling(
        begin=iso(progress.begin),
        end=iso(progress.end),
        state=progress.state,
        ratio=round(progress.ratio, 4),
        received=progress.received,
        written=progress.written,
    )


def counts(readings: Readings) -> dict[str, dict[str, int]]:
    """Return what was received and how it ended, by ``connector|stream``."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for (connector, stream), number in readings.by("gateway_records_received_total", "connector", "stream").items():
        found[f"{connector}|{stream}"]["received"] = int(number)
    for (connector, stream, outcome), number in readings.by("gateway_records_total", "connector", "stream", "outcome").items():
        found[f"{connector}|{stream}"][outcome] = int(number)
    return dict(found)
