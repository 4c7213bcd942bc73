"""Shared parts of the commands: the settings of this machine and the event loop."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from gateway.settings import Settings

T = TypeVar("T")


def load_settings() -> Settings:
    """Return the settings of this machine.

    If no broker is configured, the settings contain the address of the running local broker.
    """
    from gateway.local import broker as kafka

    # The error of the command reports an unavailable broker, so aiokafka need not print it, too.
    # The log handlers of a worker still receive the messages.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    settings = Settings()
    if not settings.kafka_bootstrap and (broker := kafka.status(settings.data_dir / "kafka")):
        settings = settings.model_copy(update={"kafka_bootstrap": broker.bootstrap})
    return settings


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the event loop of uvloop, and return its result."""
    import uvloop

    return uvloop.run(coroutine)
