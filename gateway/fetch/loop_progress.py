"""Remember how far each value of a stream's loops was read.

A loop asks a registry person by person, or institution by institution. Each value has a position of
its own. A value that was added later is therefore read from the start, and a value that could not
be read keeps its position. The positions contain keyed hashes, because a value may name a person.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.errors import RetryLater, StreamHalted
from gateway.fetch.change_times import before_clock_change
from gateway.fetch.read_position import TimeWindow

MAX_FAILURES_IN_A_ROW = 20
"""Number of values in a row that may fail before the failure counts as one of the registry."""
NEVER_SKIPPED = frozenset(
    {
        "CHANGED_AT_UNREADABLE",
        "CURSOR_FOREIGN",
        "EXPRESSION",
        "PROTOCOL",
        "QUIET_HOURS",
        "REQUEST_INVALID",
        "UNEXPECTED",
        "URL_MISSING",
        "WSDL",
    }
)
"""Reasons that concern the connector as a whole, and not one value of a loop."""
LOOP_VALUE_MISSING = "LOOP_VALUE_MISSING"
"""The reason for which a listed item without a value counts as skipped."""

WindowsSince = Callable[[datetime | None], Sequence[TimeWindow]]
"""A function that returns the windows to read from a position. ``None`` is the start."""


@dataclass(slots=True)
class LoopProgress:
    """The positions of the loop values of one stream, and the results of the current poll.

    ``positions`` has one entry for each value that an earlier poll read. ``None`` means that the
    registry has shown no change of the value yet. ``windows_since`` computes the windows.
    """

    secret: bytes
    positions: dict[bytes, datetime | None]
    windows_since: WindowsSince
    common_position: datetime | None = None
    """The position of every value, when an earlier release stored only one."""
    uses_watermark: bool = False
    """Whether the position is the newest change of the value, and not the end of its window."""
    read: dict[bytes, datetime | None] = field(default_factory=dict)
    """The new positions of the values that this poll has read completely."""
    skipped: Counter[str] = field(default_factory=Counter)
    """The number of skipped values by reason."""
    unproven: set[bytes] = field(default_factory=set)
    """Values whose list was reported as empty without proof; their records are not deleted."""
    values: int = 0
    """The number of values in this poll."""
    postponed: set[bytes] = field(default_factory=set)
    """Values that failed before. They are read last, so that they delay no other value."""
    known_values: set[bytes] = field(default_factory=set)
    failures_in_a_row: int = 0

    def key(self, identity: str) -> bytes:
        """Return the keyed hash of a loop value."""
        return hashlib.blake2b(identity.encode(), key=self.secret, digest_size=8).digest()

    def record_key(self, identities: Sequence[str]) -> bytes:
        """Return the 4 bytes that link a record to its loop value, or none for a batch."""
        return self.key(identities[0])[:4] if len(identities) == 1 else b""

    def unread_record_keys(self) -> frozenset[bytes]:
        """Return the record keys of the values that this poll did not read completely.

        A value that is no longer listed is not one of them.
        """
        unread = (self.known_values - self.read.keys()) | self.unproven
        return frozenset(key[:4] for key in unread)

    def is_new(self, identity: str) -> bool:
        """Return whether no earlier poll has read the value."""
        return self.common_position is None and self.key(identity) not in self.positions

    def is_postponed(self, identities: Sequence[str]) -> bool:
        """Return whether a value failed before, so that it is read after the others."""
        return any(self.key(identity) in self.postponed for identity in identities)

    def windows(self, identities: Sequence[str]) -> Sequence[TimeWindow]:
        """Return the windows to read for a value, or for all values of a batch.

        A batch starts at the earliest position of its values.
        """
        found = [
            self.positions.get(self.key(identity), self.common_position) for identity in identities
        ]
        known = [position for position in found if position is not None]
        return self.windows_since(min(known) if len(known) == len(found) else None)

    def begin(self, identities: Iterable[str]) -> None:
        """Note the values of this poll."""
        self.known_values = {self.key(identity) for identity in identities}
        self.values = len(self.known_values) + self.skipped.total()

    def complete(
        self,
        identities: Sequence[str],
        newest_change: datetime | None,
        until: datetime,
        skew: timedelta = timedelta(0),
    ) -> None:
        """Note that a value was read completely up to ``until``, in the registry's time.

        A value without a change keeps its position when the position is its newest change.
        ``skew`` is the time by which the gateway's clock is ahead of the registry's clock.
        """
        self.failures_in_a_row = 0
        for identity in identities:
            key = self.key(identity)
            position = newest_change if self.uses_watermark else until
            self.postponed.discard(key)
            before = self.positions.get(key, self.common_position)
            position = max(filter(None, (position, before)), default=None)
            if self.uses_watermark and position:
                position = before_clock_change(position, until, skew)
            self.read[key] = position

    def hold(self, identities: Sequence[str]) -> None:
        """Note that a value was read, and keep its position: a listed record was skipped."""
        self.failures_in_a_row = 0
        for identity in identities:
            key = self.key(identity)
            self.postponed.discard(key)
            self.read[key] = self.positions.get(key, self.common_position)

    def skip(self, identities: Sequence[str], error: RetryLater | StreamHalted) -> None:
        """Note that a value could not be read, or raise ``error`` again.

        The error is raised when it concerns the connector as a whole, or when many values in a
        row have failed. A value that failed before does not count while others are read.
        An open circuit breaker is raised unless another value was read before.
        """
        if not (self.read and self.is_postponed(identities)):
            self.failures_in_a_row += 1
        self.postponed.update(map(self.key, identities))
        unread = error.reason == "BREAKER_OPEN" and not self.read
        if (
            error.reason in NEVER_SKIPPED
            or unread
            or self.failures_in_a_row > MAX_FAILURES_IN_A_ROW
        ):
            raise error
        cause = error.cause if isinstance(error, RetryLater) else ""
        self.skipped[cause or error.reason] += len(identities)

    def finish(self, error: RetryLater | StreamHalted | None) -> None:
        """Raise the last error if no value of this poll could be read."""
        if error is not None and not self.read:
            raise error

    def new_positions(self) -> dict[bytes, datetime | None]:
        """Return the positions after this poll, without the values that are no longer listed.

        A value that was skipped keeps its position. A value that comes back later is new.
        """
        before = dict.fromkeys(self.known_values, self.common_position)
        if self.common_position is None:
            before = {key: self.positions[key] for key in self.known_values & self.positions.keys()}
        return {**before, **{key: self.read[key] for key in self.known_values & self.read.keys()}}

    def common_since(self) -> datetime | None:
        """Return the time for the status of the stream.

        This is the newest change of all values, or the earliest end of a window.
        """
        known = [position for position in self.new_positions().values() if position]
        if not known:
            return self.common_position
        return max(known) if self.uses_watermark else min(known)
