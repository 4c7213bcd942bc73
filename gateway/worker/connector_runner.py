"""Run the connectors that this worker owns.

Each connector belongs to one partition of ``gateway.commands.v1``. The worker to which Faust
assigns that partition owns the connector. Therefore one worker polls each registry, and the rate
limits of the registry hold for all workers together. Faust itself processes no records, see
docs/decisions/0002.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Iterable

import structlog

from gateway.certificates.renewal import forget_connector
from gateway.config.connector import Connector
from gateway.errors import GatewayError, StreamError
from gateway.fetch.http.lease import Lease
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.secrets import FileSecrets
from gateway.messages import commands
from gateway.messages.status import SKIPPED
from gateway.observability import metrics
from gateway.operations import stream_requests
from gateway.operations.backfill import LivePollGate
from gateway.operations.notifier import FailureStreak, Notifier, worker_id
from gateway.pipeline.id_claims import ConnectorIds
from gateway.pipeline.poll import PollContext
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pipeline.stream_state import StreamState
from gateway.settings import Settings
from gateway.worker.control_plane import SESSION_SECONDS
from gateway.worker.push_server import PushServer
from gateway.worker.push_streams import PushConnector, PushStream
from gateway.worker.push_tls import check_client_certificate
from gateway.worker.stream_poller import StreamPoller

log = structlog.get_logger()

STOP_SECONDS = 5.0
RESTART_SECONDS = 30.0
COMMAND_SECONDS = 60.0
"""The time that a command waits for its connector to start and for Kafka to accept the write."""
COMMAND_RETRY_SECONDS = 0.2


def command_partition(connector: str, partitions: int) -> int:
    """Return the partition of ``gateway.commands.v1`` that a connector belongs to."""
    return zlib.crc32(connector.encode()) % partitions


class ConnectorRunner:
    """The connectors of this worker, each with one HTTP client and one task for each stream."""

    def __init__(
        self,
        settings: Settings,
        connectors: dict[str, Connector],
        processor: RecordProcessor,
        notifier: Notifier | None = None,
    ) -> None:
        self._settings = settings
        self._notifier = notifier
        self._processor = processor
        self._connectors = connectors
        self._secrets = FileSecrets(settings.secrets_dir)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._clients: dict[str, RegistryClient] = {}
        self._ownership_lock = asyncio.Lock()
        self.lease = Lease(SESSION_SECONDS)
        self.push_server = PushServer(settings, self.lease)
        self.streams: dict[str, list[StreamPoller] | list[PushStream]] = {}
        self.start_errors: dict[str, str] = {}
        """Why a connector of this worker cannot start, in one line, by connector."""
        self.start_error_codes: dict[str, str] = {}
        """The reason code of each start error."""

    async def apply_config(
        self,
        connectors: dict[str, Connector],
        processor: RecordProcessor,
        changed: frozenset[str],
        names: set[str],
    ) -> None:
        """Continue with new files.

        Connectors in ``changed`` are restarted, and the others continue with the new ``processor``.
        Afterwards this worker owns the connectors in ``names``.
        """
        await self.set_owned_connectors(self._tasks.keys() - changed, "its file changed")
        self._connectors, self._processor = connectors, processor
        for streams in self.streams.values():
            for stream in streams:
                stream.processor = processor
        await self.set_owned_connectors(names, "its file changed")

    async def set_owned_connectors(self, names: set[str], reason: str) -> None:
        """Start the connectors that are new in ``names``, and stop those that are missing.

        The log names each of them and the ``reason``.
        """
        async with self._ownership_lock:
            log_context = {"worker": worker_id(self._settings), "reason": reason}
            lost = sorted(self._tasks.keys() - names)
            await asyncio.gather(*(self._stop(name) for name in lost))
            for name in lost:
                log.info("connector let go", connector=name, **log_context)
            for name in sorted(names - self._tasks.keys()):
                self._tasks[name] = asyncio.create_task(self._run(name), name=f"poll {name}")
                log.info("connector taken", connector=name, **log_context)
            self.update_owned_metric()
            try:
                await self.push_server.start(self._connectors.values(), self._secrets)
            except GatewayError as error:
                # Without a traceback, because the text of a GatewayError names the cause.
                log.error("push server not started", error=str(error))  # noqa: TRY400

    def update_owned_metric(self) -> None:
        """Set the number of connectors that this worker polls: 0 while it holds no lease."""
        metrics.CONNECTORS_OWNED.set(len(self._tasks) if self.lease.is_valid else 0)

    async def stop(self) -> None:
        """Stop all pollers and close the port for push messages.

        A transaction in progress is committed, or its records are read again.
        """
        await self.set_owned_connectors(set(), "the worker stops")
        await self.push_server.close()

    async def handle_command(self, command: commands.Command) -> str:
        """Carry out a command and return why it was refused, in one line, or an empty text.

        Never raises a :class:`~gateway.errors.GatewayError`. A broker that is down delays the
        command for at most :data:`COMMAND_SECONDS`.
        """
        if command.connector not in self._connectors:
            names = ", ".join(sorted(self._connectors)) or "none"
            return f"no connector {command.connector}; this worker knows {names}"
        deadline = time.monotonic() + COMMAND_SECONDS
        while time.monotonic() < deadline:
            streams = self.streams.get(command.connector, [])
            if refused := stream_requests.not_applicable_reason(
                command, self._connectors[command.connector]
            ):
                return refused
            try:
                if streams:
                    return await self._handle_in_streams(command, streams)
            except (GatewayError, OSError) as error:
                log.warning(
                    "command waits",
                    command=type(command).__name__.lower(),
                    connector=command.connector,
                    error=str(error),
                )
            await asyncio.sleep(COMMAND_RETRY_SECONDS)
            if reason := self.start_errors.get(command.connector):
                return f"{command.connector} cannot start: {reason}"
        return (
            f"{command.connector} did not start within {COMMAND_SECONDS:.0f} s, "
            "or Kafka did not accept the command; send the command again"
        )

    async def _handle_in_streams(
        self, command: commands.Command, streams: Iterable[StreamPoller | PushStream]
    ) -> str:
        """Hand a command to each stream that it concerns.

        Return why all of them refused it. A stream that refuses what another one takes is skipped.
        """
        concerned = [
            stream
            for stream in streams
            if stream_requests.applies_to_stream(command, stream.stream)
        ]
        if self._notifier:
            for stream in concerned:
                self._notifier.results.begin(command.id, stream.stream)
        refusals = []
        for stream in concerned:
            refusals.append(refused := await stream.handle_command(command))
            if refused:
                stream.requests.end_commands([command.id], refused, SKIPPED)
        return "; ".join(filter(None, refusals)) if all(refusals) else ""

    async def _run(self, name: str) -> None:
        """Run a connector until this task is cancelled.

        A connector that fails to start is started again, and the other connectors continue.
        """
        connector = self._connectors[name]
        failures = FailureStreak(self._notifier, connector, "") if self._notifier else None
        while True:
            try:
                await self._run_poll_connector(name, failures)
            except GatewayError as error:
                self._record_start_failure(connector, error, failures)
            except (Exception, BaseExceptionGroup) as error:
                log.exception(
                    "connector stopped",
                    connector=name,
                    cause=type(error).__name__,
                    next_try_seconds=RESTART_SECONDS,
                )
                self._count_halt(connector)
                self.streams.pop(name, None)
                self.start_error_codes[name] = "unexpected"
                self.start_errors[name] = (
                    f"stopped by {type(error).__name__}; the log has the cause"
                )
            await asyncio.sleep(RESTART_SECONDS)

    def _record_start_failure(
        self, connector: Connector, error: GatewayError, failures: FailureStreak | None
    ) -> None:
        """Report a connector that cannot start, for example because a secret is missing."""
        name, text = connector.connector, str(error)
        self.start_errors[name] = text
        reason = error.reason if isinstance(error, StreamError) else type(error).__name__
        self.start_error_codes[name] = (
            error.reason if isinstance(error, StreamError) else "START_FAILED"
        )
        log.warning(
            "connector cannot start",
            connector=name,
            reason=reason,
            error=text,
            next_try_seconds=RESTART_SECONDS,
        )
        self._count_halt(connector)
        if failures:
            failures.poll_failed("halt", reason, text)

    def _count_halt(self, connector: Connector) -> None:
        for stream, rules in connector.streams.items():
            labels = connector.connector, stream
            metrics.POLL_INTERVAL.labels(*labels).set(rules.every.total_seconds())
            metrics.POLLS.labels(*labels, "halt").inc()
            metrics.HALTED.labels(*labels).set(1)

    async def _run_poll_connector(self, name: str, failures: FailureStreak | None) -> None:
        connector = self._connectors[name]
        if connector.push is not None:
            await self._run_push_connector(connector)
        async with (
            RegistryClient(connector, self._secrets, self._settings.registry_environment) as client,
            asyncio.TaskGroup() as group,
        ):
            client.set_lease(self.lease)
            self._clients[name] = client
            self.start_errors.pop(name, None)
            if failures:
                failures.poll_succeeded()
            live_poll_gate = LivePollGate()
            ids = ConnectorIds(self.lease)
            self.streams[name] = streams = [
                StreamPoller(
                    self._settings,
                    PollContext(
                        connector,
                        stream,
                        client,
                        StreamState.of_connector(self._settings, connector, stream, ids),
                    ),
                    self._processor,
                    live_poll_gate,
                    self._notifier,
                )
                for stream in connector.streams
            ]
            for stream in streams:
                group.create_task(stream.run(), name=f"poll {name} {stream.stream}")

    async def _run_push_connector(self, connector: Connector) -> None:
        check_client_certificate(self._settings, connector)
        push_connector = PushConnector(
            self._settings, connector, self._processor, self.lease, self._notifier
        )
        self.streams[connector.connector] = push_connector.streams
        async with asyncio.TaskGroup() as group:
            group.create_task(push_connector.run(), name=f"receive {connector.connector}")
            group.create_task(
                self.push_server.serve_connector(connector, self._secrets, push_connector),
                name=f"answer {connector.connector}",
            )

    async def _stop(self, name: str) -> None:
        task = self._tasks.pop(name)
        self.streams.pop(name, None)
        self.start_errors.pop(name, None)
        if client := self._clients.pop(name, None):
            # A lease that is never valid: a task that does not stop at once sends no request.
            client.set_lease(Lease(0))
        for seconds in (STOP_SECONDS, 1.0):
            if not task.done():
                # Up to twice, because a library may lose a cancellation that arrives at the
                # moment when its own wait ends.
                task.cancel()
                await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            log.error("connector does not stop", connector=name, seconds=STOP_SECONDS)
        elif not task.cancelled():
            task.exception()
        forget_connector(name)
        metrics.drop_connector(name)
