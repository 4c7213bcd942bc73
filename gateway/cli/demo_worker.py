"""The worker and the broker of a demo that keeps running, as parts that a drill can stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import Unavailable
from gateway.local import broker
from gateway.settings import Settings

RESTART_SECONDS = 1.0
STOP_SECONDS = 20.0
ENVIRONMENT = "environment"
LOG = "worker.log"


def worker_environment(settings: Settings, folder: Path, metrics_port: int) -> dict[str, str]:
    """Return the settings of the demo as environment variables, for its worker and for commands."""
    return {
        "GATEWAY_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "GATEWAY_STAGE": settings.registry_environment,
        "GATEWAY_CONNECTORS": str(settings.connectors.absolute()),
        "GATEWAY_MAPPINGS": str(settings.mappings.absolute()),
        "GATEWAY_SECRETS_DIR": str(settings.secrets_dir.absolute()),
        "GATEWAY_DATA_DIR": str(folder.absolute()),
        "GATEWAY_PSEUDONYM_KEY": settings.pseudonym_key.get_secret_value(),
        "GATEWAY_METRICS_PORT": str(metrics_port),
    }


def write_environment(folder: Path, environment: dict[str, str]) -> Path:
    """Write a file with the variables that a shell can read, and return it."""
    file = folder / ENVIRONMENT
    file.touch(mode=0o600)
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    file.write_text("".join(lines))
    return file


@dataclass(slots=True)
class DemoWorker:
    """``gateway run`` in a process of its own. A process that ends is started again."""

    environment: dict[str, str]
    folder: Path
    _process: asyncio.subprocess.Process | None = None
    _may_run: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Keep the worker running until cancelled, except while it is held down."""
        self._may_run.set()
        try:
            while True:
                await self._may_run.wait()
                await self._run_once()
                await asyncio.sleep(RESTART_SECONDS)
        finally:
            await self._stop()

    async def _run_once(self) -> None:
        with (self.folder / LOG).open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway", "run", "--parent", str(os.getpid())),
                env=os.environ | self.environment | {"GATEWAY_INSTANCE": "demo"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        await self._process.wait()

    async def hold_down(self) -> None:
        """Kill the process, and start no other one."""
        self._may_run.clear()
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def let_run(self) -> None:
        """Start the process again."""
        self._may_run.set()

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


@dataclass(frozen=True, slots=True)
class DemoKafka:
    """The broker that the demo started on the folder ``data``."""

    data: Path

    async def stop(self) -> None:
        """Stop the broker. Its data stay."""
        await asyncio.to_thread(broker.stop, self.data)

    async def start(self) -> None:
        """Start the broker at the same address."""
        port = broker.last_port(self.data)
        if port is None:
            raise Unavailable(f"{self.data}: the broker of the demo has left no address")
        await asyncio.to_thread(broker.start, self.data, port, detached=False)
