"""Replay rejected records after a mapping table was fixed or a connector changed.

The owner of a stream replays between two polls, so no older record can overtake a newer one. It
waits until the harmonise stage has processed the raw topic. Then it writes the raw records of the
active rejections again. The stage processes them exactly once, like all other records. An accepted
record removes its rejection in the same transaction, so a second replay finds nothing. See
:mod:`gateway.pipeline.record_processor`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from gateway.kafka.topic_reader import last_stable_offsets, read_positions, read_topic
from gateway.kafka.transactions import read_partition
from gateway.kafka.unreadable_records import DECODING_ERRORS, skip, skip_unreadable
from gateway.messages.cloudevents import content_digest, decode_raw
from gateway.messages.outgoing import partition_for
from gateway.messages.rejection import Rejection
from gateway.messages.topics import DIGESTS, RAW, REJECTIONS
from gateway.pipeline.catch_up import wait_until_harmonised
from gateway.pipeline.page_writer import split_into_transactions
from gateway.pipeline.raw_entry import RawEntry, repeated_entry
from gateway.pipeline.stream_counts import count_received
from gateway.pipeline.stream_state import StreamState, decode_state
from gateway.records import RawRecord
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

NOTE_PREFIX = "replay"
"""The prefix of the notes that store replay requests. The reason follows, so requests for different
reasons do not overwrite each other."""


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A stored request for a replay.

    ``reason`` selects rejections; an empty reason selects all. ``ends`` holds the end offset of
    each partition of the rejection topic. Only older rejections are replayed.
    """

    reason: str = ""
    ends: dict[int, int] = {}


@dataclass(frozen=True, slots=True)
class ActiveRejection:
    """An active rejection: no newer version of its record was accepted or deleted."""

    key: str
    rejection: Rejection
    partition: int
    offset: int
    timestamp: int
    """The time at which it was written, in milliseconds."""

    @property
    def native_id(self) -> str:
        """The id of the record in its registry."""
        return self.key.partition("|")[2]

    @property
    def raw_position(self) -> tuple[int, int] | None:
        """The partition and the offset of the raw record.

        ``None`` if the record was too large for its topic.
        """
        raw = self.rejection.raw
        return None if int(raw["offset"]) < 0 else (int(raw["partition"]), int(raw["offset"]))


@dataclass(slots=True)
class ReplayPlan:
    """The active rejections that can be replayed, and the number of those that cannot."""

    to_replay: list[tuple[ActiveRejection, ConsumerRecord, RawRecord]] = field(default_factory=list)
    without_raw_record: int = 0
    """Rejections without a raw record: it was never stored, or retention removed it. Poll or
    backfill these records again."""
    superseded: int = 0
    """Rejections for which the registry has sent a newer version, which is processed on its own."""


async def read_active_rejections(
    settings: Settings, connector: str = "", stream: str = "", reason: str = ""
) -> list[ActiveRejection]:
    """Return the active rejections, oldest first. An empty argument matches everything.

    Records that cannot be decoded are left out.
    """
    active: dict[bytes, ActiveRejection] = {}
    decoder = msgspec.json.Decoder(Rejection)
    async for record in read_topic(settings, REJECTIONS.name):
        active.pop(record.key, None)
        if record.value is not None:
            with skip_unreadable(record):
                rejection = ActiveRejection(
                    record.key.decode(),
                    decoder.decode(record.value),
                    record.partition,
                    record.offset,
                    record.timestamp,
                )
                _ = rejection.raw_position  # fails for positions that are none
                active[record.key] = rejection
    return sorted(
        (
            rejected
            for rejected in active.values()
            if connector in {"", rejected.rejection.connector}
            and stream in {"", rejected.rejection.stream}
            and reason in {"", rejected.rejection.reason}
        ),
        key=lambda rejected: (rejected.timestamp, rejected.key),
    )


async def plan_replay(
    settings: Settings, rejected: list[ActiveRejection], digests: Mapping[str, bytes]
) -> ReplayPlan:
    """Return the rejections of one stream that can be replayed.

    ``digests`` holds the digest of the newest version of each record, by native id.
    """
    plan = ReplayPlan()
    requested_positions = {
        position: rejection for rejection in rejected if (position := rejection.raw_position)
    }
    plan.without_raw_record = len(rejected) - len(requested_positions)
    read_count = 0
    async for record in read_positions(settings, RAW.name, requested_positions):
        try:
            raw = decode_raw(record.key, record.value, record.headers)
        except DECODING_ERRORS:
            skip(record)
            continue
        read_count += 1
        if digests.get(raw.native_id, b"")[:16] == content_digest(raw):
            plan.to_replay.append(
                (requested_positions[record.partition, record.offset], record, raw)
            )
        else:
            plan.superseded += 1
    plan.without_raw_record += len(requested_positions) - read_count
    return plan


async def read_digests(settings: Settings, connector: str, stream: str) -> dict[str, bytes]:
    """Return the digest of the newest version of each record, without acquiring the stream."""
    name = f"{connector}|{stream}".encode()
    prefix = name + b"|"
    values = await read_partition(
        settings, DIGESTS.name, partition_for(name, DIGESTS.partitions), [prefix]
    )
    return {key[len(prefix) :].decode(errors="replace"): value for key, value in values.items()}


async def replay(settings: Settings, stream_state: StreamState, note: str) -> ReplayPlan:
    """Carry out the replay request in a note of an open stream. Only the owner may call it.

    The note is removed after the last record. An interrupted replay continues with the rejections
    that are still active. Records that were rejected again are behind the ``ends`` of the note, so
    they are not replayed twice.
    """
    await wait_until_harmonised(settings)
    takeover_number = stream_state.takeover_number
    request = decode_state(stream_state.notes[note], ReplayRequest, stream_state)
    if not request.ends:
        request = msgspec.structs.replace(
            request, ends=await last_stable_offsets(settings, REJECTIONS.name)
        )
        await stream_state.write(
            [], None, notes={note: msgspec.json.encode(request)}, opened=takeover_number
        )
    rejected = await read_active_rejections(
        settings, stream_state.connector, stream_state.stream, request.reason
    )
    plan = await plan_replay(
        settings,
        [
            rejection
            for rejection in rejected
            if rejection.offset < request.ends.get(rejection.partition, 0)
        ],
        stream_state.digests,
    )
    entries = [_entry(stream_state, raw) for _, _, raw in plan.to_replay]
    for part in split_into_transactions(entries):
        same = await stream_state.write(part, None, opened=takeover_number)
        count_received(stream_state, len(part), unchanged=same)
    await stream_state.write([], None, notes={note: None}, opened=takeover_number)
    return plan


def _entry(stream_state: StreamState, raw: RawRecord) -> RawEntry:
    return repeated_entry(
        msgspec.structs.replace(raw, written_before=True), stream_state.digests[raw.native_id]
    )
