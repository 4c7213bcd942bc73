"""Find ids that two records of the inline tests share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.config.connector import Stream
from gateway.records import RawRecord


def contradictory_ids(stream: Stream, raws: Iterable[RawRecord]) -> Iterator[str]:
    """Yield each id under which different contents arrive, and nothing tells which one is later.

    A change feed serves its changes in order, so its later content is the newer one.
    """
    if stream.cursor is not None and stream.cursor.feed is not None:
        return
    first: dict[str, RawRecord] = {}
    reported: set[str] = set()
    for raw in raws:
        if raw.body is None:
            continue
        other = first.setdefault(raw.native_id, raw)
        if raw.native_id not in reported and _differ_without_order(other, raw):
            reported.add(raw.native_id)
            yield raw.native_id


def _differ_without_order(one: RawRecord, other: RawRecord) -> bool:
    return (
        (one.body, one.context) != (other.body, other.context)
        and one.version == other.version
        and one.changed_at == other.changed_at
    )


def describe_contradiction(native_id: str) -> str:
    """Return the message about an id that two contents share."""
    return (
        f"two different contents have the id '{native_id}', and neither version nor changed_at "
        "tells which is later; the gateway rejects them as a conflict. If they are two records, "
        "add to id what tells them apart"
    )
