"""The command ``kafka-transactions.sh`` of Apache Kafka, with the jars of the local broker."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiokafka import AIOKafkaProducer
from jgo.maven import MavenContext, PythonResolver

from gateway.local.broker import find_java
from gateway.local.jars import JAR_CACHE, fetch_jars

VERSION = "4.2.2"
SHA256 = "894caaca48b11d351cbe1f27d58c7a3c09ff22563bf3ab4bccf1ef69933e099c"


def transactions_command(bootstrap: str) -> str:
    """Return the command with the address of the broker, for a shell."""
    cache, mirror = JAR_CACHE.expanduser(), os.environ.get("GATEWAY_JAR_MIRROR", "")
    repository = MavenContext(
        repo_cache=cache / "maven",
        resolver=PythonResolver(),
        remote_repos={"central": mirror} if mirror else None,
        timeout=30,
    )
    tools = repository.project("org.apache.kafka", "kafka-tools").at_version(VERSION)
    jar = Path(tools.artifact().resolve())
    assert hashlib.sha256(jar.read_bytes()).hexdigest() == SHA256, jar
    path = os.pathsep.join(map(str, [jar, *fetch_jars(cache, mirror)]))
    program = "org.apache.kafka.tools.TransactionsCommand"
    return shlex.join([find_java(), "-cp", path, program, "--bootstrap-server", bootstrap])


@contextmanager
def open_transaction(bootstrap: str, topic: str, partition: int) -> Iterator[None]:
    """Let another program write to a partition without ending its transaction."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def begin() -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            transactional_id="another-program",
            transaction_timeout_ms=900_000,
        )
        await producer.start()
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"value", b"not of the gateway", partition=partition)
        return producer

    producer = asyncio.run_coroutine_threadsafe(begin(), loop).result(60)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(producer.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
