"""Give every harmoniser the trusted providers.

The worker loads them before the first record and reloads them while it runs. See
docs/decisions/0017.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from gateway.errors import GatewayError
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.providers import Providers
from gateway.kafka.connection import KafkaError
from gateway.kafka.topic_reader import read_topic
from gateway.kafka.unreadable_records import skip_unreadable
from gateway.messages.topics import PROVIDERS
from gateway.records import Provider
from gateway.settings import Settings

log = structlog.get_logger()

REFRESH_SECONDS: Final = 300.0
"""Reload interval. Registers of providers change at most daily."""

_DECODER: Final = msgspec.json.Decoder(Provider)


async def read_providers(settings: Settings) -> dict[bytes, Provider]:
    """Return the committed provider records by their keys.

    Records that cannot be decoded are left out.
    """
    providers: dict[bytes, Provider] = {}
    async for record in read_topic(settings, PROVIDERS.name):
        if record.value is None:
            providers.pop(record.key, None)
        else:
            with skip_unreadable(record):
                providers[record.key] = _DECODER.decode(record.value)
    return providers


class ProviderCache:
    """The committed provider records, as one immutable view for all harmonisers."""

    def __init__(self, settings: Settings, harmonisers: Sequence[Harmoniser]) -> None:
        self._settings = settings
        self._harmonisers = harmonisers
        self._records: dict[bytes, Provider] = {}
        self._providers = Providers(())

    def set_harmonisers(self, harmonisers: Sequence[Harmoniser]) -> None:
        """Give the present view and every later one to these harmonisers only."""
        self._harmonisers = harmonisers
        for harmoniser in harmonisers:
            harmoniser.providers = self._providers

    async def load(self) -> int:
        """Read the topic, give the view to the harmonisers, and return the number of providers.

        Records that cannot be decoded are left out.
        """
        providers = await read_providers(self._settings)
        if providers != self._records:  # An unchanged view keeps what it remembers of bodies.
            self._records = providers
            self._providers = Providers(providers.values())
        self.set_harmonisers(self._harmonisers)
        log.info("trusted providers loaded", providers=len(providers))
        return len(providers)

    async def refresh_forever(self, seconds: float = REFRESH_SECONDS) -> None:
        """Reload the view every ``seconds`` until cancelled.

        If the topic cannot be read, keep the present view and log a warning.
        """
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.load()
            except (GatewayError, KafkaError, OSError, msgspec.MsgspecError) as error:
                log.warning("trusted providers not reloaded", error=type(error).__name__)
