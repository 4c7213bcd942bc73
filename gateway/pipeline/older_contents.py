"""Remember contents that a registry serves with an older change time than the known one."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_HELD_CONTENTS = 100_000
"""The number of older contents that a stream remembers until a later reading confirms them."""


@dataclass(slots=True)
class OlderContents:
    """Contents with an older change time than the known one, which wait for a second look.

    A replica that lags behind shows an older content once. A registry that shows it again in a
    later reading, and never the known content, means it: its clock or the record was set back.
    """

    held: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    """The digest by native id, with the number of the reading that showed it first."""
    reading: int = 0

    def end_reading(self) -> None:
        """Note that a reading ended well. A content that was held in it may now be confirmed."""
        self.reading += 1

    def is_confirmed(self, native_id: str, digest: bytes) -> bool:
        """Return whether an earlier reading showed the same content; otherwise hold it."""
        held_digest, reading = self.held.get(native_id, (b"", 0))
        if held_digest == digest:
            return reading < self.reading
        if len(self.held) < MAX_HELD_CONTENTS:
            self.held[native_id] = digest, self.reading
        return False

    def forget(self, native_id: str) -> None:
        """Note that the registry showed the known content, or a newer one."""
        self.held.pop(native_id, None)
