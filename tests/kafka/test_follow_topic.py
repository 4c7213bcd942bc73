"""Follow a topic with `gateway topics read`, while another program writes to it."""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import subprocess
import sys

import pytest
from aiokafka import AIOKafkaProducer

from gateway.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


async def write(settings: Settings, topic: str, keys: list[str]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    await producer.start()
    try:
        for key in keys:
            await producer.send_and_wait(topic, b"<award/>", key.encode())
    finally:
        await producer.stop()


def read_line(process: subprocess.Popen[str]) -> dict:
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        assert selector.select(60), "no line in 60 s"
    return json.loads(process.stdout.readline())


def test_new_records_are_printed_as_they_arrive(settings: Settings, name: str, create_topic):
    async def prepare() -> str:
        topic = await create_topic(f"{name}.v1")
        await write(settings, topic, [f"{name}|1", "other|1"])
        return topic

    topic = asyncio.run(prepare())
    command = [sys.executable, "-m", "gateway", "topics", "read", topic, "--connector", name]
    environment = os.environ | {"GATEWAY_KAFKA_BOOTSTRAP": settings.kafka_bootstrap}
    with subprocess.Popen(
        [*command, "--follow"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert read_line(process) == {"key": f"{name}|1", "value": "<award/>"}
            asyncio.run(write(settings, topic, ["other|2", f"{name}|2"]))
            assert read_line(process)["key"] == f"{name}|2"
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
    limited = subprocess.run(
        [*command, "--key", "|2", "--limit", "1"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(limited.stdout)["key"] == f"{name}|2"
    nothing = subprocess.run(
        [*command, "--key", "|3"], env=environment, capture_output=True, text=True, check=True
    )
    assert (nothing.stdout, "no record that matches" in nothing.stderr) == ("", True)
