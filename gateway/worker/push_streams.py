"""Write the records of registries that push them, and carry out the requests of operators.

The owner of a connector acquires its streams at once and does not wait for the first message. A
stored pause therefore holds from the first message on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType

import structlog

from gateway.config.connector import Connector
from gateway.errors import (
    Denied,
    Fenced,
    GatewayError,
    IntegrityStop,
    RetryLater,
    StreamError,
    StreamHalted,
)
from gateway.fetch.change_times import utc_now
from gateway.fetch.http.lease import Lease
from gateway.fetch.pushed_records import PushedRecords
from gateway.fetch.soap.ws_security import SignedMessage
from gateway.messages import commands
from gateway.observability import metrics, tracing
from gateway.operations import stream_requests
from gateway.operations.notifier import Notifier
from gateway.operations.stream_requests import StreamRequests
from gateway.pipeline.deletion_guard import REASON as WITHHELD
from gateway.pipeline.deletion_guard import DeletionGuard
from gateway.pipeline.deletion_note import forget_withheld, set_withheld_metric, withheld_text
from gateway.pipeline.id_claims import ConnectorIds
from gateway.pipeline.page_writer import select_changes, split_into_transactions
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pipeline.stored_messages import is_stored, notes_with
from gateway.pipeline.stream_counts import count_received
from gateway.pipeline.stream_state import StreamState
from gateway.pipeline.version_order import VersionOrder
from gateway.records import RawRecord
from gateway.settings import Settings

log = structlog.get_logger()


def reason_code(error: Exception) -> str:
    """Return the reason code of a failure, as :mod:`gateway.observability.causes` lists it."""
    if isinstance(error, StreamError):
        return error.reason
    codes: dict[type, str] = {Fenced: "fenced", Denied: "denied", IntegrityStop: "integrity"}
    return codes.get(type(error), "kafka")


CHECK_INTERVAL_SECONDS = 5.0
"""The interval at which a stream checks its ownership and its pending requests. It is longer than a
heartbeat."""
FENCED_BACKOFF_SECONDS = 3.0
"""The shortest wait after another process acquired the stream. The wait is at least twice the time
that this worker needed to acquire the stream, because an erasure reads the stream before it
writes."""


class PushStream:
    """One stream of a registry that pushes records. :meth:`run` returns only when cancelled."""

    backfill = None
    """Always ``None``, because the gateway cannot request older records from the registry."""
    has_succeeded = True
    skipped_values: Mapping[str, int] = MappingProxyType({})
    """Always empty, because a push registry has no loops."""
    loop_values = 0
    skipped_records: Mapping[str, int] = MappingProxyType({})
    empty_loop = ""
    last_cause = ""
    reply_difference = None
    """Always ``None``, because the gateway does not compare messages."""

    def __init__(
        self,
        settings: Settings,
        connector: Connector,
        stream: str,
        processor: RecordProcessor,
        write_lock: asyncio.Lock,
        notifier: Notifier | None,
        ids: ConnectorIds | None = None,
    ) -> None:
        self.connector = connector
        self.stream = stream
        self.processor = processor
        self.last_error = ""
        """The reason why nothing can be received, in one line; empty if records can be received."""
        self.last_failure_kind = ""
        """``halt`` while deletions of a message are withheld; otherwise empty."""
        self.last_reason = ""
        """The reason code of :attr:`last_error`."""
        self.wake_event = asyncio.Event()
        self._write_lock = write_lock
        self._retry_at = 0.0
        self._writes_accepted_deletions = False
        self._longest_acquire_seconds = 0.0
        """The longest time that this worker needed to acquire the stream."""
        self._stream_state = StreamState.of_connector(settings, connector, stream, ids)
        self.requests = StreamRequests(settings, connector, self._stream_state, notifier)

    async def handle_command(self, command: commands.Command) -> str:
        """Store a request, and return why it was refused, in one line, or an empty text.

        See :meth:`gateway.worker.stream_poller.StreamPoller.handle_command`.
        """
        if not (refused := stream_requests.not_applicable_reason(command, self.connector)):
            await self.requests.store(command)
            self.wake_event.set()
        return refused

    async def run(self, lease: Lease) -> None:
        """Own the stream and carry out its requests. Close the producer at the end."""
        try:
            while True:
                self.wake_event.clear()
                # Without a lease, this worker must not fence the new owner of the connector.
                await lease.wait_until_valid()
                await self._check_once()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.wake_event.wait(), CHECK_INTERVAL_SECONDS)
        finally:
            await self._stream_state.close()

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
                self.last_reason = reason_code(error)
                log.warning(
                    "not receiving", error=self.last_error, next_try_seconds=CHECK_INTERVAL_SECONDS
                )
            else:
                set_withheld_metric(self._stream_state)
                self.last_error = withheld_text(self._stream_state)
                self.last_failure_kind = "halt" if self.last_error else ""
                self.last_reason = WITHHELD if self.last_error else ""
                labels = self.connector.connector, self.stream
                self.requests.set_pause_metrics()
                metrics.HALTED.labels(*labels).set(bool(self.last_error))

    async def ensure_writable(self) -> None:
        """Return when records may be written.

        Raises :class:`~gateway.errors.RetryLater` while the stream is paused or another process
        owns it.
        """
        await self._acquire_stream()
        if self.requests.paused:
            raise RetryLater("paused", f"{self.connector.connector} {self.stream} is paused")

    async def check_deletions(self, raws: Sequence[RawRecord]) -> None:
        """Check that a message may delete the records that it marks as deleted.

        Raises :class:`~gateway.errors.StreamHalted` if there are too many. The note about them is
        durable then, and a person decides before the caller sends the message again.
        """
        deleted = [raw for raw in raws if raw.body is None]
        self._writes_accepted_deletions = False
        if not deleted:
            return
        state = self._stream_state
        guard = DeletionGuard.of_stream(state, self.connector.streams[self.stream])
        await guard.filter_page(
            select_changes(deleted, state.digests, order=VersionOrder.at_present())[0]
        )
        self._writes_accepted_deletions = bool(guard.accepted_count)
        if guard.withheld_ids:
            was_withheld = bool(withheld_text(state))
            try:
                async with self._back_off_when_fenced():
                    await guard.finish(compares_scans=False)
            except StreamHalted as error:
                self.last_error, self.last_failure_kind = str(error), "halt"
                self.last_reason = error.reason
                if not was_withheld:
                    self.requests.notify("halted", text=str(error))
                raise

    def has_stored(self, message: SignedMessage) -> bool:
        """Return whether the same signed message was stored before. The stream must be owned."""
        return is_stored(self._stream_state, message, utc_now())

    def count_unchanged(self, raws: Sequence[RawRecord]) -> None:
        """Count the records of a repeated message, which are not written again."""
        count_received(self._stream_state, len(raws), unchanged=len(raws))

    async def write_records(
        self, raws: Sequence[RawRecord], message: SignedMessage | None = None
    ) -> None:
        """Return once all records are committed. Unchanged records are only counted.

        The last transaction also notes that ``message`` is stored.
        """
        entries, unchanged = select_changes(
            raws, self._stream_state.digests, order=VersionOrder.at_present()
        )
        notes = notes_with(self._stream_state, message, utc_now()) if message else {}
        parts = list(split_into_transactions(entries)) or [[]]
        state = self._stream_state
        async with self._back_off_when_fenced():
            for part in parts[:-1]:
                same = await state.write(part, None)
                count_received(state, len(part), unchanged=same)
            same = await state.write(parts[-1], None, notes=notes)
            rest = len(raws) - sum(map(len, parts[:-1]))
            count_received(state, rest, unchanged=unchanged + same)
            if self._writes_accepted_deletions:
                await forget_withheld(state)

    async def _acquire_stream(self) -> None:
        """Acquire the stream, unless another process acquired it a short time ago.

        Callers repeat their messages. Without the wait, this worker would fence an erasure before
        it can write.
        """
        if (wait_seconds := self._retry_at - time.monotonic()) > 0:
            raise RetryLater(
                "fenced",
                f"another worker or an erasure acquired {self.connector.connector} {self.stream}; "
                f"this worker waits {wait_seconds:.0f} s before it acquires the stream again",
            )
        started = time.monotonic()
        async with self._back_off_when_fenced():
            await self._stream_state.open()
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
    """One push connector.

    :class:`~gateway.fetch.push_receiver.PushReceiver` passes the records of each message to
    :meth:`store`.
    """

    def __init__(
        self,
        settings: Settings,
        connector: Connector,
        processor: RecordProcessor,
        lease: Lease,
        notifier: Notifier | None = None,
    ) -> None:
        self._connector = connector
        self._lease = lease
        self._write_lock = asyncio.Lock()
        """Held while a message or a request of an operator writes records."""
        ids = ConnectorIds(lease)
        self.streams = [
            PushStream(settings, connector, name, processor, self._write_lock, notifier, ids)
            for name in connector.streams
        ]

    async def run(self) -> None:
        """Own the streams of the connector until cancelled."""
        async with asyncio.TaskGroup() as group:
            for stream in self.streams:
                group.create_task(
                    stream.run(self._lease),
                    name=f"receive {self._connector.connector} {stream.stream}",
                )

    async def store(self, raws: Sequence[RawRecord]) -> None:
        """Return once all records are committed.

        Raises if a record is not committed; the caller then sends the message again. While one of
        the streams of a message is paused, nothing of the message is written. A signed message that
        is stored already is not written again, because its content may be older than the known one.
        """
        names = {raw.stream for raw in raws}
        parts = [
            (stream, [raw for raw in raws if raw.stream == stream.stream])
            for stream in self.streams
            if stream.stream in names
        ]
        message = raws.message if isinstance(raws, PushedRecords) else None
        async with self._write_lock:
            for stream, _ in parts:
                await stream.ensure_writable()
            if message and parts and parts[-1][0].has_stored(message):
                for stream, part in parts:
                    stream.count_unchanged(part)
                return
            for stream, part in parts:
                await stream.check_deletions(part)
            for stream, part in parts:
                # The last stream notes the message, because all others are durable then.
                noted = message if stream is parts[-1][0] else None
                with tracing.poll_span(self._connector.connector, stream.stream):
                    await stream.write_records(part, noted)
