"""Records become the bytes of Kafka's batches here, as they are made and before their transaction begins.

Whoever makes thousands of records for one transaction adds them a few at a time: a record that is written while it is new costs less
than one that has lain in memory among thousands, and nothing keeps it there.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from gateway.messages.outgoing import OutgoingRecord


class Batch(NamedTuple):
    """Records of one topic and partition, in the order in which they were added."""

    topic: str
    partition: int
    builder: Any
    """aiokafka's ``BatchBuilder``."""
    first_index: int
    """The number of its first record among all that were added."""

    @property
    def is_single(self) -> bool:
        """True when it holds no more than one record."""
        return bool(self.builder.record_count() == 1)


class Batches:
    """The batches of one transaction of ``producer``; ``limits`` are bytes of topics that take less than the producer would send.

    ``counts`` remembers how many partitions a topic has, from one transaction to the next.
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
        """Add records, in order within a topic and partition. Waits only for a topic that was not met before."""
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
                    key=record.key, value=record.value, timestamp=None, headers=record.headers
                )
                is None
            ):
                batch = self._start_batch(
                    topic_partition, number
                )  # the first record of a batch always fits, whatever its size
                batch.builder.append(
                    key=record.key, value=record.value, timestamp=None, headers=record.headers
                )
            self._added = number + 1

    def batches(self) -> list[Batch]:
        """Return the batches, those of a place in order."""
        return [*self._full, *self._open.values()]

    def _fits(self, batch: Batch, record: OutgoingRecord) -> bool:
        held: int = batch.builder.size()
        return (
            not batch.builder.record_count()
            or held + len(record.value or b"") <= self._limits[batch.topic]
        )

    def _start_batch(self, topic_partition: tuple[str, int], first: int) -> Batch:
        if before := self._open.get(topic_partition):
            self._full.append(before)
        begun = self._open[topic_partition] = Batch(
            *topic_partition, self._producer.create_batch(), first
        )
        return begun

    async def _count(self, topic: str) -> int:
        found = self._counts[topic] = len(await self._producer.partitions_for(topic))
        return found
