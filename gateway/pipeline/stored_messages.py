"""Remember which signed messages are stored, next to the cursor of their stream.

A caller repeats a message until it is accepted. The repetition must get the same answer, and must
not write an older content again. The note of a message is committed together with its records, so
the next owner of the stream knows it, too. See docs/decisions/0061.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.fetch.soap.ws_security import SignedMessage
    from gateway.pipeline.stream_state import StreamState

NOTE_PREFIX = "message/"
MAX_MESSAGES = 10_000
"""The largest number of messages to remember. Beyond it, those that expire first are forgotten."""


def is_stored(stream_state: StreamState, message: SignedMessage, now: datetime) -> bool:
    """Return whether an open stream stored a message before, and the message may be repeated."""
    note = stream_state.notes.get(_note_name(message))
    return note is not None and _milliseconds(note) > now.timestamp() * 1000


def notes_with(
    stream_state: StreamState, message: SignedMessage, now: datetime
) -> dict[str, bytes | None]:
    """Return the notes to commit with the records of a message.

    They name the message, and remove those that expired.
    """
    expired = dict.fromkeys(_forgotten_names(stream_state, now.timestamp() * 1000))
    valid_until = max(0, int(message.valid_until.timestamp() * 1000))
    return {**expired, _note_name(message): valid_until.to_bytes(8, "big")}


def _forgotten_names(stream_state: StreamState, now_milliseconds: float) -> Iterator[str]:
    remembered = sorted(
        (_milliseconds(note), name)
        for name, note in stream_state.notes.items()
        if name.startswith(NOTE_PREFIX)
    )
    too_many = len(remembered) - MAX_MESSAGES + 1
    for number, (until, name) in enumerate(remembered):
        if until <= now_milliseconds or number < too_many:
            yield name


def _note_name(message: SignedMessage) -> str:
    return NOTE_PREFIX + message.digest.hex()


def _milliseconds(note: bytes) -> int:
    return int.from_bytes(note[:8], "big")
