"""Keep one connector's streams polled: at their interval, on command, and again after a failure."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from gateway.errors import Denied, Fenced, GatewayError, Halt, IntegrityStop, RetryLater
from gateway.harmonise.data_subjects import Subjects
from gateway.kafka.connection import given_up
from gateway.messages import commands
from gateway.observability import metrics, tracing
from gateway.operations import backfill
from gateway.operations.notifier import Herald, Troubles
from gateway.operations.stream_requests import Asked
from gateway.pipeline.poll import poll_once
from gateway.pipeline.rejection_guard import Watch
from gateway.pipeline.stream_state import Ledger
from gateway.pseudonym_keys import SUPPRESSION, keys_of

if TYPE_CHECKING:
    from gateway.config.connector import Connector
    from gateway.fetch.registry_client import Client
    from gateway.pipeline.record_processor import Deliver
    from gateway.settings import Settings

log = structlog.get_logger()

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 300.0
HALTED_RETRY_SECONDS = 60.0
"""A stream that needs a person is still tried, slowly: the registry may have been mended meanwhile."""


class StreamPoller:
    """One stream of one connector. :meth:`run` returns only when cancelled."""

    def __init__(
        self,
        settings: Settings,
        connector: Connector,
        stream: str,
        client: Client,
        deliver: Deliver,
        traffic: backfill.Traffic | None = None,
        herald: Herald | None = None,
    ) -> None:
        self.connector = connector
        self.stream = stream
        self.problem = ""
        """Why the last poll failed, in one line; empty when it ended well."""
        self.failed = ""
        """How the last poll failed: retry, halt, fenced; empty when it ended well."""
        self.ended_well = False
        """Whether a poll has ended well since this worker took the stream."""
        self._troubles = Troubles(herald, connector, stream) if herald else None
        self._traffic = traffic or backfill.Traffic()
        self._turn = asyncio.Lock()
        """Held by whoever writes records of the stream: a poll, or a backfill that has a page in hand."""
        self._backfilling: asyncio.Task[None] | None = None
        self._client = client
        self.deliver = deliver
        self._ledger = Ledger(settings, connector.connector, stream, Subjects(connector, keys_of(settings).of(SUPPRESSION)))
        self.asked = Asked(settings, connector, self._ledger, herald)
        self._stop_after = settings.stop_after_rejected
        self._wake = asyncio.Event()
        self._failures = 0

    @property
    def backfill(self) -> backfill.Progress | None:
        """Where the last backfill stands."""
        return backfill.standing(self._ledger)

    async def tell(self, command: commands.Command) -> str:
        """Carry out a command, or write down that it is to be; durable when this returns. Returns why it cannot be, in one line.

        Raises what a write to Kafka raises: then nothing was done, and the command may be told again.
        """
        refused = ""
        match command:
            case commands.Backfill():
                refused = backfill.refusal(self.connector, self.stream)
                refused = refused or await backfill.begin(self._ledger, command.id, command.begin, command.end)
            case commands.CancelBackfill():
                await self._stop_backfill()
                if ended := await backfill.cancel(self._ledger):
                    self.asked.say("backfill_cancelled", text=f"{ended.received} records received, {ended.written} written; they stay")
            case _:
                await self.asked.keep(command)
        self._wake.set()
        return refused

    def _going_on(self) -> bool:
        return not self.asked.paused

    async def run(self) -> None:
        """Poll for ever; close the producer on the way out."""
        every = self.connector.streams[self.stream].every.total_seconds()
        metrics.POLL_INTERVAL.labels(self.connector.connector, self.stream).set(every)
        try:
            while True:
                self._wake.clear()  # before the poll: a command that arrives during it is acted on right after it
                delay = await self._survive(every)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), delay)
        finally:
            await self._stop_backfill()
            await self._ledger.close()

    async def _survive(self, every: float) -> float:
        """Poll; a library that drops what this task waits for does not end the stream."""
        try:
            return await self.poll(every)
        except asyncio.CancelledError:
            if not given_up():
                raise
            return self._failed("retry", "kafka", "a connection went while something was waited for", self._backoff(None))

    async def poll(self, every: float) -> float:
        """Do what was asked of the stream, poll once unless it is paused, and return the seconds to wait before the next time."""
        name = self.connector.connector
        started = time.monotonic()
        with structlog.contextvars.bound_contextvars(connector=name, stream=self.stream), tracing.polling(name, self.stream):
            try:
                await self._client.allowed()
                await self._ledger.open()
                self._go_on_backfilling()
                async with self._turn:
                    await self.asked.carry_out(self.deliver)
                    if self.asked.paused:
                        return every
                    with self._traffic.live():
                        watch = Watch(self.deliver.preview, self._stop_after)
                        now = datetime.now(UTC)
                        tally = await poll_once(self.connector, self.stream, self._client, self._ledger, now, self._going_on, watch=watch)
            except RetryLater as error:
                return self._failed("retry", error.reason, str(error), self._backoff(error.after))
            except Halt as error:
                return self._failed("halt", error.reason, str(error), max(every, HALTED_RETRY_SECONDS))
            except Fenced as error:
                return self._failed("fenced", "fenced", str(error), self._backoff(None))
            except Denied as error:
                return self._failed("halt", "denied", str(error), max(every, HALTED_RETRY_SECONDS))
            except IntegrityStop as error:
                return self._failed("halt", "integrity", str(error), max(every, HALTED_RETRY_SECONDS))
            except Exception as error:  # noqa: BLE001 - one stream's defect must not end the others; the type says where to look
                return self._failed("halt", "unexpected", type(error).__name__, max(every, HALTED_RETRY_SECONDS))
            finally:
                metrics.POLL_DURATION.labels(name, self.stream).observe(time.monotonic() - started)
            self._failures = 0
            self.problem = self.failed = ""
            self.ended_well = True
            if self._troubles:
                self._troubles.ended()
            metrics.POLLS.labels(name, self.stream, "ok").inc()
            if tally.received:
                log.info("polled", received=tally.received, written=tally.written, unchanged=tally.unchanged, pages=tally.pages)
            return every

    def _go_on_backfilling(self) -> None:
        """Start what is to run beside the polls and does not."""
        progress = self.backfill
        if progress and progress.state == "running" and (self._backfilling is None or self._backfilling.done()):
            self._backfilling = asyncio.create_task(self._backfill(), name=f"backfill {self.connector.connector} {self.stream}")

    async def _stop_backfill(self) -> None:
        task, self._backfilling = self._backfilling, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _backfill(self) -> None:
        """Backfill until it is done or cancelled; a failure is a matter of the backfill alone, and it is tried again."""
        delay = FIRST_RETRY_SECONDS
        with structlog.contextvars.bound_contextvars(connector=self.connector.connector, stream=self.stream):
            while True:
                before = self.backfill
                try:
                    if self.asked.paused:
                        delay = FIRST_RETRY_SECONDS
                    else:
                        progress = await backfill.backfill(
                            self.connector,
                            self.stream,
                            self._client,
                            self._ledger,
                            self._traffic,
                            self._turn,
                            self._going_on,
                        )
                        if progress is None or progress.state != "running":
                            if progress:
                                log.info("backfill ended", state=progress.state, received=progress.received, written=progress.written)
                                self.asked.say("backfill_done", text=f"{progress.received} records received, {progress.written} written")
                            return
                except (GatewayError, OSError) as error:
                    delay = FIRST_RETRY_SECONDS if self.backfill != before else min(LONGEST_RETRY_SECONDS, delay * 2)
                    log.warning("backfill waits", error=str(error), next_try_seconds=round(delay, 1))
                except Exception as error:  # noqa: BLE001 - as for a poll: the type says where to look
                    delay = LONGEST_RETRY_SECONDS
                    log.error("backfill failed", error=type(error).__name__, next_try_seconds=delay)  # noqa: TRY400 - a traceback may quote a payload
                await asyncio.sleep(delay)

    def _failed(self, outcome: str, reason: str, text: str, delay: float) -> float:
        self.problem, self.failed = text, outcome
        if self._troubles:
            self._troubles.failed(outcome, reason, text)
        metrics.POLLS.labels(self.connector.connector, self.stream, outcome).inc()
        log.warning("poll failed", outcome=outcome, reason=reason, error=text, next_try_seconds=round(delay, 1))
        return delay

    def _backoff(self, after: float | None) -> float:
        self._failures += 1
        delay: float = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(self._failures - 1, 10))
        return max(delay * random.uniform(0.5, 1.0), after or 0.0)  # noqa: S311 - jitter, not a secret
