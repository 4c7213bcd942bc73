"""Keep what is published of a record whose own request the registry refused.

A registry can refuse the details of one listed record, while it serves the others. The gateway then
skips this record: it keeps the published version, counts the record, and reads it again when it
next reads the list. A scan also skips a record whose own request keeps failing, because the next
scan lists the record again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import structlog

from gateway.errors import RetryLater, StreamError, StreamHalted
from gateway.fetch.loop_progress import MAX_FAILURES_IN_A_ROW, NEVER_SKIPPED

log = structlog.get_logger()

ABSENT = frozenset({"HTTP_404", "HTTP_410", "EXPAND_MISSING"})
"""Reasons that can concern the only listed record; the registry then accepts the gateway."""
REFUSALS = ABSENT | {"DENIED", "LIST_MISSING", "JOIN_KEY"}
"""Reasons that concern the requested record alone, when the registry serves others."""
SCAN_REFUSALS = frozenset({"SOAP_FAULT"} | {f"HTTP_{status}" for status in range(400, 500)})
"""Further reasons for which a scan skips a record: the next scan lists it again."""
MAX_ABSENT = 2
"""The number of absent records, without any other record, that do not yet concern all records."""
MAX_BATCHES_WITHOUT_SUCCESS = 3
"""The number of batches that may fail before the first success: one batch and both its halves."""


@dataclass(frozen=True, slots=True)
class SkippedRecords:
    """The listed records of a page that could not be read, and the reasons.

    ``unknown_ids`` counts those whose native id is not known. A scan with such a record must not
    delete records. ``is_held`` says that the cursor must not pass the records, because a later poll
    would not list them.
    """

    native_ids: tuple[str, ...] = ()
    unknown_ids: int = 0
    reasons: tuple[str, ...] = ()
    is_held: bool = False


NOTHING_SKIPPED = SkippedRecords()


@dataclass(slots=True)
class RefusedRecords:
    """The refusals of one poll. ``where`` is the stream, for the log."""

    where: str
    is_scan: bool = False
    _native_ids: list[str] = field(default_factory=list)
    _unknown_ids: int = 0
    _reasons: Counter[str] = field(default_factory=Counter)
    _has_succeeded: bool = False
    _in_a_row: int = 0
    _failures: list[StreamError] = field(default_factory=list)
    is_held: bool = False
    """Whether the cursor must not pass a skipped record of the list."""

    def begin(self, *, resumed: bool) -> None:
        """Begin a list of its own, such as that of one loop value.

        A list that continues after a restart was read with success before.
        """
        self._has_succeeded, self._in_a_row, self._failures = resumed, 0, []
        self.is_held = False

    def note_success(self) -> None:
        """Note that the registry answered the request of a record."""
        self._has_succeeded, self._in_a_row, self._failures = True, 0, []

    def refuse(self, error: StreamError, missing: str | None) -> None:
        """Note a failure, or raise an error when it does not concern one record alone.

        ``missing`` is what the connector says about a record without an answer.
        """
        self._count(error, MAX_FAILURES_IN_A_ROW)
        if not self._has_succeeded:
            self._failures.append(error)
        if missing == "retry":
            raise RetryLater(error.reason, f"{error}; the next poll requests it again")

    def refuse_batch(self, error: StreamError) -> None:
        """Note the failure of a batch that is to be divided, or raise the error."""
        is_cheap = self._has_succeeded or error.reason in ABSENT
        self._count(error, MAX_FAILURES_IN_A_ROW if is_cheap else MAX_BATCHES_WITHOUT_SUCCESS)

    def require_success(self) -> None:
        """Raise the first failure when the registry served no record of the list.

        One or two records that are only absent do not yet concern all records.
        """
        if (error := self.failure_of_all) is not None:
            raise error

    @property
    def failure_of_all(self) -> StreamError | None:
        """The first failure, as long as it may concern all records of the list."""
        others = [error for error in self._failures if error.reason not in ABSENT]
        if others or len(self._failures) > MAX_ABSENT:
            return (others or self._failures)[0]
        return None

    def skip(self, native_id: str | None, reason: str, *, is_declared: bool) -> None:
        """Note a record that is skipped. ``native_id`` is ``None`` when it is not known.

        ``is_declared`` says that the connector itself wants to skip absent records.
        """
        is_passed = self.is_scan or (is_declared and reason in REFUSALS)
        self.is_held = self.is_held or not is_passed
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
            advice="their own requests were refused or failed; the published versions stay",
        )
        taken = SkippedRecords(
            tuple(self._native_ids),
            self._unknown_ids,
            tuple(self._reasons.elements()),
            self.is_held,
        )
        self._native_ids, self._unknown_ids, self._reasons = [], 0, Counter()
        return taken

    def _count(self, error: StreamError, limit: int) -> None:
        self._in_a_row += 1
        if not self._concerns_a_record(error) or self._in_a_row > limit:
            raise error

    def _concerns_a_record(self, error: StreamError) -> bool:
        reason = error.reason
        if isinstance(error, StreamHalted):
            return reason in REFUSALS or (self.is_scan and reason in SCAN_REFUSALS)
        return self.is_scan and reason not in NEVER_SKIPPED and not reason.startswith("TOKEN")


def skip_reason(error: StreamError) -> str:
    """Return the reason for which a record is skipped: that of the failure itself."""
    return (error.cause if isinstance(error, RetryLater) else "") or error.reason
