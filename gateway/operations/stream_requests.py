"""What operators asked of a stream: notes beside its cursor, which its owner carries out and the next owner finds."""

from __future__ import annotations

import time

import msgspec
import structlog

from gateway.config.connector import Connector
from gateway.errors import RetryLater
from gateway.messages import commands
from gateway.messages.commands import Backfill, CancelBackfill, Command, Poll
from gateway.messages.notification import Kind
from gateway.operations import replay
from gateway.operations.notifier import Herald
from gateway.operations.renormalise import renormalise
from gateway.pipeline.record_processor import Deliver
from gateway.pipeline.rejection_guard import let_through
from gateway.pipeline.stream_state import Ledger
from gateway.settings import Settings

log = structlog.get_logger()

AGAIN_SECONDS = 300.0
"""What has to wait for the stage is tried again after so long; polls and callers do not wait for it meanwhile."""
PAUSE = "pause"
RENORMALISE = "renormalise"


class Asked:
    """The notes of one stream, whoever brings its records: a poller, or a caller."""

    def __init__(self, settings: Settings, connector: Connector, ledger: Ledger, herald: Herald | None = None) -> None:
        self._settings = settings
        self._connector = connector
        self._ledger = ledger
        self._herald = herald
        self._not_before = 0.0

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
    def waiting(self) -> bool:
        """Whether something is to be done now."""
        notes = self._ledger.notes
        return time.monotonic() >= self._not_before and any(note == RENORMALISE or note.startswith(replay.NOTE) for note in notes)

    async def keep(self, command: commands.Command) -> None:
        """Write down what a command asks for; durable when this returns. Raises what a write to Kafka raises."""
        match command:
            case commands.Pause():
                await self._note(PAUSE, commands.encode(command))
                self.say("paused", text=command.reason)
            case commands.Resume():
                await self._note(PAUSE, None)
                await let_through(self._ledger)
                self.say("resumed")
            case commands.Renormalise():
                await self._note(RENORMALISE, commands.encode(command))
            case commands.Replay():
                await self._ledger.open()
                if (note := f"{replay.NOTE} {command.reason}") not in self._ledger.notes:
                    await self._note(note, msgspec.json.encode(replay.Wanted(reason=command.reason)))

    async def carry_out(self, deliver: Deliver) -> None:
        """Do what was written down, while nobody else writes the stream's records; it is forgotten once it is done.

        A worker that takes over in between does it instead.
        """
        if not self.waiting:
            return
        try:
            if RENORMALISE in self._ledger.notes:
                changed = await renormalise(self._settings, deliver, self._ledger)
                await self._note(RENORMALISE, None)
                log.info("renormalised", changed=changed)
                self.say("renormalised", text=f"{changed} records are published differently")
            for note in [note for note in self._ledger.notes if note.startswith(replay.NOTE)]:
                found = await replay.replay(self._settings, self._ledger, note)
                log.info("replayed", records=len(found.again), without_raw_record=found.gone, newer=found.newer)
                self.say("replayed", text=f"{len(found.again)} rejected records are judged again; {found.gone} have no raw record any more")
        except RetryLater as error:
            self._not_before = time.monotonic() + AGAIN_SECONDS
            log.warning("what was asked waits", reason=error.reason, error=str(error), next_try_seconds=AGAIN_SECONDS)

    def say(self, kind: Kind, text: str = "") -> None:
        """Tell operators what became of it."""
        if self._herald:
            self._herald.say(kind, self._connector, self._ledger.stream, text=text)

    async def _note(self, name: str, value: bytes | None) -> None:
        await self._ledger.open()
        if self._ledger.notes.get(name) != value:
            await self._ledger.write([], None, notes={name: value})


def concerns(command: Command, stream: str) -> bool:
    """Return whether a command means a stream; a stream that is asked at several institutions is meant at each of them."""
    return command.stream in {"", stream, stream.partition("@")[0]}


def unfit(command: Command, connector: Connector) -> str:
    """Return why a command cannot concern a connector, in one line; empty when it can."""
    if connector.push is not None and isinstance(command, Poll | Backfill | CancelBackfill):
        return f"{connector.connector}: the registry calls us and is not polled; ask it to send its records again"
    if not any(concerns(command, stream) for stream in connector.streams):
        return f"{connector.connector} has no stream {command.stream}; it has {', '.join(connector.streams)}"
    return ""
