"""Start a Kafka client for one task, stop it afterwards, and translate its errors."""

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
from gateway.kafka.record_fetch import UnreadableRecords
from gateway.settings import Settings

Client = TypeVar("Client", AIOKafkaConsumer, AIOKafkaProducer)


@asynccontextmanager
async def client_session(client: Client, settings: Settings, what: str) -> AsyncIterator[Client]:
    """Start a client, and stop it on exit.

    ``what`` names the task in error messages. Raises :class:`~gateway.errors.Unavailable` if
    no broker responds. Raises :class:`~gateway.errors.Denied` if the principal lacks a right.
    Raises :class:`~gateway.errors.IntegrityStop` for records that cannot be decoded.
    """
    try:
        with starting_client(settings):
            await client.start()
        yield client
    except AUTHORIZATION_ERRORS as error:
        raise access_denied(settings, what, error) from None
    except UnreadableRecords as error:
        raise error.integrity_stop(what) from None
    except (KafkaConnectionError, OSError) as error:
        raise no_broker_error(settings, type(error).__name__) from None
    finally:
        await client.stop()
