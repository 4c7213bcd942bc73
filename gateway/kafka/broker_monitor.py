"""Check every two seconds that a broker responds, so that an idle worker detects an outage."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from gateway.kafka.connection import client_arguments
from gateway.observability import blocked_commits
from gateway.settings import Settings

CHECK_INTERVAL_SECONDS = 2.0
STOP_SECONDS = 1.0
NO_BROKER = "no broker answers"


async def monitor_brokers(settings: Settings, roles: Iterable[str]) -> None:
    """Request the topic list from the brokers until cancelled.

    While no broker responds, ``gateway_publish_blocked_seconds`` of ``roles`` grows.
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
                    await client.fetch_all_metadata()
            except (KafkaError, OSError, TimeoutError):
                _report(roles, silent=True)
                await _close(client)
                client = None
            else:
                _report(roles, silent=False)
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)
    finally:
        _report(roles, silent=False)
        await _close(client)


def _report(roles: Iterable[str], *, silent: bool) -> None:
    for role in roles:
        (blocked_commits.mark_blocked if silent else blocked_commits.mark_unblocked)(
            role, NO_BROKER
        )


async def _close(client: AIOKafkaClient | None) -> None:
    if client is not None:
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            await asyncio.wait_for(client.close(), STOP_SECONDS)
