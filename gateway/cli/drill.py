"""``gateway drill``: break the running demo, so that people can practise finding a fault."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.errors import Unavailable, UsageError
from gateway.similar_name import did_you_mean

if TYPE_CHECKING:
    from gateway.cli.demo_faults import Fault
    from gateway.settings import Settings

UNDO_SECONDS = 90.0
"""A broker that was stopped needs up to a minute to start again."""
NO_DEMO = (
    "no demo runs here, and a drill breaks nothing else; "
    "start one in another terminal with `gateway demo --keep`"
)


def drill(
    name: Annotated[str, typer.Argument(help="Name of the fault.  [default: a random one]")] = "",
    list_faults: Annotated[
        bool, typer.Option("--list", help="List the faults, and break nothing.")
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option(min=1, help="End the drill after this time.  [default: when you end it]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """Break the running demo, so that you can practise finding the fault.

    The command needs `gateway demo --keep` in another terminal. It never touches anything else.
    It says what was broken when you press Enter or Ctrl-C, or when you have cured it. The fault
    ends with the command.
    """
    from gateway.cli.demo_faults import FAULTS

    if list_faults:
        _print_list(list(FAULTS.values()), as_json=as_json)
        return
    if name and name not in FAULTS:
        raise UsageError(
            f"no fault {name}{did_you_mean(name, FAULTS)}; `gateway drill --list` shows them"
        )
    fault = FAULTS[name or random.choice(list(FAULTS))]  # noqa: S311 - no secret
    raise typer.Exit(asyncio.run(_run(fault, seconds, is_named=bool(name))))


def _print_list(faults: list[Fault], *, as_json: bool) -> None:
    if as_json:
        rows = [{"name": fault.name, "what": fault.what, "page": fault.page} for fault in faults]
        print(json.dumps(rows, indent=1))
        return
    width = max(len(fault.name) for fault in faults)
    for fault in faults:
        print(f"{fault.name:{width}}  {fault.what}")


async def _run(fault: Fault, seconds: float | None, *, is_named: bool) -> int:
    """Carry out a drill and return the exit code."""
    reader, writer, hello = await _connect()
    try:
        _check_target(hello["bootstrap"])
        interrupted = _watch_signals()
        await _send(writer, fault=fault.name)
        _raise_error(answer := await _read(reader))
        if "started" in answer:
            print(_instructions(fault if is_named else None), flush=True)
            answer = await _wait_for_end(reader, interrupted, seconds)
        ending = "You have cured it. " if "cured" in answer else ""
        print(f"{ending}It was {fault.name}: {fault.what}.", flush=True)
        print(f"What to do then: {fault.page}", flush=True)
        if "undone" not in answer:
            writer.write_eof()
            await _read_until_undone(reader)
        print("The demo is whole again. Its streams recover within two minutes.")
        return 128 + interrupted.result() if interrupted.done() else 0
    finally:
        writer.close()


async def _connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter, dict[str, Any]]:
    """Connect to the newest demo of this user."""
    from gateway.cli.demo_drills import drill_folder

    for path in sorted(drill_folder().glob("*.sock"), key=_age):
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(path)
            return reader, writer, await _read(reader)
        path.unlink(missing_ok=True)
    raise Unavailable(NO_DEMO)


def _age(path: Path) -> float:
    with contextlib.suppress(OSError):
        return -path.stat().st_mtime
    return 0.0


def _check_target(bootstrap: str) -> None:
    """Refuse a drill in a shell that is set up for anything but the demo."""
    from gateway.settings import Settings

    settings: Settings = Settings()
    if settings.kafka_bootstrap not in {"", bootstrap}:
        raise UsageError(
            f"GATEWAY_KAFKA_BOOTSTRAP is {settings.kafka_bootstrap}, but the demo uses "
            f"{bootstrap}; a drill breaks only the demo, so unset the variable first"
        )
    stage = settings.registry_environment
    if "registry_environment" in settings.model_fields_set and stage == "production":
        raise UsageError(
            "GATEWAY_STAGE is production; a drill breaks only the demo, so unset the variable first"
        )


def _instructions(fault: Fault | None) -> str:
    broken = f"{fault.name}: {fault.what}." if fault else "Something in the demo is broken now."
    return (
        f"{broken}\n"
        "Find it with your alerts, the status page, `gateway status` or `gateway why CONNECTOR`.\n"
        "Press Enter to end the drill."
    )


def _watch_signals() -> asyncio.Future[int]:
    """Return a future with the number of the signal that ends the drill."""
    loop = asyncio.get_running_loop()
    interrupted: asyncio.Future[int] = loop.create_future()

    def end(number: int) -> None:
        if not interrupted.done():
            interrupted.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end, number)
    return interrupted


async def _wait_for_end(
    reader: asyncio.StreamReader, interrupted: asyncio.Future[int], seconds: float | None
) -> dict[str, Any]:
    """Wait until a person ends the drill, cures the fault, or the time is over."""
    message = asyncio.create_task(_read(reader))
    waits: set[asyncio.Future[Any]] = {message, interrupted}
    if sys.stdin.isatty():
        waits.add(_enter_pressed())
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    if message.done():
        answer = message.result()
        _raise_error(answer)
        return answer
    message.cancel()
    await asyncio.wait({message})
    return {}


def _enter_pressed() -> asyncio.Future[None]:
    loop = asyncio.get_running_loop()
    pressed: asyncio.Future[None] = loop.create_future()

    def read() -> None:
        sys.stdin.readline()
        loop.remove_reader(sys.stdin)
        if not pressed.done():
            pressed.set_result(None)

    loop.add_reader(sys.stdin, read)
    return pressed


async def _read_until_undone(reader: asyncio.StreamReader) -> None:
    try:
        async with asyncio.timeout(UNDO_SECONDS):
            while "undone" not in (answer := await _read(reader)):
                _raise_error(answer)
    except TimeoutError:
        raise Unavailable(
            f"the demo has not undone the fault after {UNDO_SECONDS:.0f} s; start the demo again"
        ) from None


async def _send(writer: asyncio.StreamWriter, **message: Any) -> None:
    writer.write(json.dumps(message).encode() + b"\n")
    await writer.drain()


async def _read(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Return the next message of the demo. Raises ``Unavailable`` if the demo has ended."""
    line = await reader.readline()
    if not line:
        raise Unavailable("the demo has ended, and the fault with it")
    message: dict[str, Any] = json.loads(line)
    return message


def _raise_error(message: dict[str, Any]) -> None:
    if "error" in message:
        raise Unavailable(message["error"])


def register(app: typer.Typer) -> None:
    """Add this module's command to the command line."""
    app.command("drill")(drill)
