"""Compare the replies of a stream with its earlier good replies.

The shape of the good replies is a note next to the cursor, so a restart does not lose it. It is
written with a page, and only when a field is new or has disappeared. See docs/decisions/0109.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from gateway.fetch import reply_shape
from gateway.fetch.decode.formats import DecodedDocument
from gateway.fetch.reply_shape import ReplyShape, ShapeDifference

if TYPE_CHECKING:
    from gateway.pipeline.stream_state import StreamState

NOTE_NAME = "reply_shape"
MAX_SECOND_REPLIES = 20
"""The replies of each second list, such as details, that one poll looks at."""
MAX_SHOWN = 20
"""The fields of each kind that a report names."""

Shapes = dict[str, ReplyShape]
"""By request: an empty text for the list of records, or the name of a second list."""


class ReplyChanges:
    """The replies of one stream: the shape of the good ones, and that of the last ones."""

    def __init__(self) -> None:
        self._good: Shapes = {}
        self._last: Shapes = {}
        self._counts: Counter[str] = Counter()
        self._taken_over = -1

    def begin(self, stream_state: StreamState) -> None:
        """Forget the replies of the last poll, and read the note after a takeover."""
        self._last = {}
        self._counts.clear()
        if self._taken_over != stream_state.takeover_number:
            self._taken_over = stream_state.takeover_number
            self._good = _decode(stream_state.notes.get(NOTE_NAME))

    def note(self, request: str, documents: Sequence[DecodedDocument]) -> None:
        """Note the shape of a reply before anything changes its documents."""
        self._counts[request] += 1
        if documents and not (request and self._counts[request] > MAX_SECOND_REPLIES):
            self._last[request] = reply_shape.describe(documents)

    def accept(self) -> dict[str, bytes | None]:
        """Count the last replies as good, and return the note to write, if it has changed."""
        changed = False
        for request, shape in self._last.items():
            before = self._good.get(request, ReplyShape())
            self._good[request] = merged = reply_shape.merge(before, shape)
            changed |= merged.names() != before.names()
        self._last = {}
        return {NOTE_NAME: msgspec.json.encode(self._good)} if changed else {}

    def difference(self) -> ShapeDifference | None:
        """Return how the last replies differ from the good ones.

        Return ``None`` if there is nothing to compare.
        """
        gone: list[str] = []
        new: list[str] = []
        compared = self._last.keys() & self._good.keys()
        for request in sorted(compared):
            found = reply_shape.compare(self._good[request], self._last[request])
            prefix = f"{request}: " if request else ""
            gone += [prefix + name for name in found.gone]
            new += [prefix + name for name in found.new]
        if not compared:
            return None
        return ShapeDifference(tuple(gone[:MAX_SHOWN]), tuple(new[:MAX_SHOWN]))


def _decode(note: bytes | None) -> Shapes:
    try:
        return msgspec.json.decode(note, type=Shapes) if note else {}
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}  # The note only helps people, so a damaged one stops nothing.
