"""The streams of a registry that calls us: its records made durable, and what operators asked of them carried out.

Who owns the connector takes its streams at once, without waiting for a call: a pause that was said before holds from the first message.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

import structlog

from gateway.config.connector import Connector
from gateway.errors import Fenced, GatewayError, RetryLater
from gateway.fetch.http.lease import Lease
from gateway.harmonise.data_subjects import DataSubjectFinder
from gateway.messages import commands
from gateway.observability import metrics, tracing
from gateway.operations import stream_requests
from gateway.operations.notifier import Notifier
from gateway.operations.stream_requests import StreamRequests
from gateway.pipeline.page_writer import select_changes, split_into_transactions
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pipeline.stream_state import StreamState
from gateway.pseudonym_keys import SUPPRESSION_AUDIENCE, load_keys
from gateway.records import RawRecord
from gateway.settings import Settings

log = structlog.get_logger()

CHECK_INTERVAL_SECONDS = 5.0
"""So often a stream looks whether it was taken from it, or something that had to wait can be done. Longer than a heartbeat."""
FENCED_BACKOFF_SECONDS = 3.0
"""So long at least a stream is left to whoever took it, or twice as long as taking it took here: an erasure has to read it first."""


class PushStream:
    """One stream of a registry that calls us. :meth:`run` returns only when cancelled."""

    backfill = None
    """The registry cannot be asked for the past."""
    has_succeeded = True
    last_failure_kind = ""

    def __init__(
        self,
        settings: Settings,
        connector: Connector,
        stream: str,
        deliver: RecordProcessor,
        turn: asyncio.Lock,
        herald: Notifier | None,
    ) -> None:
        self.connector = connector
        self.stream = stream
        self.processor = deliver
        self.last_error = ""
        """Why nothing can be received, in one line; empty when it can."""
        self.wake_event = asyncio.Event()
        self._write_lock = turn
        self._retry_at = 0.0
        self._longest_acquire_seconds = 0.0
        """The longest that it took to take the stream, in seconds."""
        self._ledger = StreamState(
            settings,
            connector.connector,
            stream,
            DataSubjectFinder(connector, load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)),
        )
        self.requests = StreamRequests(settings, connector, self._ledger, herald)

    async def handle_command(self, command: commands.Command) -> str:
        """Carry out a command, or write down that it is to be; see :meth:`gateway.worker.stream_poller.StreamPoller.tell`."""
        if not (refused := stream_requests.not_applicable_reason(command, self.connector)):
            await self.requests.store(command)
            self.wake_event.set()
        return refused

    async def run(self, tenure: Lease) -> None:
        """Hold the stream and do what is asked of it; close the producer on the way out."""
        try:
            while True:
                self.wake_event.clear()
                await (
                    tenure.wait_until_valid()
                )  # who has lost the connector must not fence who has it now
                await self._check_once()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.wake_event.wait(), CHECK_INTERVAL_SECONDS)
        finally:
            await self._ledger.close()

    async def _check_once(self) -> None:
        with structlog.contextvars.bound_contextvars(
            connector=self.connector.connector, stream=self.stream
        ):
            try:
                await self._acquire_stream()
                if self.requests.has_due_request:
                    async with self._write_lock, self._back_off_when_fenced():
                        await self.requests.run_pending(self.processor)
            except (GatewayError, OSError) as error:
                self.last_error = str(error)
                log.warning(
                    "not receiving", error=self.last_error, next_try_seconds=CHECK_INTERVAL_SECONDS
                )
            else:
                self.last_error = ""

    async def ensure_writable(self) -> None:
        """Return when records may be written; raises :class:`~gateway.errors.RetryLater` while the stream is paused, or another's."""
        await self._acquire_stream()
        if self.requests.paused:
            raise RetryLater("paused", f"{self.connector.connector} {self.stream} is paused")

    async def write_records(self, raws: Sequence[RawRecord]) -> None:
        """Return once every record is committed."""
        entries, unchanged = select_changes(raws, self._ledger.digests)
        async with self._back_off_when_fenced():
            for part in split_into_transactions(entries):
                await self._ledger.write(part, None)
        metrics.RECEIVED.labels(self.connector.connector, self.stream).inc(len(raws))
        if unchanged:
            metrics.RECORDS.labels(self.connector.connector, self.stream, "unchanged").inc(
                unchanged
            )

    async def _acquire_stream(self) -> None:
        """Hold the stream, unless somebody took it just now: callers that call on would have it back before an erasure could write."""
        if (left := self._retry_at - time.monotonic()) > 0:
            raise RetryLater(
                "fenced",
                f"{self.connector.connector} {self.stream} is left to who took it for {left:.0f} s more",
            )
        started = time.monotonic()
        async with self._back_off_when_fenced():
            await self._ledger.open()
        self._longest_acquire_seconds = max(
            self._longest_acquire_seconds, time.monotonic() - started
        )

    @contextlib.asynccontextmanager
    async def _back_off_when_fenced(self) -> AsyncIterator[None]:
        try:
            yield
        except Fenced:
            self._retry_at = time.monotonic() + max(
                FENCED_BACKOFF_SECONDS, 2 * self._longest_acquire_seconds
            )
            raise


class PushConnector:
    """One push connector. :meth:`store` is what a :class:`~gateway.fetch.push_receiver.Receiver` is given."""

    def __init__(
        self,
        settings: Settings,
        connector: Connector,
        deliver: RecordProcessor,
        tenure: Lease,
        herald: Notifier | None = None,
    ) -> None:
        self._connector = connector
        self._tenure = tenure
        self._write_lock = asyncio.Lock()
        """Held by whoever writes records: a message, or something an operator asked for."""
        self.streams = [
            PushStream(settings, connector, name, deliver, self._write_lock, herald)
            for name in connector.streams
        ]

    async def run(self) -> None:
        """Hold the connector's streams until cancelled."""
        async with asyncio.TaskGroup() as group:
            for one in self.streams:
                group.create_task(
                    one.run(self._tenure), name=f"receive {self._connector.connector} {one.stream}"
                )

    async def store(self, raws: Sequence[RawRecord]) -> None:
        """Return once every record is committed; raises when one is not, and then the caller sends the message again.

        Nothing of a message is written while one of its streams is paused.
        """
        named = {raw.stream for raw in raws}
        streams = [one for one in self.streams if one.stream in named]
        async with self._write_lock:
            for one in streams:
                await one.ensure_writable()
            for one in streams:
                with tracing.poll_span(self._connector.connector, one.stream):
                    await one.write_records([raw for raw in raws if raw.stream == one.stream])
