"""Run several worker processes under one parent.

The parent starts ``gateway run`` once for each process and restarts a process that ends. It
forwards signals to all processes. It processes no records, so nothing can slow it down. Its health
port combines the answers that the processes give on their Unix sockets. Each process is an ordinary
worker and joins the consumer groups by itself. See docs/decisions/0028.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from gateway.observability import metrics
from gateway.observability.health_server import NOTE, HealthServer, ReadinessCheck
from gateway.observability.merged_metrics import MergedMetrics
from gateway.observability.topics_page import TopicBrowser
from gateway.operations.browse_topics import TOPIC_NAMES, browse_topic
from gateway.operations.explain import explain_stored_record
from gateway.settings import Settings
from gateway.worker.socket_folder import socket_folder

log = structlog.get_logger()

FATAL_EXIT_CODES = frozenset({2, 3, 5, 7})
"""Exit codes that a restart cannot fix: usage, configuration, rights, integrity. The parent ends
with the same code."""
MIN_RESTART_DELAY_SECONDS = 1.0
MAX_RESTART_DELAY_SECONDS = 60.0
STABLE_AFTER_SECONDS = 60.0
"""After this running time, a process restarts with the shortest delay again."""
KILL_AFTER_SECONDS = 15.0
"""A process that has not ended this time after the signal is killed. It needs at most ten seconds
to drain."""


@dataclass(slots=True)
class Supervisor:
    """The parent of ``processes`` workers, each started with ``arguments``.

    :meth:`run` returns the exit code.
    """

    settings: Settings
    arguments: Sequence[str]
    processes: int
    url: str = ""
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _stop_signal: int = 0
    _running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    _down_reasons: dict[str, str] = field(default_factory=dict)
    """The reason why each stopped process does not run."""

    def stop(self, number: int = 0) -> None:
        """Stop all processes.

        A second signal is forwarded as well and ends them at once.
        """
        self._stop_signal = self._stop_signal or number
        self._stopping.set()
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number or signal.SIGTERM)

    async def run(self) -> int:
        """Keep the processes running; return the exit code.

        Returns after a signal, or when a process ends with a code that a restart cannot fix.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, number)
        with socket_folder() as folder:
            sockets = {
                str(number): folder / f"{number}.sock" for number in range(1, self.processes + 1)
            }
            merged = MergedMetrics(sockets, (metrics.WORKER_RESTARTS,))
            registry = CollectorRegistry(support_collectors_without_names=True)
            registry.register(merged)
            health = HealthServer(
                self.settings,
                _checks(merged, self._down_reasons),
                lambda: merged.snapshot,
                registry=registry,
                refresh=merged.refresh,
                explain=self._explain,
                browser=TopicBrowser(TOPIC_NAMES, partial(browse_topic, self.settings)),
            )
            async with health:
                self.url = health.url
                log.info("started", processes=self.processes, metrics=self.url)
                process_tasks = [
                    asyncio.create_task(self._keep_running(process, socket))
                    for process, socket in sockets.items()
                ]
                await asyncio.wait(process_tasks, return_when=asyncio.FIRST_COMPLETED)
                if not self._stopping.is_set():
                    self.stop()
                await self._wait_for_exit(process_tasks)
        codes = [task.result() for task in process_tasks]
        return (
            128 + self._stop_signal
            if self._stop_signal
            else next((code for code in codes if code in FATAL_EXIT_CODES), max(codes))
        )

    async def _explain(self, connector: str, native_id: str) -> str:
        return (await explain_stored_record(self.settings, connector, native_id)).to_text()

    async def _keep_running(self, process: str, socket: Path) -> int:
        """Run one process and restart it when it ends.

        Return its last exit code when that code is fatal, or when the parent stops.
        """
        delay = MIN_RESTART_DELAY_SECONDS
        metrics.WORKER_RESTARTS.labels(process)
        while True:
            started = time.monotonic()
            code = await self._run_process(process, socket)
            if self._stopping.is_set() or code in FATAL_EXIT_CODES:
                log.info("process ended", process=process, code=code)
                return code
            metrics.WORKER_RESTARTS.labels(process).inc()
            delay = (
                MIN_RESTART_DELAY_SECONDS
                if time.monotonic() - started > STABLE_AFTER_SECONDS
                else delay
            )
            self._down_reasons[process] = (
                f"ended with code {code}; started again after {delay:.0f} s"
            )
            log.warning("process ended", process=process, code=code, next_try_seconds=delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
                return code
            delay = min(MAX_RESTART_DELAY_SECONDS, delay * 2)

    async def _run_process(self, process: str, socket: Path) -> int:
        """Start a process, wait for its end and return its exit code.

        The process has its own session, so Ctrl-C in a terminal reaches it once, through the
        parent.
        """
        process_arguments = [
            *("--process", process),
            *("--socket", str(socket)),
            *("--parent", str(os.getpid())),
        ]
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            "run",
            *self.arguments,
            *process_arguments,
            start_new_session=True,
        )
        self._running[process] = running
        self._down_reasons.pop(process, None)
        log.info("process started", process=process, pid=running.pid)
        if self._stopping.is_set():
            running.terminate()
        code = await running.wait()
        del self._running[process]
        return code if code >= 0 else 128 - code

    async def _wait_for_exit(self, process_tasks: Sequence[asyncio.Task[int]]) -> None:
        _, unfinished = await asyncio.wait(process_tasks, timeout=KILL_AFTER_SECONDS)
        if unfinished:
            log.error(
                "process killed because it did not end in time",
                processes=",".join(sorted(self._running)),
                seconds=KILL_AFTER_SECONDS,
            )
            for process in self._running.values():
                process.kill()
            await asyncio.wait(unfinished)


def _checks(merged: MergedMetrics, down_reasons: dict[str, str]) -> dict[str, ReadinessCheck]:
    """Return a readiness check for each process.

    It returns the answer of the process, or the reason why there is no answer.
    """

    def check(process: str) -> str:
        if process in down_reasons:
            return down_reasons[process]
        lines = merged.ready.get(process, "no answer").splitlines()
        return "; ".join(
            line for line in lines if not line.endswith(": ok") and not line.startswith(NOTE)
        )

    return {f"process {process}": partial(check, process) for process in merged.sockets}
