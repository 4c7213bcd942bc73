"""Shared parts of the commands: the settings of this machine and the event loop."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from gateway.settings import Settings

T = TypeVar("T")


def load_settings() -> Settings:
    """Return the settings with the broker that runs on this machine filled in where none is configured."""
    from gateway.local import broker as kafka

    # What the library says of a broker that is away is said by the error; a worker's own handlers still hear it.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    settings = Settings()
    if not settings.kafka_bootstrap and (broker := kafka.status(settings.data_dir / "kafka")):
        settings = settings.model_copy(update={"kafka_bootstrap": broker.bootstrap})
    return settings


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the fast event loop."""
    import uvloop

    return uvloop.run(coroutine)
