"""Represent a raw record to write, and its stored value."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct

from gateway.records import RawRecord

VALUE_BYTES = 28
NO_LOOP = bytes(4)
NO_TIME = bytes(8)


def milliseconds(moment: datetime) -> bytes:
    """Return a time as the eight bytes that a stored value has for it."""
    return max(0, int(moment.timestamp() * 1000)).to_bytes(8, "big")


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
            written_before=True,
            erasure=cause,
        ),
        bytes(16),
        None,
    )
