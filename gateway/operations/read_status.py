"""Read the status topic."""

from __future__ import annotations

import msgspec

from gateway.kafka.topic_reader import read_topic
from gateway.messages.status import StreamStatus, WorkerStatus
from gateway.messages.topics import STATUS
from gateway.settings import Settings


async def read_status(settings: Settings) -> tuple[list[StreamStatus], list[WorkerStatus]]:
    """Return what was last said of every stream and by every worker."""
    found: dict[bytes, StreamStatus | WorkerStatus] = {}
    decoder: msgspec.json.Decoder[StreamStatus | WorkerStatus] = msgspec.json.Decoder(
        StreamStatus | WorkerStatus
    )
    async for record in read_topic(settings, STATUS.name):
        if record.value is None:
            found.pop(record.key, None)
        else:
            found[record.key] = decoder.decode(record.value)
    streams = [one for _, one in sorted(found.items()) if isinstance(one, StreamStatus)]
    return streams, [one for _, one in sorted(found.items()) if isinstance(one, WorkerStatus)]
