"""Write notifications and stream status in the background.

Failures here never delay or lose records.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from gateway.kafka.connection import client_arguments
from gateway.messages.outgoing import OutgoingRecord
from gateway.settings import Settings

log = structlog.get_logger()

QUEUE_SIZE = 1_000
"""Maximum number of records in the queue. When it is full, the oldest record is dropped."""
RETRY_SECONDS = 2.0
START_SECONDS = 20.0
STOP_SECONDS = 2.0


class BackgroundWriter:
    """A queue of records that :meth:`run` writes in order.

    On cancellation :meth:`run` first writes the rest of the queue, within
    :data:`STOP_SECONDS`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._queue: deque[OutgoingRecord] = deque(maxlen=QUEUE_SIZE)
        self._has_records = asyncio.Event()

    def enqueue(self, record: OutgoingRecord) -> None:
        """Add a record to the queue and return at once."""
        self._queue.append(record)
        self._has_records.set()

    async def run(self) -> None:
        """Write until cancelled. If no broker responds, try again every :data:`RETRY_SECONDS`."""
        while True:
            producer = AIOKafkaProducer(**client_arguments(self._settings), enable_idempotence=True)
            try:
                await asyncio.wait_for(producer.start(), START_SECONDS)
                await self._write(producer)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning(
                    "notifications not written yet",
                    waiting=len(self._queue),
                    error=type(error).__name__,
                    next_try_seconds=RETRY_SECONDS,
                )
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                with contextlib.suppress(KafkaError, OSError, TimeoutError, asyncio.CancelledError):
                    await asyncio.wait_for(self._flush(producer), STOP_SECONDS)

    async def _write(self, producer: AIOKafkaProducer) -> None:
        while True:
            self._has_records.clear()
            while self._queue:
                await self._send(producer, self._queue[0])
                self._queue.popleft()
            await self._has_records.wait()

    async def _flush(self, producer: AIOKafkaProducer) -> None:
        try:
            while self._queue:
                await self._send(producer, self._queue.popleft())
        finally:
            await producer.stop()

    @staticmethod
    async def _send(producer: AIOKafkaProducer, record: OutgoingRecord) -> None:
        await producer.send_and_wait(
            record.topic,
            record.value,
            key=record.key,
            partition=record.partition,
            headers=list(record.headers),
        )
