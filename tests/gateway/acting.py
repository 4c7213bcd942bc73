"""Act as an operator does: a command, then look until it shows."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.gateway.conftest import Site


def gateway(site: Site, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env=site.environment,
        capture_output=True,
        text=True,
        cwd=site.folder,
        check=False,
        timeout=120,
    )


def answer(site: Site, *arguments: str) -> Any:
    """Give what a command says to programs."""
    done = gateway(site, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def until(what: Callable[[], object], seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(1)


def raw(site: Site, connector: str) -> int:
    """Count what a connector has on the raw topic."""
    return sum(record.key.startswith(f"{connector}|".encode()) for record in site.read("gateway.raw.v1"))
