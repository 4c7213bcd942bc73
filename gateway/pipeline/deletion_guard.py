"""Withhold the deletions of a poll that would delete a large part of a stream.

A registry that errs may show an empty or a short list, or mark every record as deleted. The
gateway cannot tell this from the truth, and a tombstone takes a document away at every subscriber.
So a poll that exceeds the limit of the stream (``deletions:``) writes no deletion. The stream
halts, and the next poll looks again. The stream continues by itself when the registry shows the
records again. ``gateway resume --accept-deletions`` accepts the withheld deletions.

See :mod:`gateway.pipeline.deletion_note` and docs/decisions/0051.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from gateway.config.deletions import DeletionLimit
from gateway.config.rules import PERSONAL_TYPES
from gateway.errors import StreamHalted
from gateway.pipeline.deletion_note import (
    KEY_BYTES,
    NOTE_NAME,
    DeletionNote,
    encode_note,
    read_note,
    set_withheld_metric,
    write_notes,
)
from gateway.pipeline.id_claims import holds
from gateway.records import MISSING_ID_PREFIX

if TYPE_CHECKING:
    from gateway.config.connector import Stream
    from gateway.pipeline.raw_entry import RawEntry
    from gateway.pipeline.stream_state import StreamState

REASON = "DELETIONS_WITHHELD"
MAX_NOTED_IDS = 100_000
"""The number of ids that fit a note, because a record on the topic of cursors has a maximum size.
Further ids wait for a later scan."""
MAX_COUNTED_PAGES = 100
"""The number of pages that the gateway reads only to count deletions, after the limit."""
SHOWN_IDS = 10


@dataclass(slots=True)
class DeletionGuard:
    """The guard on the deletions of one poll.

    ``first_read`` says that the stream was never read completely. Then a record may come and go
    within the poll, so explicit deletions are not limited.
    """

    stream_state: StreamState
    limit: DeletionLimit
    hides_ids: bool = False
    first_read: bool = False
    note_name: str = NOTE_NAME
    withheld_ids: list[str] = field(default_factory=list)
    """The records that the registry marked as deleted, and that this poll does not delete."""
    counted_pages: int = 0
    """The number of pages since the limit."""
    halt: StreamHalted | None = None
    """The reason why the stream halts after this poll."""
    accepted_count: int = 0
    """The deletions of this poll that an operator has accepted."""
    _counted: int = 0
    """The explicit deletions that this poll has written, without those that were accepted."""
    _growth: int = 0
    """The number by which the pages of this poll have increased the known records."""
    _page_growth: int = 0
    """The number by which the current page will increase them."""
    _known: int | None = None
    _accepted_keys: frozenset[bytes] | None = None

    @classmethod
    def of_stream(
        cls,
        stream_state: StreamState,
        stream: Stream,
        *,
        first_read: bool = False,
        note_name: str = NOTE_NAME,
    ) -> DeletionGuard:
        """Return the guard for one poll of a stream."""
        return cls(stream_state, stream.deletions, hides_ids(stream), first_read, note_name)

    @property
    def note(self) -> DeletionNote:
        """The note of earlier polls."""
        return read_note(self.stream_state, self.note_name)

    def key(self, native_id: str) -> bytes:
        """Return the keyed hash of an id."""
        return blake2b(
            native_id.encode(errors="surrogatepass"),
            key=self.stream_state.loop_secret,
            digest_size=KEY_BYTES,
        ).digest()

    async def filter_page(self, entries: list[RawEntry]) -> list[RawEntry]:
        """Return the entries of a page that may be written.

        From the limit on, they contain no deletion of a known record.
        """
        self._growth += self._page_growth
        self._page_growth = sum(
            not entry.raw.written_before and entry.raw.body is not None for entry in entries
        )
        deleted_ids = [
            entry.raw.native_id
            for entry in entries
            if entry.raw.body is None and not entry.raw.erasure and self._is_live(entry)
        ]
        if not deleted_ids or self.first_read or self.limit.unlimited is not None:
            return entries
        new = self._not_accepted(deleted_ids)
        few = new == len(deleted_ids) and self._counted + new <= self.limit.records
        if not self.withheld_ids and (
            few or self.permits(deleted_ids, await self._known_records())
        ):
            self._counted += new
            self.accepted_count += len(deleted_ids) - new
            self._page_growth -= len(deleted_ids)
            return entries
        self.withheld_ids += deleted_ids
        withheld = set(deleted_ids)
        return [
            entry
            for entry in entries
            if entry.raw.body is not None or entry.raw.native_id not in withheld
        ]

    async def count_page(self) -> None:
        """Count a page that is read only for the number of its deletions.

        After :data:`MAX_COUNTED_PAGES` of them the poll ends, because the next poll reads them
        again. Raises :class:`~gateway.errors.StreamHalted` then.
        """
        self.counted_pages += 1
        if self.counted_pages > MAX_COUNTED_PAGES:
            await self.finish(compares_scans=False)

    def permits(self, native_ids: Collection[str], known: int) -> bool:
        """Return whether this poll may also delete these records.

        ``known`` is the number of records that were known before the poll.
        """
        note = self.note
        if note.withheld:
            known = min(known, note.known)
        new = self._counted + self._not_accepted(native_ids)
        if note.accepted and new <= note.margin:
            return True
        return self.limit.allows(self._counted + len(native_ids), known)

    def known_before(self, live: int) -> int:
        """Return the number of records before this poll.

        ``live`` is their number before the current page is written.
        """
        return max(0, live - self._growth)

    def note_withheld(self, native_ids: Sequence[str], known: int) -> DeletionNote:
        """Return the note about withheld deletions, and set :attr:`halt`."""
        before = self.note
        known = min(known, before.known) if before.withheld else known
        self.halt = self._halted(len(native_ids), known, native_ids)
        return DeletionNote(
            withheld=len(native_ids), known=known, missed=self.noted_keys(native_ids)
        )

    def noted_keys(self, native_ids: Iterable[str]) -> bytes:
        """Return the keyed hashes of the ids, as many as fit a note.

        The choice does not depend on the order, so that later scans find the same ids.
        """
        return b"".join(sorted(map(self.key, native_ids))[:MAX_NOTED_IDS])

    async def finish(self, *, compares_scans: bool) -> None:
        """Raise :class:`~gateway.errors.StreamHalted` if deletions are withheld.

        The note about them is durable then. ``compares_scans`` says that complete scans decide
        about deletions. A scan that was not complete leaves the deletions of an earlier one as
        they are.
        """
        note = self.note
        if self.halt is None and self.withheld_ids:
            waiting = self.note_withheld(self.withheld_ids, await self._known_records())
            await write_notes(self.stream_state, {self.note_name: encode_note(waiting)})
        elif self.halt is None and note.withheld and not note.accepted and compares_scans:
            self.halt = self._halted(note.withheld, note.known, ())
        elif self.halt is None and note != DeletionNote() and not compares_scans:
            await write_notes(self.stream_state, {self.note_name: None})
        set_withheld_metric(self.stream_state)
        if self.halt is not None:
            raise self.halt

    def _not_accepted(self, native_ids: Collection[str]) -> int:
        """Return the number of deletions that no operator has accepted."""
        if self._accepted_keys is None:
            note = self.note
            self._accepted_keys = note.missed_keys() if note.accepted else frozenset()
        if not self._accepted_keys:
            return len(native_ids)
        return sum(self.key(native_id) not in self._accepted_keys for native_id in native_ids)

    def _is_live(self, entry: RawEntry) -> bool:
        known = self.stream_state.digests.get(entry.raw.native_id)
        return known is not None and is_live(entry.raw.native_id, known)

    async def _known_records(self) -> int:
        if self._known is None:
            live = await asyncio.to_thread(count_live, self.stream_state)
            self._known = self.known_before(live)
        return self._known

    def _halted(self, count: int, known: int, native_ids: Sequence[str]) -> StreamHalted:
        state = self.stream_state
        shown = [self._shown_id(native_id) for native_id in sorted(native_ids)[:SHOWN_IDS]]
        ids = f" (for example {', '.join(shown)})" if shown else ""
        return StreamHalted(
            REASON,
            f"deletions withheld: {count:,} of {known:,} records{ids}; the registry no longer "
            f"shows them, or marks them as deleted; {_limit_text(self.limit)}, so they stay "
            "published; if the deletions are right, run "
            f"`gateway resume {state.connector} {state.stream} --accept-deletions`; "
            "the stream continues by itself when the registry shows the records again",
        )

    def _shown_id(self, native_id: str) -> str:
        if not self.hides_ids:
            return native_id
        return f"pseudonym {self.key(native_id).hex()}"


def hides_ids(stream: Stream) -> bool:
    """Return whether the native ids of a stream may identify persons.

    An id that the gateway replaces with a keyed hash does not.
    """
    emitted = {stream.emits, *(kind.emits for kind in stream.kinds.values())}
    return stream.id_key is None and not emitted.isdisjoint(PERSONAL_TYPES)


def is_live(native_id: str, value: bytes) -> bool:
    """Return whether a digest belongs to a record that exists, and whose id the stream holds."""
    return holds(value) and not native_id.startswith(MISSING_ID_PREFIX)


def count_live(stream_state: StreamState) -> int:
    """Return the number of known records. This takes seconds for a large registry."""
    return sum(is_live(native_id, value) for native_id, value in stream_state.digests.iter_items())


def _limit_text(limit: DeletionLimit) -> str:
    if limit.share == limit.records == 0:
        return "every deletion needs a person"
    share = f"{limit.share * 100:.4g}".rstrip(".")
    return f"more than {share} % and more than {limit.records} records need a person"
