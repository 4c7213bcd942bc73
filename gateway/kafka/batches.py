"""Encode records into Kafka batches before their transaction begins.

Callers add the records of a large transaction in small groups. It is cheaper to encode a
record soon after its creation, and its memory is then free. See docs/decisions/0033.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from gateway.messages.outgoing import OutgoingRecord


class Batch(NamedTuple):
    """Records of one topic and partition, in the order of their addition."""

    topic: str
    partition: int
    builder: Any
    """A ``BatchBuilder`` of aiokafka."""
    first_index: int
    """Index of the first record of this batch among all added records."""

    @property
    def is_single(self) -> bool:
        """True if the batch contains exactly one record."""
        return bool(self.builder.record_count() == 1)


class Batches:
    """The batches of one transaction of ``producer``.

    ``limits`` are maximum batch sizes in bytes, for topics that refused a larger batch.
    ``counts`` caches the number of partitions of each topic between transactions.
    """

    __slots__ = ("_added", "_counts", "_full", "_limits", "_open", "_producer")

    def __init__(
        self, producer: AIOKafkaProducer, counts: dict[str, int], limits: Mapping[str, int]
    ) -> None:
        self._producer = producer
        self._counts = counts
        self._limits = limits
        self._full: list[Batch] = []
        self._open: dict[tuple[str, int], Batch] = {}
        self._added = 0

    async def add(self, records: Iterable[OutgoingRecord]) -> None:
        """Add records and keep their order within each topic and partition.

        The call waits for a broker only to learn the number of partitions of a new topic.
        """
        counts, opened, limits = self._counts, self._open, self._limits
        for number, record in enumerate(records, self._added):
            topic, partition = record.topic, record.partition
            if partition is None:
                partition = zlib.crc32(record.key) % (counts.get(topic) or await self._count(topic))
            topic_partition = topic, partition
            batch = opened.get(topic_partition) or self._start_batch(topic_partition, number)
            if limits and topic in limits and not self._fits(batch, record):
                batch = self._start_batch(topic_partition, number)
            if (
                batch.builder.append(
                    key=record.key,
                    value=record.value,
                    timestamp=record.timestamp,
                    headers=record.headers,
                )
                is None
            ):
                # The batch is full. An empty batch accepts a record of any size.
                batch = self._start_batch(topic_partition, number)
                batch.builder.append(
                    key=record.key,
                    value=record.value,
                    timestamp=record.timestamp,
                    headers=record.headers,
                )
            self._added = number + 1

    def batches(self) -> list[Batch]:
        """Return the batches. Those of one topic and partition are in order."""
        return [*self._full, *self._open.values()]

    def _fits(self, batch: Batch, record: OutgoingRecord) -> bool:
        size: int = batch.builder.size()
        return (
            not batch.builder.record_count()
            or size + len(record.value or b"") <= self._limits[batch.topic]
        )

    def _start_batch(self, topic_partition: tuple[str, int], first: int) -> Batch:
        if full_batch := self._open.get(topic_partition):
            self._full.append(full_batch)
        new_batch = self._open[topic_partition] = Batch(
            *topic_partition, self._producer.create_batch(), first
        )
        return new_batch

    async def _count(self, topic: str) -> int:
        count = self._counts[topic] = len(await self._producer.partitions_for(topic))
        return count
