"""Store the positions of a stream's loop values next to its cursor.

A note holds the positions of up to :data:`VALUES_PER_NOTE` values, because a record on the topic of
cursors has a maximum size. A value is stored as a keyed hash of 8 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

NOTE_NAME = "loops"
VALUES_PER_NOTE = 20_000
_MILLISECONDS = 1000


def load_positions(notes: Mapping[str, bytes]) -> dict[bytes, datetime | None] | None:
    """Return the position of each value, or ``None`` when no poll has stored any."""
    found = [note for name, note in notes.items() if name.partition("/")[0] == NOTE_NAME]
    if not found:
        return None
    positions: dict[bytes, datetime | None] = {}
    for note in found:
        for key, milliseconds in msgspec.msgpack.decode(note, type=dict[bytes, int]).items():
            positions[key] = (
                datetime.fromtimestamp(milliseconds / _MILLISECONDS, UTC) if milliseconds else None
            )
    return positions


def changed_notes(
    positions: Mapping[bytes, datetime | None], notes: Mapping[str, bytes]
) -> dict[str, bytes | None]:
    """Return the notes to write so that they hold ``positions``; ``None`` deletes a note."""
    count = 1 + len(positions) // VALUES_PER_NOTE
    shards: list[dict[bytes, int]] = [{} for _ in range(count)]
    for key, position in sorted(positions.items()):
        milliseconds = int(position.timestamp() * _MILLISECONDS) if position else 0
        shards[int.from_bytes(key[:4], "big") * count >> 32][key] = milliseconds
    wanted = {
        f"{NOTE_NAME}/{number}": msgspec.msgpack.encode(shard)
        for number, shard in enumerate(shards)
    }
    stale = [name for name in notes if name.partition("/")[0] == NOTE_NAME and name not in wanted]
    changed = {name: note for name, note in wanted.items() if notes.get(name) != note}
    return {**changed, **dict.fromkeys(stale)}
