"""Send commands to workers, say whether a worker is there, and wait for the end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.errors import Unavailable
from gateway.printable import one_line

if TYPE_CHECKING:
    from gateway.messages.commands import Command
    from gateway.messages.status import WorkerStatus
    from gateway.settings import Settings

WORKER_SILENT_AFTER_SECONDS = 20.0
"""After four missing reports, a worker counts as silent and its streams as unowned."""
FIRST_REPORT_SECONDS = 6.0
"""A worker that has just started has reported after this time."""
LOOK_INTERVAL_SECONDS = 1.0

Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for the end. The exit code is 1 if a stream failed.")
]
Timeout = Annotated[
    float, typer.Option(min=1, help="Longest time to wait with --wait, in seconds.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, at the end.")]
DEFAULT_TIMEOUT_SECONDS = 600.0


class CommandReport:
    """What happened to each command: lines for a person at once, or JSON at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._rows: dict[str, dict[str, Any]] = {}

    def add_sent(self, command: Command, workers: list[str]) -> None:
        """Report the workers that may own the connector of a command."""
        self._rows[command.id] = {
            "command": type(command).__struct_config__.tag,
            "connector": command.connector,
            "stream": command.stream or None,
            "sent_to": workers,
            "results": {},
        }
        if workers and not self._as_json:
            print(f"{describe(command)}: sent to {' or '.join(workers)}")

    def add_result(self, command: Command, stream: str, text: str) -> None:
        """Report how a command ended for a stream. A refused command has no stream."""
        self._rows[command.id]["results"][stream] = text
        if not self._as_json:
            print(one_line(f"{command.connector} {stream}".rstrip() + f": {text}"))

    def end(self) -> None:
        """Print the JSON."""
        if self._as_json:
            print(json.dumps(list(self._rows.values()), ensure_ascii=False, indent=1))


def send_commands(
    settings: Settings,
    to_send: Sequence[Command],
    *,
    wait: bool = False,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    as_json: bool = False,
) -> None:
    """Send commands and print for each of them which worker has it.

    With ``wait``, also wait until the workers have carried them out, and print the results. Raises
    :class:`~gateway.errors.Unavailable` if no worker runs one of the connectors, or if the time is
    over. The commands are stored in that case too.
    """
    report = CommandReport(as_json=as_json)
    try:
        asyncio.run(_send(settings, to_send, report, wait=wait, timeout_seconds=timeout_seconds))
    finally:
        report.end()


async def _send(
    settings: Settings,
    to_send: Sequence[Command],
    report: CommandReport,
    *,
    wait: bool,
    timeout_seconds: float,
) -> None:
    from gateway.kafka.send import send_command
    from gateway.messages import commands

    workers = await _find_workers(settings, {command.connector for command in to_send})
    for command in to_send:
        await send_command(settings, command.connector, commands.encode(command))
        report.add_sent(command, workers[command.connector])
    without = sorted(name for name, names in workers.items() if not names)
    if without and not wait:
        raise Unavailable(
            f"no worker runs {', '.join(without)} now, so nothing has happened yet; the command is "
            "stored for one day, and the next worker carries it out; start one with `gateway run`"
        )
    if wait:
        await _wait(settings, to_send, report, timeout_seconds)


async def _find_workers(settings: Settings, names: Iterable[str]) -> dict[str, list[str]]:
    """Return the workers that may own each connector."""
    from gateway.operations.read_status import read_status

    deadline = time.monotonic() + FIRST_REPORT_SECONDS
    while True:
        _, workers = await read_status(settings)
        found = {name: running_workers(workers, name, time.time()) for name in names}
        if all(found.values()) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(LOOK_INTERVAL_SECONDS)


def running_workers(workers: Iterable[WorkerStatus], connector: str, now: float) -> list[str]:
    """Return the names of the workers that report now and poll a connector."""
    return [
        one.worker
        for one in workers
        if "poll" in one.roles
        and now - one.at <= WORKER_SILENT_AFTER_SECONDS
        and (one.connectors is None or connector in one.connectors)
    ]


async def _wait(
    settings: Settings, sent: Sequence[Command], report: CommandReport, timeout_seconds: float
) -> None:
    from gateway.messages.status import command_failed, command_is_waiting
    from gateway.operations.read_status import read_status

    deadline = time.monotonic() + timeout_seconds
    unfinished = {command.id: command for command in sent}
    has_failed = False
    while True:
        _, workers = await read_status(settings)
        for command in list(unfinished.values()):
            results = {
                stream: text
                for one in sorted(workers, key=lambda worker: worker.at)
                for stream, text in one.commands.get(command.id, {}).items()
            }
            if not results or any(map(command_is_waiting, results.values())):
                continue
            del unfinished[command.id]
            for stream, text in sorted(results.items()):
                report.add_result(command, stream, text)
            has_failed |= any(map(command_failed, results.values()))
        if not unfinished:
            break
        if time.monotonic() > deadline:
            names = ", ".join(describe(command) for command in unfinished.values())
            raise Unavailable(
                f"no result of {names} within {timeout_seconds:.0f} s; a worker may still carry it "
                "out within a day of the command; see `gateway status`"
            )
        await asyncio.sleep(LOOK_INTERVAL_SECONDS)
    if has_failed:
        raise typer.Exit(1)


def describe(command: Command) -> str:
    """Return the verb, the connector and the stream of a command."""
    verb = type(command).__struct_config__.tag
    return one_line(f"{verb} {command.connector} {command.stream or 'all streams'}")
