"""Run the command line, or any function, in a fork of this process.

A fork starts in milliseconds, because all modules are already loaded.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import structlog

import gateway.cli
import gateway.kafka
import gateway.operations

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class FinishedProcess:
    """The result of a process.

    ``grown`` is the growth of its peak memory in megabytes. ``cpu`` and ``seconds`` are in seconds.
    """

    code: int
    out: str
    err: str
    seconds: float
    cpu: float
    grown: float

    @property
    def lines(self) -> list[str]:
        return self.err.strip().splitlines()


def apart(act: Callable[[], Any], *, stdin: str = os.devnull, limit: int = 60) -> FinishedProcess:
    """Run a function in a fork.

    The fork writes the return value to its standard output as JSON. An exception gives exit code
    70.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            _child(act, stdin, out, err, limit)
        _, status, used = os.wait4(child, 0)
        before = int(Path(folder, "err.rss").read_text()) if Path(folder, "err.rss").exists() else 0
        return FinishedProcess(
            os.waitstatus_to_exitcode(status),
            out.read_text(errors="replace"),
            err.read_text(errors="replace"),
            time.monotonic() - started,
            used.ru_utime + used.ru_stime,
            (used.ru_maxrss - before) / 1024,
        )


def _child(act: Callable[[], Any], stdin: str, out: Path, err: Path, limit: int) -> None:
    code = 70
    try:
        signal.alarm(limit)
        for number, path, flags in (
            (0, stdin, os.O_RDONLY),
            (1, out, os.O_WRONLY | os.O_CREAT),
            (2, err, os.O_WRONLY | os.O_CREAT),
        ):
            os.dup2(os.open(path, flags, 0o600), number)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(0),
            os.fdopen(1, "w", closefd=False),
            os.fdopen(2, "w", closefd=False),
        )
        Path(f"{err}.rss").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
        made = act()
        if made is not None:
            json.dump(made, sys.stdout)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 - the parent checks the output
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@cache
def _load_commands() -> None:
    """Import the modules of the commands here, so that no fork has to."""
    for package in (gateway.cli, gateway.operations, gateway.kafka):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def command(
    *arguments: str,
    environment: Mapping[str, str],
    cwd: Path = ROOT,
    stdin: str = os.devnull,
    before: Any = None,
    limit: int = 60,
) -> FinishedProcess:
    """Run the ``gateway`` command with exactly these ``GATEWAY_*`` variables."""

    def act() -> None:
        structlog.reset_defaults()  # An earlier test may have configured the log as a worker does.
        for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
            del os.environ[name]
        os.environ.update(environment)
        os.chdir(cwd)
        sys.argv = ["gateway", *arguments]
        if before is not None:
            before()
        from gateway.__main__ import main

        main()

    _load_commands()
    return apart(act, stdin=stdin, limit=limit)
