"""End every worker when its parent ends, whenever that is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gateway.errors import StorageError, Unavailable
from gateway.worker.parent_process import end_with_parent
from gateway.worker.socket_folder import socket_folder

ROOT = Path(__file__).parents[2]
SECONDS = 12.0
"""More than a worker needs to end, also where it drains."""
CONNECTOR = """\
language: 1
connector: quiet
country: FI
title: A registry that nobody calls
owner: {name: Example office, contact: registry@office.example}
rest:
  url: {production: "https://registry.example", acceptance: "http://127.0.0.1:1"}
  errors: by_status
streams:
  awards:
    emits: qualification
    every: 1h
    request: {get: /awards}
    cursor: scan
    records: items
    id: id
    map:
      title.en: title
      awarding_body.name.en: {const: A school}
      awarding_body.country: {const: FI}
    tests:
      - {name: t, given: {id: "1", title: T}, expect_some: {title: {en: T}}}
"""


class Parent:
    """A gateway with two processes, as an operator starts it, and its children."""

    def __init__(
        self, folder: Path, bootstrap: str, *, tmp: Path | None = None, **environment: str
    ) -> None:
        (folder / "connectors").mkdir(exist_ok=True)
        (folder / "connectors" / "quiet.yaml").write_text(CONNECTOR)
        kept = {name: value for name, value in os.environ.items() if "GATEWAY_" not in name}
        self.log = folder / "log"
        # The path is short, because sockets are in it.
        self.tmp = tmp or Path(tempfile.mkdtemp(prefix="parent-", dir="/tmp"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "run", "--processes", "2"],
                env=kept
                | {
                    "TMPDIR": str(self.tmp),
                    "PYTHONPATH": str(ROOT),
                    "GATEWAY_CONNECTORS": str(folder / "connectors"),
                    "GATEWAY_MAPPINGS": str(ROOT / "mappings"),
                    "GATEWAY_STAGE": "acceptance",
                    "GATEWAY_PSEUDONYM_KEY": "a key for tests only, never for people",
                    "GATEWAY_KAFKA_BOOTSTRAP": bootstrap,
                    "GATEWAY_METRICS_PORT": "0",
                    "GATEWAY_LOG_FORMAT": "json",
                }
                | environment,
                stdout=log,
                stderr=log,
                cwd=folder,
            )

    def children(self, count: int = 2, seconds: float = 60) -> list[psutil.Process]:
        """Wait until the parent has ``count`` children."""
        parent = psutil.Process(self.process.pid)
        deadline = time.monotonic() + seconds
        while len(found := parent.children()) < count:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.005)
        return found

    def wait_for(self, text: str, count: int = 1, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while self.log.read_text().count(text) < count:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def left_after(children: list[psutil.Process], seconds: float = SECONDS) -> list[psutil.Process]:
    """Return the processes that run after this time. Those that do are killed."""
    _, alive = psutil.wait_procs(children, timeout=seconds)
    alive = [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]
    for each in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    return alive


@pytest.fixture(scope="module")
def bootstrap(kafka_bootstrap: str) -> str:
    from gateway.kafka import topic_admin
    from gateway.settings import Settings

    settings = Settings(kafka_bootstrap=kafka_bootstrap, registry_environment="acceptance")
    asyncio.run(topic_admin.create_missing(settings))
    return kafka_bootstrap


@pytest.fixture
def site(tmp_path: Path, bootstrap: str) -> Iterator[Parent]:
    parent = Parent(tmp_path, bootstrap)
    yield parent
    if parent.process.poll() is None:
        parent.process.send_signal(signal.SIGCONT)
        parent.process.terminate()
        parent.process.wait(30)
    shutil.rmtree(parent.tmp)


@pytest.mark.kafka
@pytest.mark.parametrize(
    "seconds",
    [0.0, 0.2, 10.0, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.05, 0.5, 1.0))],
)
def test_children_end_when_the_parent_is_killed(site: Parent, seconds: float):
    children = site.children()
    time.sleep(seconds)
    site.kill()
    assert left_after(children) == []


@pytest.mark.kafka
def test_child_ends_when_the_parent_is_killed_before_the_second_one_began(site: Parent):
    children = site.children(1)
    site.kill()
    assert left_after(children) == []


@pytest.mark.kafka
def test_children_that_do_not_run_end_when_the_parent_is_killed(site: Parent):
    """A stopped process handles no signal, and a busy one looks for nothing."""
    children = site.children()
    site.wait_for('"event": "started"', 3)
    for child in children:
        child.suspend()
    site.kill()
    assert left_after(children) == []


@pytest.mark.kafka
def test_children_of_a_stopped_parent_work_on_and_end_with_it(site: Parent):
    children = site.children()
    site.wait_for('"event": "started"', 3)
    site.process.send_signal(signal.SIGSTOP)
    time.sleep(3)
    assert all(child.is_running() for child in children)
    site.kill()
    assert left_after(children) == []


@pytest.mark.kafka
def test_next_parent_starts_on_the_same_ports_and_removes_the_sockets(
    tmp_path: Path, bootstrap: str, unused_tcp_port: int
):
    first = Parent(tmp_path, bootstrap, GATEWAY_METRICS_PORT=str(unused_tcp_port))
    first.wait_for('"event": "started"', 3)
    left = list(first.tmp.iterdir())
    assert len(left) == 1
    children = first.children()
    first.kill()
    second = Parent(tmp_path, bootstrap, tmp=first.tmp, GATEWAY_METRICS_PORT=str(unused_tcp_port))
    try:
        second.wait_for('"event": "started"', 6)
        assert left_after(children) == []
        assert not left[0].exists()
        assert len(list(first.tmp.iterdir())) == 1
    finally:
        second.process.terminate()
        second.process.wait(30)
    assert list(first.tmp.iterdir()) == []
    first.tmp.rmdir()


def test_long_path_of_temporary_files_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = tmp_path / ("long" * 20)
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with pytest.raises(StorageError, match="set TMPDIR to a shorter path"), socket_folder():
        pass
    assert list(place.iterdir()) == []


@pytest.fixture
def unused_tcp_port() -> int:
    from tests.conftest import free_port

    return free_port()


def test_parent_that_ended_before_the_call_is_one_clear_error():
    with pytest.raises(Unavailable, match="the parent process 999999 ended before"):
        end_with_parent(999_999)


WATCHED = """
import os, sys, time
from gateway.worker import parent_process
if sys.argv[1] == "thread":
    parent_process._request_signal = lambda number: False
    parent_process.DRAIN_SECONDS = 1.0
parent_process.end_with_parent(os.getppid())
if sys.argv[2] == "deaf":
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
BETWEEN = """
import subprocess, sys
subprocess.run([sys.executable, "-c", *sys.argv[1:]])
"""


@pytest.mark.parametrize("kind", ["kernel", "thread"])
@pytest.mark.parametrize("manner", ["obedient", "deaf"])
def test_process_ends_with_its_parent_on_every_system(kind: str, manner: str):
    """The thread is for systems whose kernel sends no signal."""
    between = subprocess.Popen(
        [sys.executable, "-c", BETWEEN, WATCHED, kind, manner],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert between.stdout
    assert between.stdout.readline() == b"ready\n"
    children = psutil.Process(between.pid).children()
    between.kill()
    between.wait()
    assert left_after(children, 5) == []
