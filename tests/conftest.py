"""Fixtures for every test: a real Kafka, unique topic names and the reference material."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from gateway.errors import GatewayError
from gateway.local import broker as kafka
from gateway.settings import Settings

ROOT = Path(__file__).parent.parent
kafka.START_SECONDS = 120  # a loaded machine is slow, and a killed broker waits for its old session
EVERYBODY_TAKES_FROM = 32_768
"""The first port that Linux gives to outgoing connections."""

# Every run uses the same examples, so that a new finding never blocks an unrelated change.
# `pytest --hypothesis-profile=default` searches for new examples.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


def free_port() -> int:
    """Return a port that is free and that Linux gives to no outgoing connection."""
    dice = random.SystemRandom()
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port := dice.randrange(20_000, EVERYBODY_TAKES_FROM)))
            return port


@pytest.fixture(scope="session")
def kafka_bootstrap(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[str]:
    """Return the addresses of a real Kafka.

    ``GATEWAY_TEST_KAFKA`` names an existing broker. Without it, the fixture starts a broker and
    stops it at the end of the session. ``GATEWAY_TEST_KAFKA=testcontainers`` uses a container.
    """
    given = os.environ.get("GATEWAY_TEST_KAFKA")
    if given == "testcontainers":
        yield request.getfixturevalue("container_bootstrap")
        return
    if given:
        yield given
        return
    try:
        with kafka.running(
            tmp_path_factory.mktemp("kafka") / "data",
            mirror=os.environ.get("GATEWAY_JAR_MIRROR", ""),
        ) as broker:
            yield broker.bootstrap
    except GatewayError as error:
        pytest.fail(f"the tests need a Kafka: {error}; or set GATEWAY_TEST_KAFKA", pytrace=False)


@pytest.fixture(scope="session")
def container_bootstrap() -> Iterator[str]:
    """Return the address of a Kafka in a container. Skip when no Docker engine answers."""
    import docker
    from docker.errors import DockerException
    from testcontainers.community.kafka import KafkaContainer

    try:
        docker.from_env().ping()
    except DockerException as error:
        pytest.skip(f"no Docker engine answers ({type(error).__name__})")
    container = KafkaContainer(
        os.environ.get("GATEWAY_TEST_KAFKA_IMAGE", "confluentinc/cp-kafka:8.0.0")
    ).with_kraft()
    container.with_env("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1").with_env(
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1"
    )
    container.with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
    with container:
        yield container.get_bootstrap_server()


@pytest.fixture
def settings(kafka_bootstrap: str) -> Settings:
    """Return settings that connect to the Kafka of the tests."""
    return Settings(kafka_bootstrap=kafka_bootstrap, registry_environment="acceptance")


@pytest.fixture
def name() -> str:
    """Return a unique prefix for the topics, groups and transactional ids of one test."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def create_topic(kafka_bootstrap: str) -> Callable[..., Awaitable[str]]:
    """Return ``await create_topic(name, partitions=1, **config)``.

    Write ``_`` for ``.`` in configuration keys.
    """

    async def create(topic: str, partitions: int = 1, **config: Any) -> str:
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic

        client = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
        await client.start()
        try:
            wanted = NewTopic(
                topic,
                partitions,
                1,
                topic_configs={key.replace("_", "."): str(value) for key, value in config.items()},
            )
            reply = await client.create_topics([wanted])
            assert reply.topic_errors[0][1] == 0, reply
            async with asyncio.timeout(60):
                while not (await client.describe_topics([topic]))[0]["partitions"]:
                    await asyncio.sleep(0.05)
        finally:
            await client.close()
        return topic

    return create


@pytest.fixture(scope="session")
def reference() -> Path:
    """Return the folder of the reference material: real payloads, schemas and tables."""
    found = Path(os.environ.get("GATEWAY_REFERENCE", ROOT.parent / "shared" / "reference"))
    if not found.is_dir():
        pytest.skip(f"no reference material at {found}; set GATEWAY_REFERENCE")
    return found
