"""Write the new and changed records of a page to Kafka."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from gateway.pipeline.digest_table import DigestTable
from gateway.pipeline.raw_entry import RawEntry
from gateway.pipeline.scan_contents import ScanContents, conflict_entry, is_conflict
from gateway.pipeline.stream_counts import count_received
from gateway.pipeline.stream_state import StreamState
from gateway.pipeline.version_order import VersionOrder
from gateway.records import RawRecord

TIME_ORDER = VersionOrder()
TRANSACTION_RECORDS = 1_000
TRANSACTION_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class PollResult:
    """The counts of one poll, which include durable records only."""

    received: int = 0
    unchanged: int = 0
    written: int = 0
    pages: int = 0
    takeover_number: int = 0
    """The takeover this result belongs to; see :attr:`StreamState.takeover_number`."""
    seen_ids: DigestTable | None = None
    """The ids seen so far in this scan; ``None`` if the stream does not detect deletions."""
    unreadable_ids: int = 0
    """The number of records without a readable id. Such a scan does not prove a deletion."""
    skipped: dict[str, int] = field(default_factory=dict)
    """The number of loop values that could not be read, by reason."""
    loop_values: int = 0
    """The number of loop values of this poll."""
    skipped_records: Counter[str] = field(default_factory=Counter)
    """The number of listed records whose own request was refused, by reason."""
    empty_loop: str = ""
    """The name of a loop without any value, because of which the poll read nothing."""


@dataclass(frozen=True, slots=True)
class PageWrite:
    """The new and changed records of a page, its counts, and the cursor and notes after it."""

    entries: list[RawEntry]
    received: int
    unchanged: int
    cursor: bytes | None = None
    notes: Mapping[str, bytes | None] = field(default_factory=dict)


async def write_page(stream_state: StreamState, page: PageWrite, result: PollResult) -> None:
    """Write a page in as few transactions as possible, and add its counts to ``result``.

    The cursor and the notes are part of the last transaction. Raises the same errors as
    :meth:`StreamState.write`.
    """
    parts = list(split_into_transactions(page.entries)) or [[]]
    for chunk in parts[:-1]:
        same = await stream_state.write(chunk, None, opened=result.takeover_number)
        written = len(chunk) - same
        _count_records(stream_state, result, received=len(chunk), written=written, unchanged=same)
    same = await stream_state.write(
        parts[-1], page.cursor, notes=page.notes, opened=result.takeover_number
    )
    counted = sum(map(len, parts[:-1]))
    _count_records(
        stream_state,
        result,
        received=page.received - counted,
        written=len(parts[-1]) - same,
        unchanged=page.unchanged + same,
    )
    result.pages += 1


def select_changes(
    raws: Iterable[RawRecord],
    known: Mapping[str, bytes],
    loop_key: bytes = b"",
    order: VersionOrder = TIME_ORDER,
    scan: ScanContents | None = None,
) -> tuple[list[RawEntry], int]:
    """Return the new and changed records of a page, and the number of unchanged records.

    A record that is older than the known one counts as unchanged. Otherwise a registry that
    serves an old version after a newer one would revert a credential. Of two versions on
    one page, the later one is written. Two different contents of one version become a
    conflict, which the harmoniser rejects. ``loop_key`` identifies the loop value of the records.

    ``order`` decides which of two contents is the newer one. ``scan`` has the contents of the
    earlier pages, with which a content may conflict as well.
    """
    entries: dict[str, RawEntry] = {}
    on_page: dict[str, RawEntry] = {}
    repeated_ids: set[str] = set()
    unchanged = 0
    for raw in raws:
        entry = order.entry(raw, loop_key)
        earlier, known_value = on_page.get(raw.native_id), known.get(raw.native_id)
        if scan:
            compared = scan.add(entry)
            if compared is None:
                unchanged += 1
                continue
            entry = compared
        elif earlier and not order.in_order and contradicts(earlier, entry):
            entry = conflict_entry(earlier.digest, entry)
        on_page[raw.native_id] = entry
        replaced = entries.get(raw.native_id)
        if replaced:
            is_newer = order.follows(entry, replaced)
        else:
            is_newer = known_value is None or order.takes(entry, known_value)
        if not is_newer:
            unchanged += 1
            continue
        if replaced:
            unchanged += 1
            repeated_ids.add(raw.native_id)
        entries[raw.native_id] = (
            entry
            if known_value is None
            else replace(entry, raw=replace(entry.raw, written_before=True))
        )
    unchanged += _drop_known(entries, repeated_ids, known)
    if scan:
        unchanged += _hold_conflicts(scan, entries, on_page, known)
    return list(entries.values()), unchanged


def _drop_known(
    entries: dict[str, RawEntry], repeated_ids: set[str], known: Mapping[str, bytes]
) -> int:
    """Remove the ids whose last version on the page is the known one, and return their number."""
    same = [one for one in repeated_ids if entries[one].digest == known.get(one, b"")[:16]]
    for native_id in same:
        del entries[native_id]
    return len(same)


def _hold_conflicts(
    scan: ScanContents,
    entries: dict[str, RawEntry],
    on_page: Mapping[str, RawEntry],
    known: Mapping[str, bytes],
) -> int:
    """Take the records of known conflicts out of ``entries``, and return their number.

    One content alone does not end a conflict, because a later page may show the other one.
    """
    for native_id in scan.held.keys() & on_page.keys():
        if known.get(native_id, b"")[:16] == on_page[native_id].digest:
            scan.release(native_id)
    waiting = [
        entry
        for native_id, entry in entries.items()
        if entry.raw.written_before and entry.raw.body is not None and is_conflict(known[native_id])
    ]
    for entry in waiting:
        del entries[entry.raw.native_id]
        scan.hold(entry)
    return len(waiting)


def contradicts(one: RawEntry, other: RawEntry) -> bool:
    """Return whether two contents of one id have the same version and the same change time.

    Then nothing tells which content is the later one. They may even be two records, if the id is
    not unique.
    """
    return (
        one.digest != other.digest
        and one.raw.version == other.raw.version
        and one.raw.changed_at == other.raw.changed_at
        and one.raw.body is not None
        and other.raw.body is not None
    )


def split_into_transactions(entries: list[RawEntry]) -> Iterator[list[RawEntry]]:
    """Split entries into lists that fit one transaction.

    The limits are :data:`TRANSACTION_RECORDS` and :data:`TRANSACTION_BYTES`.
    """
    chunk: list[RawEntry] = []
    size = 0
    for entry in entries:
        length = len(entry.raw.body or b"")
        if chunk and (len(chunk) >= TRANSACTION_RECORDS or size + length > TRANSACTION_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += length
    if chunk:
        yield chunk


def _count_records(
    stream_state: StreamState,
    result: PollResult,
    *,
    received: int,
    written: int,
    unchanged: int = 0,
) -> None:
    result.received += received
    result.written += written
    result.unchanged += unchanged
    count_received(stream_state, received, unchanged=unchanged)
