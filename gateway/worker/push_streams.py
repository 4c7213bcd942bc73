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
from gateway.fetch.http.lease import Tenure
from gateway.harmonise.data_subjects import Subjects
from gateway.messages import commands
from gateway.observability import metrics, tracing
from gateway.operations import stream_requests
from gateway.operations.notifier import Herald
from gateway.operations.stream_requests import Asked
from gateway.pipeline.page_writer import changes, split
from gateway.pipeline.record_processor import Deliver
from gateway.pipeline.stream_state import Ledger
from gateway.pseudonym_keys import SUPPRESSION, keys_of
from gateway.records import Raw
from gateway.settings import Settings

log = structlog.get_logger()

LOOK_SECONDS = 5.0
"""So often a stream looks whether it was taken from it, or something that had to wait can be done. Longer than a heartbeat."""
FENCED_SECONDS = 3.0
"""So long at least a stream is left to whoever took it, or twice as long as taking it took here: an erasure has to read it first."""


class Intake:
    """One stream of a registry that calls us. :meth:`run` returns only when cancelled."""

    backfill = None
    """The registry cannot be asked for the past."""
    ended_well = True
    failed = ""

    def __init__(
        self, settings: Settings, connector: Connector, stream: str, deliver: Deliver, turn: asyncio.Lock, herald: Herald | None
    ) -> None:
        self.connector = connector
        self.stream = stream
        self.deliver = deliver
        self.problem = ""
        """Why nothing can be received, in one line; empty when it can."""
        self.wake = asyncio.Event()
        self._turn = turn
        self._not_before = 0.0
        self._taking = 0.0
        """The longest that it took to take the stream, in seconds."""
        self._ledger = Ledger(settings, connector.connector, stream, Subjects(connector, keys_of(settings).of(SUPPRESSION)))
        self.asked = Asked(settings, connector, self._ledger, herald)

    async def tell(self, command: commands.Command) -> str:
        """Carry out a command, or write down that it is to be; see :meth:`gateway.worker.stream_poller.StreamPoller.tell`."""
        if not (refused := stream_requests.unfit(command, self.connector)):
            await self.asked.keep(command)
            self.wake.set()
        return refused

    async def run(self, tenure: Tenure) -> None:
        """Hold the stream and do what is asked of it; close the producer on the way out."""
        try:
            while True:
                self.wake.clear()
                await tenure.held()  # who has lost the connector must not fence who has it now
                await self._look()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.wake.wait(), LOOK_SECONDS)
        finally:
            await self._ledger.close()

    async def _look(self) -> None:
        with structlog.contextvars.bound_contextvars(connector=self.connector.connector, stream=self.stream):
            try:
                await self._take()
                if self.asked.waiting:
                    async with self._turn, self._giving_way():
                        await self.asked.carry_out(self.deliver)
            except (GatewayError, OSError) as error:
                self.problem = str(error)
                log.warning("not receiving", error=self.problem, next_try_seconds=LOOK_SECONDS)
            else:
                self.problem = ""

    async def ready(self) -> None:
        """Return when records may be written; raises :class:`~gateway.errors.RetryLater` while the stream is paused, or another's."""
        await self._take()
        if self.asked.paused:
            raise RetryLater("paused", f"{self.connector.connector} {self.stream} is paused")

    async def write(self, raws: Sequence[Raw]) -> None:
        """Return once every record is committed."""
        entries, unchanged = changes(raws, self._ledger.known)
        async with self._giving_way():
            for part in split(entries):
                await self._ledger.write(part, None)
        metrics.RECEIVED.labels(self.connector.connector, self.stream).inc(len(raws))
        if unchanged:
            metrics.RECORDS.labels(self.connector.connector, self.stream, "unchanged").inc(unchanged)

    async def _take(self) -> None:
        """Hold the stream, unless somebody took it just now: callers that call on would have it back before an erasure could write."""
        if (left := self._not_before - time.monotonic()) > 0:
            raise RetryLater("fenced", f"{self.connector.connector} {self.stream} is left to who took it for {left:.0f} s more")
        started = time.monotonic()
        async with self._giving_way():
            await self._ledger.open()
        self._taking = max(self._taking, time.monotonic() - started)

    @contextlib.asynccontextmanager
    async def _giving_way(self) -> AsyncIterator[None]:
        try:
            yield
        except Fenced:
            self._not_before = time.monotonic() + max(FENCED_SECONDS, 2 * self._taking)
            raise


class Inbox:
    """One push connector. :meth:`store` is what a :class:`~gateway.fetch.push_receiver.Receiver` is given."""

    def __init__(self, settings: Settings, connector: Connector, deliver: Deliver, tenure: Tenure, herald: Herald | None = None) -> None:
        self._connector = connector
        self._tenure = tenure
        self._turn = asyncio.Lock()
        """Held by whoever writes records: a message, or something an operator asked for."""
        self.streams = [Intake(settings, connector, name, deliver, self._turn, herald) for name in connector.streams]

    async def run(self) -> None:
        """Hold the connector's streams until cancelled."""
        async with asyncio.TaskGroup() as group:
            for one in self.streams:
                group.create_task(one.run(self._tenure), name=f"receive {self._connector.connector} {one.stream}")

    async def store(self, raws: Sequence[Raw]) -> None:
        """Return once every record is committed; raises when one is not, and then the caller sends the message again.

        Nothing of a message is written while one of its streams is paused.
        """
        named = {raw.stream for raw in raws}
        streams = [one for one in self.streams if one.stream in named]
        async with self._turn:
            for one in streams:
                await one.ready()
            for one in streams:
                with tracing.polling(self._connector.connector, one.stream):
                    await one.write([raw for raw in raws if raw.stream == one.stream])
