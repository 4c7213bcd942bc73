"""Several worker processes under one parent: signals go to all, what dies is started again, one health port speaks for them.

The parent does no work, so that nothing can slow it down: it starts ``gateway run`` once for each process, waits, and answers at the
health port with what the processes say on their Unix sockets. Each process is a worker like any other: it joins the groups by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
from prometheus_client import CollectorRegistry

from gateway.observability import metrics
from gateway.observability.health_server import HealthServer, ReadinessCheck
from gateway.observability.merged_metrics import MergedMetrics
from gateway.operations.explain import explain_stored_record
from gateway.settings import Settings

log = structlog.get_logger()

FATAL_EXIT_CODES = frozenset({2, 3, 5, 7})
"""Exit codes that a new start cannot mend: wrong usage, configuration, rights, integrity. The parent ends with the same code."""
MIN_RESTART_DELAY_SECONDS = 1.0
MAX_RESTART_DELAY_SECONDS = 60.0
STABLE_AFTER_SECONDS = 60.0
"""A process that ran so long starts again after the first delay."""
KILL_AFTER_SECONDS = 15.0
"""So long after the signal a process that has not ended is killed. It drains within ten."""


@dataclass(slots=True)
class Supervisor:
    """``processes`` workers, each started with ``arguments``. :meth:`run` returns the exit code."""

    settings: Settings
    arguments: Sequence[str]
    processes: int
    url: str = ""
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _stop_signal: int = 0
    _running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    _down_reasons: dict[str, str] = field(default_factory=dict)
    """By process that does not run: why."""

    def stop(self, number: int = 0) -> None:
        """Tell every process to end. A second signal is forwarded too and ends them at once."""
        self._stop_signal = self._stop_signal or number
        self._stopping.set()
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number or signal.SIGTERM)

    async def run(self) -> int:
        """Keep the processes running until a signal, or until one of them says that starting again is of no use."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, number)
        with TemporaryDirectory(prefix="gateway-") as folder:
            sockets = {
                str(number): Path(folder) / f"{number}.sock"
                for number in range(1, self.processes + 1)
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
        """Run one process, again and again; return its last exit code when it is final, or when everything stops."""
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
        """Start a process and wait for its end. It has a session of its own: Ctrl-C in a terminal reaches it through us, once."""
        process_arguments = ["--process", process, "--socket", str(socket)]
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
                "killed: did not end in time",
                processes=",".join(sorted(self._running)),
                seconds=KILL_AFTER_SECONDS,
            )
            for process in self._running.values():
                process.kill()
            await asyncio.wait(unfinished)


def _checks(merged: MergedMetrics, waiting: dict[str, str]) -> dict[str, ReadinessCheck]:
    """Return one check a process: what it says itself, or why it says nothing."""

    def check(process: str) -> str:
        if process in waiting:
            return waiting[process]
        lines = merged.ready.get(process, "no answer").splitlines()
        return "; ".join(line for line in lines if not line.endswith(": ok"))

    return {f"process {process}": partial(check, process) for process in merged.sockets}
