"""Keep what is published of a record whose own request the registry refused.

A registry can refuse the details of one listed record, while it serves the others. The gateway then
skips this record: it keeps the published version, counts the record, and reads it again when it
next reads the list.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import structlog

from gateway.errors import RetryLater, StreamHalted

log = structlog.get_logger()

REFUSALS = frozenset({"HTTP_404", "HTTP_410", "DENIED", "LIST_MISSING", "EXPAND_MISSING"})
"""Reasons that concern the requested record alone, when the registry serves others."""
MAX_WITHOUT_SUCCESS = 2
"""The number of refusals before the first success that do not yet concern all records."""
MAX_IN_A_ROW = 20
"""The number of refusals in a row that do not yet concern all records."""


@dataclass(frozen=True, slots=True)
class SkippedRecords:
    """The listed records of a page that could not be read, and the reasons.

    ``unknown_ids`` counts those whose native id is not known. A scan with such a record must not
    delete records.
    """

    native_ids: tuple[str, ...] = ()
    unknown_ids: int = 0
    reasons: tuple[str, ...] = ()


NOTHING_SKIPPED = SkippedRecords()


@dataclass(slots=True)
class RefusedRecords:
    """The refusals of one poll. ``where`` is the stream, for the log."""

    where: str
    _native_ids: list[str] = field(default_factory=list)
    _unknown_ids: int = 0
    _reasons: Counter[str] = field(default_factory=Counter)
    _has_succeeded: bool = False
    _in_a_row: int = 0

    def note_success(self) -> None:
        """Note that the registry answered the request of a record."""
        self._has_succeeded, self._in_a_row = True, 0

    def refuse(self, error: StreamHalted, missing: str | None) -> None:
        """Note a refusal, or raise an error when it does not concern one record alone.

        ``missing`` is what the connector says about a record without an answer.
        """
        self._in_a_row += 1
        limit = MAX_IN_A_ROW if self._has_succeeded else MAX_WITHOUT_SUCCESS
        if error.reason not in REFUSALS or self._in_a_row > limit:
            raise error
        if missing == "retry":
            raise RetryLater(error.reason, f"{error}; the next poll requests it again")

    def skip(self, native_id: str | None, reason: str) -> None:
        """Note a record that is skipped. ``native_id`` is ``None`` when it is not known."""
        self._reasons[reason] += 1
        if native_id is None:
            self._unknown_ids += 1
        else:
            self._native_ids.append(native_id)

    def take(self) -> SkippedRecords:
        """Return the records that were skipped since the last call, and log their number."""
        if not self._reasons:
            return NOTHING_SKIPPED
        log.warning(
            "listed records skipped",
            stream=self.where,
            records=self._reasons.total(),
            reasons=", ".join(sorted(self._reasons)),
            advice="the registry refused their own requests; the published versions stay",
        )
        taken = SkippedRecords(
            tuple(self._native_ids), self._unknown_ids, tuple(self._reasons.elements())
        )
        self._native_ids, self._unknown_ids, self._reasons = [], 0, Counter()
        return taken
