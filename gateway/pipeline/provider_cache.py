"""Keep every harmoniser's view of the trusted providers: loaded before the first record, renewed while the worker runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from gateway.errors import GatewayError
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.quality_assurance import Providers
from gateway.kafka.connection import KafkaError
from gateway.kafka.topic_reader import read_topic
from gateway.messages.topics import PROVIDERS
from gateway.records import Provider
from gateway.settings import Settings

log = structlog.get_logger()

REFRESH_SECONDS: Final = 300.0
"""Registers of providers change by the day; a record harmonised in between is judged by what was known, and says so."""

_DECODER: Final = msgspec.json.Decoder(Provider)


class ProviderCache:
    """The committed provider records of their topic, as one immutable view shared by all harmonisers."""

    def __init__(self, settings: Settings, harmonisers: Sequence[Harmoniser]) -> None:
        self._settings = settings
        self._harmonisers = harmonisers
        self._providers = Providers(())

    def set_harmonisers(self, harmonisers: Sequence[Harmoniser]) -> None:
        """Give these the view in hand, and every later one, instead of those before."""
        self._harmonisers = harmonisers
        for harmoniser in harmonisers:
            harmoniser.providers = self._providers

    async def load(self) -> int:
        """Read the topic and hand the view out; return how many providers it knows."""
        found: dict[bytes, Provider] = {}
        async for record in read_topic(self._settings, PROVIDERS.name):
            if record.value is None:
                found.pop(record.key, None)
            else:
                found[record.key] = _DECODER.decode(record.value)
        self._providers = Providers(found.values())
        self.set_harmonisers(self._harmonisers)
        log.info("trusted providers loaded", providers=len(found))
        return len(found)

    async def refresh_forever(self, seconds: float = REFRESH_SECONDS) -> None:
        """Renew the view for ever; when the topic cannot be read, the view in hand stays and the log says so."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.load()
            except (GatewayError, KafkaError, OSError, msgspec.MsgspecError) as error:
                log.warning("trusted providers not renewed", error=type(error).__name__)
