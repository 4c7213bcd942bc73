"""Write the new and changed records of a page to Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from msgspec.structs import replace

from gateway.messages.cloudevents import content_digest
from gateway.observability import metrics
from gateway.pipeline.digest_table import DigestTable
from gateway.pipeline.stream_state import RawEntry, StreamState
from gateway.records import CONFLICT_CONTEXT_KEY, RawRecord

TRANSACTION_RECORDS = 1_000
TRANSACTION_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class PollResult:
    """What one poll received and how it went on; counts durable records only."""

    received: int = 0
    unchanged: int = 0
    written: int = 0
    pages: int = 0
    takeover_number: int = 0
    """Which time of the ledger's being taken this belongs to."""
    seen_ids: DigestTable | None = None
    """The ids that a scan has shown so far; ``None`` where nobody will ask for what it did not show."""


async def write_page_entries(
    ledger: StreamState,
    entries: list[RawEntry],
    tally: PollResult,
    *,
    received: int,
    unchanged: int,
    cursor: bytes | None = None,
    notes: Mapping[str, bytes | None] = MappingProxyType({}),
) -> None:
    """Write what is new of a page in as few transactions as hold it; the position, cursor or note, moves with the last."""
    parts = list(split_into_transactions(entries)) or [[]]
    for chunk in parts[:-1]:
        await ledger.write(chunk, None, opened=tally.takeover_number)
        _count_records(ledger, tally, received=len(chunk), written=len(chunk))
    await ledger.write(parts[-1], cursor, notes=notes, opened=tally.takeover_number)
    before = sum(map(len, parts[:-1]))
    _count_records(
        ledger, tally, received=received - before, written=len(parts[-1]), unchanged=unchanged
    )
    tally.pages += 1


def select_changes(
    raws: Iterable[RawRecord], known: Mapping[str, bytes]
) -> tuple[list[RawEntry], int]:
    """Split a page into entries worth writing and the number of records that say nothing new.

    A record older than the one already known is not new: a registry that serves an old version after a newer one must not
    turn a credential back. Of two versions on one page the later one stands for both; of two contents of one version, neither.
    """
    entries: dict[str, RawEntry] = {}
    repeated_ids: set[str] = set()
    unchanged = 0
    for raw in raws:
        entry = RawEntry(raw, content_digest(raw), raw.changed_at)
        previous, known_value = entries.get(raw.native_id), known.get(raw.native_id)
        before = previous.value if previous else known_value
        if before is not None and not entry.supersedes(before):
            unchanged += 1
            continue
        if previous:
            unchanged += 1
            repeated_ids.add(raw.native_id)
            if contradicts(previous.raw, raw):
                entry = _conflict_entry(previous, entry)
        entries[raw.native_id] = (
            entry
            if known_value is None
            else replace(entry, raw=replace(entry.raw, written_before=True))
        )
    for name in repeated_ids:
        if (
            entries[name].digest == known.get(name, b"")[:16]
        ):  # the one that came last is the one that stands
            del entries[name]
            unchanged += 1
    return list(entries.values()), unchanged


def contradicts(one: RawRecord, other: RawRecord) -> bool:
    """Return whether two different contents call themselves the same version of a record, and nothing says which is the later."""
    same = one.version == other.version and one.changed_at == other.changed_at
    return bool(same and other.version and one.body is not None and other.body is not None)


def _conflict_entry(one: RawEntry, other: RawEntry) -> RawEntry:
    """Return the entry to be rejected in place of both: only the registry knows which of them is right."""
    digests = f"{one.digest.hex()} and {other.digest.hex()}"
    raw = replace(other.raw, context={**other.raw.context, CONFLICT_CONTEXT_KEY: digests})
    return RawEntry(raw, content_digest(raw), raw.changed_at)


def split_into_transactions(entries: list[RawEntry]) -> Iterator[list[RawEntry]]:
    """Cut entries into parts that fit one transaction."""
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
    ledger: StreamState, tally: PollResult, *, received: int, written: int, unchanged: int = 0
) -> None:
    tally.received += received
    tally.written += written
    tally.unchanged += unchanged
    metrics.RECEIVED.labels(ledger.connector, ledger.stream).inc(received)
    if unchanged:
        metrics.RECORDS.labels(ledger.connector, ledger.stream, "unchanged").inc(unchanged)
