"""Keep each catalogue entry on one topic: that of complete or that of incomplete entries.

An entry moves when its registry adds or removes a field that LOQ requires. The raw record does not
tell where its earlier version is. The stage therefore reads once which incomplete entries exist. An
entry that is not among them can only be complete. See docs/decisions/0090.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from gateway.messages.cloudevents import encode_move
from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.topics import COMPLETE_ENTRY_TOPICS, ENTRY_TOPICS, INCOMPLETE_ENTRIES_TOPIC
from gateway.pipeline.processed_record import ProcessedRecord
from gateway.pipeline.standing_documents import StandingKeys
from gateway.render.render import tombstone

_INCOMPLETE = frozenset({INCOMPLETE_ENTRIES_TOPIC})


class EntryMoves:
    """The moves of one raw partition. Call :meth:`acquire` whenever its producer has fenced."""

    def __init__(self, incomplete: StandingKeys) -> None:
        self._incomplete = incomplete
        self._acquired_at = 0.0
        self._changes: dict[int, bool] = {}
        """What the present batch adds to the incomplete entries, and removes from them."""

    def acquire(self) -> None:
        """Forget which entries exist, because another worker may have written meanwhile."""
        self._acquired_at = time.monotonic()
        self._changes.clear()

    def commit(self) -> None:
        """Keep what the batch changed. Call this after its commit."""
        self._incomplete.commit(self._changes)
        self._changes.clear()

    async def apply(self, results: Iterable[ProcessedRecord]) -> None:
        """Add the tombstones of moved entries, and remove those for which no document exists.

        Each result has a document or a tombstone of a catalogue entry. Raises
        :class:`~gateway.errors.RetryLater` or :class:`~gateway.errors.Denied`.
        """
        incomplete = await self._incomplete.read_since(self._acquired_at)
        for result in results:
            entries = [message for message in result.outgoing if message.topic in ENTRY_TOPICS]
            code = hash((INCOMPLETE_ENTRIES_TOPIC, entries[0].key))
            was_incomplete = self._changes.get(code)
            if was_incomplete is None:
                was_incomplete = bool(incomplete) and code in incomplete
            # An entry that stays complete needs no more work.
            if was_incomplete or len(entries) > 1 or _is_incomplete(entries[0]):
                self._settle(result, entries, code, was_incomplete=was_incomplete)

    def _settle(
        self,
        result: ProcessedRecord,
        entries: list[OutgoingRecord],
        code: int,
        *,
        was_incomplete: bool,
    ) -> None:
        """Correct the messages about one entry. All of them have the same key."""
        document = next((entry for entry in entries if entry.value is not None), None)
        is_incomplete = document is not None and _is_incomplete(document)
        # An incomplete entry has no other document, and only an incomplete one has this document.
        needless = COMPLETE_ENTRY_TOPICS if was_incomplete else _INCOMPLETE
        result.outgoing = [
            message
            for message in result.outgoing
            if message.value is not None or message.topic not in needless
        ]
        if document is not None and was_incomplete and not is_incomplete:
            deleted = tombstone(INCOMPLETE_ENTRIES_TOPIC, document.key.decode())
            result.outgoing.append(encode_move(document, deleted))
        if was_incomplete or is_incomplete:
            self._changes[code] = is_incomplete


def _is_incomplete(message: OutgoingRecord) -> bool:
    return message.topic == INCOMPLETE_ENTRIES_TOPIC
