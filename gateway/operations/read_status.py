"""Read the status topic."""

from __future__ import annotations

import msgspec

from gateway.kafka.topic_reader import read_topic
from gateway.kafka.unreadable_records import skip_unreadable
from gateway.messages.status import StreamStatus, WorkerStatus
from gateway.messages.topics import STATUS
from gateway.settings import Settings


async def read_status(settings: Settings) -> tuple[list[StreamStatus], list[WorkerStatus]]:
    """Return the latest status of each stream and of each worker, ordered by key.

    Records that cannot be decoded are left out.
    """
    latest: dict[bytes, StreamStatus | WorkerStatus] = {}
    decoder: msgspec.json.Decoder[StreamStatus | WorkerStatus] = msgspec.json.Decoder(
        StreamStatus | WorkerStatus
    )
    async for record in read_topic(settings, STATUS.name):
        if record.value is None:
            latest.pop(record.key, None)
        else:
            with skip_unreadable(record):
                latest[record.key] = decoder.decode(record.value)
    ordered = [status for _, status in sorted(latest.items())]
    streams = [status for status in ordered if isinstance(status, StreamStatus)]
    return streams, [status for status in ordered if isinstance(status, WorkerStatus)]
