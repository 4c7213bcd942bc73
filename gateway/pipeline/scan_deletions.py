"""Find the records that a complete scan did not show, and decide which of them to delete.

While records come and go, a registry that counts pages shifts them. A record may then move to a
page that was already read, so that the scan misses it. So a record that a list of several pages did
not show is deleted only when the next complete scan does not show it either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import structlog
from msgspec.structs import replace

from gateway.messages.cloudevents import DELETED_DIGEST
from gateway.observability import metrics
from gateway.pipeline.deletion_guard import DeletionGuard, is_live
from gateway.pipeline.deletion_note import DeletionNote, encode_note
from gateway.pipeline.raw_entry import NO_LOOP, RawEntry
from gateway.pipeline.stream_state import StreamState
from gateway.records import RawRecord

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ScanDeletions:
    """The deletions to write with the last page of a scan, and the notes next to the cursor."""

    entries: list[RawEntry] = field(default_factory=list)
    notes: Mapping[str, bytes | None] = field(default_factory=dict)


@dataclass(slots=True)
class ScanComparison:
    """The known records, compared with the ids that a scan showed."""

    known: int = 0
    missing: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Records that were not shown because their loop value was not read."""
    without_id: list[str] = field(default_factory=list)
    """Names of records without a readable id, which were rejected and are no longer shown."""


def compare_scan(
    stream_state: StreamState,
    seen_ids: Collection[str],
    unread_loops: frozenset[bytes] = frozenset(),
) -> ScanComparison:
    """Return the known records that a complete scan did not show.

    Records of ``unread_loops`` do not count as missing, and neither do records whose loop value is
    unknown while a value was not read.
    """
    result = ScanComparison()
    for native_id, value in stream_state.digests.iter_items():
        if value[:16] == DELETED_DIGEST:
            continue
        has_id = is_live(native_id, value)
        result.known += has_id
        if native_id in seen_ids:
            continue
        if unread_loops and (value[24:28] == NO_LOOP or value[24:28] in unread_loops):
            result.unread.append(native_id)
        elif has_id:
            result.missing.append(native_id)
        else:
            result.without_id.append(native_id)
    return result


async def deletions_after_scan(
    guard: DeletionGuard,
    seen_ids: Collection[str],
    *,
    several_pages: bool,
    unreadable_ids: int,
    unread_loops: frozenset[bytes],
) -> ScanDeletions:
    """Return what to write about the records that a complete scan did not show.

    A record without a readable id may be any of them, so such a scan deletes none. A scan that
    would delete too many sets :attr:`DeletionGuard.halt`.
    """
    stream_state = guard.stream_state
    if unreadable_ids:
        count_unproven_scan(stream_state, "unreadable_id", records=unreadable_ids)
        return ScanDeletions()
    # This takes seconds for a large registry, so it must not block heartbeats.
    found = await asyncio.to_thread(compare_scan, stream_state, seen_ids, unread_loops)
    return await asyncio.to_thread(_decide, guard, found, several_pages)


def count_unproven_scan(stream_state: StreamState, cause: str, **facts: int) -> None:
    """Log and count a scan that does not prove which records no longer exist."""
    metrics.UNPROVEN_SCANS.labels(stream_state.connector, stream_state.stream, cause).inc()
    log.warning("scan deletes nothing", cause=cause, **facts)


def _decide(guard: DeletionGuard, found: ScanComparison, several_pages: bool) -> ScanDeletions:
    before = guard.note
    missed = before.missed_keys()
    waiting_before = [one for one in found.unread if guard.key(one) in missed] if missed else []
    withheld = [*found.missing, *guard.withheld_ids]
    known = guard.known_before(found.known)
    if guard.withheld_ids or not guard.permits(withheld, known):
        note = guard.note_withheld(withheld, known)
        return ScanDeletions(
            [_deletion(guard.stream_state, native_id) for native_id in found.without_id],
            {guard.note_name: encode_note(note)},
        )
    deleted, waiting = found.missing, waiting_before
    if several_pages:
        deleted = [native_id for native_id in found.missing if guard.key(native_id) in missed]
        waiting = waiting + [one for one in found.missing if guard.key(one) not in missed]
    after = DeletionNote(missed=guard.noted_keys(waiting))
    if before.accepted and waiting:
        after = replace(after, accepted=True, withheld=len(waiting), known=before.known)
    return ScanDeletions(
        [_deletion(guard.stream_state, native_id) for native_id in (*deleted, *found.without_id)],
        {} if after == before else {guard.note_name: encode_note(after)},
    )


def _deletion(stream_state: StreamState, native_id: str) -> RawEntry:
    return RawEntry(
        RawRecord(
            connector=stream_state.connector,
            stream=stream_state.stream,
            native_id=native_id,
            body=None,
            written_before=True,
        ),
        DELETED_DIGEST,
        None,
    )
