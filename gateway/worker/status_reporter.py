"""What a worker says of itself every few seconds, on ``gateway.status.v1``: the state of its streams, and what it has counted.

It is made from the metrics registry and the pollers, so it never disagrees with ``/metrics``; it holds codes and numbers alone.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from gateway.kafka.background_writer import BackgroundWriter
from gateway.messages.cloudevents import to_rfc3339
from gateway.messages.status import (
    BackfillStatus,
    StreamStateName,
    StreamStatus,
    WorkerStatus,
    encode_status,
    encode_worker_gone,
)
from gateway.observability import blocked_commits, metrics
from gateway.observability.status_page import MetricReadings
from gateway.operations.backfill import BackfillProgress
from gateway.pipeline.loaded_config import LoadedConfig
from gateway.worker.push_streams import PushStream
from gateway.worker.stream_poller import StreamPoller

REPORT_SECONDS = 5.0


@dataclass(slots=True)
class StatusReporter:
    """Reports one worker. :meth:`run` reports until cancelled; then it says that the worker has ended."""

    worker: str
    roles: tuple[str, ...]
    fleet: Callable[[], LoadedConfig]
    streams: Callable[[], Iterable[StreamPoller | PushStream]]
    writer: BackgroundWriter
    started: float = field(default_factory=time.time)

    async def run(self) -> None:
        """Say how everything is, every few seconds."""
        try:
            while True:
                for status in self.collect_statuses():
                    self.writer.enqueue(encode_status(status))
                await asyncio.sleep(REPORT_SECONDS)
        finally:
            self.writer.enqueue(encode_worker_gone(self.worker))

    def collect_statuses(self) -> Iterator[StreamStatus | WorkerStatus]:
        """Give the state of each stream that is polled here, and of the worker."""
        now = time.time()
        readings = MetricReadings(metrics.REGISTRY)
        read_up_to = readings.sum_by("gateway_cursor_timestamp_seconds", "connector", "stream")
        success = readings.sum_by("gateway_last_success_timestamp_seconds", "connector", "stream")
        for one in self.streams():
            name = (one.connector.connector, one.stream)
            state, reason = stream_state(one)
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
                backfill=backfill_status(one.backfill),
            )
        yield WorkerStatus(
            worker=self.worker,
            at=now,
            started=self.started,
            roles=self.roles,
            last_commit={
                role: when
                for (role,), when in readings.sum_by(
                    "gateway_last_commit_timestamp_seconds", "role"
                ).items()
            },
            waiting=int(sum(readings.sum_by("gateway_consumer_lag_records").values())),
            counts=record_counts(readings),
            tables_digest=self.fleet().tables.digest,
            connectors=tuple(sorted(self.fleet().connectors)),
            blocked={
                role: why for role in self.roles if (why := blocked_commits.blocked_reason(role))
            },
        )


def stream_state(one: StreamPoller | PushStream) -> tuple[StreamStateName, str]:
    """Return how a stream is and why, the first that applies."""
    backfill = one.backfill
    possible: tuple[tuple[object, StreamStateName, str], ...] = (
        (one.requests.paused, "paused", one.requests.pause_reason),
        (one.last_failure_kind == "halt", "halted", one.last_error),
        (one.last_error, "retrying", one.last_error),
        (not one.has_succeeded, "starting", ""),
        (backfill and backfill.state == "running", "backfilling", ""),
        (one.connector.push, "receiving", ""),
    )
    return next(
        ((state, reason) for applies, state, reason in possible if applies), ("running", "")
    )


def backfill_status(progress: BackfillProgress | None) -> BackfillStatus | None:
    """Return how far a backfill is, in the words of the status."""
    if progress is None:
        return None
    return BackfillStatus(
        begin=to_rfc3339(progress.begin),
        end=to_rfc3339(progress.end),
        state=progress.state,
        ratio=round(progress.ratio, 4),
        received=progress.received,
        written=progress.written,
    )


def record_counts(readings: MetricReadings) -> dict[str, dict[str, int]]:
    """Return what was received and how it ended, by ``connector|stream``."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for (connector, stream), number in readings.sum_by(
        "gateway_records_received_total", "connector", "stream"
    ).items():
        found[f"{connector}|{stream}"]["received"] = int(number)
    for (connector, stream, outcome), number in readings.sum_by(
        "gateway_records_total", "connector", "stream", "outcome"
    ).items():
        found[f"{connector}|{stream}"][outcome] = int(number)
    return dict(found)
