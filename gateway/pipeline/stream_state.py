"""What one stream has durably written: its cursor and the digest of each record, read back only after fencing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from msgspec import Struct

from gateway.errors import RetryLater
from gateway.kafka.transactions import RecordTooLarge, TransactionalProducer, read_partition
from gateway.messages.cloudevents import encode_raw_headers
from gateway.messages.outgoing import OutgoingRecord, partition_for
from gateway.messages.rejection import encode_rejection
from gateway.messages.topics import CURSORS, DIGESTS, RAW
from gateway.observability import metrics, tracing
from gateway.pipeline.digest_table import DigestTable
from gateway.pipeline.suppression_list import Subjects, SuppressionList, read_suppression_list
from gateway.records import RawRecord, Rejected
from gateway.settings import Settings

TOO_LARGE = Rejected(
    stage="size",
    field="body",
    reason="too_large",
    detail=f"larger than max.message.bytes of {RAW.name}",
)


class RawEntry(Struct, frozen=True):
    """One raw record to write, with the digest that makes a repeat of it recognisable."""

    raw: RawRecord
    digest: bytes
    changed_at: datetime | None

    @property
    def value(self) -> bytes:
        """What ``gateway.digests.v1`` keeps: 16 bytes of digest, 8 of the registry's change time in milliseconds."""
        if self.changed_at is None:
            return self.digest + bytes(8)
        return self.digest + max(0, int(self.changed_at.timestamp() * 1000)).to_bytes(8, "big")

    def supersedes(self, known: bytes) -> bool:
        """Return whether this says something that ``known`` does not, and is not older than it."""
        return self.digest != known[:16] and (
            self.changed_at is None or self.value[16:] >= known[16:]
        )


def erasure_entry(raw: RawRecord, cause: Literal["asked", "met"]) -> RawEntry:
    """Return the entry that takes a record away from every topic, its digest too, and leaves nothing of its content."""
    return RawEntry(
        RawRecord(
            connector=raw.connector,
            stream=raw.stream,
            native_id=raw.native_id,
            body=None,
            erasure=cause,
        ),
        bytes(16),
        None,
    )


