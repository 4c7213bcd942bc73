"""Find one id with two contents on different pages or in different loop values of a scan.

Without this, the later content would replace the earlier one at every poll. The gateway rejects the
record as a conflict, as it does for two contents on one page. The digest of a conflict depends on
the contents alone, and not on their order, so the next poll finds the conflict unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from zlib import crc32

from msgspec.structs import replace

from gateway.messages.cloudevents import content_digest
from gateway.pipeline.digest_table import DigestTable
from gateway.pipeline.raw_entry import RawEntry
from gateway.records import CONFLICT_CONTEXT_KEY, RawRecord

CONFLICT_MARK = b"\xfftwo"
"""The first bytes of the digest of a conflict. The parts of two contents follow."""
PART_BYTES = 6
STAMP_BYTES = 4
NO_CONTENT = bytes(PART_BYTES + STAMP_BYTES)
NO_STAMP = bytes(STAMP_BYTES)
MAX_HELD = 1_000
"""The number of records that wait for the end of the scan. Further ones wait for a later scan."""


@dataclass(slots=True)
class ScanContents:
    """The ids that a scan has shown so far, each with a short digest of its content."""

    unread: frozenset[str] = frozenset()
    """The context values that no rule reads. Contents that differ in them alone are equal."""
    seen: DigestTable = field(default_factory=lambda: DigestTable(PART_BYTES + STAMP_BYTES))
    conflicts: dict[str, bytes] = field(default_factory=dict)
    """The digests of the conflicts of this scan."""
    held: dict[str, RawEntry] = field(default_factory=dict)
    """Contents of known conflicts whose other content this scan has not shown yet."""
    repeated: int = 0
    """The number of contents that differ from another one of the same id, shown before."""

    def add(self, entry: RawEntry) -> RawEntry | None:
        """Note a content, and return it, or a conflict with an earlier content of the scan.

        Return ``None`` for a content that the scan has already shown. Another version or change
        time tells which content is the later one, so there is no conflict.
        """
        raw = entry.raw
        native_id = raw.native_id
        if raw.body is None:
            self.seen.add_missing(native_id, NO_CONTENT)
            return entry
        digest = self._digest(entry) if self.unread else entry.digest
        stamp = _stamp(raw) if raw.version or raw.changed_at is not None else NO_STAMP
        value = digest[:PART_BYTES] + stamp
        earlier = self.seen.add_missing(native_id, value)
        if earlier is None:
            return entry
        if earlier == value:
            return None
        if earlier != NO_CONTENT:
            self.repeated += 1
            if earlier[PART_BYTES:] == stamp:
                before = self.conflicts.get(native_id, earlier[:PART_BYTES])
                entry = conflict_entry(before, entry, digest)
                self.conflicts[native_id] = entry.digest
                self.seen[native_id] = _parts(entry.digest)[0] + stamp
                return entry
            self.conflicts.pop(native_id, None)
        self.seen[native_id] = value
        return entry

    def _digest(self, entry: RawEntry) -> bytes:
        raw = entry.raw
        if self.unread.isdisjoint(raw.context):
            return entry.digest
        context = {name: value for name, value in raw.context.items() if name not in self.unread}
        return content_digest(replace(raw, context=context))

    def add_ids(self, native_ids: Iterable[str]) -> None:
        """Note records that the scan lists, and whose content is not known."""
        for native_id in native_ids:
            self.seen.add_missing(native_id, NO_CONTENT)

    def hold(self, entry: RawEntry) -> None:
        """Keep a content of a known conflict until the scan shows the other one, or ends."""
        if len(self.held) < MAX_HELD or entry.raw.native_id in self.held:
            self.held[entry.raw.native_id] = entry

    def release(self, native_id: str) -> None:
        """Note that the known conflict of an id is still there."""
        self.held.pop(native_id, None)


def is_conflict(digest: bytes) -> bool:
    """Return whether a digest, or a stored value, belongs to a conflict."""
    return digest.startswith(CONFLICT_MARK)


def conflict_entry(earlier: bytes, entry: RawEntry, digest: bytes = b"") -> RawEntry:
    """Return an entry in place of both contents, which the harmoniser rejects as a conflict.

    Only the registry knows which of the two contents is correct. ``earlier`` is a digest, or the
    first bytes of one, and ``digest`` is that of the entry unless it says its own. Of several
    contents, the conflict always names the same two.
    """
    parts = sorted({*_parts(earlier), *_parts(digest or entry.digest)})[:2]
    text = " and ".join(part.hex() for part in parts)
    raw = replace(entry.raw, context={**entry.raw.context, CONFLICT_CONTEXT_KEY: text})
    return RawEntry(raw, CONFLICT_MARK + b"".join(parts), entry.changed_at, entry.loop_key)


def _parts(digest: bytes) -> list[bytes]:
    """Return the first bytes of a content's digest, or of both contents of a conflict."""
    if is_conflict(digest):
        start = len(CONFLICT_MARK)
        return [digest[start : start + PART_BYTES], digest[start + PART_BYTES : 16]]
    return [digest[:PART_BYTES]]


def _stamp(raw: RawRecord) -> bytes:
    """Return what tells the versions of a record apart, in few bytes."""
    return crc32(f"{raw.version} {raw.changed_at}".encode()).to_bytes(STAMP_BYTES)
