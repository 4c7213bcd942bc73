"""Clients of Kafka that do one thing and are closed: whatever keeps them from it is one clear line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

from gateway.kafka.connection import (
    AUTHORIZATION_ERRORS,
    access_denied,
    no_broker_error,
    starting_client,
)
from gateway.settings import Settings

Client = TypeVar("Client", AIOKafkaConsumer, AIOKafkaProducer)


@asynccontextmanager
async def client_session(client: Client, settings: Settings, what: str) -> AsyncIterator[Client]:
    """Start a client, and stop it at the end.

    Raises :class:`~gateway.errors.Unavailable` when no broker answers, and :class:`~gateway.errors.Denied` when the principal lacks a
    right for ``what`` is done here.
    """
    try:
        with starting_client(settings):
            await client.start()
        yield client
    except AUTHORIZATION_ERRORS as error:
        raise access_denied(settings, what, error) from None
    except (KafkaConnectionError, OSError) as error:
        raise no_broker_error(settings, type(error).__name__) from None
    finally:
        await client.stop()
