"""Encode records into Kafka batches before their transaction begins.

Callers add the records of a large transaction in small groups. It is cheaper to encode a
record soon after its creation, and its memory is then free. A full batch is compressed at once,
which frees most of the rest. See docs/decisions/0033 and 0103.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from gateway.kafka.record_batch import RecordBatch
from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.topics import DOCUMENT_TOPICS

BATCH_BYTES = 262_144
"""The size of a full batch, before compression."""


class Batch(NamedTuple):
    """Records of one topic and partition, in the order of their addition."""

    topic: str
    partition: int
    records: RecordBatch
    first_index: int
    """Index of the first record of this batch among all added records."""

    @property
    def is_single(self) -> bool:
        """True if the batch contains exactly one record."""
        return self.records.record_count == 1


class Batches:
    """The batches of one transaction of ``producer``.

    ``limits`` are maximum batch sizes in bytes, for topics that refused a larger batch.
    ``counts`` caches the number of partitions of each topic between transactions. With
    ``compress`` the batches of documents are compressed.
    """

    __slots__ = ("_added", "_compress", "_counts", "_full", "_limits", "_open", "_producer")

    def __init__(
        self,
        producer: AIOKafkaProducer,
        counts: dict[str, int],
        limits: Mapping[str, int],
        *,
        compress: bool,
    ) -> None:
        self._producer = producer
        self._counts = counts
        self._limits = limits
        self._compress = compress
        self._full: list[Batch] = []
        self._open: dict[tuple[str, int], Batch] = {}
        self._added = 0

    async def add(self, records: Iterable[OutgoingRecord]) -> None:
        """Add records and keep their order within each topic and partition.

        The call waits for a broker only to learn the number of partitions of a new topic.
        """
        counts, opened, limits = self._counts, self._open, self._limits
        now = int(time.time() * 1_000)
        for number, record in enumerate(records, self._added):
            topic, partition = record.topic, record.partition
            if partition is None:
                partition = zlib.crc32(record.key) % (counts.get(topic) or await self._count(topic))
            topic_partition = topic, partition
            batch = opened.get(topic_partition) or self._start_batch(topic_partition, number)
            if limits and topic in limits and not self._fits(batch, record):
                batch = self._start_batch(topic_partition, number)
            if not batch.records.append(record, now):
                # The batch is full. An empty batch accepts a record of any size.
                batch = self._start_batch(topic_partition, number)
                batch.records.append(record, now)
            self._added = number + 1

    def batches(self) -> list[Batch]:
        """Return the batches. Those of one topic and partition are in order."""
        return [*self._full, *self._open.values()]

    def _fits(self, batch: Batch, record: OutgoingRecord) -> bool:
        return (
            not batch.records.record_count
            or batch.records.size + len(record.value or b"") <= self._limits[batch.topic]
        )

    def _start_batch(self, topic_partition: tuple[str, int], first: int) -> Batch:
        if full_batch := self._open.get(topic_partition):
            full_batch.records.close()
            self._full.append(full_batch)
        compress = self._compress and topic_partition[0] in DOCUMENT_TOPICS
        new_batch = self._open[topic_partition] = Batch(
            *topic_partition, RecordBatch(BATCH_BYTES, compress=compress), first
        )
        return new_batch

    async def _count(self, topic: str) -> int:
        count = self._counts[topic] = len(await self._producer.partitions_for(topic))
        return count
