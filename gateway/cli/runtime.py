"""Shared parts of the commands: the settings of this machine and the event loop."""

from __future__ import annotations

import logging
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.pipeline.loaded_config import LoadedConfig

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


def load_valid_connectors(settings: Settings) -> LoadedConfig:
    """Load every connector whose file is valid, and print one line for each of the others.

    Raises :class:`~gateway.errors.ConfigError` if no file is valid.
    """
    from gateway.pipeline.loaded_config import load_config

    config = load_config(settings, leave_out_invalid=True)
    for name, findings in config.not_loaded.items():
        print(f"{name} is left out: {findings[0]}", file=sys.stderr)
    return config


def check_keys(settings: Settings) -> None:
    """Check that this machine has the pseudonym keys of the deployment.

    Raises :class:`~gateway.errors.ConfigError` if it has other keys.
    """
    import asyncio

    from gateway.pipeline.key_check import check_keys as check

    asyncio.run(check(settings))


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the event loop of uvloop, and return its result."""
    import uvloop

    return uvloop.run(coroutine)
