"""Rejected records, harmonised again with the files of now: after a table was mended or a connector changed.

The owner of a stream does it between two polls, so that no newer record can be overtaken: it waits until the stage has harmonised what
is there and writes the raw records of what stands rejected once more. The stage judges them like any other record, exactly once; one
that is accepted then takes its rejection away in the same transaction (:mod:`gateway.pipeline.record_processor`), so a second replay finds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from gateway.kafka.topic_reader import last_stable_offsets, read_positions, read_topic
from gateway.kafka.transactions import read_partition
from gateway.messages.cloudevents import content_digest, decode_raw
from gateway.messages.outgoing import partition_for
from gateway.messages.rejection import Rejection
from gateway.messages.topics import DIGESTS, RAW, REJECTIONS
from gateway.observability import metrics
from gateway.pipeline.catch_up import wait_until_harmonised
from gateway.pipeline.page_writer import split_into_transactions
from gateway.pipeline.stream_state import RawEntry, StreamState
from gateway.records import RawRecord
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

NOTE_PREFIX = "replay"
"""Prefix of the notes that say what is to be replayed; the reason follows, so two replays do not overwrite each other."""


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be replayed: rejections for ``reason`` (empty: any) that stood before ``ends`` of each partition."""

    reason: str = ""
    ends: dict[int, int] = {}


@dataclass(frozen=True, slots=True)
class ActiveRejection:
    """One rejection that holds now: nothing newer of its record was accepted or deleted."""

    key: str
    rejection: Rejection
    partition: int
    offset: int
    timestamp: int
    """When it was written, in milliseconds."""

    @property
    def native_id(self) -> str:
        """What the registry calls the record."""
        return self.key.partition("|")[2]

    @property
    def raw_position(self) -> tuple[int, int] | None:
        """Partition and offset of the raw record, ``None`` when it did not fit its topic."""
        raw = self.rejection.raw
        return None if int(raw["offset"]) < 0 else (int(raw["partition"]), int(raw["offset"]))


@dataclass(slots=True)
class ReplayPlan:
    """What of the standing rejections can be tried again: the raw records, and how many have none any more or a newer one."""

    to_replay: list[tuple[ActiveRejection, ConsumerRecord, RawRecord]] = field(default_factory=list)
    without_raw_record: int = 0
    """The raw record was never kept, or retention took it: poll or backfill it again."""
    superseded: int = 0
    """The registry has sent a newer version, which is judged by itself."""


async def read_active_rejections(
    settings: Settings, connector: str = "", stream: str = "", reason: str = ""
) -> list[ActiveRejection]:
    """Return the rejections that hold now, oldest first; empty words mean any."""
    found: dict[bytes, ActiveRejection] = {}
    decoder = msgspec.json.Decoder(Rejection)
    async for record in read_topic(settings, REJECTIONS.name):
        found.pop(record.key, None)
        if record.value is not None:
            rejection = decoder.decode(record.value)
            found[record.key] = ActiveRejection(
                record.key.decode(), rejection, record.partition, record.offset, record.timestamp
            )
    return sorted(
        (
            one
            for one in found.values()
            if connector in {"", one.rejection.connector}
            and stream in {"", one.rejection.stream}
            and reason in {"", one.rejection.reason}
        ),
        key=lambda one: (one.timestamp, one.key),
    )


async def plan_replay(
    settings: Settings, rejected: list[ActiveRejection], known: Mapping[str, bytes]
) -> ReplayPlan:
    """Return what of one stream's rejections can be tried again; ``known`` holds the digest of each record's newest version."""
    found = ReplayPlan()
    requested_positions = {place: one for one in rejected if (place := one.raw_position)}
    found.without_raw_record = len(rejected) - len(requested_positions)
    found_count = 0
    async for record in read_positions(settings, RAW.name, requested_positions):
        one = requested_positions[record.partition, record.offset]
        found_count += 1
        raw = decode_raw(record.key, record.value, record.headers)
        if known.get(raw.native_id, b"")[:16] == content_digest(raw):
            found.to_replay.append((one, record, raw))
        else:
            found.superseded += 1
    found.without_raw_record += len(requested_positions) - found_count
    return found


async def read_digests(settings: Settings, connector: str, stream: str) -> dict[str, bytes]:
    """Return the digest of each record's newest version in a stream, without taking it."""
    name = f"{connector}|{stream}".encode()
    prefix = name + b"|"
    found = await read_partition(
        settings, DIGESTS.name, partition_for(name, DIGESTS.partitions), [prefix]
    )
    return {key[len(prefix) :].decode(): value for key, value in found.items()}


async def replay(settings: Settings, ledger: StreamState, note: str) -> ReplayPlan:
    """Do what a note of an open stream says, and forget it with the last record. Call it only as the stream's owner.

    Killed in between, it goes on with what still stands: what was accepted does not any more, and what was rejected once more stands
    behind the ``ends`` of the note.
    """
    await wait_until_harmonised(settings)
    opened = ledger.takeover_number
    requested_positions = msgspec.json.decode(ledger.notes[note], type=ReplayRequest)
    if not requested_positions.ends:
        requested_positions = msgspec.structs.replace(
            requested_positions, ends=await last_stable_offsets(settings, REJECTIONS.name)
        )
        await ledger.write(
            [], None, notes={note: msgspec.json.encode(requested_positions)}, opened=opened
        )
    rejected = await read_active_rejections(
        settings, ledger.connector, ledger.stream, requested_positions.reason
    )
    found = await plan_replay(
        settings,
        [one for one in rejected if one.offset < requested_positions.ends.get(one.partition, 0)],
        ledger.digests,
    )
    entries = [_entry(ledger, raw) for _, _, raw in found.to_replay]
    for part in split_into_transactions(entries):
        await ledger.write(part, None, opened=opened)
        metrics.RECEIVED.labels(ledger.connector, ledger.stream).inc(len(part))
    await ledger.write([], None, notes={note: None}, opened=opened)
    return found


def _entry(ledger: StreamState, raw: RawRecord) -> RawEntry:
    return RawEntry(
        msgspec.structs.replace(raw, written_before=True),
        ledger.digests[raw.native_id][:16],
        raw.changed_at,
    )
