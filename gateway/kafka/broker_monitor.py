"""Check every two seconds that a broker responds and serves every topic.

An idle worker detects an outage with it, or a topic that was deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError

from gateway.kafka.connection import client_arguments
from gateway.messages.topics import TOPICS
from gateway.observability import blocked_commits
from gateway.settings import Settings

CHECK_INTERVAL_SECONDS = 2.0
STOP_SECONDS = 1.0
NO_BROKER = "no broker answers"
TOPICS_MISSING = "topics are missing or have no leader; see `gateway topics verify`"


async def monitor_brokers(settings: Settings, roles: Iterable[str]) -> None:
    """Request the topic list from the brokers until cancelled.

    While no broker responds, or a topic is missing, ``gateway_publish_blocked_seconds`` of
    ``roles`` grows.
    """
    roles = tuple(roles)
    for role in roles:
        blocked_commits.register_role(role)
    client: AIOKafkaClient | None = None
    try:
        while True:
            try:
                async with asyncio.timeout(CHECK_INTERVAL_SECONDS):
                    if client is None:
                        client = AIOKafkaClient(
                            **client_arguments(settings), client_id="gateway-contact"
                        )
                        await client.bootstrap()
                    cluster = await client.fetch_all_metadata()
            except (KafkaError, OSError, TimeoutError):
                _report(roles, NO_BROKER)
                await _close(client)
                client = None
            else:
                _report(roles, "" if _serves_topics(cluster) else TOPICS_MISSING)
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)
    finally:
        _report(roles, "")
        await _close(client)


def _serves_topics(cluster: ClusterMetadata) -> bool:
    """Return whether every topic of the gateway exists and each of its partitions has a leader."""
    return all(
        (partitions := cluster.partitions_for_topic(topic.name))
        and partitions == cluster.available_partitions_for_topic(topic.name)
        for topic in TOPICS
    )


def _report(roles: Iterable[str], problem: str) -> None:
    for role in roles:
        for reason in (NO_BROKER, TOPICS_MISSING):
            (blocked_commits.mark_blocked if reason == problem else blocked_commits.mark_unblocked)(
                role, reason
            )


async def _close(client: AIOKafkaClient | None) -> None:
    if client is not None:
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            await asyncio.wait_for(client.close(), STOP_SECONDS)
