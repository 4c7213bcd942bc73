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
from datetime import datetime

from gateway.errors import RetryLater, StreamHalted
from gateway.fetch.read_position import TimeWindow

MAX_FAILURES_IN_A_ROW = 20
"""Number of values in a row that may fail before the failure counts as one of the registry."""
NEVER_SKIPPED = frozenset(
    {
        "BREAKER_OPEN",
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
"""Reasons that concern the connector or the registry as a whole, and not one value of a loop."""

WindowsSince = Callable[[datetime | None, bool], Sequence[TimeWindow]]
"""The windows to read from a position. The flag is true for a value that was never read."""


@dataclass(slots=True)
class LoopProgress:
    """The positions of the loop values of one stream, and the results of the current poll.

    ``positions`` has one entry for each value that an earlier poll read. ``None`` means that the
    registry has shown no change of the value yet. ``windows_since`` computes the windows.
    """

    secret: bytes
    positions: dict[bytes, datetime | None]
    windows_since: WindowsSince
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
    known_values: set[bytes] = field(default_factory=set)
    last_failure: str = ""
    """The text of the last failure that was skipped."""
    failures_in_a_row: int = 0

    def key(self, identity: str) -> bytes:
        """Return the keyed hash of a loop value."""
        return hashlib.blake2b(identity.encode(), key=self.secret, digest_size=8).digest()

    def is_new(self, identity: str) -> bool:
        """Return whether no earlier poll has read the value."""
        return self.key(identity) not in self.positions

    def windows(self, identities: Sequence[str]) -> list[TimeWindow]:
        """Return the windows to read for a value, or for all values of a batch.

        A batch starts at the earliest position of its values.
        """
        keys = [self.key(identity) for identity in identities]
        if any(key not in self.positions for key in keys):
            return list(self.windows_since(None, True))
        found = [self.positions[key] for key in keys]
        known = [position for position in found if position is not None]
        return list(self.windows_since(min(known) if len(known) == len(found) else None, False))

    def begin(self, identities: Iterable[str]) -> None:
        """Note the values of this poll."""
        self.known_values = {self.key(identity) for identity in identities}
        self.values = len(self.known_values)

    def complete(
        self, identities: Sequence[str], newest_change: datetime | None, until: datetime
    ) -> None:
        """Note that a value was read completely up to ``until``.

        A value without a change keeps its position when the position is its newest change.
        """
        self.failures_in_a_row = 0
        for identity in identities:
            key = self.key(identity)
            position = newest_change if self.uses_watermark else until
            before = self.positions.get(key)
            self.read[key] = max(filter(None, (position, before)), default=None)

    def skip(self, identities: Sequence[str], error: RetryLater | StreamHalted) -> None:
        """Note that a value could not be read, or raise ``error`` again.

        The error is raised when it concerns the connector as a whole, or when many values in a
        row have failed.
        """
        self.failures_in_a_row += 1
        if error.reason in NEVER_SKIPPED or self.failures_in_a_row > MAX_FAILURES_IN_A_ROW:
            raise error
        self.skipped[error.reason] += len(identities)
        self.last_failure = str(error)

    def finish(self, error: RetryLater | StreamHalted | None) -> None:
        """Raise the last error if no value of this poll could be read."""
        if error is not None and not self.read:
            raise error

    def new_positions(self) -> dict[bytes, datetime | None]:
        """Return the positions after this poll, without the values that are no longer listed.

        A value that was skipped keeps its position. A value that comes back later is new.
        """
        return {
            key: self.read[key] if key in self.read else self.positions[key]
            for key in self.known_values
            if key in self.read or key in self.positions
        }
