"""Fetch records, and tell records that cannot be decoded from a broker that does not answer."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, UnsupportedCodecError

from gateway.errors import IntegrityStop


class UnreadableRecords(KafkaError):  # type: ignore[misc]
    """The next records of a partition cannot be decoded. To fetch them again does not help.

    The reasons are a wrong checksum, damaged compressed bytes, and a codec that is not known. The
    position of the consumer has not moved.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.cause = type(error).__name__

    def __str__(self) -> str:
        return f"records cannot be decoded ({self.cause})"

    def integrity_stop(self, what: str) -> IntegrityStop:
        """Return the error for a reader that cannot go on without the records."""
        return IntegrityStop(
            f"{what}: {self}; a file of a broker is damaged, or its codec is not known here; "
            "restore the partition from a replica"
        )


async def fetch_records(
    consumer: AIOKafkaConsumer,
    *partitions: TopicPartition,
    timeout_ms: int,
    max_records: int | None = None,
) -> dict[TopicPartition, list[ConsumerRecord]]:
    """Return fetched records by partition, as ``getmany`` does.

    Raises :class:`UnreadableRecords` if the records of a partition cannot be decoded.
    """
    try:
        fetched: dict[TopicPartition, list[ConsumerRecord]] = await consumer.getmany(
            *partitions, timeout_ms=timeout_ms, max_records=max_records
        )
    except (CorruptRecordException, UnsupportedCodecError, gzip.BadGzipFile) as error:
        raise UnreadableRecords(error) from error
    except (KafkaError, OSError):
        raise
    # The codecs and the parser have no common error.
    except Exception as error:
        raise UnreadableRecords(error) from error
    return fetched


POLL_MS = 200
APART_SECONDS = 60.0
"""Partitions are fetched one by one for this time after the records of one were not decoded."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The result of one fetch."""

    records: dict[TopicPartition, list[ConsumerRecord]] = field(default_factory=dict)
    unreadable: dict[TopicPartition, UnreadableRecords] = field(default_factory=dict)
    lost: bool = False
    """True if records of any partition may be lost. Every partition needs a seek."""


class RecordFetch:
    """Fetch the records of several partitions, at most ``batch`` at once.

    A partition whose records cannot be decoded does not hold up the others. Its records before
    the damaged ones are still returned.
    """

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._apart_until = 0.0
        self._limits: dict[TopicPartition, int] = {}

    async def fetch(
        self, consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]
    ) -> Fetched:
        """Return records of ``partitions``, or of other partitions of the consumer too."""
        if time.monotonic() >= self._apart_until:
            try:
                return Fetched(
                    await fetch_records(consumer, timeout_ms=POLL_MS, max_records=self._batch)
                )
            except UnreadableRecords:
                # The error names no partition, and records of other partitions are lost with it.
                self._apart_until = time.monotonic() + APART_SECONDS
                return Fetched(lost=True)
        fetched = Fetched()
        for partition in set(partitions) & consumer.assignment():
            limit = self._limits.get(partition, self._batch)
            try:
                records = await fetch_records(consumer, partition, timeout_ms=0, max_records=limit)
            except UnreadableRecords as error:
                fetched.unreadable[partition] = error
                # An error drops the records before it. Fewer records at once reach further.
                self._limits[partition] = max(1, limit // 4)
                self._apart_until = time.monotonic() + APART_SECONDS
            else:
                fetched.records.update(records)
                if records:
                    self._limits[partition] = min(self._batch, limit * 2)
        if not fetched.records:
            await asyncio.sleep(POLL_MS / 1000)
        return fetched
