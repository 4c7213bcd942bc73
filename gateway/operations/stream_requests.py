"""Store and carry out the requests of operators for one stream.

Requests are notes next to the cursor of the stream. The owner of the stream carries them out, and a
new owner finds them. See docs/decisions/0020.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

import msgspec
import structlog

from gateway.config.connector import Connector
from gateway.errors import RetryLater
from gateway.messages import commands
from gateway.messages.commands import Backfill, CancelBackfill, Command, Poll
from gateway.messages.notification import NotificationKind
from gateway.messages.status import DONE
from gateway.observability import metrics
from gateway.operations import replay
from gateway.operations.notifier import Notifier
from gateway.operations.renormalise import renormalise
from gateway.pipeline.deletion_note import accept_deletions, forget_withheld, withheld_deletions
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pipeline.rejection_guard import allow_rejections
from gateway.pipeline.stream_state import StreamState
from gateway.settings import Settings
from gateway.similar_name import unknown_stream

log = structlog.get_logger()

RETRY_SECONDS = 300.0
"""A request that waits for the harmonise stage is tried again after this time. Polls and push
messages continue meanwhile."""
PAUSE = "pause"
RENORMALISE = "renormalise"


class StreamRequests:
    """The pending requests of one stream, whether it is polled or pushed."""

    def __init__(
        self,
        settings: Settings,
        connector: Connector,
        stream_state: StreamState,
        notifier: Notifier | None = None,
    ) -> None:
        self._settings = settings
        self._connector = connector
        self._stream_state = stream_state
        self._notifier = notifier
        self._retry_at = 0.0
        self._paused_since = 0.0
        self._waiting: dict[str, list[str]] = {}
        """The ids of the commands whose request is not carried out yet, by note."""

    @property
    def paused(self) -> bool:
        """Whether an operator paused the stream. Valid once the stream is open."""
        return PAUSE in self._stream_state.notes

    @property
    def pause_reason(self) -> str:
        """The reason that the operator gave for the pause."""
        pause = self._read_pause()
        return pause.reason if pause else "the reason cannot be read" if self.paused else ""

    def _read_pause(self) -> commands.Pause | None:
        note = self._stream_state.notes.get(PAUSE)
        with contextlib.suppress(msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return msgspec.json.decode(note, type=commands.Pause) if note else None
        return None

    def set_pause_metrics(self) -> None:
        """Show in the metrics whether the stream is paused, and since when.

        A pause whose time is not known counts from now on.
        """
        labels = self._connector.connector, self._stream_state.stream
        metrics.PAUSED.labels(*labels).set(self.paused)
        if not self.paused:
            self._paused_since = 0.0
            metrics.PAUSED_SINCE.remove_by_labels({"connector": labels[0], "stream": labels[1]})
            return
        pause = self._read_pause()
        self._paused_since = (pause.since if pause else 0.0) or self._paused_since or time.time()
        metrics.PAUSED_SINCE.labels(*labels).set(self._paused_since)

    @property
    def withheld_deletions(self) -> tuple[int, int]:
        """The number of deletions that wait for a person, and of the records of the stream."""
        return withheld_deletions(self._stream_state)

    @property
    def has_due_request(self) -> bool:
        """Whether a request can be carried out now."""
        notes = self._stream_state.notes
        return time.monotonic() >= self._retry_at and any(
            note == RENORMALISE or note.startswith(replay.NOTE_PREFIX) for note in notes
        )

    async def store(self, command: commands.Command) -> None:
        """Store the request of a command. The note is durable when this function returns.

        Raises the errors of a write to Kafka.
        """
        await self._store(command)
        match command:
            case commands.Pause():
                self.end_commands([command.id], "paused")
            case commands.Resume():
                self.end_commands([command.id], "resumed")
            case commands.Renormalise():
                self._waiting.setdefault(RENORMALISE, []).append(command.id)
            case commands.Replay():
                note = f"{replay.NOTE_PREFIX} {command.reason}"
                self._waiting.setdefault(note, []).append(command.id)

    async def _store(self, command: commands.Command) -> None:
        match command:
            case commands.Pause():
                await self._stream_state.open()
                stored = self._read_pause()
                # A command that arrives a second time is no new pause.
                if stored is None or not command.id or stored.id != command.id:
                    command = msgspec.structs.replace(command, since=time.time())
                    await self._write_note(PAUSE, commands.encode(command))
                self.notify("paused", text=command.reason)
            case commands.Resume():
                await self._write_note(PAUSE, None)
                await allow_rejections(self._stream_state)
                if command.accept_deletions:
                    accepted = await accept_deletions(self._stream_state)
                    self.notify("resumed", text=f"{accepted:,} withheld deletions were accepted")
                else:
                    if self._connector.push is not None:
                        await forget_withheld(self._stream_state)
                    self.notify("resumed")
            case commands.Renormalise():
                await self._write_note(RENORMALISE, commands.encode(command))
            case commands.Replay():
                await self._stream_state.open()
                if (
                    note := f"{replay.NOTE_PREFIX} {command.reason}"
                ) not in self._stream_state.notes:
                    await self._write_note(
                        note, msgspec.json.encode(replay.ReplayRequest(reason=command.reason))
                    )

    async def run_pending(self, processor: RecordProcessor) -> None:
        """Carry out the pending requests and remove their notes.

        The caller must hold the write lock of the stream. If the stream moves before a request is
        complete, the new owner carries it out. A request that has to wait for the harmonise stage
        is tried again later.
        """
        if not self.has_due_request:
            return
        try:
            if RENORMALISE in self._stream_state.notes:
                changed = await renormalise(self._settings, processor, self._stream_state)
                await self._write_note(RENORMALISE, None)
                log.info("renormalised", changed=changed)
                text = f"{changed} records are published differently"
                self.notify("renormalised", text=text)
                self.end_commands(self._waiting.pop(RENORMALISE, []), text)
            for note in [
                note for note in self._stream_state.notes if note.startswith(replay.NOTE_PREFIX)
            ]:
                plan = await replay.replay(self._settings, self._stream_state, note)
                log.info(
                    "replayed",
                    records=len(plan.to_replay),
                    without_raw_record=plan.without_raw_record,
                    newer=plan.superseded,
                )
                text = (
                    f"{len(plan.to_replay)} rejected records are processed again; "
                    f"{plan.without_raw_record} have no raw record any more"
                )
                self.notify("replayed", text=text)
                self.end_commands(self._waiting.pop(note, []), text)
        except RetryLater as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            log.warning(
                "request waits",
                reason=error.reason,
                error=str(error),
                next_try_seconds=RETRY_SECONDS,
            )

    def notify(self, kind: NotificationKind, text: str = "") -> None:
        """Notify operators of the result of a request."""
        if self._notifier:
            self._notifier.notify(kind, self._connector, self._stream_state.stream, text=text)

    def end_commands(self, ids: Iterable[str], text: str, beginning: str = DONE) -> None:
        """Report how commands ended for this stream."""
        if self._notifier:
            self._notifier.results.end(ids, self._stream_state.stream, text, beginning)

    async def _write_note(self, name: str, value: bytes | None) -> None:
        await self._stream_state.open()
        if self._stream_state.notes.get(name) != value:
            await self._stream_state.write([], None, notes={name: value})


def applies_to_stream(command: Command, stream: str) -> bool:
    """Return whether a command applies to a stream.

    A command for a stream that is split by institution applies to each part.
    """
    return command.stream in {"", stream, stream.partition("@")[0]}


def not_applicable_reason(command: Command, connector: Connector) -> str:
    """Return why a command does not apply to a connector, in one line.

    The text is empty if the command applies.
    """
    if connector.push is not None and isinstance(command, Poll | Backfill | CancelBackfill):
        return (
            f"{connector.connector}: the registry pushes its records and is not polled; "
            "ask it to send its records again"
        )
    if not any(applies_to_stream(command, stream) for stream in connector.streams):
        return unknown_stream(connector.connector, command.stream, connector.streams)
    return ""
