"""One message to be written to Kafka."""

from __future__ import annotations

import zlib

Headers = list[tuple[str, bytes]]


class OutgoingRecord:
    """One record on its way to a topic."""

    __slots__ = ("headers", "key", "partition", "topic", "value")

    def __init__(
        self,
        topic: str,
        key: bytes,
        value: bytes | None,
        headers: Headers,
        partition: int | None = None,
    ) -> None:
        self.topic = topic
        self.key = key
        self.value = value
        self.headers = headers
        self.partition = partition


def partition_for(key: bytes, partitions: int) -> int:
    """Return the partition of a key: CRC-32 modulo, librdkafka's ``consistent``."""
    return zlib.crc32(key) % partitions
