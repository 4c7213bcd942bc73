"""Store which deletions of a stream wait, next to its cursor.

A note contains keyed hashes of ids, because an id may name a person. It says which records the last
complete scan did not show, which deletions are withheld, and whether a person accepted them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from gateway.observability import metrics

if TYPE_CHECKING:
    from gateway.pipeline.stream_state import StreamState

NOTE_NAME = "deletions"
KEY_BYTES = 8
ACCEPTED_MARGIN_DIVISOR = 20
"""An acceptance covers one further deletion in 20, because the registry changes meanwhile."""


class DeletionNote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The note next to the cursor about deletions that are not written yet."""

    withheld: int = 0
    """The number of withheld deletions; 0 if none is withheld."""
    known: int = 0
    """The number of known records when the first of them was withheld."""
    accepted: bool = False
    """Whether an operator accepted the withheld deletions."""
    missed: bytes = b""
    """The keyed hashes of the ids that the last complete scan did not show, and of withheld ids."""

    def missed_keys(self) -> frozenset[bytes]:
        """Return the keyed hashes one by one."""
        return frozenset(
            self.missed[start : start + KEY_BYTES]
            for start in range(0, len(self.missed), KEY_BYTES)
        )

    @property
    def margin(self) -> int:
        """The number of deletions that an acceptance covers although their ids are not noted."""
        noted = len(self.missed) // KEY_BYTES
        return max(1, self.withheld // ACCEPTED_MARGIN_DIVISOR) + max(0, self.withheld - noted)


def read_note(stream_state: StreamState, name: str = NOTE_NAME) -> DeletionNote:
    """Return the note of an open stream, or an empty one if there is none."""
    note = stream_state.notes.get(name)
    return msgspec.msgpack.decode(note, type=DeletionNote) if note else DeletionNote()


def encode_note(note: DeletionNote) -> bytes | None:
    """Return the note to store, or ``None`` if there is nothing to remember."""
    return None if note == DeletionNote() else msgspec.msgpack.encode(note)


def withheld_deletions(stream_state: StreamState) -> tuple[int, int]:
    """Return the number of withheld deletions of an open stream, and of its known records.

    A poll and a backfill may withhold the same deletions, so the larger number counts.
    """
    notes = [read_note(stream_state, name) for name in _note_names(stream_state)]
    return max(
        ((note.withheld, note.known) for note in notes if note.withheld and not note.accepted),
        default=(0, 0),
    )


def set_withheld_metric(stream_state: StreamState) -> None:
    """Report in the metrics how many deletions are withheld."""
    metrics.DELETIONS_WITHHELD.labels(stream_state.connector, stream_state.stream).set(
        withheld_deletions(stream_state)[0]
    )


async def accept_deletions(stream_state: StreamState) -> int:
    """Accept the deletions that are withheld now, and return their number.

    The next poll writes them. A poll with other or more deletions is withheld again.
    """
    accepted, _ = withheld_deletions(stream_state)
    notes: dict[str, bytes | None] = {}
    for name in _note_names(stream_state):
        note = read_note(stream_state, name)
        if note.withheld and not note.accepted:
            notes[name] = encode_note(msgspec.structs.replace(note, accepted=True))
    await write_notes(stream_state, notes)
    return accepted


async def forget_withheld(stream_state: StreamState, name: str = NOTE_NAME) -> None:
    """Forget the deletions under a note. The registry sends them again, or their source ended."""
    if name in stream_state.notes:
        await write_notes(stream_state, {name: None})


def withheld_text(stream_state: StreamState) -> str:
    """Return how many deletions wait and how to accept them; empty if none waits."""
    withheld, known = withheld_deletions(stream_state)
    if not withheld:
        return ""
    name = f"{stream_state.connector} {stream_state.stream}"
    return (
        f"deletions withheld: {withheld:,} of {known:,} records; if they are right, run "
        f"`gateway resume {name} --accept-deletions`"
    )


async def write_notes(stream_state: StreamState, notes: Mapping[str, bytes | None]) -> None:
    """Write notes, and report in the metrics what they say."""
    if notes:
        await stream_state.write([], None, notes=notes)
        set_withheld_metric(stream_state)


def _note_names(stream_state: StreamState) -> list[str]:
    return [name for name in stream_state.notes if name.partition("/")[0] == NOTE_NAME]
