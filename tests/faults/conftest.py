"""Fixtures for the fault tests, and the summary of their figures."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from gateway.local import broker
from gateway.messages import topics
from gateway.messages.topics import TOPICS, topic_config
from tests.support.fault_figures import FIGURES, table
from tests.support.fault_site import FaultSite, Loop, create_topics, fault_site

broker.START_SECONDS = 120  # a killed broker waits for its old session, longer on a loaded machine


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    found = Loop()
    yield found
    found.close()


@pytest.fixture
def build(
    tmp_path: Path, loop: Loop, request: pytest.FixtureRequest
) -> Iterator[Callable[..., FaultSite]]:
    """Return ``build(records)``, which creates a fault site with its own connector.

    The fault site uses the shared broker, or the one at ``bootstrap``.
    """
    with ExitStack() as stack:

        def make(records: int = 150, bootstrap: str = "", **words: object) -> FaultSite:
            address = bootstrap or request.getfixturevalue("kafka_bootstrap")
            create_topics(address)
            return stack.enter_context(fault_site(tmp_path, address, loop, records, **words))

        yield make


async def _limit(bootstrap: str, topic: str, value: int) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        kept = next(topic_config(one) for one in TOPICS if one.name == topic)
        await client.alter_configs(
            [
                ConfigResource(
                    ConfigResourceType.TOPIC, topic, kept | {"max.message.bytes": str(value)}
                )
            ]
        )
    finally:
        await client.close()


@pytest.fixture
def small_credentials(kafka_bootstrap: str) -> Iterator[None]:
    """Limit ``europass.credentials.v1`` to small records during a test."""
    create_topics(kafka_bootstrap)
    asyncio.run(_limit(kafka_bootstrap, topics.CREDENTIALS.name, 10_350))
    yield
    asyncio.run(_limit(kafka_bootstrap, topics.CREDENTIALS.name, topics.CREDENTIALS.max_bytes))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print each failure at once, because a whole run takes half an hour."""
    if report.failed:
        print(f"\n{report.nodeid}\n{str(report.longrepr)[-3000:]}", file=sys.__stdout__, flush=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("faults: what was measured")
        for line in table():
            terminalreporter.write_line(line)
