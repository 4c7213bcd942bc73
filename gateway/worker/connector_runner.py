"""The worker process: Faust assigns connectors to workers and carries commands; pollers and the stage do the work.

Faust touches no record. It owns partitions of ``gateway.commands.v1``; a connector belongs to the worker that holds its partition, so
one registry is polled by one worker and its limits hold over all of them. Faust runs inside our own event loop, with its web server
off, and every start and stop has a time limit: an idle Faust worker may hang on stop.
"""

from __future__ import annotations

import asyncio
import time
import zlib

import structlog

from gateway.config.connector import Connector
from gateway.errors import GatewayError
from gateway.fetch.http.lease import Lease
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.secrets import FileSecrets
from gateway.messages import commands
from gateway.observability import metrics
from gateway.operations import stream_requests
from gateway.operations.backfill import LivePollGate
from gateway.operations.notifier import Notifier, worker_id
from gateway.pipeline.record_processor import RecordProcessor
from gateway.settings import Settings
from gateway.worker.control_plane import SESSION_SECONDS
from gateway.worker.push_server import PushServer
from gateway.worker.push_streams import PushConnector, PushStream
from gateway.worker.stream_poller import StreamPoller

log = structlog.get_logger()

STOP_SECONDS = 5.0
RESTART_SECONDS = 30.0
COMMAND_SECONDS = 60.0
"""So long a command waits for its connector to start and for Kafka to take it."""
COMMAND_RETRY_SECONDS = 0.2


def command_partition(connector: str, partitions: int) -> int:
    """Return the partition of ``gateway.commands.v1`` that a connector belongs to."""
    return zlib.crc32(connector.encode()) % partitions


class ConnectorRunner:
    """The connectors this worker owns, each with one HTTP client and one task a stream."""

    def __init__(
        self,
        settings: Settings,
        connectors: dict[str, Connector],
        deliver: RecordProcessor,
        herald: Notifier | None = None,
    ) -> None:
        self._settings = settings
        self._herald = herald
        self._deliver = deliver
        self._connectors = connectors
        self._secrets = FileSecrets(settings.secrets_dir)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._clients: dict[str, RegistryClient] = {}
        self._ownership_lock = asyncio.Lock()
        self.lease = Lease(SESSION_SECONDS)
        self.push_server = PushServer(settings, self.lease)
        self.streams: dict[str, list[StreamPoller] | list[PushStream]] = {}

    async def apply_config(
        self,
        connectors: dict[str, Connector],
        deliver: RecordProcessor,
        changed: frozenset[str],
        names: set[str],
    ) -> None:
        """Poll by other files: those that ``changed`` start anew, the others go on; ``names`` are owned afterwards."""
        await self.set_owned_connectors(self._tasks.keys() - changed, "its file changed")
        self._connectors, self._deliver = connectors, deliver
        for one in [one for group in self.streams.values() for one in group]:
            one.processor = deliver
        await self.set_owned_connectors(names, "its file changed")

    async def set_owned_connectors(self, names: set[str], reason: str) -> None:
        """Start what is newly owned and stop what is not owned any more; the log says which, and the ``reason``."""
        async with self._ownership_lock:
            about = {"worker": worker_id(self._settings), "reason": reason}
            lost = sorted(self._tasks.keys() - names)
            await asyncio.gather(*(self._stop(name) for name in lost))
            for name in lost:
                log.info("connector let go", connector=name, **about)
            for name in sorted(names - self._tasks.keys()):
                self._tasks[name] = asyncio.create_task(self._run(name), name=f"poll {name}")
                log.info("connector taken", connector=name, **about)
            self.update_owned_metric()
            try:
                await self.push_server.start(self._connectors.values(), self._secrets)
            except GatewayError as error:
                log.error("callers are not answered", error=str(error))  # noqa: TRY400 - the text says it

    def update_owned_metric(self) -> None:
        """Say how many connectors this worker polls: none while it may not ask."""
        metrics.CONNECTORS_OWNED.set(len(self._tasks) if self.lease.is_valid else 0)

    async def stop(self) -> None:
        """Stop every poller; what is in flight is committed or left to be read again."""
        await self.set_owned_connectors(set(), "the worker stops")
        await self.push_server.close()

    async def handle_command(self, command: commands.Command) -> str:
        """Carry out a command; return why it was not, in one line. Total: a broker that is away is waited for, within a time limit."""
        if command.connector not in self._connectors:
            return f"no connector {command.connector}; this worker knows {', '.join(sorted(self._connectors)) or 'none'}"
        deadline = time.monotonic() + COMMAND_SECONDS
        while time.monotonic() < deadline:
            streams = self.streams.get(command.connector, [])
            if refused := stream_requests.not_applicable_reason(
                command, self._connectors[command.connector]
            ):
                return refused
            try:
                if streams:
                    refusals = [
                        await one.handle_command(command)
                        for one in streams
                        if stream_requests.applies_to_stream(command, one.stream)
                    ]
                    return "; ".join(filter(None, refusals)) if all(refusals) else ""
            except (GatewayError, OSError) as error:
                log.warning(
                    "command waits",
                    command=type(command).__name__.lower(),
                    connector=command.connector,
                    error=str(error),
                )
            await asyncio.sleep(COMMAND_RETRY_SECONDS)
        return f"{command.connector} did not start within {COMMAND_SECONDS:.0f} s, or Kafka did not take the command; say it again"

    async def _run(self, name: str) -> None:
        """Keep a connector polled until it is taken away; what cannot start is tried again, and the others go on."""
        while True:
            try:
                await self._run_poll_connector(name)
            except (Exception, BaseExceptionGroup) as error:
                log.exception(
                    "connector stopped",
                    connector=name,
                    cause=type(error).__name__,
                    next_try_seconds=RESTART_SECONDS,
                )
                metrics.POLLS.labels(name, "", "halt").inc()
            await asyncio.sleep(RESTART_SECONDS)

    async def _run_poll_connector(self, name: str) -> None:
        connector = self._connectors[name]
        if connector.push is not None:
            await self._run_push_connector(connector)
        async with (
            RegistryClient(connector, self._secrets, self._settings.registry_environment) as client,
            asyncio.TaskGroup() as group,
        ):
            client.set_lease(self.lease)
            self._clients[name] = client
            traffic = LivePollGate()
            self.streams[name] = streams = [
                StreamPoller(
                    self._settings, connector, stream, client, self._deliver, traffic, self._herald
                )
                for stream in connector.streams
            ]
            for stream in streams:
                group.create_task(stream.run(), name=f"poll {name} {stream.stream}")

    async def _run_push_connector(self, connector: Connector) -> None:
        inbox = PushConnector(self._settings, connector, self._deliver, self.lease, self._herald)
        self.streams[connector.connector] = inbox.streams
        async with asyncio.TaskGroup() as group:
            group.create_task(inbox.run(), name=f"receive {connector.connector}")
            group.create_task(
                self.push_server.serve_connector(connector, self._secrets, inbox),
                name=f"answer {connector.connector}",
            )

    async def _stop(self, name: str) -> None:
        task = self._tasks.pop(name)
        self.streams.pop(name, None)
        if client := self._clients.pop(name, None):
            client.set_lease(
                Lease(0)
            )  # never valid: whatever of it does not end at once asks nobody any more
        for seconds in (STOP_SECONDS, 1.0):
            if not task.done():
                task.cancel()  # twice: a library may lose a cancellation that comes just as what it waits for ends
                await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            log.error("connector does not stop", connector=name, seconds=STOP_SECONDS)
        elif not task.cancelled():
            task.exception()
        metrics.drop_connector(name)
