"""Keep the demo running with a worker of its own, so that people can work and practise with it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.cli.demo_drills import DrillServer
from gateway.cli.demo_faults import DemoSite
from gateway.cli.demo_worker import DemoKafka, DemoWorker, worker_environment, write_environment
from gateway.cli.safe_console import SafeConsole
from gateway.config.loading import load_connector
from gateway.errors import Unavailable

if TYPE_CHECKING:
    from gateway.local.registries import Registry
    from gateway.settings import Settings

SIDE_FILES = ("*.wsdl", "*.xsd", "*.json")


def choose_port(settings: Settings) -> int:
    """Return the configured port of the status page, or a free one if none is configured."""
    if "metrics_port" in settings.model_fields_set and settings.metrics_port:
        return settings.metrics_port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def copy_connectors(source: Path, folder: Path, addresses: Mapping[str, str]) -> Path:
    """Copy the files of connectors, with the addresses of their demo registries. Return the folder.

    A worker, and a person who edits the copy, then use files as in any other deployment.
    """
    folder.mkdir(exist_ok=True)
    for name, address in addresses.items():
        file = source / f"{name}.yaml"
        text = file.read_text(encoding="utf-8")
        url = getattr(load_connector(file).protocol, "url", None)
        for written in set(url.model_dump(exclude_none=True).values()) if url else ():
            parts = urlsplit(written)
            text = text.replace(f"{parts.scheme}://{parts.netloc}", address)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    for pattern in SIDE_FILES:
        for file in source.glob(pattern):
            shutil.copy(file, folder / file.name)
    return folder


async def keep_running(
    console: SafeConsole,
    settings: Settings,
    registries: dict[str, Registry],
    folder: Path,
    kafka_data: Path | None,
) -> None:
    """Run a worker with the files of ``settings`` until Ctrl-C.

    ``kafka_data`` is the folder of the broker if the demo has started it. Only then may drills
    break the demo.
    """
    environment = worker_environment(settings, folder, settings.metrics_port)
    worker = DemoWorker(environment, folder)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    running = asyncio.create_task(worker.run())
    lines = [
        "",
        "running until Ctrl-C; in another terminal:",
        f"  source {write_environment(folder, environment)}",
        "  gateway status",
    ]
    async with contextlib.AsyncExitStack() as stack:
        if kafka_data is not None:
            site = DemoSite(
                registries, settings.connectors, settings.secrets_dir, worker, DemoKafka(kafka_data)
            )
            server = DrillServer(site, settings.kafka_bootstrap)
            try:
                await stack.enter_async_context(server)
                lines.append("  gateway drill     # practise: find what is broken")
            except (OSError, Unavailable) as error:
                lines.append(f"  no drills: {error}")
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        try:
            await asyncio.wait(
                {running, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            running.cancel()
            await asyncio.wait({running})
