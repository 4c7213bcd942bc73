"""Leave out the tombstones of documents that were never published.

This module concerns the topics about persons; :mod:`gateway.pipeline.entry_moves` concerns the
catalogue. The result of a record contains a tombstone for each document that an earlier version may
have become. On the topics about persons, a tombstone tells that a person exists. A holder who never
agreed must not appear there at all. The stage therefore reads once which documents exist on the
student-card topics, when the first such tombstone comes. See docs/decisions/0075.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gateway.kafka.topic_reader import count_partitions, retry_later
from gateway.kafka.transactions import read_partition
from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.topics import (
    CARDS,
    CREDENTIALS_TOPIC,
    ENTRY_TOPICS,
    PERSONAL_DOCUMENT_TOPICS,
    POINTERS,
    STUDENT_STATUS,
    Topic,
)
from gateway.pipeline.packed_hashes import PackedHashes
from gateway.pipeline.processed_record import ProcessedRecord
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

    from gateway.pipeline.entry_moves import EntryMoves

CONSENT_TOPICS = (POINTERS, STUDENT_STATUS, CARDS)
"""The topics on which a document needs the holder's agreement."""


class StandingKeys:
    """The keys of the documents that exist on some topics, as hashes of topic and key.

    All partitions of a stage share them. No key belongs to two raw partitions, so each partition
    changes its own keys only.
    """

    def __init__(self, settings: Settings, topics: Sequence[Topic] = CONSENT_TOPICS) -> None:
        self._settings = settings
        self._topics = topics
        self._keys = PackedHashes()
        self._read_at = -1.0
        self._meanwhile: list[dict[int, bool]] | None = None
        """What was committed since the present reading began; ``None`` without a reading."""
        self._lock = asyncio.Lock()

    async def read_since(self, moment: float) -> PackedHashes:
        """Return the keys, as read after ``moment`` of the monotonic clock, and changed since.

        Raises :class:`~gateway.errors.RetryLater` or :class:`~gateway.errors.Denied`.
        """
        async with self._lock:
            if self._read_at <= moment:
                started, self._meanwhile = time.monotonic(), []
                # Two tables at once could take too much memory.
                self._keys, self._read_at = PackedHashes(), -1.0
                try:
                    with retry_later("reading which documents exist"):
                        self._keys = await self._read()
                    for changes in self._meanwhile:
                        _change(self._keys, changes)
                    self._read_at = started
                finally:
                    self._meanwhile = None
            return self._keys

    def commit(self, changes: dict[int, bool]) -> None:
        """Take over what a batch wrote and deleted."""
        if self._meanwhile is not None:
            self._meanwhile.append(dict(changes))
        if self._read_at >= 0:
            _change(self._keys, changes)

    async def _read(self) -> PackedHashes:
        keys = PackedHashes()

        async def read(topic: str, partition: int) -> None:
            def on_record(key: bytes, value: bytes | None) -> None:
                (keys.discard if value is None else keys.add)(hash((topic, key)))

            await read_partition(self._settings, topic, partition, on_record=on_record)

        names = [topic.name for topic in self._topics]
        counts = await asyncio.gather(*(count_partitions(self._settings, name) for name in names))
        await asyncio.gather(
            *(
                read(name, partition)
                for name, count in zip(names, counts, strict=True)
                for partition in range(count)
            )
        )
        return keys


def _change(keys: PackedHashes, changes: dict[int, bool]) -> None:
    for key, exists in changes.items():
        (keys.add if exists else keys.discard)(key)


class TombstoneFilter:
    """The filter of one raw partition. Call :meth:`acquire` whenever its producer has fenced."""

    def __init__(self, standing: StandingKeys, moves: EntryMoves) -> None:
        self._standing = standing
        self._moves = moves
        self._acquired_at = 0.0
        self._changes: dict[int, bool] = {}
        """What the present batch writes and deletes."""

    def acquire(self) -> None:
        """Forget which documents exist, because another worker may have written meanwhile."""
        self._acquired_at = time.monotonic()
        self._changes.clear()
        self._moves.acquire()

    def commit(self) -> None:
        """Keep what the batch changed. Call this after its commit."""
        self._standing.commit(self._changes)
        self._changes.clear()
        self._moves.commit()

    async def apply(
        self, records: Sequence[ConsumerRecord], results: Iterable[ProcessedRecord]
    ) -> None:
        """Remove the tombstones for which no document exists, and settle the catalogue entries."""
        entries: list[ProcessedRecord] = []
        for record, result in zip(records, results, strict=True):
            has_tombstone = has_entry = False
            for outgoing in result.outgoing:
                if outgoing.topic not in PERSONAL_DOCUMENT_TOPICS:
                    has_entry = has_entry or outgoing.topic in ENTRY_TOPICS
                    continue
                if outgoing.value is None:
                    has_tombstone = True
                elif outgoing.topic != CREDENTIALS_TOPIC:
                    self._changes[hash((outgoing.topic, outgoing.key))] = True
            if has_tombstone:
                result.outgoing = [
                    outgoing
                    for outgoing in result.outgoing
                    if outgoing.value is not None
                    or outgoing.topic not in PERSONAL_DOCUMENT_TOPICS
                    or await self._is_needed(outgoing, record)
                ]
            if has_entry:
                entries.append(result)
        if entries:
            await self._moves.apply(entries)

    async def _is_needed(self, tombstone: OutgoingRecord, record: ConsumerRecord) -> bool:
        """Return whether a tombstone may delete a document."""
        if tombstone.topic == CREDENTIALS_TOPIC:
            # This topic is too large to read at each start, and a credential needs no agreement.
            return any(name in {"again", "erased"} for name, _ in record.headers)
        key = hash((tombstone.topic, tombstone.key))
        if not await self._stands(key):
            return False
        self._changes[key] = False
        return True

    async def _stands(self, key: int) -> bool:
        if (changed := self._changes.get(key)) is not None:
            return changed
        return key in await self._standing.read_since(self._acquired_at)
