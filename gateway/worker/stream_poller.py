"""Keep one stream polled: at its interval, on command, and again after a failure."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from gateway.errors import Denied, Fenced, GatewayError, IntegrityStop, RetryLater, StreamHalted
from gateway.fetch.reply_shape import ShapeDifference
from gateway.kafka.connection import was_cancelled_by_library
from gateway.messages import commands
from gateway.messages.status import FAILED, skipped_values_text
from gateway.observability import metrics, tracing
from gateway.operations import backfill
from gateway.operations.notifier import FailureStreak, Notifier
from gateway.operations.stream_requests import StreamRequests
from gateway.pipeline.page_writer import PollResult
from gateway.pipeline.poll import PollContext, poll_once
from gateway.pipeline.rejection_guard import RejectionGuard

if TYPE_CHECKING:
    from gateway.pipeline.record_processor import RecordProcessor
    from gateway.settings import Settings

log = structlog.get_logger()

FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 300.0
HALTED_RETRY_SECONDS = 60.0
"""A stream that needs a person is still polled at this interval, because the registry may recover
without one."""


class StreamPoller:
    """The poll loop of one stream. :meth:`run` returns only when cancelled."""

    def __init__(
        self,
        settings: Settings,
        context: PollContext,
        processor: RecordProcessor,
        live_poll_gate: backfill.LivePollGate | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self.connector = context.connector
        self.stream = context.stream
        self.last_error = ""
        """The reason why the last poll failed, in one line; empty if it succeeded."""
        self.last_failure_kind = ""
        """The kind of the last failure: retry, halt or fenced; empty if the last poll succeeded."""
        self.last_reason = ""
        """The reason code of the last failure; empty if the last poll succeeded."""
        self.last_cause = ""
        """The reason code of the failure because of which no request was sent, if there is one."""
        self.reply_difference: ShapeDifference | None = None
        """How the last reply differs from good ones; ``None`` if it is good or was not compared."""
        self.has_succeeded = False
        """Whether a poll has succeeded since this worker acquired the stream."""
        self.skipped_values: dict[str, int] = {}
        self.skipped_records: dict[str, int] = {}
        """The number of loop values that the last successful poll skipped, by reason."""
        self.loop_values = 0
        """The number of loop values in the last successful poll."""
        self.empty_loop = ""
        """The name of a loop without any value in the last successful poll."""
        self._notifier = notifier
        self._failure_streak = (
            FailureStreak(notifier, self.connector, self.stream) if notifier else None
        )
        self._live_poll_gate = live_poll_gate or backfill.LivePollGate()
        self._write_lock = asyncio.Lock()
        """Held while a poll or a page of a backfill writes records of the stream."""
        self._backfill_task: asyncio.Task[None] | None = None
        self.processor = processor
        self._context = context
        self._stream_state = context.stream_state
        self.requests = StreamRequests(settings, self.connector, self._stream_state, notifier)
        self._stop_after = settings.stop_after_rejected
        self._wake_event = asyncio.Event()
        self._failures = 0
        self._awaited_polls: list[str] = []
        """The ids of the commands that wait for the next poll."""
        self._last_counts = ""

    @property
    def backfill(self) -> backfill.BackfillProgress | None:
        """The progress of the last backfill; ``None`` if there was none."""
        return backfill.current_progress(self._stream_state)

    async def handle_command(self, command: commands.Command) -> str:
        """Carry out or store a command; return why it was refused, in one line.

        The result is durable when this function returns. Raises the errors of a write to Kafka. In
        that case nothing was done, and the command may be repeated.
        """
        refused = ""
        match command:
            case commands.Backfill():
                refused = backfill.unsupported_reason(self.connector, self.stream)
                refused = refused or await backfill.start_backfill(
                    self._stream_state, command.id, command.begin, command.end
                )
            case commands.CancelBackfill():
                await self._stop_backfill()
                ended = await backfill.cancel_backfill(self._stream_state)
                self.requests.end_commands(
                    [command.id], "cancelled" if ended else "no backfill was running"
                )
                if ended:
                    self.requests.end_commands([ended.id], "cancelled", FAILED)
                    self.requests.notify(
                        "backfill_cancelled",
                        text=f"{ended.received} records received, {ended.written} written; "
                        "the written records stay",
                    )
            case commands.Poll():
                self._context.client.allow_probes()
                # After a failure, the next try follows soon, as after a first failure.
                self._failures = 0
                self._awaited_polls.append(command.id)
            case _:
                await self.requests.store(command)
        self._wake_event.set()
        return refused

    def _should_continue(self) -> bool:
        return not self.requests.paused

    async def run(self) -> None:
        """Poll until cancelled. Close the producer at the end."""
        interval_seconds = self.connector.streams[self.stream].every.total_seconds()
        metrics.POLL_INTERVAL.labels(self.connector.connector, self.stream).set(interval_seconds)
        try:
            while True:
                # Before the poll, so that a command during the poll takes effect right after it.
                self._wake_event.clear()
                awaited, self._awaited_polls = self._awaited_polls, []
                delay = await self._poll_guarded(interval_seconds)
                if awaited and self.last_reason == "BREAKER_OPEN":
                    # Another stream probes the registry, and this one may poll right after it.
                    await self._context.client.breakers.wait_for_probes()
                    delay = await self._poll_guarded(interval_seconds)
                self._end_polls(awaited)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake_event.wait(), delay)
        finally:
            await self._stop_backfill()
            await self._stream_state.close()

    def _end_polls(self, command_ids: list[str]) -> None:
        """Report the result of the last poll to the commands that asked for it."""
        if self.requests.paused:
            text = (
                "the stream is paused; continue with "
                f"`gateway resume {self.connector.connector} {self.stream}`"
            )
            self.requests.end_commands(command_ids, text, FAILED)
        elif not self.last_error:
            self.requests.end_commands(command_ids, self._last_counts)
        else:
            self.requests.end_commands(command_ids, self.last_error, FAILED)

    async def _poll_guarded(self, interval_seconds: float) -> float:
        """Poll, and treat a cancellation by a library as a failure that is retried."""
        try:
            return await self.poll(interval_seconds)
        except asyncio.CancelledError:
            if not was_cancelled_by_library():
                raise
            return self._record_failure(
                "retry",
                "kafka",
                "a connection to Kafka was lost during a wait",
                self._backoff(None),
            )

    async def poll(self, interval_seconds: float) -> float:
        """Carry out pending requests, poll once unless paused, and return the seconds to wait.

        Never raises an error of a poll: the failure is recorded, and the wait becomes longer.
        """
        name = self.connector.connector
        started = time.monotonic()
        with (
            structlog.contextvars.bound_contextvars(connector=name, stream=self.stream),
            tracing.poll_span(name, self.stream),
        ):
            try:
                await self._context.client.wait_for_lease()
                await self._stream_state.open()
                self._ensure_backfill_running()
                async with self._write_lock:
                    await self.requests.run_pending(self.processor)
                    self.requests.set_pause_metrics()
                    if self.requests.paused:
                        return interval_seconds
                    with self._live_poll_gate.live_poll():
                        rejection_guard = RejectionGuard(self.processor.preview, self._stop_after)
                        now = datetime.now(UTC)
                        result = await poll_once(
                            self._context,
                            now,
                            self._should_continue,
                            rejection_guard=rejection_guard,
                        )
            except RetryLater as error:
                return self._record_failure(
                    "retry",
                    error.reason,
                    str(error),
                    self._backoff(error.retry_after),
                    cause=error.cause,
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
            # A defect in one stream must not end the others. Only its type is logged, because
            # its text may quote a payload.
            except Exception as error:  # noqa: BLE001
                return self._record_failure(
                    "halt",
                    "unexpected",
                    type(error).__name__,
                    max(interval_seconds, HALTED_RETRY_SECONDS),
                )
            finally:
                metrics.POLL_DURATION.labels(name, self.stream).observe(time.monotonic() - started)
            self._failures = 0
            self.last_error = self.last_failure_kind = self.last_reason = self.last_cause = ""
            self.reply_difference = self._stream_state.reply_changes.difference()
            self._last_counts = (
                f"{result.received:,} records received, {result.written:,} written, "
                f"{result.unchanged:,} unchanged"
            )
            self.has_succeeded = True
            if self._failure_streak:
                self._failure_streak.poll_succeeded()
            metrics.POLLS.labels(name, self.stream, "ok").inc()
            metrics.HALTED.labels(name, self.stream).set(0)
            self._record_skipped_values(result)
            self.skipped_records = dict(result.skipped_records)
            self.empty_loop = result.empty_loop
            if result.received:
                log.info(
                    "polled",
                    received=result.received,
                    written=result.written,
                    unchanged=result.unchanged,
                    pages=result.pages,
                )
            return interval_seconds

    def _ensure_backfill_running(self) -> None:
        """Start the task of a running backfill if there is none."""
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
        """Backfill until done or cancelled.

        A failure is retried and does not affect the polls.
        """
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
                            self._context,
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
                                text = (
                                    f"{progress.received} records received, "
                                    f"{progress.written} written"
                                )
                                self.requests.notify("backfill_done", text=text)
                                self.requests.end_commands([progress.id], text)
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
                # Only the type is logged, as for a poll: a traceback may quote a payload.
                except Exception as error:  # noqa: BLE001
                    delay = MAX_RETRY_SECONDS
                    log.error("backfill failed", error=type(error).__name__, next_try_seconds=delay)  # noqa: TRY400
                await asyncio.sleep(delay)

    def _record_skipped_values(self, result: PollResult) -> None:
        """Report the loop values that a poll skipped, and notify when the first one appears."""
        before, self.skipped_values = self.skipped_values, result.skipped
        self.loop_values = result.loop_values
        skipped_count = sum(result.skipped.values())
        if result.loop_values:
            metrics.LOOP_VALUES_SKIPPED.labels(self.connector.connector, self.stream).set(
                skipped_count
            )
        if result.skipped == before:
            return
        text = skipped_values_text(result.skipped, result.loop_values)
        if text:
            log.warning("loop values skipped", reason=text)
        else:
            log.info("no loop value is skipped any more")
        if text and not before and self._notifier:
            self._notifier.notify(
                "values_skipped",
                self.connector,
                self.stream,
                text=text,
                reason=max(result.skipped, key=lambda reason: result.skipped[reason]),
                owner=True,
            )

    def _record_failure(
        self, outcome: str, reason: str, text: str, delay: float, *, cause: str = ""
    ) -> float:
        self.last_error, self.last_failure_kind = text, outcome
        self.last_reason, self.last_cause = reason, cause
        self.reply_difference = self._stream_state.reply_changes.difference()
        if self._failure_streak:
            self._failure_streak.poll_failed(outcome, reason, text)
        metrics.POLLS.labels(self.connector.connector, self.stream, outcome).inc()
        if outcome == "halt":
            metrics.HALTED.labels(self.connector.connector, self.stream).set(1)
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
