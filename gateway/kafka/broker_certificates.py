"""Connect to every broker now and then, because only a new connection shows its certificate."""

from __future__ import annotations

import asyncio
import contextlib

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from gateway.errors import GatewayError
from gateway.kafka.connection import client_arguments
from gateway.settings import Settings

INTERVAL_SECONDS = 600.0
TIMEOUT_SECONDS = 30.0


async def watch_broker_certificates(settings: Settings) -> None:
    """Measure the certificates of all brokers until cancelled. Without TLS, there are none."""
    while "SSL" in settings.kafka_security:
        with contextlib.suppress(KafkaError, OSError, TimeoutError, GatewayError):
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await _connect_to_brokers(settings)
        await asyncio.sleep(INTERVAL_SECONDS)


async def _connect_to_brokers(settings: Settings) -> None:
    client = AIOKafkaClient(**client_arguments(settings), client_id="gateway-certificates")
    try:
        await client.bootstrap()
        cluster = await client.fetch_all_metadata()
        for broker in cluster.brokers():
            await client.ready(broker.nodeId)
    finally:
        await client.close()
