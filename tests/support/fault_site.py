"""The parts of a fault test: a broker, a demo registry and the gateway as a real process.

Each site has its own connector name, so that many sites can share a broker. Their cursors,
digests and records are separate.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from gateway.errors import Unavailable
from gateway.kafka import topic_admin
from gateway.local.registries import soap_credits
from gateway.local.registries.soap_credits import StudentRecords
from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
FAULTY = Path(__file__).with_name("faulty_gateway.py")
KEY = "a key for tests only, never for people"
PAGE = 20
"""Records on a page. Small pages give more transactions and more moments for a fault."""
STREAMS = ("degrees", "credits", "enrolments")
T = TypeVar("T")
PATIENCE = float(os.environ.get("GATEWAY_TEST_PATIENCE", "2"))
"""The factor on every time limit, because a loaded machine is slower."""


class Loop:
    """An event loop in a thread, which runs registries and proxies while a test waits."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Awaitable[T], seconds: float = 60) -> T:
        async def bounded() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(bounded(), self.loop).result(seconds)

    def call(self, function: Callable[..., T], *arguments: Any, **words: Any) -> T:
        async def once() -> T:
            return function(*arguments, **words)

        return self.run(once())

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)


@dataclass
class FaultSite:
    """The parts of one scenario. ``address`` is the broker, or a proxy in front of it."""

    folder: Path
    bootstrap: str
    loop: Loop
    registry: StudentRecords
    name: str
    address: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    kills: int = 0
    recoveries: list[float] = field(default_factory=list)

    def start(
        self,
        failpoint: str = "",
        defect: str = "",
        roles: str = "poll,harmonise",
        more: str = "",
        **extra: str,
    ) -> subprocess.Popen[bytes]:
        """Start ``gateway run`` for this site's connector, optionally with a fault or a defect."""
        environment = (
            self.environment | {"GATEWAY_KAFKA_BOOTSTRAP": self.address or self.bootstrap} | extra
        )
        if failpoint:
            environment["GATEWAY_TEST_FAILPOINT"] = failpoint
        if defect:
            environment["GATEWAY_TEST_DEFECT"] = defect
        with self.log_of(len(self.running)).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, str(FAULTY), "run", self.name, "--roles", roles, *more.split()],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        self.running.append(process)
        return process

    def log_of(self, number: int) -> Path:
        return self.folder / f"gateway-{number}.log"

    def log(self, process: subprocess.Popen[bytes]) -> str:
        return self.log_of(self.running.index(process)).read_text()

    def said(self, process: subprocess.Popen[bytes], text: str, seconds: float = 40) -> None:
        """Wait until a process has written ``text`` to its log."""
        until(
            lambda: text in self.log(process),
            seconds,
            lambda: f"no {text!r} in:\n{self.log(process)[-3000:]}",
        )

    def stacks(self, process: subprocess.Popen[bytes]) -> str:
        """Return where every task of a process waits. Tests print it after a timeout."""
        before = len(self.log(process))
        process.send_signal(signal.SIGUSR2)
        time.sleep(3)
        return self.log(process)[before:]

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self.kills += 1

    def stop(self, process: subprocess.Popen[bytes], seconds: float = 25) -> int:
        """Stop a process with SIGTERM and return its exit code."""
        process.send_signal(signal.SIGCONT)
        process.terminate()
        return ended(process, seconds)

    def stop_all(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()

    def add(self, count: int, stream: str = "degrees") -> None:
        self.loop.call(self.registry.add, stream, count)

    def change(self, count: int, stream: str = "degrees") -> None:
        self.loop.call(self.registry.change, stream, count=count)

    def delete(self, count: int, stream: str = "degrees") -> None:
        self.loop.call(self.registry.delete, stream, count=count)


def ended(process: subprocess.Popen[bytes], seconds: float = 60) -> int:
    """Wait up to ``seconds * PATIENCE`` for a process to end and return its exit code."""
    return process.wait(seconds * PATIENCE)


def frozen(process: subprocess.Popen[bytes], seconds: float = 40) -> None:
    """Wait until a process has stopped itself."""
    until(
        lambda: (
            process.poll() is not None
            or psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
        ),
        seconds,
    )
    assert process.poll() is None, f"ended with {process.returncode} instead of stopping"


def until(
    condition: Callable[[], bool], seconds: float = 40, why: Callable[[], str] = lambda: ""
) -> float:
    """Wait up to ``seconds * PATIENCE`` for a condition and return the seconds it took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds * PATIENCE:
            raise AssertionError(f"not within {seconds} s: {why()}")
        time.sleep(0.05)
    return time.monotonic() - started


def write_connector(folder: Path, name: str, url: str, page: int, every: str, overlap: str) -> None:
    """Write the demonstration's connector with another name and small pages, and its secret."""
    text = (ROOT / "connectors" / "demo-soap.yaml").read_text()
    port = text.split("http://127.0.0.1:")[1].split("/")[0]
    for old, new in (
        (f"http://127.0.0.1:{port}", url),
        ("connector: demo-soap", f"connector: {name}"),
        ("pageSize: 100", f"pageSize: {page}"),
        ("every: 10s", f"every: {every}"),
        ("start: 2024-09-01}", f"start: 2024-09-01, overlap: {overlap}}}"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    connectors = folder / "connectors"
    connectors.mkdir(exist_ok=True)
    (connectors / f"{name}.yaml").write_text(text)
    (connectors / "demo-soap.wsdl").write_bytes(
        (ROOT / "connectors" / "demo-soap.wsdl").read_bytes()
    )
    secret = folder / "secrets" / "demo-soap" / "key"
    secret.parent.mkdir(parents=True, exist_ok=True)
    secret.write_text(soap_credits.KEY)
    secret.chmod(0o600)


@contextlib.contextmanager
def fault_site(
    folder: Path,
    bootstrap: str,
    loop: Loop,
    records: int = 150,
    *,
    page: int = PAGE,
    every: str = "1s",
    overlap: str = "0s",
) -> Iterator[FaultSite]:
    """Build a fault site with a registry of ``records`` records and the connector that reads it."""
    registry = loop.run(soap_credits.start(records=records, page_size=page))
    name = f"f{uuid.uuid4().hex[:8]}"
    write_connector(folder, name, registry.url, page, every, overlap)
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")
    } | {
        "GATEWAY_CONNECTORS": str(folder / "connectors"),
        "GATEWAY_MAPPINGS": str(ROOT / "mappings"),
        "GATEWAY_SECRETS_DIR": str(folder / "secrets"),
        "GATEWAY_PSEUDONYM_KEY": KEY,
        "GATEWAY_METRICS_PORT": "0",
        "GATEWAY_LOG_FORMAT": "json",
        "GATEWAY_STAGE": "acceptance",
        "GATEWAY_INSTANCE": name,
        "PYTHONPATH": str(ROOT),
    }
    found = FaultSite(folder, bootstrap, loop, registry, name, environment=environment)
    try:
        yield found
    finally:
        found.stop_all()
        loop.run(registry.close())


def create_topics(bootstrap: str, tries: int = 8) -> None:
    """Create the gateway's topics. Retry while a broker that has just started is not ready."""
    for left in reversed(range(tries)):
        try:
            asyncio.run(topic_admin.create_missing(Settings(kafka_bootstrap=bootstrap)))
        except Unavailable:
            if not left:
                raise
        else:
            return
