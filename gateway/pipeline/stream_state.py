"""Read and write the durable state of one stream: its cursor and its digests.

The state is read only after fencing, so that no other worker can change it afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Literal, TypeVar

import structlog
from msgspec import MsgspecError, Struct, json

from gateway.config.connector import Connector
from gateway.errors import RetryLater, StreamHalted
from gateway.fetch.secrets import FileSecrets
from gateway.harmonise.data_subjects import DataSubjectFinder
from gateway.kafka.transactions import RecordTooLarge, TransactionalProducer, read_partition
from gateway.messages.cloudevents import encode_raw_headers
from gateway.messages.outgoing import OutgoingRecord, partition_for
from gateway.messages.rejection import encode_rejection
from gateway.messages.topics import CURSORS, DIGESTS, RAW
from gateway.observability import metrics, tracing
from gateway.pipeline.digest_table import DigestTable
from gateway.pipeline.key_check import id_key_fingerprint
from gateway.pipeline.older_contents import OlderContents
from gateway.pipeline.suppression_list import Subjects, SuppressionList, read_suppression_list
from gateway.pseudonym_keys import SUPPRESSION_AUDIENCE, derive_key, load_keys
from gateway.records import RawRecord, Rejected
from gateway.settings import Settings

log = structlog.get_logger()
T = TypeVar("T", bound=Struct)

VALUE_BYTES = 28
ID_KEY_NOTE = "id_key"
"""The note with the fingerprint of the key that hashes the ids of the stream."""
NO_LOOP = bytes(4)
NO_TIME = bytes(8)
TOO_LARGE = Rejected(
    stage="size",
    field="body",
    reason="too_large",
    detail=f"larger than max.message.bytes of {RAW.name}",
)


def milliseconds(moment: datetime) -> bytes:
    """Return a time as the eight bytes that a stored value has for it."""
    return max(0, int(moment.timestamp() * 1000)).to_bytes(8, "big")


def decode_state(value: bytes, kind: type[T], stream_state: StreamState) -> T:
    """Return a cursor or a note of an open stream.

    Raises :class:`~gateway.errors.StreamHalted` if another program wrote it.
    """
    try:
        return json.decode(value, type=kind)
    except (MsgspecError, RecursionError, UnicodeDecodeError):
        name = f"{stream_state.connector}|{stream_state.stream}"
        raise StreamHalted(
            "STATE_UNREADABLE",
            f"{CURSORS.name}: the {kind.__name__} of {name} cannot be read, so no gateway wrote "
            "it; write a tombstone for its key, and the stream begins anew",
        ) from None


class RawEntry(Struct, frozen=True):
    """One raw record to write, with the digest by which a repeat is recognised."""

    raw: RawRecord
    digest: bytes
    changed_at: datetime | None
    """The change time that orders the versions; ``None`` if it is unknown or not trusted."""
    loop_key: bytes = b""
    """Four bytes that identify the loop value of the record; empty without a loop."""

    @property
    def value(self) -> bytes:
        """The value in memory, which has :data:`VALUE_BYTES` bytes.

        The first 16 bytes are the digest. The next 8 are the registry's change time in
        milliseconds, or zeros if it is unknown. See docs/decisions/0007. The last 4 are the
        loop value, or zeros. The topic ``gateway.digests.v1`` has them only if there is a loop.
        """
        changed = NO_TIME if self.changed_at is None else milliseconds(self.changed_at)
        return self.digest + changed + (self.loop_key or NO_LOOP)

    @property
    def stored_value(self) -> bytes:
        """The value on ``gateway.digests.v1``."""
        return self.value if self.loop_key else self.value[:-4]

    def supersedes(self, known: bytes) -> bool:
        """Return whether the content differs from ``known`` and is not older for certain.

        ``known`` is a :attr:`value`. A text that leaves the time open counts with its latest time.
        """
        if self.digest == known[:16] or self.changed_at is None:
            return self.digest != known[:16]
        return milliseconds(self.raw.changed_latest or self.changed_at) >= known[16:24]


def repeated_entry(raw: RawRecord, known: bytes) -> RawEntry:
    """Return the entry that writes a known record again, in its place among the versions.

    ``known`` is its stored value.
    """
    changed, loop_key = int.from_bytes(known[16:24], "big"), known[24:VALUE_BYTES]
    return RawEntry(
        raw,
        known[:16],
        datetime.fromtimestamp(changed / 1000, UTC) if changed else None,
        b"" if loop_key == NO_LOOP else loop_key,
    )


def erasure_entry(raw: RawRecord, cause: Literal["asked", "met"]) -> RawEntry:
    """Return the entry that removes a record and its digest from every topic.

    ``cause`` is ``asked`` if an operator requested the erasure, and ``met`` if an erased
    record arrived again.
    """
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
    """The durable state of one stream.

    After a failed write, call :meth:`open` again, which fences and reads the state.
    """

    def __init__(
        self, settings: Settings, connector: str, stream: str, subjects: Subjects | None = None
    ) -> None:
        self.connector = connector
        self.stream = stream
        self.digests = DigestTable(VALUE_BYTES)
        """Values of ``gateway.digests.v1`` by native id."""
        self.notes: dict[str, bytes] = {}
        """Pending requests by name, stored next to the cursor; see docs/decisions/0020.

        The next owner of the stream reads them.
        """
        self.takeover_number = 0
        """Number of times this object acquired the stream; see :meth:`write`."""
        self.written_ids: set[str] | None = None
        """If it is a set, :meth:`write` adds the native id of each written record."""
        self.skipped_loop_values: set[bytes] = set()
        """Loop values that failed in the last poll. The next poll reads them after the others."""
        self.older_contents = OlderContents()
        """Older contents that wait for a second look."""
        self.loop_secret = derive_key(
            next(iter(load_keys(settings).permanent), b""), f"loop {connector}|{stream}"
        )
        """The key for the hashes of loop values. A new pseudonym key does not change it."""
        self.id_key_fingerprint: Callable[[], bytes | None] = lambda: None
        """Returns the fingerprint of the stream's ``id_key``. With another key than before, all
        records would have other ids, so the stream halts."""
        self._lock = asyncio.Lock()
        self._settings = settings
        self._name = f"{connector}|{stream}".encode()
        self._transactional = TransactionalProducer(settings, f"poll-{connector}-{stream}", "poll")
        self._cursor: bytes | None = None
        self._too_large: set[tuple[str, bytes]] = set()
        self._subjects = subjects
        self._suppressed = SuppressionList()

    @classmethod
    def of_connector(cls, settings: Settings, connector: Connector, stream: str) -> StreamState:
        """Return the state of a stream, which also finds suppressed persons in its records."""
        subjects = DataSubjectFinder(
            connector, load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)
        )
        state = cls(settings, connector.connector, stream, subjects)
        state.id_key_fingerprint = partial(
            id_key_fingerprint,
            connector.connector,
            stream,
            connector.streams[stream],
            FileSecrets(settings.secrets_dir),
        )
        return state

    async def open(self) -> bytes | None:
        """Acquire the stream unless this object owns it, and return its cursor.

        Returns ``None`` if the stream has no cursor yet. Raises
        :class:`~gateway.errors.RetryLater`, :class:`~gateway.errors.Fenced`,
        :class:`~gateway.errors.Denied` or :class:`~gateway.errors.IntegrityStop`. Raises
        :class:`~gateway.errors.StreamHalted` if the ``id_key`` of the stream is another one.
        """
        async with self._lock:
            if self._transactional.ready:
                self._check_id_key()
                return self._cursor
            try:
                return await self._acquire()
            except BaseException:
                # The producer has fenced, but the state in memory may be out of date.
                await self._transactional.close()
                raise

    async def _acquire(self) -> bytes | None:
        """Fence first, then read the cursor, the notes, the digests and the suppressions."""
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
            key[len(prefix) :].decode(errors="replace"): value
            for key, value in cursors.items()
            if key.startswith(prefix)
        }
        await self._check_or_store_id_key()
        digests = DigestTable(VALUE_BYTES)

        def store_digest(key: bytes, value: bytes | None) -> None:
            try:
                native_id = key[len(prefix) :].decode()
            except UnicodeDecodeError:
                log.warning("digest with a key that is not text is left out", topic=DIGESTS.name)
                return
            if value is None:
                digests.pop(native_id, None)
            else:
                digests[native_id] = value[:VALUE_BYTES].ljust(VALUE_BYTES, b"\0")

        await read_partition(
            self._settings,
            DIGESTS.name,
            partition_for(self._name, DIGESTS.partitions),
            [prefix],
            on_record=store_digest,
        )
        self.digests = digests
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
        """Write raw records, digests, notes and the cursor in one transaction.

        1. Replace suppressed records: drop them, or erase what was stored of them.
        2. Check that the stream was not acquired again since the records were read.
        3. Encode the records into batches.
        4. Commit them in one transaction.
        5. Update the cursor, the notes and the digests in memory.
        6. Count the records that the harmonise stage will not count.

        A note of ``None`` is deleted. ``extra_records`` are part of the same transaction.
        ``opened`` is the :attr:`takeover_number` at the time of reading.

        Raises :class:`~gateway.errors.RetryLater` if step 2 fails. Raises it also the first
        time a record exceeds the size limit of its topic. When the caller writes the page
        again, a rejection takes the place of the record. Raises the other errors of
        :meth:`TransactionalProducer.commit` unchanged.
        """
        if entries:
            self._check_id_key()
        # 1. Replace suppressed records.
        entries, suppressed = self._without_suppressed(entries)
        if not entries and not extra_records and not notes and cursor in {None, self._cursor}:
            self._count_suppressed(suppressed, without_raw_record=suppressed)
            return
        try:
            async with self._lock:
                # 2. Records that were read before the last takeover may be out of date.
                if opened not in {None, self.takeover_number}:
                    raise RetryLater(
                        "taken_anew",
                        f"{self.connector} {self.stream}: the stream was acquired again "
                        "since these records were read",
                        after=0,
                    )
                # 3. Encode the records.
                batches = await self._transactional.add_records(
                    self._outgoing(entries, cursor, extra_records, notes)
                )
                # 4. Commit.
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
        # 5. Update the state in memory.
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
        # 6. Count.
        if self._too_large:
            self._count_too_large(entries)
        self._count_suppressed(
            suppressed,
            without_raw_record=suppressed - sum(entry.raw.erasure == "met" for entry in entries),
        )

    async def _check_or_store_id_key(self) -> None:
        """Check the key of the ids, or store its fingerprint at the first start."""
        self._check_id_key()
        current = self.id_key_fingerprint()
        if current is None or ID_KEY_NOTE in self.notes:
            return
        key, partition = (
            self._name + b"|" + ID_KEY_NOTE.encode(),
            partition_for(self._name, CURSORS.partitions),
        )
        await self._transactional.commit(
            [OutgoingRecord(CURSORS.name, key, current, [], partition)]
        )
        self.notes[ID_KEY_NOTE] = current

    def _check_id_key(self) -> None:
        stored = self.notes.get(ID_KEY_NOTE)
        current = self.id_key_fingerprint() if stored is not None else None
        if current is not None and current != stored:
            raise StreamHalted(
                "KEY_CHANGED",
                f"{self.connector} {self.stream}: the secret of id_key is not the one that hashed "
                "the ids of the published records, so each person would be published twice; "
                "restore the secret, or run `gateway run --accept-new-key` once, which deletes the "
                "records of this stream and reads them anew",
            )

    def _without_suppressed(self, entries: list[RawEntry]) -> tuple[list[RawEntry], int]:
        """Return the entries to write, and the number of suppressed records.

        A suppressed record that has a digest becomes an erasure. Any other is dropped.
        """
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
        """Count suppressed records.

        ``without_raw_record`` of them are not written to the raw topic. They are counted as
        deleted here, because the harmonise stage does not see them.
        """
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
        """Yield the records to write, those of the entries first.

        :meth:`write` relies on two records per entry. Each record is encoded soon after it
        is created; see :mod:`gateway.kafka.batches`.
        """
        for entry in entries:
            records = self._encode_entry(entry)
            tracing.add_trace_header(records, RAW.name)
            yield from records
        values = {self._name + b"|" + name.encode(): value for name, value in notes.items()}
        if cursor is not None:
            values[self._name] = cursor
        for key, value in values.items():
            yield OutgoingRecord(
                CURSORS.name, key, value, [], partition_for(self._name, CURSORS.partitions)
            )
        yield from extra_records

    def _encode_entry(self, entry: RawEntry) -> tuple[OutgoingRecord, OutgoingRecord]:
        """Return the digest of an entry and its raw record, or a rejection in its place."""
        raw = entry.raw
        key = self._name + b"|" + raw.native_id.encode()
        value = None if raw.erasure else entry.stored_value
        digest = OutgoingRecord(
            DIGESTS.name, key, value, [], partition_for(self._name, DIGESTS.partitions)
        )
        if self._too_large and (raw.native_id, entry.digest) in self._too_large:
            return encode_rejection(TOO_LARGE, raw, topic=RAW.name, partition=-1, offset=-1), digest
        return OutgoingRecord(
            RAW.name, raw.key.encode(), raw.body, encode_raw_headers(raw, entry.digest)
        ), digest

    def _count_too_large(self, entries: list[RawEntry]) -> None:
        written = {(entry.raw.native_id, entry.digest) for entry in entries} & self._too_large
        if written:
            metrics.RECORDS.labels(self.connector, self.stream, "rejected").inc(len(written))
            metrics.REJECTIONS.labels(
                self.connector, self.stream, TOO_LARGE.reason, TOO_LARGE.field
            ).inc(len(written))
            self._too_large -= written

    async def close(self) -> None:
        """Close the producer. A later :meth:`open` acquires the stream again."""
        await self._transactional.close()
