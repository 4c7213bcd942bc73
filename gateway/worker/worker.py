"""Run one worker process: check what it needs, start its roles, and stop them in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from gateway import accelerator
from gateway.certificates.renewal import renew_certificates
from gateway.errors import Finding, Unavailable
from gateway.kafka import cluster_check, topic_admin
from gateway.kafka.background_writer import BackgroundWriter
from gateway.kafka.broker_certificates import watch_broker_certificates
from gateway.kafka.broker_monitor import monitor_brokers
from gateway.kafka.connection import bootstrap_servers
from gateway.messages import commands
from gateway.messages.topics import COMMANDS
from gateway.observability import blocked_commits, tracing
from gateway.observability.diagnosis import Diagnosis
from gateway.observability.health_server import HealthServer, ReadinessCheck
from gateway.observability.page_snapshot import Snapshot
from gateway.observability.topics_page import TopicBrowser
from gateway.observability.unmapped_samples import SAMPLES
from gateway.operations.browse_topics import TOPIC_NAMES, browse_topic
from gateway.operations.diagnose import diagnose_worker
from gateway.operations.explain import explain_stored_record
from gateway.operations.notifier import Notifier, worker_id
from gateway.operations.read_status import read_status
from gateway.pipeline import key_check
from gateway.pipeline.config_metrics import publish_config_errors, publish_config_metrics
from gateway.pipeline.garbage_collector import tune_garbage_collector
from gateway.pipeline.harmonise_stage import HarmoniseStage
from gateway.pipeline.loaded_config import LoadedConfig
from gateway.pipeline.provider_cache import ProviderCache
from gateway.pipeline.record_processor import RecordProcessor, build_record_processor
from gateway.settings import Settings
from gateway.worker.config_reloader import ConfigReloader
from gateway.worker.connector_runner import STOP_SECONDS, ConnectorRunner, command_partition
from gateway.worker.control_plane import START_SECONDS, build_control_app
from gateway.worker.push_streams import PushStream
from gateway.worker.state_times import StateTimes
from gateway.worker.status_reporter import StatusReporter
from gateway.worker.stream_poller import StreamPoller

log = structlog.get_logger()

SHUTDOWN_TIMEOUT_SECONDS = 7.0
"""The process ends this time after a signal. Uncommitted records are read again."""
NOT_READY_AFTER_SECONDS = 5.0
"""A role that cannot commit for this time is not ready."""
CHECK_INTERVAL_SECONDS = 0.5
CONTROL_PLANE_STOP_SECONDS = 2.0
"""The time that the control plane has to leave its group. An idle Faust worker may hang on stop."""


@dataclass(slots=True)
class Worker:
    """One worker process. :meth:`run` ends on SIGTERM, on SIGINT or after :meth:`stop`.

    With ``health_socket`` the process is one of several under a parent. Its health port is that
    socket.
    """

    settings: Settings
    fleet: LoadedConfig
    roles: frozenset[str]
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    stop_signal: int = 0
    pollers: ConnectorRunner | None = None
    health_socket: Path | None = None
    connector_names: list[str] | None = None
    """The connectors to run; ``None`` means all."""
    _ready: set[str] = field(default_factory=set)
    _partitions: set[int] = field(default_factory=set)
    """The partitions of the command topic that this worker owns, and with them its connectors."""
    _stage: HarmoniseStage | None = None
    _provider_cache: ProviderCache | None = None
    _notifier: Notifier = field(init=False)
    _config_reloader: ConfigReloader = field(init=False)
    _reporter: StatusReporter = field(init=False)

    def __post_init__(self) -> None:
        self._notifier = Notifier(worker_id(self.settings), BackgroundWriter(self.settings))
        self._config_reloader = ConfigReloader(
            self.settings,
            self.connector_names,
            self.fleet,
            self._apply_config,
            self._notifier,
            has_poll_role="poll" in self.roles,
        )
        self._reporter = self._build_reporter()

    def stop(self, signal_number: int = 0) -> None:
        """Finish the work in progress and end.

        ``signal_number`` is the signal that caused the stop. A second signal ends the process at
        once.
        """
        if signal_number and self.stop_signal:
            os._exit(128 + signal_number)  # uncommitted records are read again
        self.stop_signal = signal_number
        self.stopping.set()
        if signal_number:
            # In a thread, because a silent broker may block the event loop, and a library may
            # block the end of the interpreter.
            timer = threading.Timer(SHUTDOWN_TIMEOUT_SECONDS, os._exit, (128 + signal_number,))
            timer.daemon = True
            timer.start()

    async def run(self) -> None:
        """Run the roles until stopped.

        Fails before the first poll if something that the worker needs is missing.
        """
        today = datetime.now(UTC).date()
        publish_config_metrics(self.fleet.connectors.values(), self.fleet.tables, today)
        self._report_not_loaded()
        await topic_admin.verify_topics(self.settings)
        if "poll" in self.roles:
            await cluster_check.verify_cluster(self.settings)
            await key_check.check_or_store_keys(self.settings)
        else:
            await key_check.check_keys(self.settings)
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(signal_number, self.stop, signal_number)
        checks: dict[str, ReadinessCheck] = {
            role: partial(self._not_ready_reason, role) for role in sorted(self.roles)
        }
        async with (
            HealthServer(
                self.settings,
                checks,
                self._snapshot,
                socket=self.health_socket,
                explain=self._explain,
                browser=TopicBrowser(TOPIC_NAMES, partial(browse_topic, self.settings)),
            ) as health,
            asyncio.TaskGroup() as group,
        ):
            self.url = health.url
            log.info(
                "started",
                connectors=len(self.fleet.connectors),
                roles=",".join(sorted(self.roles)),
                metrics=self.url,
                accelerator=accelerator.version or "not used",
            )
            if accelerator.refusal:
                log.warning("accelerator refused", reason=accelerator.refusal)
            if "harmonise" in self.roles:
                group.create_task(self._run_harmonise_role(), name="harmonise")
            if "poll" in self.roles:
                group.create_task(self._run_poll_role(), name="poll")
            support_tasks = [
                group.create_task(
                    monitor_brokers(self.settings, self.roles), name="monitor brokers"
                ),
                group.create_task(self._reporter.run(), name="report"),
                group.create_task(self._notifier.writer.run(), name="notify"),
                group.create_task(self._config_reloader.run(), name="reload"),
                group.create_task(renew_certificates(), name="renew certificates"),
                group.create_task(
                    watch_broker_certificates(self.settings), name="watch broker certificates"
                ),
            ]
            await self.stopping.wait()
            log.info("stopping")
            for task in support_tasks:
                task.cancel()
        await self._shut_down()

    async def _shut_down(self) -> None:
        """Send the remaining spans, and after a signal end the process at once.

        Some libraries leave threads for which the interpreter would wait.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(tracing.stop), CONTROL_PLANE_STOP_SECONDS)
        if self.stop_signal:
            logging.shutdown()
            os._exit(128 + self.stop_signal)

    def _not_ready_reason(self, role: str) -> str:
        """Return why a role cannot work at this moment, or an empty text.

        The state of a registry has no influence.
        """
        if role not in self._ready:
            return "starting"
        if blocked_commits.blocked_seconds(role) > NOT_READY_AFTER_SECONDS:
            return (
                f"Kafka has taken nothing {blocked_commits.blocked_reason(role)}; "
                "the gateway retries and drops no record"
            )
        return ""

    async def _explain(self, connector: str, native_id: str) -> str:
        return (await explain_stored_record(self.settings, connector, native_id)).to_text()

    def _report_not_loaded(self) -> None:
        """Report the connector files that were not valid when this worker started."""
        publish_config_errors(self.fleet.not_loaded, self.fleet.connectors)
        for name, findings in self.fleet.not_loaded.items():
            self._notifier.notify(
                "config_refused", name, text=str(findings[0]), reason=findings[0].code
            )

    def _not_loaded(self) -> dict[str, str]:
        """Return the first finding of each connector whose file is not valid, in one line."""
        return {
            name: str(findings[0]) for name, findings in self._config_reloader.not_loaded.items()
        }

    async def _apply_config(self, config: LoadedConfig, changed: frozenset[str]) -> None:
        """Continue with a new configuration. ``changed`` names the connectors that changed."""
        if config.tables.digest != self.fleet.tables.digest:
            SAMPLES.clear()
        self.fleet = config
        if self._provider_cache:
            self._provider_cache.set_harmonisers(tuple(config.harmonisers.values()))
        processor = self._build_processor()
        if self._stage:
            self._stage.set_processor(processor, processor.reject_as_too_large)
            tune_garbage_collector()
        if self.pollers:
            await self.pollers.apply_config(
                config.connectors, processor, changed, self._owned_connectors()
            )

    def _owned_connectors(self) -> set[str]:
        return {
            name
            for name in self.fleet.connectors
            if command_partition(name, COMMANDS.partitions) in self._partitions
        }

    def _build_reporter(self) -> StatusReporter:
        return StatusReporter(
            self._notifier.worker,
            tuple(sorted(self.roles)),
            lambda: self.fleet,
            self._streams,
            lambda: self.pollers.start_errors if self.pollers else {},
            lambda: self.pollers.start_error_codes if self.pollers else {},
            self._not_loaded,
            self._notifier.writer,
            lambda: self._notifier.results.by_id,
            state_times=StateTimes(partial(read_status, self.settings)),
        )

    def _streams(self) -> list[StreamPoller | PushStream]:
        """Return the streams of all connectors that this worker owns."""
        groups = self.pollers.streams.values() if self.pollers else ()
        return [stream for group in groups for stream in group]

    def _snapshot(self) -> Snapshot:
        streams = self._streams()
        return Snapshot(
            stage=self.settings.registry_environment,
            roles=tuple(sorted(self.roles)),
            titles={name: connector.title for name, connector in self.fleet.connectors.items()},
            not_loaded=self._not_loaded(),
            diagnoses=self._diagnoses,
            unmapped=SAMPLES.recent,
            paused=frozenset(
                (stream.connector.connector, stream.stream)
                for stream in streams
                if stream.requests.paused
            ),
            problems={
                **self._start_problems(),
                **{
                    (stream.connector.connector, stream.stream): stream.last_error
                    for stream in streams
                    if stream.last_error
                },
            },
        )

    def _diagnoses(self) -> list[Diagnosis]:
        """Return the diagnosis of each stream of this worker, and of files that do not load."""
        return diagnose_worker(
            self.settings.connectors, self.fleet.connectors, self._reporter.latest
        )

    def _start_problems(self) -> dict[tuple[str, str], str]:
        """Return why streams cannot start, by connector and stream."""
        errors = self.pollers.start_errors if self.pollers else {}
        return {
            (name, stream): reason
            for name, reason in errors.items()
            if (connector := self.fleet.connectors.get(name))
            for stream in connector.streams
        }

    def _build_processor(self) -> RecordProcessor:
        return build_record_processor(self.settings, self.fleet.harmonisers.get)

    async def _run_harmonise_role(self) -> None:
        processor = self._build_processor()
        provider_cache = self._provider_cache = ProviderCache(
            self.settings, tuple(self.fleet.harmonisers.values())
        )
        await provider_cache.load()
        refreshing = asyncio.create_task(provider_cache.refresh_forever())
        stage = self._stage = HarmoniseStage(
            self.settings,
            processor,
            processor.reject_as_too_large,
            check_keys=partial(key_check.check_keys_again, self.settings),
        )
        work = asyncio.create_task(stage.run())
        stop_requested = asyncio.create_task(self.stopping.wait())
        self._ready.add("harmonise")
        await asyncio.wait({work, stop_requested}, return_when=asyncio.FIRST_COMPLETED)
        stop_requested.cancel()
        refreshing.cancel()
        stage.stop()
        await asyncio.wait({work}, timeout=STOP_SECONDS)
        if not work.done():
            log.warning(
                "harmonise stage does not stop",
                seconds=STOP_SECONDS,
                remark="uncommitted records are read again",
            )
            work.cancel()
        else:
            work.result()

    async def _run_poll_role(self) -> None:
        pollers = self.pollers = ConnectorRunner(
            self.settings, self.fleet.connectors, self._build_processor(), self._notifier
        )
        pollers.push_server.may_serve_later = lambda: bool(
            self._config_reloader.not_loaded.keys() - self.fleet.connectors.keys()
        )
        pollers.push_server.socket_folder = (
            self.health_socket.parent if self.health_socket else None
        )

        async def assigned(partitions: set[int]) -> None:
            self._partitions = partitions
            await pollers.set_owned_connectors(
                self._owned_connectors(), "Kafka reassigned the connectors"
            )

        async def handle_command_message(value: bytes) -> None:
            command = commands.decode(value)
            if isinstance(command, Finding):
                log.warning(
                    "bad command",
                    topic=COMMANDS.name,
                    reason=command.message,
                    remark="no gateway wrote it, and it has no effect",
                )
                return
            log_context = {
                "command": type(command).__name__.lower(),
                "connector": command.connector,
                "stream": command.stream,
            }
            if refused := await pollers.handle_command(command):
                log.warning("command refused", **log_context, reason=refused)
                self._notifier.results.refuse(command.id, refused)
                self._notifier.notify(
                    "command_refused",
                    command.connector,
                    command.stream,
                    text=refused,
                    reason=log_context["command"],
                )
            else:
                log.info("command", **log_context)

        app: Any = build_control_app(
            self.settings,
            bootstrap_servers(self.settings),
            pollers.lease,
            assigned,
            handle_command_message,
        )
        try:
            await asyncio.wait_for(app.start(), START_SECONDS)
            self._ready.add("poll")
            while not self.stopping.is_set():
                self._check_lease(pollers, app)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stopping.wait(), CHECK_INTERVAL_SECONDS)
        finally:
            await pollers.stop()
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(app.stop(), CONTROL_PLANE_STOP_SECONDS)

    @staticmethod
    def _check_lease(pollers: ConnectorRunner, app: Any) -> None:
        """Mark the poll role as blocked while the group coordinator is silent.

        This worker then sends no requests, so no commit waits and would show the problem. Raises
        :class:`~gateway.errors.Unavailable` if the control plane has crashed.
        """
        if app.crashed:
            raise Unavailable(
                "the control plane ended; the log lines before this one show the cause"
            )
        pollers.update_owned_metric()
        silent = pollers.lease.seconds_since_heartbeat > pollers.lease.seconds
        (blocked_commits.mark_blocked if silent else blocked_commits.mark_unblocked)(
            "poll", "the group's coordinator is silent"
        )
