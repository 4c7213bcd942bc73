"""Represent a record before it is written to Kafka."""

from __future__ import annotations

import zlib

from gateway.messages.header_block import HeaderBlock

Headers = list[tuple[str, bytes]] | HeaderBlock
"""Names and values in their order."""


class OutgoingRecord:
    """One record to be written to a topic.

    A ``value`` of ``None`` is a tombstone. With a ``partition`` of ``None`` the producer
    chooses the partition by :func:`partition_for`. With a ``timestamp`` of ``None`` it uses the
    present time.
    """

    __slots__ = ("headers", "key", "partition", "timestamp", "topic", "value")

    def __init__(
        self,
        topic: str,
        key: bytes,
        value: bytes | None,
        headers: Headers,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        self.topic = topic
        self.key = key
        self.value = value
        self.headers = headers
        self.partition = partition
        self.timestamp = timestamp


def partition_for(key: bytes, partitions: int) -> int:
    """Return the partition of a key: CRC-32 modulo the number of partitions.

    This is the ``consistent`` partitioner of librdkafka; see docs/decisions/0009.
    """
    return zlib.crc32(key) % partitions
