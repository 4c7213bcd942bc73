"""What one stream has durably written: its cursor and the digest of each record, read back only after fencing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.publish.events import raw_headers
from gateway.publish.topics import CURSORS, DIGESTS, RAW
from gateway.publish.transactions import Outgoing, Transactional, partition_for, read_partition
from gateway.records import Raw
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Entry:
    """One raw record to write, with the digest that makes a repeat of it recognisable."""

    raw: Raw
    digest: bytes
    changed_at: datetime | None

    @property
    def value(self) -> bytes:
        """What ``gateway.digests.v1`` keeps: 16 bytes of digest, 8 of the registry's change time in milliseconds."""
        stamp = int(self.changed_at.timestamp() * 1000) if self.changed_at else 0
        return self.digest + max(0, stamp).to_bytes(8, "big")

    def supersedes(self, known: bytes) -> bool:
        """Return whether this says something that ``known`` does not, and is not older than it."""
        return self.digest != known[:16] and self.value[16:] >= (known[16:] if self.changed_at else self.value[16:])


class Ledger:
    """One stream's durable state. A failed write closes it; the next :meth:`open` fences and reads again."""

    def __init__(self, settings: Settings, connector: str, stream: str) -> None:
        self.connector = connector
        self.stream = stream
        self.known: dict[str, bytes] = {}
        self._settings = settings
        self._name = f"{connector}|{stream}".encode()
        self._transactional = Transactional(settings, f"poll-{connector}-{stream}", "poll")
        self._cursor: bytes | None = None

    async def open(self) -> bytes | None:
        """Make sure this instance owns the stream; return its cursor, or ``None`` when it was never read."""
        if self._transactional.ready:
            return self._cursor
        await self._transactional.fence()
        cursors = await read_partition(self._settings, CURSORS.name, partition_for(self._name, CURSORS.partitions), [self._name])
        self._cursor = cursors.get(self._name)
        prefix = self._name + b"|"
        digests = await read_partition(self._settings, DIGESTS.name, partition_for(self._name, DIGESTS.partitions), [prefix])
        self.known = {key[len(prefix) :].decode(): value for key, value in digests.items()}
        return self._cursor

    async def write(self, entries: list[Entry], cursor: bytes | None) -> None:
        """Write raw records, their digests and the cursor in one transaction; afterwards :attr:`known` includes them."""
        records = []
        for entry in entries:
            raw = entry.raw
            records.append(Outgoing(RAW.name, raw.key.encode(), raw.body, raw_headers(raw)))
            key = self._name + b"|" + raw.native_id.encode()
            records.append(Outgoing(DIGESTS.name, key, entry.value, [], partition_for(self._name, DIGESTS.partitions)))
        if cursor is not None:
            records.append(Outgoing(CURSORS.name, self._name, cursor, [], partition_for(self._name, CURSORS.partitions)))
        if not records or (not entries and cursor == self._cursor):
            return
        await self._transactional.write(records)
        self._cursor = cursor if cursor is not None else self._cursor
        for entry in entries:
            self.known[entry.raw.native_id] = entry.value

    async def close(self) -> None:
        """Let go of the producer."""
        await self._transactional.discard()
