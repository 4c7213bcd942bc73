"""Keep two streams of one connector from writing one id.

The key of a record names its connector and its id, and not its stream. So the first stream that
writes an id holds it. Another stream that reads the same id rejects its record, until the first
stream loses its own. The rejection and its digest have keys of their own. See docs/decisions/0071.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from gateway.fetch.http.lease import Lease
from gateway.messages.cloudevents import DELETED_DIGEST
from gateway.messages.outgoing import OutgoingRecord, partition_for
from gateway.messages.rejection import encode_rejection, encode_withdrawal
from gateway.messages.topics import DIGESTS, RAW
from gateway.records import MISSING_ID_PREFIX, RawRecord, Rejected

if TYPE_CHECKING:
    from gateway.pipeline.raw_entry import RawEntry
    from gateway.pipeline.stream_state import StreamState

log = structlog.get_logger()

REASON = "id_of_another_stream"
OTHER_MARK = b"\xffforeign"
"""The first bytes of the digest of a record whose id another stream holds."""
AGAIN_DIGEST = b"\xff" * 16
"""The digest of a record that its stream writes again at its next poll, with any content."""
MANY_STREAMS = 8
FILTER_SLOTS = 1 << 22


def is_of_another_stream(value: bytes) -> bool:
    """Return whether a digest, or a stored value, belongs to a record whose id is not held."""
    return value[:8] == OTHER_MARK


def holds(value: bytes | None) -> bool:
    """Return whether a stream with this stored value for an id holds the id."""
    return value is not None and value[:16] != DELETED_DIGEST and not is_of_another_stream(value)


@dataclass(slots=True)
class ClaimedEntries:
    """The entries that a stream may write, and what else belongs to their transaction."""

    entries: list[RawEntry]
    extra: list[OutgoingRecord] = field(default_factory=list)
    digests: list[tuple[StreamState, str, bytes | None]] = field(default_factory=list)
    """The digests to store in memory after the commit; ``None`` removes one."""
    unchanged: int = 0
    """Records that were rejected before for the same reason, with the same content."""
    deleted: int = 0
    """Deletions of records that the stream does not hold."""

    def store_digests(self) -> None:
        """Store the digests in memory, after the commit."""
        for state, native_id, value in self.digests:
            if value is None:
                state.digests.pop(native_id, None)
            else:
                state.digests[native_id] = value


class ConnectorIds:
    """The streams of one connector in this process, in the order of the connector file.

    The lease is per connector, so one process owns all of them. A stream takes a new id only while
    all streams are open here. Another process that takes an id has fenced every stream before, so
    the transaction of this one then fails.
    """

    def __init__(self, lease: Lease | None = None) -> None:
        self._lease = lease
        self._streams: list[StreamState] = []
        self._filter: bytearray | None = None
        """One byte for each group of ids. A zero proves that no stream knows an id."""

    def join(self, state: StreamState) -> None:
        """Add a stream."""
        self._streams.append(state)
        if len(self._streams) > MANY_STREAMS and self._filter is None:
            self._filter = bytearray(FILTER_SLOTS)

    def note(self, native_id: str) -> None:
        """Note that a stream knows an id."""
        if self._filter is not None:
            self._filter[hash(native_id) % FILTER_SLOTS] = 1

    async def open_others(self, state: StreamState) -> None:
        """Open the other streams, so that this process knows and writes their digests alone."""
        for other in self._streams:
            if other is not state and not other.is_open:
                if self._lease is not None:  # Without it, the streams have another owner.
                    await self._lease.wait_until_valid()
                await other.open_for_others()

    def holder(self, state: StreamState, native_id: str) -> StreamState | None:
        """Return another stream that holds an id, or that is about to write it.

        A stream in shadow mode publishes nothing, so it keeps no id from one that does.
        """
        if self._filter is not None and not self._filter[hash(native_id) % FILTER_SLOTS]:
            return None
        for other in self._streams:
            if other is state or (other.is_shadow and not state.is_shadow):
                continue
            if holds(other.digests.get(native_id)) or native_id in other.claimed_ids:
                return other
        return None

    def resolve(self, state: StreamState, entries: list[RawEntry]) -> ClaimedEntries:
        """Return what a stream may write. The ids are then claimed, until it has written them."""
        result = ClaimedEntries([])
        for entry in entries:
            if self._is_plain(state, entry):
                result.entries.append(entry)
            else:
                self._resolve_one(state, entry, result)
        if len(self._streams) > 1:
            for entry in result.entries:
                if holds(entry.digest) and not entry.raw.erasure:
                    state.claimed_ids.add(entry.raw.native_id)
                    self.note(entry.raw.native_id)
        return result

    def _is_plain(self, state: StreamState, entry: RawEntry) -> bool:
        """Return whether no other stream holds the id, and the stream did not reject it before."""
        native_id = entry.raw.native_id
        known = state.digests.get(native_id)
        if known is not None and is_of_another_stream(known):
            return False
        if (
            len(self._streams) == 1
            or entry.raw.erasure == "asked"
            or native_id.startswith(MISSING_ID_PREFIX)
        ):
            return True
        return self.holder(state, native_id) is None

    def _resolve_one(self, state: StreamState, entry: RawEntry, result: ClaimedEntries) -> None:
        raw, native_id = entry.raw, entry.raw.native_id
        known = state.digests.get(native_id)
        other = self.holder(state, native_id)
        was_rejected = known is not None and is_of_another_stream(known)
        if other is not None and holds(known) and not raw.erasure:
            self._resolve_double(state, other, entry, result)
        elif raw.body is None:
            result.deleted += not raw.erasure
            if was_rejected:
                self._forget(state, raw, result)
        elif other is None:
            result.entries.append(entry)
            result.extra.append(_withdrawal(raw))
        elif known is not None and known[:16] == _mark(entry.digest):
            result.unchanged += 1
        else:
            result.entries.append(_rejected_entry(entry))

    def _resolve_double(
        self, state: StreamState, other: StreamState, entry: RawEntry, result: ClaimedEntries
    ) -> None:
        """Let one of two streams have an id that both wrote under an earlier release.

        It stays with a stream that publishes, and else with the one that the file names first.
        """
        raw, is_first = entry.raw, self._rank(state) < self._rank(other)
        log.warning(
            "two streams had one id",
            connector=state.connector,
            stays=(state if is_first else other).stream,
            leaves=(other if is_first else state).stream,
        )
        if is_first:
            result.entries.append(entry)
            lost = RawRecord(
                connector=other.connector, stream=other.stream, native_id=raw.native_id, body=b""
            )
            result.extra.append(encode_id_rejection(lost))
            self._store(other, raw.native_id, _mark(entry.digest), result)
            return
        if raw.body is None:
            result.deleted += 1
            self._forget(state, raw, result)
        else:
            result.entries.append(_rejected_entry(entry))
        self._store(other, raw.native_id, AGAIN_DIGEST, result)

    def _rank(self, state: StreamState) -> tuple[bool, int]:
        return state.is_shadow, self._streams.index(state)

    def _forget(self, state: StreamState, raw: RawRecord, result: ClaimedEntries) -> None:
        result.extra.append(_withdrawal(raw))
        self._store(state, raw.native_id, None, result)

    @staticmethod
    def _store(
        state: StreamState, native_id: str, digest: bytes | None, result: ClaimedEntries
    ) -> None:
        """Store a digest without a change time, in the transaction and then in memory."""
        name = f"{state.connector}|{state.stream}"
        value = None if digest is None else digest + bytes(8)
        result.extra.append(
            OutgoingRecord(
                DIGESTS.name,
                f"{name}|{native_id}".encode(),
                value,
                [],
                partition_for(name.encode(), DIGESTS.partitions),
            )
        )
        result.digests.append((state, native_id, value and value + bytes(4)))


def encode_id_rejection(raw: RawRecord) -> OutgoingRecord:
    """Return the rejection of a record whose id another stream of its connector holds."""
    rejected = Rejected(
        stage="map",
        field="id",
        reason=REASON,
        detail="expected an id that no other stream of the connector has: begin `id` with a "
        f"constant part, such as [\"'{raw.stream}'\", …]",
    )
    return encode_rejection(
        rejected, raw, topic=RAW.name, partition=-1, offset=-1, key=rejection_key(raw)
    )


def rejection_key(raw: RawRecord) -> str:
    """Return the key of such a rejection, which is not the key of the record."""
    return f"{raw.connector}/{raw.stream}|{raw.native_id}"


def _withdrawal(raw: RawRecord) -> OutgoingRecord:
    return encode_withdrawal(raw, key=rejection_key(raw))


def _rejected_entry(entry: RawEntry) -> RawEntry:
    return replace(entry, digest=_mark(entry.digest), changed_at=None)


def _mark(digest: bytes) -> bytes:
    return OTHER_MARK + digest[:8]
