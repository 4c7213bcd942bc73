"""What stands on ``gateway.status.v1``: how each stream is, as its owner last said, and what each worker has counted."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.topics import STATUS

WORKER_KEY_PREFIX = "@"
"""Keys of workers begin with it, so that none is a connector's."""
StreamStateName = Literal[
    "starting", "running", "paused", "retrying", "halted", "backfilling", "receiving"
]


class BackfillStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a stream's last backfill is."""

    begin: str
    end: str
    state: str
    ratio: float
    received: int
    written: int


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True, tag="stream"):
    """One stream, as its owner sees it. Times are Unix seconds; ``None`` means never or not known."""

    connector: str
    stream: str
    worker: str
    at: float
    state: StreamStateName
    reason: str
    """Why it does not run as usual, in one line."""
    every: float
    read_up_to: float | None
    """Everything the registry changed before it is durable."""
    last_success: float | None
    config_digest: str
    backfill: BackfillStatus | None


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True, tag="worker"):
    """One worker process, and what it has counted since it started: by ``connector|stream``, then by outcome or ``received``."""

    worker: str
    at: float
    started: float
    roles: tuple[str, ...]
    last_commit: dict[str, float]
    """By role, Unix seconds."""
    waiting: int
    """Raw records of its partitions that are not harmonised yet."""
    counts: dict[str, dict[str, int]]
    tables_digest: str
    connectors: tuple[str, ...] | None = None
    """Those it was told to run, whoever polls them; ``None`` from a worker that does not say."""
    blocked: dict[str, str] = {}
    """Roles that want to commit and cannot: for how long, and who waits."""


def encode_status(status: StreamStatus | WorkerStatus) -> OutgoingRecord:
    """Return the record that says it."""
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
    """Return the record that says a worker has ended as it should."""
    return OutgoingRecord(STATUS.name, (WORKER_KEY_PREFIX + worker).encode(), None, [], 0)
