"""Read the list of erased records and persons from Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from gateway.errors import IntegrityStop
from gateway.kafka.transactions import read_partition
from gateway.messages.suppression import SuppressionEntry, SuppressionKind, suppression_id
from gateway.messages.topics import SUPPRESSIONS
from gateway.pseudonym_keys import SUPPRESSION_AUDIENCE, key_id, load_keys
from gateway.records import RawRecord
from gateway.settings import Settings

Subjects = Callable[[RawRecord], Iterable[str]]
"""Return the suppression ids of every person in a raw record."""


@dataclass(frozen=True, slots=True)
class SuppressionList:
    """The suppression list at the time a stream was acquired.

    ``subjects`` is called only if the list contains persons.
    """

    keys: tuple[bytes, ...] = ()
    records: frozenset[str] = frozenset()
    persons: frozenset[str] = frozenset()
    subjects: Subjects | None = field(default=None, compare=False)

    def __call__(self, raw: RawRecord) -> bool:
        """Return whether the record, or a person in it, was erased."""
        if self.records and any(
            suppression_id(key, raw.connector, raw.native_id) in self.records for key in self.keys
        ):
            return True
        if not self.persons or self.subjects is None or raw.body is None:
            return False
        return not self.persons.isdisjoint(self.subjects(raw))


async def read_suppression_list(
    settings: Settings, subjects: Subjects | None = None
) -> SuppressionList:
    """Return the list of erased records and persons.

    Raises :class:`~gateway.errors.IntegrityStop` if this worker lacks the key of an entry.
    Without the key it cannot recognise the erased data, and could publish it again.
    """
    keys = load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)
    key_ids = {key_id(key) for key in keys}
    ids: dict[SuppressionKind, set[str]] = {"record": set(), "person": set()}
    for name, value in (await read_partition(settings, SUPPRESSIONS.name, 0)).items():
        try:
            id_, entry = name.decode(), msgspec.json.decode(value, type=SuppressionEntry)
        except (UnicodeDecodeError, RecursionError, msgspec.MsgspecError):
            # An entry that is left out could let erased data come back.
            raise IntegrityStop(
                f"{SUPPRESSIONS.name}: the entry with the key {name[:80]!r} cannot be read, so "
                "erased records could be published again; if no gateway wrote it, "
                "write a tombstone for its key"
            ) from None
        if entry.key_id not in key_ids:
            raise IntegrityStop(
                f"{SUPPRESSIONS.name}: an entry was made with the key {entry.key_id}, which this "
                "worker does not have, so erased records could be published again; "
                "set GATEWAY_PERMANENT_KEY or GATEWAY_PSEUDONYM_KEY_PREVIOUS to that key"
            )
        ids[entry.kind].add(id_)
    return SuppressionList(keys, frozenset(ids["record"]), frozenset(ids["person"]), subjects)
