"""The list of erased records and persons, read from Kafka."""

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
"""Give the suppression ids of everybody a raw record names."""


@dataclass(frozen=True, slots=True)
class SuppressionList:
    """The entries as they were when a stream was taken. ``subjects`` is asked only when there are entries for persons."""

    keys: tuple[bytes, ...] = ()
    records: frozenset[str] = frozenset()
    persons: frozenset[str] = frozenset()
    subjects: Subjects | None = field(default=None, compare=False)

    def __call__(self, raw: RawRecord) -> bool:
        """Return whether a record may not be kept."""
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
    """Return what must not come back.

    Raises :class:`~gateway.errors.IntegrityStop` when an entry was made with a key that is not here: without it nobody can tell who
    was erased, and going on could bring them back.
    """
    keys = load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)
    known = {key_id(key) for key in keys}
    found: dict[SuppressionKind, set[str]] = {"record": set(), "person": set()}
    for name, value in (await read_partition(settings, SUPPRESSIONS.name, 0)).items():
        entry = msgspec.json.decode(value, type=SuppressionEntry)
        if entry.key_id not in known:
            raise IntegrityStop(
                f"{SUPPRESSIONS.name}: an entry was made with the key {entry.key_id}, not known here, so what was erased could come back; "
                "set GATEWAY_PERMANENT_KEY or GATEWAY_PSEUDONYM_KEY_PREVIOUS to it"
            )
        found[entry.kind].add(name.decode())
    return SuppressionList(keys, frozenset(found["record"]), frozenset(found["person"]), subjects)
