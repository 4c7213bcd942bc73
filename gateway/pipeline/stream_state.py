"""What one stream has durably written: its cursor and the digest of each record, read back only after fencing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from msgspec import Struct

from gateway.errors import RetryLater
from gateway.kafka.transactions import RecordTooLarge, Transactional, read_partition
from gateway.messages.cloudevents import raw_headers
from gateway.messages.outgoing import Outgoing, partition_for
from gateway.messages.rejection import rejection
from gateway.messages.topics import CURSORS, DIGESTS, RAW
from gateway.observability import metrics, tracing
from gateway.pipeline.digest_table import Known
from gateway.pipeline.suppression_list import Subjects, Suppressed, read_suppressed
from gateway.records import Raw, Rejected
from gateway.settings import Settings

TOO_LARGE = Rejected(stage="size", field="body", reason="too_large", detail=f"larger than max.message.bytes of {RAW.name}")


class Entry(Struct, frozen=True):
    """One raw record to write, with the digest that makes a repeat of it recognisable."""

    raw: Raw
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
        return self.digest != known[:16] and (self.changed_at is None or self.value[16:] >= known[16:])


def erasure(raw: Raw, why: Literal["asked", "met"]) -> Entry:
    """Return the entry that takes a record away from every topic, its digest too, and leaves nothing of its content."""
    return Entry(Raw(connector=raw.connector, stream=raw.stream, native_id=raw.native_id, body=None, erased=why), bytes(16), None)


class Ledger:
    """One stream's durable state. A failed write closes it; the next :meth:`open` fences and reads again."""

    def __init__(self, settings: Settings, connector: str, stream: str, subjects: Subjects | None = None) -> None:
        self.connector = connector
        self.stream = stream
        self.known = Known()
        """Native id to what ``gateway.digests.v1`` holds of it."""
        self.notes: dict[str, bytes] = {}
        """What was asked of the stream and what is under way, by name: kept beside the cursor, read by the next owner."""
        self.opened = 0
        """How often the stream was taken. What was read before the last time may not be written any more: see :meth:`write`."""
        self.watched: set[str] | None = None
        """When set, collects the native id of every record that is written."""
        self._alone = asyncio.Lock()
        self._settings = settings
        self._name = f"{connector}|{stream}".encode()
        self._transactional = Transactional(settings, f"poll-{connector}-{stream}", "poll")
        self._cursor: bytes | None = None
        self._large: set[tuple[str, bytes]] = set()
        self._subjects = subjects
        self._suppressed = Suppressed()

    async def open(self) -> bytes | None:
        """Make sure this instance owns the stream; return its cursor, or ``None`` when it was never read."""
        async with self._alone:
            if self._transactional.ready:
                return self._cursor
            try:
                return await self._take()
            except BaseException:
                await self._transactional.discard()  # fenced, but what was read before is not what stands there now
                raise

    async def _take(self) -> bytes | None:
        """Fence, then read."""
        await self._transactional.fence()
        cursors = await read_partition(self._settings, CURSORS.name, partition_for(self._name, CURSORS.partitions), [self._name])
        self._cursor = cursors.get(self._name)
        prefix = self._name + b"|"
        self.notes = {key[len(prefix) :].decode(): value for key, value in cursors.items() if key.startswith(prefix)}
        known = Known()

        def keep(key: bytes, value: bytes | None) -> None:
            native_id = key[len(prefix) :].decode()
            if value is None:
                known.pop(native_id, None)
            else:
                known[native_id] = value

        await read_partition(self._settings, DIGESTS.name, partition_for(self._name, DIGESTS.partitions), [prefix], keep=keep)
        self.known = known
        self._suppressed = await read_suppressed(self._settings, self._subjects)
        self.opened += 1
        return self._cursor

    async def write(
        self,
        entries: list[Entry],
        cursor: bytes | None,
        also: Sequence[Outgoing] = (),
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
        if not entries and not also and not notes and cursor in {None, self._cursor}:
            self._count_suppressed(suppressed, gone=suppressed)
            return
        try:
            async with self._alone:
                if opened not in {None, self.opened}:
                    raise RetryLater("taken_anew", f"{self.connector} {self.stream}: was taken anew meanwhile", after=0)
                batches = await self._transactional.fill(self._outgoing(entries, cursor, also, notes))
                with tracing.span("write", **{"gateway.records": len(entries)}):
                    await self._transactional.write(batches)
        except RecordTooLarge as error:
            self._large |= {(entry.raw.native_id, entry.digest) for entry in (entries[index // 2] for index in error.indexes)}
            raise RetryLater("record_too_large", f"{len(error.indexes) or 'some'} records do not fit {RAW.name}", after=0) from None
        self._cursor = cursor if cursor is not None else self._cursor
        self.notes |= {name: value for name, value in notes.items() if value is not None}
        for name in [name for name, value in notes.items() if value is None]:
            self.notes.pop(name, None)
        if self.watched is not None:
            self.watched.update(entry.raw.native_id for entry in entries)
        for entry in entries:
            if entry.raw.erased:
                self.known.pop(entry.raw.native_id, None)
            else:
                self.known[entry.raw.native_id] = entry.value
        if self._large:
            self._count_large(entries)
        self._count_suppressed(suppressed, gone=suppressed - sum(entry.raw.erased == "met" for entry in entries))

    def _without_suppressed(self, entries: list[Entry]) -> tuple[list[Entry], int]:
        """Return what may be written, and how many were suppressed: an erasure stands for one of which something is still there."""
        if not self._suppressed.records and not self._suppressed.persons:
            return entries, 0
        kept: list[Entry] = []
        suppressed = 0
        for entry in entries:
            raw = entry.raw
            if raw.erased or not self._suppressed(raw):
                kept.append(entry)
                continue
            suppressed += 1
            if raw.native_id in self.known:
                kept.append(erasure(raw, "met"))
        return kept, suppressed

    def _count_suppressed(self, suppressed: int, *, gone: int) -> None:
        """Count what was suppressed; ``gone`` of it leaves no trace on the raw topic, so the stage will not count it as deleted."""
        if suppressed:
            metrics.SUPPRESSED.labels(self.connector, self.stream).inc(suppressed)
        if gone:
            metrics.RECORDS.labels(self.connector, self.stream, "deleted").inc(gone)

    def _outgoing(
        self, entries: list[Entry], cursor: bytes | None, also: Sequence[Outgoing], notes: Mapping[str, bytes | None]
    ) -> Iterator[Outgoing]:
        """Give what is to be written, the records of the entries first; each goes into its batch while it is new."""
        for entry in entries:
            records = self._records(entry)
            tracing.mark(records, RAW.name)
            yield from records
        kept = {self._name + b"|" + name.encode(): value for name, value in notes.items()}
        if cursor is not None:
            kept[self._name] = cursor
        for key, value in kept.items():
            yield Outgoing(CURSORS.name, key, value, [], partition_for(self._name, CURSORS.partitions))
        yield from also

    def _records(self, entry: Entry) -> tuple[Outgoing, Outgoing]:
        """Return the raw record, or the rejection in its place, and the digest."""
        raw = entry.raw
        key = self._name + b"|" + raw.native_id.encode()
        value = None if raw.erased else entry.value
        digest = Outgoing(DIGESTS.name, key, value, [], partition_for(self._name, DIGESTS.partitions))
        if self._large and (raw.native_id, entry.digest) in self._large:
            return rejection(TOO_LARGE, raw, topic=RAW.name, partition=-1, offset=-1), digest
        return Outgoing(RAW.name, raw.key.encode(), raw.body, raw_headers(raw, entry.digest)), digest

    def _count_large(self, entries: list[Entry]) -> None:
        large = {(entry.raw.native_id, entry.digest) for entry in entries} & self._large
        if large:
            metrics.RECORDS.labels(self.connector, self.stream, "rejected").inc(len(large))
            metrics.REJECTIONS.labels(self.connector, self.stream, TOO_LARGE.reason, TOO_LARGE.field).inc(len(large))
            self._large -= large

    async def close(self) -> None:
        """Let go of the producer."""
        await self._transactional.discard()
