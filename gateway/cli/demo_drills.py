"""The running demo listens for ``gateway drill`` on a socket that only its user can open.

A fault lasts as long as the connection. It ends, however the drill ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.cli.demo_faults import FAULTS, DemoSite, Fault
from gateway.errors import GatewayError, Unavailable

CURE_CHECK_SECONDS = 0.5
MAX_SOCKET_NAME = 100
"""Longer names of sockets are refused by the operating system."""


def drill_folder() -> Path:
    """Return the folder with the sockets of this user's demos, and create it.

    Raises :class:`~gateway.errors.Unavailable` if the folder belongs to another user.
    """
    folder = Path(tempfile.gettempdir()) / f"gateway-demo-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise Unavailable(
            f"{folder} is not private to this user; remove it, or set TMPDIR to another folder"
        )
    return folder


@dataclass(slots=True)
class DrillServer:
    """Carries out one drill at a time on ``site``, and tells callers the address of Kafka."""

    site: DemoSite
    bootstrap: str
    _path: Path = field(init=False)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _current: str = ""

    async def __aenter__(self) -> Self:
        self._path = drill_folder() / f"{os.getpid()}.sock"
        if len(str(self._path)) > MAX_SOCKET_NAME:
            raise Unavailable(f"{self._path} is too long for a socket; set TMPDIR to a short path")
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        _send(writer, bootstrap=self.bootstrap, current=self._current)
        try:
            name = json.loads(await reader.readline() or b"{}").get("fault", "")
            if self._current or name not in FAULTS:
                _send(writer, error=self._refusal(name))
            else:
                await self._drill(FAULTS[name], reader, writer)
        except (ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    def _refusal(self, name: str) -> str:
        if self._current:
            return "another drill runs in this demo; end it first"
        return f"the demo knows no fault {name}"

    async def _drill(
        self, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._current = fault.name
        ended = asyncio.create_task(reader.read())
        try:
            async with fault.breaking(self.site) as is_cured:
                _send(writer, started=True)
                while not ended.done():
                    if is_cured():
                        _send(writer, cured=True)
                        break
                    await asyncio.wait({ended}, timeout=CURE_CHECK_SECONDS)
            _send(writer, undone=True)
        except GatewayError as error:
            _send(writer, error=str(error))
        finally:
            self._current = ""
            ended.cancel()
            with contextlib.suppress(ConnectionError):
                await writer.drain()


def _send(writer: asyncio.StreamWriter, **message: Any) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError):
        writer.write(json.dumps(message).encode() + b"\n")
