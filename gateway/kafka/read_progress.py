"""Watch whether a consumer reads the records that wait for it.

A consumer can stop reading without an error. The gateway must not be ready then.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from gateway.observability import blocked_commits, metrics

CHECK_INTERVAL_SECONDS = 2.0
STALLED_AFTER_SECONDS = 15.0
"""A partition that does not move for this time, although records wait, counts as blocked."""
POSITION_SECONDS = 1.0


@dataclass(slots=True)
class _Reading:
    position: int = -1
    moved_at: float = field(default_factory=time.monotonic)


class ReadProgress:
    """The reading positions of a consumer. ``role`` is blocked while one does not advance."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._readings: dict[TopicPartition, _Reading] = {}
        self._unreadable: dict[TopicPartition, str] = {}
        self._failure = ""
        self._failed_at = 0.0
        self._next_check = 0.0

    @property
    def failed(self) -> bool:
        """True from :meth:`mark_failed` until :meth:`check` ends the record."""
        return bool(self._failure)

    def mark_failed(self, reason: str) -> None:
        """Record that nothing can be read.

        The record ends when :meth:`check` finds every partition read, or blocked for another
        reason.
        """
        if reason != self._failure:
            blocked_commits.mark_blocked(self._role, reason)
            if self._failure:
                blocked_commits.mark_unblocked(self._role, self._failure)
        self._failure, self._failed_at = reason, time.monotonic()

    def mark_unreadable(self, partition: TopicPartition, cause: str) -> None:
        """Record that the next records of a partition cannot be decoded."""
        reason = f"partition {partition.partition} of {partition.topic} cannot be read ({cause})"
        if self._unreadable.get(partition) != reason:
            self.forget([partition])
            self._unreadable[partition] = reason
            blocked_commits.mark_blocked(self._role, reason)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop the watch of partitions that this consumer does not own any more."""
        for partition in partitions:
            self._readings.pop(partition, None)
            if reason := self._unreadable.pop(partition, ""):
                blocked_commits.mark_unblocked(self._role, reason)
            blocked_commits.mark_unblocked(self._role, _stalled_reason(partition))

    def forget_all(self) -> None:
        """Stop the watch of all partitions. A failure stays recorded."""
        self.forget({*self._readings, *self._unreadable})

    async def check(self, consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> None:
        """Compare the positions with those of the last check, and report the lag.

        The check runs at most once in :data:`CHECK_INTERVAL_SECONDS`.
        """
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + CHECK_INTERVAL_SECONDS
        reads = [
            await self._check_partition(consumer, each, now) or each in self._unreadable
            for each in partitions
        ]
        # Without partitions, another member of the group may own them, or none is assigned yet.
        if self._failure and (
            all(reads) if reads else now - self._failed_at > STALLED_AFTER_SECONDS
        ):
            blocked_commits.mark_unblocked(self._role, self._failure)
            self._failure = ""

    async def _check_partition(
        self, consumer: AIOKafkaConsumer, partition: TopicPartition, now: float
    ) -> bool:
        """Return whether the partition is read."""
        reading = self._readings.setdefault(partition, _Reading())
        try:
            async with asyncio.timeout(POSITION_SECONDS):
                position = await consumer.position(partition)
        except (KafkaError, TimeoutError):
            position, stable = reading.position, None
        else:
            stable = consumer.last_stable_offset(partition)
            report_lag(consumer, partition, position)
        moved = position > reading.position >= 0
        reading.position = position
        if moved or (stable is not None and position >= stable):
            reading.moved_at = now
            if reason := self._unreadable.pop(partition, ""):
                blocked_commits.mark_unblocked(self._role, reason)
            blocked_commits.mark_unblocked(self._role, _stalled_reason(partition))
            return True
        if now - reading.moved_at > STALLED_AFTER_SECONDS and partition not in self._unreadable:
            blocked_commits.mark_blocked(self._role, _stalled_reason(partition))
        return False


def report_lag(consumer: AIOKafkaConsumer, partition: TopicPartition, position: int) -> None:
    """Set the metric of the records that wait in a partition."""
    # The partition may have moved to another member in the meantime.
    with contextlib.suppress(KafkaError):
        metrics.CONSUMER_LAG.labels(str(partition.partition)).set(
            max(0, (consumer.highwater(partition) or 0) - position)
        )


def _stalled_reason(partition: TopicPartition) -> str:
    return f"records wait in partition {partition.partition} of {partition.topic}, and none arrives"
