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

from gateway.kafka.topic_reader import end_offsets, read_places, read_topic
from gateway.kafka.transactions import read_partition
from gateway.messages.cloudevents import digest, raw_from
from gateway.messages.outgoing import partition_for
from gateway.messages.rejection import Rejection
from gateway.messages.topics import DIGESTS, RAW, REJECTIONS
from gateway.observability import metrics
from gateway.pipeline.catch_up import wait_for_stage
from gateway.pipeline.page_writer import split
from gateway.pipeline.stream_state import Entry, Ledger
from gateway.records import Raw
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

NOTE = "replay"
"""Prefix of the notes that say what is to be replayed; the reason follows, so two replays do not overwrite each other."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be replayed: rejections for ``reason`` (empty: any) that stood before ``ends`` of each partition."""

    reason: str = ""
    ends: dict[int, int] = {}


@dataclass(frozen=True, slots=True)
class Standing:
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
    def place(self) -> tuple[int, int] | None:
        """Partition and offset of the raw record, ``None`` when it did not fit its topic."""
        raw = self.rejection.raw
        return None if int(raw["offset"]) < 0 else (int(raw["partition"]), int(raw["offset"]))


@dataclass(slots=True)
class Found:
    """What of the standing rejections can be tried again: the raw records, and how many have none any more or a newer one."""

    again: list[tuple[Standing, ConsumerRecord, Raw]] = field(default_factory=list)
    gone: int = 0
    """The raw record was never kept, or retention took it: poll or backfill it again."""
    newer: int = 0
    """The registry has sent a newer version, which is judged by itself."""


async def standing(settings: Settings, connector: str = "", stream: str = "", reason: str = "") -> list[Standing]:
    """Return the rejections that hold now, oldest first; empty words mean any."""
    found: dict[bytes, Standing] = {}
    decoder = msgspec.json.Decoder(Rejection)
    async for record in read_topic(settings, REJECTIONS.name):
        found.pop(record.key, None)
        if record.value is not None:
            rejection = decoder.decode(record.value)
            found[record.key] = Standing(record.key.decode(), rejection, record.partition, record.offset, record.timestamp)
    return sorted(
        (
            one
            for one in found.values()
            if connector in {"", one.rejection.connector} and stream in {"", one.rejection.stream} and reason in {"", one.rejection.reason}
        ),
        key=lambda one: (one.timestamp, one.key),
    )


async def find(settings: Settings, rejected: list[Standing], known: Mapping[str, bytes]) -> Found:
    """Return what of one stream's rejections can be tried again; ``known`` holds the digest of each record's newest version."""
    found = Found()
    wanted = {place: one for one in rejected if (place := one.place)}
    found.gone = len(rejected) - len(wanted)
    seen = 0
    async for record in read_places(settings, RAW.name, wanted):
        one = wanted[record.partition, record.offset]
        seen += 1
        raw = raw_from(record.key, record.value, record.headers)
        if known.get(raw.native_id, b"")[:16] == digest(raw):
            found.again.append((one, record, raw))
        else:
            found.newer += 1
    found.gone += len(wanted) - seen
    return found


async def digests(settings: Settings, connector: str, stream: str) -> dict[str, bytes]:
    """Return the digest of each record's newest version in a stream, without taking it."""
    name = f"{connector}|{stream}".encode()
    prefix = name + b"|"
    found = await read_partition(settings, DIGESTS.name, partition_for(name, DIGESTS.partitions), [prefix])
    return {key[len(prefix) :].decode(): value for key, value in found.items()}


async def replay(settings: Settings, ledger: Ledger, note: str) -> Found:
    """Do what a note of an open stream says, and forget it with the last record. Call it only as the stream's owner.

    Killed in between, it goes on with what still stands: what was accepted does not any more, and what was rejected once more stands
    behind the ``ends`` of the note.
    """
    await wait_for_stage(settings)
    opened = ledger.opened
    wanted = msgspec.json.decode(ledger.notes[note], type=Wanted)
    if not wanted.ends:
        wanted = msgspec.structs.replace(wanted, ends=await end_offsets(settings, REJECTIONS.name))
        await ledger.write([], None, notes={note: msgspec.json.encode(wanted)}, opened=opened)
    rejected = await standing(settings, ledger.connector, ledger.stream, wanted.reason)
    found = await find(settings, [one for one in rejected if one.offset < wanted.ends.get(one.partition, 0)], ledger.known)
    entries = [_entry(ledger, raw) for _, _, raw in found.again]
    for part in split(entries):
        await ledger.write(part, None, opened=opened)
        metrics.RECEIVED.labels(ledger.connector, ledger.stream).inc(len(part))
    await ledger.write([], None, notes={note: None}, opened=opened)
    return found


def _entry(ledger: Ledger, raw: Raw) -> Entry:
    return Entry(msgspec.structs.replace(raw, again=True), ledger.known[raw.native_id][:16], raw.changed_at)
