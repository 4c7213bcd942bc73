"""Keep one connector's streams polled: at their interval, on command, and again after a failure."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from gateway.errors import Denied, Fenced, GatewayError, IntegrityStop, RetryLater, StreamHalted
from gateway.harmonise.data_subjects import DataSubjectFinder
from gateway.kafka.connection import was_cancelled_by_library
from gateway.messages import commands
from gateway.observability import metrics, tracing
from gateway.operations import backfill
from gateway.operations.notifier import FailureStreak, Notifier
from gateway.operations.stream_requests import StreamRequests
from gateway.pipeline.poll import poll_once
from gateway.pipeline.rejection_guard import RejectionGuard
from gateway.pipeline.stream_state import StreamState
from gateway.pseudonym_keys import SUPPRESSION_AUDIENCE, load_keys

if TYPE_CHECKING:
    from gateway.config.connector import Connector
    from gateway.fetch.registry_client import RegistryClient
    from gateway.pipeline.record_processor import RecordProcessor
    from gateway.settings import Settings

log = structlog.get_logger()

FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 300.0
HALTED_RETRY_SECONDS = 60.0
"""A stream that needs a person is still tried, slowly: the registry may have been mended meanwhile."""


class StreamPoller:
    """One stream of one connector. :meth:`run` returns only when cancelled."""

    def __init__(
        self,
        settings: Settings,
        connector: Connector,
        stream: str,
        client: RegistryClient,
        processor: RecordProcessor,
        traffic: backfill.LivePollGate | None = None,
        herald: Notifier | None = None,
    ) -> None:
        self.connector = connector
        self.stream = stream
        self.last_error = ""
        """Why the last poll failed, in one line; empty when it ended well."""
        self.last_failure_kind = ""
        """How the last poll failed: retry, halt, fenced; empty when it ended well."""
        self.has_succeeded = False
        """Whether a poll has ended well since this worker took the stream."""
        self._failure_streak = FailureStreak(herald, connector, stream) if herald else None
        self._live_poll_gate = traffic or backfill.LivePollGate()
        self._write_lock = asyncio.Lock()
        """Held by whoever writes records of the stream: a poll, or a backfill that has a page in hand."""
        self._backfill_task: asyncio.Task[None] | None = None
        self._client = client
        self.processor = processor
        self._ledger = StreamState(
            settings,
            connector.connector,
            stream,
            DataSubjectFinder(connector, load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)),
        )
        self.requests = StreamRequests(settings, connector, self._ledger, herald)
        self._stop_after = settings.stop_after_rejected
        self._wake_event = asyncio.Event()
        self._failures = 0

    @property
    def backfill(self) -> backfill.BackfillProgress | None:
        """Where the last backfill stands."""
        return backfill.current_progress(self._ledger)

    async def handle_command(self, command: commands.Command) -> str:
        """Carry out a command, or write down that it is to be; durable when this returns. Returns why it cannot be, in one line.

        Raises what a write to Kafka raises: then nothing was done, and the command may be told again.
        """
        refused = ""
        match command:
            case commands.Backfill():
                refused = backfill.unsupported_reason(self.connector, self.stream)
                refused = refused or await backfill.start_backfill(
                    self._ledger, command.id, command.begin, command.end
                )
            case commands.CancelBackfill():
                await self._stop_backfill()
                if ended := await backfill.cancel_backfill(self._ledger):
                    self.requests.notify(
                        "backfill_cancelled",
                        text=f"{ended.received} records received, {ended.written} written; they stay",
                    )
            case _:
                await self.requests.store(command)
        self._wake_event.set()
        return refused

    def _should_continue(self) -> bool:
        return not self.requests.paused

    async def run(self) -> None:
        """Poll for ever; close the producer on the way out."""
        interval_seconds = self.connector.streams[self.stream].every.total_seconds()
        metrics.POLL_INTERVAL.labels(self.connector.connector, self.stream).set(interval_seconds)
        try:
            while True:
                self._wake_event.clear()  # before the poll: a command that arrives during it is acted on right after it
                delay = await self._poll_guarded(interval_seconds)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake_event.wait(), delay)
        finally:
            await self._stop_backfill()
            await self._ledger.close()

    async def _poll_guarded(self, interval_seconds: float) -> float:
        """Poll; a library that drops what this task waits for does not end the stream."""
        try:
            return await self.poll(interval_seconds)
        except asyncio.CancelledError:
            if not was_cancelled_by_library():
                raise
            return self._record_failure(
                "retry",
                "kafka",
                "a connection went while something was waited for",
                self._backoff(None),
            )

    async def poll(self, interval_seconds: float) -> float:
        """Do what was asked of the stream, poll once unless it is paused, and return the seconds to wait before the next time."""
        name = self.connector.connector
        started = time.monotonic()
        with (
            structlog.contextvars.bound_contextvars(connector=name, stream=self.stream),
            tracing.poll_span(name, self.stream),
        ):
            try:
                await self._client.wait_for_lease()
                await self._ledger.open()
                self._ensure_backfill_running()
                async with self._write_lock:
                    await self.requests.run_pending(self.processor)
                    if self.requests.paused:
                        return interval_seconds
                    with self._live_poll_gate.live_poll():
                        watch = RejectionGuard(self.processor.preview, self._stop_after)
                        now = datetime.now(UTC)
                        tally = await poll_once(
                            self.connector,
                            self.stream,
                            self._client,
                            self._ledger,
                            now,
                            self._should_continue,
                            rejection_guard=watch,
                        )
            except RetryLater as error:
                return self._record_failure(
                    "retry", error.reason, str(error), self._backoff(error.retry_after)
                )
            except StreamHalted as error:
                return self._record_failure(
                    "halt", error.reason, str(error), max(interval_seconds, HALTED_RETRY_SECONDS)
                )
            except Fenced as error:
                return self._record_failure("fenced", "fenced", str(error), self._backoff(None))
            except Denied as error:
                return self._record_failure(
                    "halt", "denied", str(error), max(interval_seconds, HALTED_RETRY_SECONDS)
                )
            except IntegrityStop as error:
                return self._record_failure(
                    "halt", "integrity", str(error), max(interval_seconds, HALTED_RETRY_SECONDS)
                )
            except Exception as error:  # noqa: BLE001 - one stream's defect must not end the others; the type says where to look
                return self._record_failure(
                    "halt",
                    "unexpected",
                    type(error).__name__,
                    max(interval_seconds, HALTED_RETRY_SECONDS),
                )
            finally:
                metrics.POLL_DURATION.labels(name, self.stream).observe(time.monotonic() - started)
            self._failures = 0
            self.last_error = self.last_failure_kind = ""
            self.has_succeeded = True
            if self._failure_streak:
                self._failure_streak.poll_succeeded()
            metrics.POLLS.labels(name, self.stream, "ok").inc()
            if tally.received:
                log.info(
                    "polled",
                    received=tally.received,
                    written=tally.written,
                    unchanged=tally.unchanged,
                    pages=tally.pages,
                )
            return interval_seconds

    def _ensure_backfill_running(self) -> None:
        """Start what is to run beside the polls and does not."""
        progress = self.backfill
        if (
            progress
            and progress.state == "running"
            and (self._backfill_task is None or self._backfill_task.done())
        ):
            self._backfill_task = asyncio.create_task(
                self._backfill(), name=f"backfill {self.connector.connector} {self.stream}"
            )

    async def _stop_backfill(self) -> None:
        task, self._backfill_task = self._backfill_task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _backfill(self) -> None:
        """Backfill until it is done or cancelled; a failure is a matter of the backfill alone, and it is tried again."""
        delay = FIRST_RETRY_SECONDS
        with structlog.contextvars.bound_contextvars(
            connector=self.connector.connector, stream=self.stream
        ):
            while True:
                before = self.backfill
                try:
                    if self.requests.paused:
                        delay = FIRST_RETRY_SECONDS
                    else:
                        progress = await backfill.run_backfill(
                            self.connector,
                            self.stream,
                            self._client,
                            self._ledger,
                            self._live_poll_gate,
                            self._write_lock,
                            self._should_continue,
                        )
                        if progress is None or progress.state != "running":
                            if progress:
                                log.info(
                                    "backfill ended",
                                    state=progress.state,
                                    received=progress.received,
                                    written=progress.written,
                                )
                                self.requests.notify(
                                    "backfill_done",
                                    text=f"{progress.received} records received, {progress.written} written",
                                )
                            return
                except (GatewayError, OSError) as error:
                    delay = (
                        FIRST_RETRY_SECONDS
                        if self.backfill != before
                        else min(MAX_RETRY_SECONDS, delay * 2)
                    )
                    log.warning(
                        "backfill waits", error=str(error), next_try_seconds=round(delay, 1)
                    )
                except Exception as error:  # noqa: BLE001 - as for a poll: the type says where to look
                    delay = MAX_RETRY_SECONDS
                    log.error("backfill failed", error=type(error).__name__, next_try_seconds=delay)  # noqa: TRY400 - a traceback may quote a payload
                await asyncio.sleep(delay)

    def _record_failure(self, outcome: str, reason: str, text: str, delay: float) -> float:
        self.last_error, self.last_failure_kind = text, outcome
        if self._failure_streak:
            self._failure_streak.poll_failed(outcome, reason, text)
        metrics.POLLS.labels(self.connector.connector, self.stream, outcome).inc()
        log.warning(
            "poll failed",
            outcome=outcome,
            reason=reason,
            error=text,
            next_try_seconds=round(delay, 1),
        )
        return delay

    def _backoff(self, after: float | None) -> float:
        self._failures += 1
        delay: float = min(
            MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(self._failures - 1, 10)
        )
        return max(delay * random.uniform(0.5, 1.0), after or 0.0)  # noqa: S311 - jitter, not a secret