class StreamState:
    """One stream's durable state. A failed write closes it; the next :meth:`open` fences and reads again."""

    def __init__(
        self, settings: Settings, connector: str, stream: str, subjects: Subjects | None = None
    ) -> None:
        self.connector = connector
        self.stream = stream
        self.digests = DigestTable()
        """Native id to what ``gateway.digests.v1`` holds of it."""
        self.notes: dict[str, bytes] = {}
        """What was asked of the stream and what is under way, by name: kept beside the cursor, read by the next owner."""
        self.takeover_number = 0
        """How often the stream was taken. What was read before the last time may not be written any more: see :meth:`write`."""
        self.written_ids: set[str] | None = None
        """When set, collects the native id of every record that is written."""
        self._lock = asyncio.Lock()
        self._settings = settings
        self._name = f"{connector}|{stream}".encode()
        self._transactional = TransactionalProducer(settings, f"poll-{connector}-{stream}", "poll")
        self._cursor: bytes | None = None
        self._too_large: set[tuple[str, bytes]] = set()
        self._subjects = subjects
        self._suppressed = SuppressionList()

    async def open(self) -> bytes | None:
        """Make sure this instance owns the stream; return its cursor, or ``None`` when it was never read."""
        async with self._lock:
            if self._transactional.ready:
                return self._cursor
            try:
                return await self._acquire()
            except BaseException:
                await (
                    self._transactional.close()
                )  # fenced, but what was read before is not what stands there now
                raise

    async def _acquire(self) -> bytes | None:
        """Fence, then read."""
        await self._transactional.fence()
        cursors = await read_partition(
            self._settings,
            CURSORS.name,
            partition_for(self._name, CURSORS.partitions),
            [self._name],
        )
        self._cursor = cursors.get(self._name)
        prefix = self._name + b"|"
        self.notes = {
            key[len(prefix) :].decode(): value
            for key, value in cursors.items()
            if key.startswith(prefix)
        }
        known = DigestTable()

        def keep(key: bytes, value: bytes | None) -> None:
            native_id = key[len(prefix) :].decode()
            if value is None:
                known.pop(native_id, None)
            else:
                known[native_id] = value

        await read_partition(
            self._settings,
            DIGESTS.name,
            partition_for(self._name, DIGESTS.partitions),
            [prefix],
            on_record=keep,
        )
        self.digests = known
        self._suppressed = await read_suppression_list(self._settings, self._subjects)
        self.takeover_number += 1
        return self._cursor

    async def write(
        self,
        entries: list[RawEntry],
        cursor: bytes | None,
        extra_records: Sequence[OutgoingRecord] = (),
        *,
        notes: Mapping[str, bytes | None] = MappingProxyType({}),
        opened: int | None = None,
    ) -> None:
        """Write raw records, their digests, the cursor, ``notes`` and ``also`` in one transaction; afterwards :attr:`known` includes them.

        A note that is ``None`` is forgotten. ``opened`` is what :attr:`opened` was when the records were asked for: when the stream was
        taken anew since, this raises :class:`~gateway.errors.RetryLater`.

        What was erased is not written, whoever asks for it: it ends as deleted, and what stood of it before is taken away.
        A record that does not fit its topic ends as a rejection in the same transaction. It is found by trying: the first time this
        raises :class:`~gateway.errors.RetryLater`, and the page is read and written again.
        """
        entries, suppressed = self._without_suppressed(entries)
        if not entries and not extra_records and not notes and cursor in {None, self._cursor}:
            self._count_suppressed(suppressed, without_raw_record=suppressed)
            return
        try:
            async with self._lock:
                if opened not in {None, self.takeover_number}:
                    raise RetryLater(
                        "taken_anew",
                        f"{self.connector} {self.stream}: was taken anew meanwhile",
                        after=0,
                    )
                batches = await self._transactional.add_records(
                    self._outgoing(entries, cursor, extra_records, notes)
                )
                with tracing.span("write", **{"gateway.records": len(entries)}):
                    await self._transactional.commit(batches)
        except RecordTooLarge as error:
            self._too_large |= {
                (entry.raw.native_id, entry.digest)
                for entry in (entries[index // 2] for index in error.indexes)
            }
            raise RetryLater(
                "record_too_large",
                f"{len(error.indexes) or 'some'} records do not fit {RAW.name}",
                after=0,
            ) from None
        self._cursor = cursor if cursor is not None else self._cursor
        self.notes |= {name: value for name, value in notes.items() if value is not None}
        for name in [name for name, value in notes.items() if value is None]:
            self.notes.pop(name, None)
        if self.written_ids is not None:
            self.written_ids.update(entry.raw.native_id for entry in entries)
        for entry in entries:
            if entry.raw.erasure:
                self.digests.pop(entry.raw.native_id, None)
            else:
                self.digests[entry.raw.native_id] = entry.value
        if self._too_large:
            self._count_too_large(entries)
        self._count_suppressed(
            suppressed,
            without_raw_record=suppressed - sum(entry.raw.erasure == "met" for entry in entries),
        )

    def _without_suppressed(self, entries: list[RawEntry]) -> tuple[list[RawEntry], int]:
        """Return what may be written, and how many were suppressed: an erasure stands for one of which something is still there."""
        if not self._suppressed.records and not self._suppressed.persons:
            return entries, 0
        kept: list[RawEntry] = []
        suppressed = 0
        for entry in entries:
            raw = entry.raw
            if raw.erasure or not self._suppressed(raw):
                kept.append(entry)
                continue
            suppressed += 1
            if raw.native_id in self.digests:
                kept.append(erasure_entry(raw, "met"))
        return kept, suppressed

    def _count_suppressed(self, suppressed: int, *, without_raw_record: int) -> None:
        """Count what was suppressed; ``gone`` of it leaves no trace on the raw topic, so the stage will not count it as deleted."""
        if suppressed:
            metrics.SUPPRESSED.labels(self.connector, self.stream).inc(suppressed)
        if without_raw_record:
            metrics.RECORDS.labels(self.connector, self.stream, "deleted").inc(without_raw_record)

    def _outgoing(
        self,
        entries: list[RawEntry],
        cursor: bytes | None,
        extra_records: Sequence[OutgoingRecord],
        notes: Mapping[str, bytes | None],
    ) -> Iterator[OutgoingRecord]:
        """Give what is to be written, the records of the entries first; each goes into its batch while it is new."""
        for entry in entries:
            records = self._encode_entry(entry)
            tracing.add_trace_header(records, RAW.name)
            yield from records
        kept = {self._name + b"|" + name.encode(): value for name, value in notes.items()}
        if cursor is not None:
            kept[self._name] = cursor
        for key, value in kept.items():
            yield OutgoingRecord(
                CURSORS.name, key, value, [], partition_for(self._name, CURSORS.partitions)
            )
        yield from extra_records

    def _encode_entry(self, entry: RawEntry) -> tuple[OutgoingRecord, OutgoingRecord]:
        """Return the raw record, or the rejection in its place, and the digest."""
        raw = entry.raw
        key = self._name + b"|" + raw.native_id.encode()
        value = None if raw.erasure else entry.value
        digest = OutgoingRecord(
            DIGESTS.name, key, value, [], partition_for(self._name, DIGESTS.partitions)
        )
        if self._too_large and (raw.native_id, entry.digest) in self._too_large:
            return encode_rejection(TOO_LARGE, raw, topic=RAW.name, partition=-1, offset=-1), digest
        return OutgoingRecord(
            RAW.name, raw.key.encode(), raw.body, encode_raw_headers(raw, entry.digest)
        ), digest

    def _count_too_large(self, entries: list[RawEntry]) -> None:
        large = {(entry.raw.native_id, entry.digest) for entry in entries} & self._too_large
        if large:
            metrics.RECORDS.labels(self.connector, self.stream, "rejected").inc(len(large))
            metrics.REJECTIONS.labels(
                self.connector, self.stream, TOO_LARGE.reason, TOO_LARGE.field
            ).inc(len(large))
            self._too_large -= large

    async def close(self) -> None:
        """Let go of the producer."""
        await self._transactional.close()
