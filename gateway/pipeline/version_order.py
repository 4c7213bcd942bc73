"""Decide which of two contents of a record is the newer one.

The order follows the change times of the registry, as far as they can be trusted. See
docs/decisions/0059.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.fetch.change_times import FUTURE_TOLERANCE, utc_now
from gateway.fetch.registry_client import RegistryClient
from gateway.messages.cloudevents import content_digest
from gateway.pipeline.older_contents import OlderContents
from gateway.pipeline.raw_entry import RawEntry, milliseconds
from gateway.records import RawRecord


@dataclass(frozen=True, slots=True)
class VersionOrder:
    """The order of versions in one reading of a stream.

    ``read_at`` is the time of the reading, and ``registry_now`` the same time on the registry's
    clock. ``in_order`` states that the registry serves every change in its order, as a change feed
    does. Without ``older``, an older content is never taken.
    """

    read_at: datetime | None = None
    registry_now: datetime | None = None
    older: OlderContents | None = None
    in_order: bool = False

    @classmethod
    def at_present(cls) -> VersionOrder:
        """Return the order for records that a registry pushes now."""
        now = utc_now()
        return cls(now, now)

    @classmethod
    def of_client(
        cls,
        client: RegistryClient,
        older: OlderContents,
        *,
        in_order: bool,
        institutions: Sequence[str] = ("",),
    ) -> VersionOrder:
        """Return the order for a page that a client has just read."""
        now = client.now()
        return cls(now, now - client.clock_ahead_of(institutions), older, in_order)

    def entry(self, raw: RawRecord, loop_key: bytes = b"") -> RawEntry:
        """Return the entry of a record. It keeps only a change time that has been reached.

        A time in the future would refuse every later correction of the record. A time slightly
        ahead of the gateway's clock counts as the time of the reading.
        """
        changed_at = raw.changed_at
        if changed_at is not None:
            if raw.change_time_problem:
                changed_at = None
            elif self.read_at is not None and changed_at > self.read_at:
                is_close = changed_at - self.read_at <= FUTURE_TOLERANCE
                changed_at = self.read_at if is_close else None
        return RawEntry(raw, content_digest(raw), changed_at, loop_key)

    def takes(self, entry: RawEntry, known: bytes) -> bool:
        """Return whether a content replaces the known one. ``known`` is a stored value."""
        native_id = entry.raw.native_id
        if entry.digest == known[:16]:
            if self.older and self.older.held:
                self.older.forget(native_id)
            return False
        if self.in_order or entry.supersedes(known) or self._is_in_future(known):
            if self.older and self.older.held:
                self.older.forget(native_id)
            return True
        if self.older is None or not self.older.is_confirmed(native_id, entry.digest):
            return False
        self.older.forget(native_id)
        return True

    def follows(self, entry: RawEntry, earlier: RawEntry) -> bool:
        """Return whether ``entry`` replaces an earlier content of the same page.

        Times that may mean the same moment leave the order to the version numbers, and otherwise to
        the order of the page.
        """
        if self.in_order:
            return entry.digest != earlier.digest
        if not entry.supersedes(earlier.value):
            return False
        if entry.changed_at is None or earlier.supersedes(entry.value):
            return not _is_lower_version(entry.raw.version, earlier.raw.version)
        return True

    def _is_in_future(self, known: bytes) -> bool:
        """Return whether a stored change time lies after the registry's present.

        Then the time was a mistake, or the registry's clock was set back.
        """
        return self.registry_now is not None and known[16:24] > milliseconds(self.registry_now)


def _is_lower_version(version: str, other: str) -> bool:
    if not (version.isdecimal() and other.isdecimal()):
        return False
    number, other_number = version.lstrip("0"), other.lstrip("0")
    return (len(number), number) < (len(other_number), other_number)
