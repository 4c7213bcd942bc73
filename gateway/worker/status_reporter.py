"""Report the state of this worker and its streams to ``gateway.status.v1`` every few seconds.

The report is built from the metrics registry and the pollers, so it never contradicts ``/metrics``.
It contains codes, names and numbers, and the error texts of streams.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gateway.kafka.background_writer import BackgroundWriter
from gateway.messages.cloudevents import to_rfc3339
from gateway.messages.status import (
    BackfillStatus,
    StreamStateName,
    StreamStatus,
    WorkerStatus,
    empty_loop_text,
    encode_status,
    encode_worker_gone,
)
from gateway.observability import blocked_commits, metrics
from gateway.observability.metric_readings import MetricReadings, Stream
from gateway.operations.backfill import BackfillProgress
from gateway.pipeline.loaded_config import LoadedConfig
from gateway.worker.push_streams import PushStream
from gateway.worker.state_times import StateTimes
from gateway.worker.stream_poller import StreamPoller

REPORT_SECONDS = 5.0


@dataclass(slots=True)
class StatusReporter:
    """The reporter of one worker.

    :meth:`run` reports until it is cancelled, and then reports that the worker has ended.
    """

    worker: str
    roles: tuple[str, ...]
    fleet: Callable[[], LoadedConfig]
    streams: Callable[[], Iterable[StreamPoller | PushStream]]
    start_errors: Callable[[], Mapping[str, str]]
    """Why connectors of this worker cannot start, by connector."""
    start_error_codes: Callable[[], Mapping[str, str]]
    not_loaded: Callable[[], dict[str, str]]
    """The connectors whose file is not valid, each with one finding."""
    writer: BackgroundWriter
    command_results: Callable[[], dict[str, dict[str, str]]] = dict
    started: float = field(default_factory=time.time)
    state_times: StateTimes = field(default_factory=StateTimes)
    latest: list[StreamStatus | WorkerStatus] = field(default_factory=list)
    """The last report."""

    async def run(self) -> None:
        """Report the state of all streams and of the worker every few seconds."""
        try:
            while True:
                await self.state_times.load_earlier(self._names())
                self.latest = list(self.collect_statuses())
                for status in self.latest:
                    self.writer.enqueue(encode_status(status))
                await asyncio.sleep(REPORT_SECONDS)
        finally:
            self.writer.enqueue(encode_worker_gone(self.worker))

    def collect_statuses(self) -> Iterator[StreamStatus | WorkerStatus]:
        """Yield the state of each stream of this worker, and then the state of the worker."""
        now = time.time()
        readings = MetricReadings(metrics.REGISTRY)
        read_up_to = readings.sum_by("gateway_cursor_timestamp_seconds", "connector", "stream")
        success = readings.sum_by("gateway_last_success_timestamp_seconds", "connector", "stream")
        paused = readings.sum_by("gateway_paused_since_timestamp_seconds", "connector", "stream")
        for stream in self.streams():
            name = (stream.connector.connector, stream.stream)
            state, reason = stream_state(stream)
            withheld, known = stream.requests.withheld_deletions
            since = self.state_times.since(name, state, now, success.get(name))
            difference = stream.reply_difference
            yield StreamStatus(
                connector=name[0],
                stream=name[1],
                worker=self.worker,
                at=now,
                state=state,
                reason=reason,
                every=stream.connector.streams[stream.stream].every.total_seconds(),
                read_up_to=read_up_to.get(name),
                last_success=success.get(name),
                config_digest=stream.connector.digest,
                backfill=backfill_status(stream.backfill),
                deletions_withheld=withheld,
                records_known=known,
                values_skipped=dict(stream.skipped_values),
                loop_values=stream.loop_values,
                records_skipped=dict(stream.skipped_records),
                code=stream.last_reason if reason == stream.last_error else "",
                cause=stream.last_cause,
                since=(paused.get(name) if state == "paused" else None) or since,
                replies_compared=difference is not None,
                fields_gone=difference.gone if difference else (),
                fields_new=difference.new if difference else (),
            )
        yield from self._streams_that_cannot_start(now)
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
            not_loaded=self.not_loaded(),
            commands=self.command_results(),
            blocked={
                role: reason
                for role in self.roles
                if (reason := blocked_commits.blocked_reason(role))
            },
        )

    def _names(self) -> set[Stream]:
        names = {(stream.connector.connector, stream.stream) for stream in self.streams()}
        connectors = self.fleet().connectors
        return names | {
            (name, stream)
            for name in self.start_errors()
            if name in connectors
            for stream in connectors[name].streams
        }

    def _streams_that_cannot_start(self, now: float) -> Iterator[StreamStatus]:
        """Yield a halted state for each stream whose connector cannot start."""
        for name, reason in self.start_errors().items():
            if (connector := self.fleet().connectors.get(name)) is None:
                continue
            for stream, rules in connector.streams.items():
                yield StreamStatus(
                    connector=name,
                    stream=stream,
                    worker=self.worker,
                    at=now,
                    state="halted",
                    reason=reason,
                    every=rules.every.total_seconds(),
                    read_up_to=None,
                    last_success=None,
                    config_digest=connector.digest,
                    backfill=None,
                    code=self.start_error_codes().get(name, ""),
                    since=self.state_times.since((name, stream), "halted", now),
                )


def stream_state(stream: StreamPoller | PushStream) -> tuple[StreamStateName, str]:
    """Return the state of a stream and its reason. The first state that applies is returned."""
    backfill = stream.backfill
    possible: tuple[tuple[object, StreamStateName, str], ...] = (
        (stream.requests.paused, "paused", stream.requests.pause_reason),
        (stream.last_failure_kind == "halt", "halted", stream.last_error),
        (stream.last_error, "retrying", stream.last_error),
        (not stream.has_succeeded, "starting", ""),
        (backfill and backfill.state == "running", "backfilling", ""),
        (stream.connector.push, "receiving", ""),
        (stream.empty_loop, "running", empty_loop_text(stream.empty_loop)),
    )
    return next(
        ((state, reason) for applies, state, reason in possible if applies), ("running", "")
    )


def backfill_status(progress: BackfillProgress | None) -> BackfillStatus | None:
    """Return the progress of a backfill in the form of the status topic."""
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
    """Return the counts of received records and their outcomes, by ``connector|stream``.

    Issues about change times are counted too, by code.
    """
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for (connector, stream), number in readings.sum_by(
        "gateway_records_received_total", "connector", "stream"
    ).items():
        counts[f"{connector}|{stream}"]["received"] = int(number)
    for (connector, stream, outcome), number in readings.sum_by(
        "gateway_records_total", "connector", "stream", "outcome"
    ).items():
        counts[f"{connector}|{stream}"][outcome] = int(number)
    for (connector, stream, code), number in readings.sum_by(
        "gateway_issues_total", "connector", "stream", "code"
    ).items():
        if code.startswith("changed_at_"):
            counts[f"{connector}|{stream}"][code] = int(number)
    return dict(counts)
