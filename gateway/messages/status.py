"""Encode the states on ``gateway.status.v1``.

The owner of a stream writes the state of the stream. Each worker also writes its counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.topics import STATUS

WORKER_KEY_PREFIX = "@"
"""First character of a worker's key. No connector name begins with it."""
WAITING, DONE, FAILED, SKIPPED = "waiting", "done: ", "failed: ", "skipped: "
"""How the result of a command begins."""
StreamStateName = Literal[
    "starting", "running", "paused", "retrying", "halted", "backfilling", "receiving"
]


class BackfillStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The progress of a stream's last backfill."""

    begin: str
    end: str
    state: str
    ratio: float
    received: int
    written: int


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True, tag="stream"):
    """The state of one stream, as its owner sees it.

    Times are Unix seconds; ``None`` means never or unknown.
    """

    connector: str
    stream: str
    worker: str
    at: float
    state: StreamStateName
    reason: str
    """Why the stream does not run normally, in one line; empty if it does."""
    every: float
    read_up_to: float | None
    """All changes of the registry before this time are in Kafka."""
    last_success: float | None
    config_digest: str
    backfill: BackfillStatus | None
    deletions_withheld: int = 0
    """The number of deletions that wait for a person."""
    records_known: int = 0
    """The number of records of the stream when deletions were withheld; otherwise 0."""
    values_skipped: dict[str, int] = {}
    """The values of the stream's loops that the last poll skipped: their number by reason."""
    loop_values: int = 0
    """The number of values of the stream's loops in the last poll."""
    records_skipped: dict[str, int] = {}
    """The listed records that the last poll could not request alone: their number by reason."""
    code: str = ""
    """The reason code of a stream that does not run normally."""
    cause: str = ""
    """The reason code of the failure because of which no request was sent, if there is one."""
    since: float | None = None
    """Since when the stream does not run normally."""
    replies_compared: bool = False
    """Whether the last reply could be compared with earlier good ones."""
    fields_gone: tuple[str, ...] = ()
    """The places of fields that earlier good replies had and the last one has not."""
    fields_new: tuple[str, ...] = ()
    """The places of fields that the last reply has and earlier good ones had not."""


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True, tag="worker"):
    """The state of one worker process, with its counts since it started."""

    worker: str
    at: float
    started: float
    roles: tuple[str, ...]
    last_commit: dict[str, float]
    """Time of the last commit by role, in Unix seconds."""
    waiting: int
    """Number of raw records in its partitions that are not harmonised yet."""
    counts: dict[str, dict[str, int]]
    """Counts by ``connector|stream``, then by outcome, by ``received`` or by an issue's code."""
    tables_digest: str
    connectors: tuple[str, ...] | None = None
    """Connectors that the worker loaded, even if another worker polls them.

    ``None`` if the worker does not report them.
    """
    blocked: dict[str, str] = {}
    """Roles that cannot commit, with the duration and the reason."""
    not_loaded: dict[str, str] = {}
    """Connectors whose file is not valid, each with one finding.

    Those in ``connectors`` run with an earlier version of their file.
    """
    commands: dict[str, dict[str, str]] = {}
    """The results of the last commands by command id and stream. Each begins with ``waiting``,
    ``done:``, ``failed:`` or ``skipped:``. A command that was refused has no stream."""


def command_is_waiting(result: str) -> bool:
    """Return whether a stream has not carried out its command yet."""
    return result.startswith(WAITING)


def command_failed(result: str) -> bool:
    """Return whether a stream could not carry out its command."""
    return result.startswith(FAILED)


def encode_status(status: StreamStatus | WorkerStatus) -> OutgoingRecord:
    """Return the record of a state. Its key is the stream or the worker."""
    key = (
        f"{status.connector}|{status.stream}"
        if isinstance(status, StreamStatus)
        else WORKER_KEY_PREFIX + status.worker
    )
    return OutgoingRecord(
        STATUS.name,
        key.encode(),
        msgspec.json.encode(status),
        [("content-type", b"application/json")],
        0,
    )


def encode_worker_gone(worker: str) -> OutgoingRecord:
    """Return the tombstone that a worker writes when it stops normally."""
    return OutgoingRecord(STATUS.name, (WORKER_KEY_PREFIX + worker).encode(), None, [], 0)


def skipped_records_text(skipped: Mapping[str, int]) -> str:
    """Return one line about the listed records whose own requests were refused."""
    number = sum(skipped.values())
    records = "1 listed record" if number == 1 else f"{number:,} listed records"
    return f"{records} skipped, the published versions stay: {', '.join(sorted(skipped))}"


def empty_loop_text(name: str) -> str:
    """Return one line about a loop without any value."""
    return (
        f"the loop {name!r} has no value, so the stream reads nothing; "
        f"check its source under for_each.{name} in the connector file"
    )


def skipped_values_text(skipped: Mapping[str, int], values: int) -> str:
    """Return one line about the loop values that a poll skipped; empty if there are none.

    ``skipped`` contains their number by reason.
    """
    if not skipped:
        return ""
    by_number = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    reasons = ", ".join(
        reason if len(skipped) == 1 else f"{reason} ({number})" for reason, number in by_number
    )
    return f"{sum(skipped.values())} of {values} loop values skipped: {reasons}"
