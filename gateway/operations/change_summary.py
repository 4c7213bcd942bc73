"""Summarise what a renormalisation would change: how many records, by kind of change and field.

The summary names fields only, never a value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.kafka.topic_reader import read_topic
from gateway.operations.renormalise import ORPHANED, OutcomeChange
from gateway.pipeline.processed_record import ProcessedRecord
from gateway.pipeline.record_processor import RecordProcessor
from gateway.settings import Settings

MAX_FIELDS = 20
"""The summary names this number of fields of each kind, those of most records first."""


@dataclass(slots=True)
class ChangeSummary:
    """The number of records by kind of change, and of the changed ones by field."""

    kinds: Counter[str] = field(default_factory=Counter)
    fields: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By field of the document, and by ``added``, ``changed`` or ``removed``."""

    def lines(self) -> list[str]:
        """Return the summary as text, the most frequent first."""
        texts = [f"{count:>9,}  {kind}" for kind, count in _most_frequent(self.kinds)]
        if self.fields:
            texts.append("fields of the changed records:")
            shown = list(_most_frequent(self.fields))
            texts += [f"{count:>9,}  {name}: {how}" for (name, how), count in shown[:MAX_FIELDS]]
            if len(shown) > MAX_FIELDS:
                texts.append(f"           and {len(shown) - MAX_FIELDS:,} more")
        return texts


async def summarise(
    settings: Settings, processor: RecordProcessor, changes: Iterable[OutcomeChange]
) -> ChangeSummary:
    """Compare what the current files make of each changed record with what is published."""
    summary = ChangeSummary()
    results: list[ProcessedRecord] = []
    for change in changes:
        if change.outcome == ORPHANED:
            summary.kinds[ORPHANED] += 1
        else:
            results.append(processor(change.record))
    published = await _read_values(
        settings, {(message.topic, message.key) for one in results for message in one.outgoing}
    )
    for result in results:
        pairs = [
            (published[message.topic, message.key], message.value)
            for message in result.outgoing
            if message.value is not None and (message.topic, message.key) in published
        ]
        summary.kinds[_kind(result, is_published=bool(pairs))] += 1
        if result.outcome == "accepted":
            summary.fields.update({one for old, new in pairs for one in changed_fields(old, new)})
    return summary


async def _read_values(
    settings: Settings, keys: Collection[tuple[str, bytes]]
) -> dict[tuple[str, bytes], bytes]:
    """Return the published document of each topic and key. Deleted ones are not included."""
    values: dict[tuple[str, bytes], bytes] = {}
    for topic in sorted({topic for topic, _ in keys}):
        async for record in read_topic(settings, topic):
            if (topic, record.key) not in keys:
                continue
            if record.value is None:
                values.pop((topic, record.key), None)
            else:
                values[topic, record.key] = record.value
    return values


def _kind(result: ProcessedRecord, *, is_published: bool) -> str:
    if result.outcome == "accepted":
        return "published with changes" if is_published else "published for the first time"
    detail = " ".join(filter(None, (result.reason, result.field)))
    return f"withdrawn, because {result.outcome}" + (f": {detail}" if detail else "")


def changed_fields(before: bytes, after: bytes) -> set[tuple[str, str]]:
    """Return the fields in which two documents differ, and how each of them differs.

    The order of a list does not matter. Documents that are not JSON differ in the field
    ``document``.
    """
    try:
        old, new = (Counter(_leaves(msgspec.json.decode(value))) for value in (before, after))
    except (msgspec.MsgspecError, RecursionError):
        return {("document", "changed")} if before != after else set()
    removed = {name for name, _ in old - new}
    added = {name for name, _ in new - old}
    return {
        (name, "changed" if name in removed & added else "added" if name in added else "removed")
        for name in removed | added
    }


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield each value of a document with its field. A concept of a vocabulary is one value."""
    if isinstance(value, dict) and not (name and {"inScheme", "prefLabel"} & value.keys()):
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, name)
    else:
        yield name, msgspec.json.encode(value, order="deterministic").decode()


def _most_frequent(counts: Counter[Any]) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
