"""The life of one worker process: check what it needs, start its parts, stop them in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from gateway.errors import Finding, Unavailable
from gateway.kafka import cluster_check, topic_admin
from gateway.kafka.background_writer import Teller
from gateway.kafka.broker_monitor import keep_contact
from gateway.kafka.connection import bootstrap
from gateway.messages import commands
from gateway.messages.topics import COMMANDS
from gateway.observability import blocked_commits, tracing
from gateway.observability.health_server import Check, HealthServer
from gateway.observability.status_page import Snapshot
from gateway.operations.explain import explain_stored
from gateway.operations.notifier import Herald, worker_name
from gateway.pipeline.harmonise_stage import Stage, settle
from gateway.pipeline.loaded_config import Fleet
from gateway.pipeline.provider_cache import Trusted
from gateway.pipeline.record_processor import Deliver, deliver_for
from gateway.settings import Settings
from gateway.worker.config_reloader import Reloader
from gateway.worker.connector_runner import STOP_SECONDS, Pollers, partition_of
from gateway.worker.control_plane import START_SECONDS, build_app
from gateway.worker.status_reporter import Reporter

log = structlog.get_logger()

DRAIN_SECONDS = 7.0
"""What is still in flight so long after a signal is left: it was not committed, so it is read again."""
BLOCKED_SECONDS = 5.0
"""A role that cannot commit for so long is not ready."""
LOOK_SECONDS = 0.5
LEAVE_SECONDS = 2.0
"""So long the control plane has to leave its group; an idle one may hang on stop."""


@dataclass(slots=True)
class Worker:
    """One worker process. :meth:`run` ends on SIGTERM, on SIGINT, or after :meth:`stop`.

    With ``socket`` it is one of several under a parent: its health port is there, and it ends when its parent has.
    """

    settings: Settings
    fleet: Fleet
    roles: frozenset[str]
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    stopped_by: int = 0
    pollers: Pollers | None = None
    socket: Path | None = None
    names: list[str] | None = None
    """Connectors it was told to run; all there are when empty."""
    _ready: set[str] = field(default_factory=set)
    _partitions: set[int] = field(default_factory=set)
    """Those of the commands' topic that are this worker's, and with them its connectors."""
    _stage: Stage | None = None
    _trusted: Trusted | None = None
    _herald: Herald = field(init=False)

    def __post_init__(self) -> None:
        self._herald = Herald(worker_name(self.settings), Teller(self.settings))

    def stop(self, number: int = 0) -> None:
        """Finish what is in flight, then end; ``number`` is the signal that asked for it. A second signal ends at once."""
        if number and self.stopped_by:
            os._exit(128 + number)  # nothing is lost: what was not committed is read again
        self.stopped_by = number
        self.stopping.set()
        if number:  # a thread of its own: a broker that does not answer may hold up the loop, and a library the interpreter's end
            last = threading.Timer(DRAIN_SECONDS, os._exit, (128 + number,))
            last.daemon = True
            last.start()

    async def run(self) -> None:
        """Work until stopped. Fails before the first poll when something it needs is missing."""
        await topic_admin.verify(self.settings)
        if "poll" in self.roles:
            await cluster_check.verify(self.settings)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self.stop, number)
        checks: dict[str, Check] = {role: partial(self._unready, role) for role in sorted(self.roles)}
        async with (
            HealthServer(self.settings, checks, self._snapshot, socket=self.socket, explain=self._explain) as health,
            asyncio.TaskGroup() as group,
        ):
            self.url = health.url
            log.info("started", connectors=len(self.fleet.connectors), roles=",".join(sorted(self.roles)), metrics=self.url)
            if "harmonise" in self.roles:
                group.create_task(self._harmonise(), name="harmonise")
            if "poll" in self.roles:
                group.create_task(self._poll(), name="poll")
            watching = [
                group.create_task(keep_contact(self.settings, self.roles), name="contact"),
                group.create_task(self._reporter().run(), name="report"),
                group.create_task(self._herald.teller.run(), name="tell"),
                group.create_task(self._reloader().run(), name="reload"),
            ]
            if self.socket:
                watching.append(group.create_task(self._watch_parent(os.getppid()), name="parent"))
            await self.stopping.wait()
            log.info("stopping")
            for task in watching:
                task.cancel()
        await self._end()

    async def _end(self) -> None:
        """Send what is left of the spans; after a signal end at once: libraries leave threads behind that an interpreter waits for."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(tracing.stop), LEAVE_SECONDS)
        if self.stopped_by:
            logging.shutdown()
            os._exit(128 + self.stopped_by)

    def _unready(self, role: str) -> str:
        """Return why a role cannot do its work at this moment, or nothing. What a registry does never counts."""
        if role not in self._ready:
            return "starting"
        if blocked_commits.seconds(role) > BLOCKED_SECONDS:
            return f"Kafka has taken nothing {blocked_commits.why(role)}; it is tried again, and nothing is dropped"
        return ""

    async def _watch_parent(self, parent: int) -> None:
        """End when the parent has: nobody else would end this process."""
        while os.getppid() == parent:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(LOOK_SECONDS)
        self.stop(signal.SIGTERM)

    async def _explain(self, connector: str, native_id: str) -> str:
        return (await explain_stored(self.settings, connector, native_id)).text()

    def _reloader(self) -> Reloader:
        return Reloader(self.settings, self.names, self.fleet, self._replace, self._herald, polls="poll" in self.roles)

    async def _replace(self, fleet: Fleet, changed: frozenset[str]) -> None:
        """Run by other files from now on."""
        self.fleet = fleet
        if self._trusted:
            self._trusted.adopt(tuple(fleet.harmonisers.values()))
        deliver = self._deliver()
        if self._stage:
            self._stage.use(deliver, deliver.shrink)
            settle()
        if self.pollers:
            await self.pollers.replace(fleet.connectors, deliver, changed, self._mine())

    def _mine(self) -> set[str]:
        return {name for name in self.fleet.connectors if partition_of(name, COMMANDS.partitions) in self._partitions}

    def _reporter(self) -> Reporter:
        return Reporter(
            self._herald.worker,
            tuple(sorted(self.roles)),
            lambda: self.fleet,
            lambda: [one for group in (self.pollers.streams.values() if self.pollers else ()) for one in group],
            self._herald.teller,
        )

    def _snapshot(self) -> Snapshot:
        streams = [one for group in (self.pollers.streams.values() if self.pollers else ()) for one in group]
        return Snapshot(
            stage=self.settings.stage,
            roles=tuple(sorted(self.roles)),
            titles={name: connector.title for name, connector in self.fleet.connectors.items()},
            paused=frozenset((one.connector.connector, one.stream) for one in streams if one.asked.paused),
            problems={(one.connector.connector, one.stream): one.problem for one in streams if one.problem},
        )

    def _deliver(self) -> Deliver:
        return deliver_for(self.settings, self.fleet.harmonisers.get)

    async def _harmonise(self) -> None:
        deliver = self._deliver()
        trusted = self._trusted = Trusted(self.settings, tuple(self.fleet.harmonisers.values()))
        await trusted.load()
        refreshing = asyncio.create_task(trusted.refresh())
        stage = self._stage = Stage(self.settings, deliver, deliver.shrink)
        work = asyncio.create_task(stage.run())
        waiting = asyncio.create_task(self.stopping.wait())
        self._ready.add("harmonise")
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        refreshing.cancel()
        stage.stop()
        await asyncio.wait({work}, timeout=STOP_SECONDS)
        if not work.done():
            log.warning("stage does not end", seconds=STOP_SECONDS, remark="what was not committed is read again")
            work.cancel()
        else:
            work.result()

    async def _poll(self) -> None:
        pollers = self.pollers = Pollers(self.settings, self.fleet.connectors, self._deliver(), self._herald)
        pollers.door.beside = self.socket.parent if self.socket else None

        async def assigned(partitions: set[int]) -> None:
            self._partitions = partitions
            await pollers.own(self._mine(), "connectors were given out anew")

        async def handle(value: bytes) -> None:
            command = commands.decode(value)
            if isinstance(command, Finding):
                log.warning("bad command", reason=command.message)
                return
            about = {"command": type(command).__name__.lower(), "connector": command.connector, "stream": command.stream}
            if refused := await pollers.apply(command):
                log.warning("command refused", **about, reason=refused)
                self._herald.say("command_refused", command.connector, command.stream, text=refused, reason=about["command"])
            else:
                log.info("command", **about)

        app: Any = build_app(self.settings, bootstrap(self.settings), pollers.tenure, assigned, handle)
        try:
            await asyncio.wait_for(app.start(), START_SECONDS)
            self._ready.add("poll")
            while not self.stopping.is_set():
                self._watch_tenure(pollers, app)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stopping.wait(), LOOK_SECONDS)
        finally:
            await pollers.stop()
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(app.stop(), LEAVE_SECONDS)

    @staticmethod
    def _watch_tenure(pollers: Pollers, app: Any) -> None:
        """Say so while the group's coordinator is silent: no registry is asked then, so nothing waits at a commit."""
        if app.crashed:
            raise Unavailable("the control plane ended; see the log before this line")
        pollers.tell_owned()
        silent = pollers.tenure.silence > pollers.tenure.seconds
        (blocked_commits.waits if silent else blocked_commits.goes_on)("poll", "the group's coordinator is silent")
