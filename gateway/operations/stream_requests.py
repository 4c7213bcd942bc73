"""What operators asked of a stream: notes beside its cursor, which its owner carries out and the next owner finds."""

from __future__ import annotations

import time

import msgspec
import structlog

from gateway.config.connector import Connector
from gateway.errors import RetryLater
from gateway.messages import commands
from gateway.messages.commands import Backfill, CancelBackfill, Command, Poll
from gateway.messages.notification import NotificationKind
from gateway.operations import replay
from gateway.operations.notifier import Notifier
from gateway.operations.renormalise import renormalise
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pipeline.rejection_guard import allow_rejections
from gateway.pipeline.stream_state import StreamState
from gateway.settings import Settings

log = structlog.get_logger()

RETRY_SECONDS = 300.0
"""What has to wait for the stage is tried again after so long; polls and callers do not wait for it meanwhile."""
PAUSE = "pause"
RENORMALISE = "renormalise"


class StreamRequests:
    """The notes of one stream, whoever brings its records: a poller, or a caller."""

    def __init__(
        self,
        settings: Settings,
        connector: Connector,
        ledger: StreamState,
        herald: Notifier | None = None,
    ) -> None:
        self._settings = settings
        self._connector = connector
        self._ledger = ledger
        self._herald = herald
        self._retry_at = 0.0

    @property
    def paused(self) -> bool:
        """Whether an operator said that nothing is to be taken from the registry; known once the ledger was opened."""
        return PAUSE in self._ledger.notes

    @property
    def pause_reason(self) -> str:
        """Why it is paused, as the operator said."""
        note = self._ledger.notes.get(PAUSE)
        return msgspec.json.decode(note, type=commands.Pause).reason if note else ""

    @property
    def has_due_request(self) -> bool:
        """Whether something is to be done now."""
        notes = self._ledger.notes
        return time.monotonic() >= self._retry_at and any(
            note == RENORMALISE or note.startswith(replay.NOTE_PREFIX) for note in notes
        )

    async def store(self, command: commands.Command) -> None:
        """Write down what a command asks for; durable when this returns. Raises what a write to Kafka raises."""
        match command:
            case commands.Pause():
                await self._write_note(PAUSE, commands.encode(command))
                self.notify("paused", text=command.reason)
            case commands.Resume():
                await self._write_note(PAUSE, None)
                await allow_rejections(self._ledger)
                self.notify("resumed")
            case commands.Renormalise():
                await self._write_note(RENORMALISE, commands.encode(command))
            case commands.Replay():
                await self._ledger.open()
                if (note := f"{replay.NOTE_PREFIX} {command.reason}") not in self._ledger.notes:
                    await self._write_note(
                        note, msgspec.json.encode(replay.ReplayRequest(reason=command.reason))
                    )

    async def run_pending(self, deliver: RecordProcessor) -> None:
        """Do what was written down, while nobody else writes the stream's records; it is forgotten once it is done.

        A worker that takes over in between does it instead.
        """
        if not self.has_due_request:
            return
        try:
            if RENORMALISE in self._ledger.notes:
                changed = await renormalise(self._settings, deliver, self._ledger)
                await self._write_note(RENORMALISE, None)
                log.info("renormalised", changed=changed)
                self.notify("renormalised", text=f"{changed} records are published differently")
            for note in [
                note for note in self._ledger.notes if note.startswith(replay.NOTE_PREFIX)
            ]:
                found = await replay.replay(self._settings, self._ledger, note)
                log.info(
                    "replayed",
                    records=len(found.to_replay),
                    without_raw_record=found.without_raw_record,
                    newer=found.superseded,
                )
                self.notify(
                    "replayed",
                    text=f"{len(found.to_replay)} rejected records are judged again; {found.without_raw_record} have no raw record any more",
                )
        except RetryLater as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            log.warning(
                "what was asked waits",
                reason=error.reason,
                error=str(error),
                next_try_seconds=RETRY_SECONDS,
            )

    def notify(self, kind: NotificationKind, text: str = "") -> None:
        """Tell operators what became of it."""
        if self._herald:
            self._herald.notify(kind, self._connector, self._ledger.stream, text=text)

    async def _write_note(self, name: str, value: bytes | None) -> None:
        await self._ledger.open()
        if self._ledger.notes.get(name) != value:
            await self._ledger.write([], None, notes={name: value})


def applies_to_stream(command: Command, stream: str) -> bool:
    """Return whether a command means a stream; a stream that is asked at several institutions is meant at each of them."""
    return command.stream in {"", stream, stream.partition("@")[0]}


def not_applicable_reason(command: Command, connector: Connector) -> str:
    """Return why a command cannot concern a connector, in one line; empty when it can."""
    if connector.push is not None and isinstance(command, Poll | Backfill | CancelBackfill):
        return f"{connector.connector}: the registry calls us and is not polled; ask it to send its records again"
    if not any(applies_to_stream(command, stream) for stream in connector.streams):
        return f"{connector.connector} has no stream {command.stream}; it has {', '.join(connector.streams)}"
    return ""
