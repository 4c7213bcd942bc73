"""The life of one worker process: check what it needs, start its parts, stop them in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import Any

import structlog

from gateway import control
from gateway.deliver import Deliver
from gateway.errors import Finding
from gateway.fleet import Fleet, load_fleet
from gateway.publish import topics
from gateway.publish.connection import bootstrap
from gateway.publish.topics import COMMANDS
from gateway.settings import Settings
from gateway.stage import Stage
from gateway.watch.health import Health
from gateway.worker import START_SECONDS, STOP_SECONDS, Pollers, build_app, partition_of

log = structlog.get_logger()


async def run_worker(settings: Settings, names: list[str], roles: set[str], *, stop: asyncio.Event | None = None) -> None:
    """Run until SIGTERM, SIGINT or ``stop``. Fails before the first poll when something it needs is missing."""
    fleet = load_fleet(settings, names)
    await topics.verify(settings)
    stopping = stop or asyncio.Event()
    started = time.monotonic()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stopping.set)
    async with Health(settings) as health, asyncio.TaskGroup() as group:
        log.info("started", connectors=len(fleet.connectors), roles=",".join(sorted(roles)), metrics=health.url)
        if "harmonise" in roles:
            group.create_task(_harmonise(settings, fleet, stopping), name="harmonise")
        if "poll" in roles:
            group.create_task(_poll(settings, fleet, stopping), name="poll")
        await stopping.wait()
        log.info("stopping", after_seconds=round(time.monotonic() - started, 1))


async def _harmonise(settings: Settings, fleet: Fleet, stopping: asyncio.Event) -> None:
    deliver = Deliver(fleet.harmonisers.get, settings.pseudonym_key.get_secret_value().encode())
    stage = Stage(settings, deliver, deliver.shrink)
    work = asyncio.create_task(stage.run())
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    stage.stop()
    await asyncio.wait_for(work, STOP_SECONDS)


async def _poll(settings: Settings, fleet: Fleet, stopping: asyncio.Event) -> None:
    pollers = Pollers(settings, fleet.connectors)

    async def assigned(partitions: set[int]) -> None:
        await pollers.own({name for name in fleet.connectors if partition_of(name, COMMANDS.partitions) in partitions})

    def handle(value: bytes) -> None:
        command = control.decode(value)
        if isinstance(command, Finding):
            log.warning("bad command", reason=command.message)
        elif pollers.apply(command):
            log.info("command", command=type(command).__name__.lower(), connector=command.connector, stream=command.stream)

    app: Any = build_app(settings, bootstrap(settings), assigned, handle)
    try:
        await asyncio.wait_for(app.start(), START_SECONDS)
        await stopping.wait()
    finally:
        await pollers.stop()
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(app.stop(), STOP_SECONDS)
