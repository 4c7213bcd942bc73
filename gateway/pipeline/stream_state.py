"""Read and write the durable state of one stream: its cursor and its digests.

The state is read only after fencing, so that no other worker can change it afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import structlog
from msgspec import MsgspecError, Struct, json

from gateway.config.connector import Connector
from gateway.errors import Fenced, RetryLater, StreamHalted
from gateway.fetch.secrets import FileSecrets
from gateway.harmonise.data_subjects import DataSubjectFinder
from gateway.kafka.transactions import RecordTooLarge, TransactionalProducer, read_partition
from gateway.messages.cloudevents import encode_raw_headers
from gateway.messages.outgoing import OutgoingRecord, partition_for
from gateway.messages.rejection import encode_rejection
from gateway.messages.topics import CURSORS, DIGESTS, RAW
from gateway.observability import tracing
from gateway.pipeline import stream_counts
from gateway.pipeline.digest_table import DigestTable
from gateway.pipeline.id_claims import (
    ClaimedEntries,
    ConnectorIds,
    encode_id_rejection,
    is_of_another_stream,
)
from gateway.pipeline.key_check import id_key_fingerprint
from gateway.pipeline.older_contents import OlderContents
from gateway.pipeline.raw_entry import (
    VALUE_BYTES,
    RawEntry,
    erasure_entry,
)
from gateway.pipeline.reply_changes import ReplyChanges
from gateway.pipeline.suppression_list import Subjects, SuppressionList, read_suppression_list
from gateway.pseudonym_keys import SUPPRESSION_AUDIENCE, derive_key, load_keys
from gateway.settings import Settings

log = structlog.get_logger()
T = TypeVar("T", bound=Struct)

ID_KEY_NOTE = "id_key"
"""The note with the fingerprint of the key that hashes the ids of the stream."""
FENCED_SECONDS = 5.0
"""The shortest wait before another stream acquires a stream that another process has acquired."""


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
            "it; write a tombstone for its key, and the stream is read from its beginning",
        ) from None


class StreamState:
    """The durable state of one stream.

    After a failed write, call :meth:`open` again, which fences and reads the state.
    """

    def __init__(
        self,
        settings: Settings,
        connector: str,
        stream: str,
        subjects: Subjects | None = None,
        ids: ConnectorIds | None = None,
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
        self.claimed_ids: set[str] = set()
        """Ids that this stream is writing. No other stream of the connector takes them."""
        self.skipped_loop_values: set[bytes] = set()
        """Loop values that failed in the last poll. The next poll reads them after the others."""
        self.older_contents = OlderContents()
        """Older contents that wait for a second look."""
        self.reply_changes = ReplyChanges()
        """The fields of the replies, compared with those of earlier replies."""
        self.loop_secret = derive_key(
            next(iter(load_keys(settings).permanent), b""), f"loop {connector}|{stream}"
        )
        """The key for the hashes of loop values. A new pseudonym key does not change it."""
        self.is_shadow = False
        """Whether the stream publishes nothing, so that it takes no id from one that does."""
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
        self._ids = ids or ConnectorIds()
        self._ids.join(self)
        self._retry_at = 0.0

    @classmethod
    def of_connector(
        cls,
        settings: Settings,
        connector: Connector,
        stream: str,
        ids: ConnectorIds | None = None,
    ) -> StreamState:
        """Return the state of a stream, which also finds suppressed persons in its records.

        ``ids`` is the same object for all streams of the connector.
        """
        subjects = DataSubjectFinder(
            connector, load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)
        )
        state = cls(settings, connector.connector, stream, subjects, ids)
        state.is_shadow = connector.streams[stream].mode == "shadow"
        state.id_key_fingerprint = partial(
            id_key_fingerprint,
            connector.connector,
            stream,
            connector.streams[stream],
            FileSecrets(settings.secrets_dir),
        )
        return state

    @property
    def is_open(self) -> bool:
        """Whether this object owns the stream, as far as it knows."""
        return self._transactional.ready

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

    async def open_for_others(self) -> None:
        """Acquire the stream for another one of its connector, which must know its ids.

        Raises :class:`~gateway.errors.RetryLater` shortly after another process acquired it.
        """
        if time.monotonic() < self._retry_at:
            raise RetryLater(
                "fenced",
                f"another process has just acquired {self.connector} {self.stream}",
                after=FENCED_SECONDS,
            )
        with contextlib.suppress(StreamHalted):  # Then it has other ids, and takes none.
            await self.open()

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
                self._ids.note(native_id)

        await read_partition(
            self._settings,
            DIGESTS.name,
            partition_for(self._name, DIGESTS.partitions),
            [prefix],
            on_record=store_digest,
        )
        self.digests = digests
        self.claimed_ids.clear()
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
    ) -> int:
        """Write raw records, digests, notes and the cursor in one transaction.

        1. Replace suppressed records: drop them, or erase what was stored of them. Replace records
           whose id another stream of the connector holds by rejections.
        2. Check that the stream was not acquired again since the records were read.
        3. Encode the records into batches.
        4. Commit them in one transaction.
        5. Update the cursor, the notes and the digests in memory.
        6. Count the records that the harmonise stage will not count.

        Returns the number of entries that are not written, because they are unchanged. A note of
        ``None`` is deleted. ``extra_records`` are part of the same transaction.
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
        if entries:
            await self._ids.open_others(self)
        claimed = self._ids.resolve(self, entries)
        entries, extra_records = claimed.entries, [*extra_records, *claimed.extra]
        if not entries and not extra_records and not notes and cursor in {None, self._cursor}:
            stream_counts.count_suppressed(self, suppressed, without_raw_record=suppressed)
            stream_counts.count_claimed(self, claimed)
            return claimed.unchanged
        try:
            await self._commit(
                entries, self._outgoing(entries, cursor, extra_records, notes), opened
            )
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
        except Fenced:
            self._retry_at = time.monotonic() + FENCED_SECONDS
            raise
        # 5. Update the state in memory.
        self._update(claimed, cursor, notes)
        # 6. Count.
        rejected = stream_counts.count_claimed(self, claimed)
        if self._too_large:
            written = {(entry.raw.native_id, entry.digest) for entry in entries} & self._too_large
            stream_counts.count_rejected(self, "too_large", "body", len(written))
            rejected += len(written)
            self._too_large -= written
        stream_counts.count_written(self, entries, rejected=rejected)
        stream_counts.count_suppressed(
            self,
            suppressed,
            without_raw_record=suppressed - sum(entry.raw.erasure == "met" for entry in entries),
        )
        return claimed.unchanged

    async def _commit(
        self, entries: list[RawEntry], records: Iterator[OutgoingRecord], opened: int | None
    ) -> None:
        """Carry out the steps 2 to 4 of :meth:`write`."""
        async with self._lock:
            # 2. Records that were read before the last takeover may be out of date.
            if opened not in {None, self.takeover_number}:
                self.claimed_ids.difference_update(entry.raw.native_id for entry in entries)
                raise RetryLater(
                    "taken_anew",
                    f"{self.connector} {self.stream}: the stream was acquired again "
                    "since these records were read",
                    after=0,
                )
            # 3. Encode the records.
            batches = await self._transactional.add_records(records)
            # 4. Commit. After a failure, the ids stay claimed until the stream is read again.
            with tracing.span("write", **{"gateway.records": len(entries)}):
                await self._transactional.commit(batches)

    def _update(
        self, claimed: ClaimedEntries, cursor: bytes | None, notes: Mapping[str, bytes | None]
    ) -> None:
        self._cursor = cursor if cursor is not None else self._cursor
        self.notes |= {name: value for name, value in notes.items() if value is not None}
        for name in [name for name, value in notes.items() if value is None]:
            self.notes.pop(name, None)
        written = [entry.raw.native_id for entry in claimed.entries]
        if self.written_ids is not None:
            self.written_ids.update(written)
        for entry in claimed.entries:
            if entry.raw.erasure:
                self.digests.pop(entry.raw.native_id, None)
            else:
                self.digests[entry.raw.native_id] = entry.value
        claimed.store_digests()
        self.claimed_ids.difference_update(written)

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
        if is_of_another_stream(entry.digest):
            return encode_id_rejection(raw), digest
        if self._too_large and (raw.native_id, entry.digest) in self._too_large:
            return encode_rejection(
                stream_counts.TOO_LARGE, raw, topic=RAW.name, partition=-1, offset=-1
            ), digest
        return OutgoingRecord(
            RAW.name, raw.key.encode(), raw.body, encode_raw_headers(raw, entry.digest)
        ), digest

    async def close(self) -> None:
        """Close the producer. A later :meth:`open` acquires the stream again."""
        await self._transactional.close()
