"""Read a stream of a registry from its beginning, for a comparison with the topics."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from gateway import fetch
from gateway.config.connector import Connector
from gateway.config.requests import Cursor as CursorRule
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.stored_context import equal_loop_names
from gateway.pipeline.poll import StreamCursor, windows
from gateway.pipeline.scan_contents import ScanContents, is_conflict
from gateway.pipeline.version_order import VersionOrder
from gateway.records import RawRecord


@dataclass(slots=True)
class ServedRecords:
    """The latest version of each record in one reading, and the count of all versions."""

    latest: dict[str, RawRecord] = field(default_factory=dict)
    count: int = 0
    skipped: set[str] = field(default_factory=set)  # listed, but refused when requested alone
    shared: set[str] = field(default_factory=set)  # ids with two contents that nothing orders


async def read_stream(
    connector: Connector, stream: str, client: RegistryClient, now: datetime
) -> ServedRecords:
    """Read a stream from its beginning up to ``now``, as a first poll would."""
    served = ServedRecords()
    rule = connector.streams[stream].cursor or CursorRule(scan=True)
    order = VersionOrder(read_at=now, in_order=rule.feed is not None)
    contents = ScanContents(equal_loop_names(connector.streams[stream]))
    for window in windows(rule, StreamCursor(), now):
        async for page in fetch.read_pages(connector, stream, window, client, position=""):
            served.skipped.update(page.skipped.native_ids)
            for raw in page.records:
                before = served.latest.get(raw.native_id)
                served.count += 1
                content = None if order.in_order else contents.add(order.entry(raw))
                if content is not None and is_conflict(content.digest):
                    served.shared.add(raw.native_id)
                if before is None or order.follows(order.entry(raw), order.entry(before)):
                    served.latest[raw.native_id] = raw
    return served
