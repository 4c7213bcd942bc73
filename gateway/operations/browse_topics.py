"""Read the last records of a topic for the page, with persons hidden. See docs/decisions/0110."""

from __future__ import annotations

import json
from collections.abc import Mapping
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from gateway.errors import Unavailable
from gateway.fetch.reply_shape import plain_name
from gateway.kafka.connection import AUTHORIZATION_ERRORS, KafkaError, access_denied
from gateway.kafka.topic_reader import read_tail
from gateway.messages.topics import REJECTIONS, TOPICS
from gateway.observability.topics_page import BrowsedRecord, TopicQuery
from gateway.operations.readable_records import decode_headers, decode_text, decode_value, matches
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

SEARCHED_OFFSETS = 10_000
"""The last offsets of a topic in which the page looks for records."""
HIDDEN = "(hidden)"
SHOWN_HEADERS = frozenset(
    {
        *("content-type", "ce_specversion", "ce_source", "ce_type", "ce_dataschema"),
        *("ce_datacontenttype", "stream", "kind", "format"),
    }
)
"""Headers that never name a person."""
MAX_DEPTH = 12
MAX_ITEMS = 3
"""The items of a list that a form shows."""

TOPIC_NAMES = tuple(topic.name for topic in TOPICS)
_PERSONAL = frozenset(topic.name for topic in TOPICS if topic.personal)


async def browse_topic(settings: Settings, query: TopicQuery) -> list[BrowsedRecord]:
    """Return the last records that match, the newest first.

    Of a topic with personal data, they show the form of the value, and neither key nor values.
    Raises a :class:`~gateway.errors.GatewayError` if the topic cannot be read.
    """
    found: list[tuple[int, int, int, ConsumerRecord]] = []
    headers = [query.header] if query.header else []
    try:
        async for record in read_tail(settings, query.topic, SEARCHED_OFFSETS):
            if matches(record, query.key, headers, query.connector):
                heappush(found, (record.timestamp, record.partition, record.offset, record))
                if len(found) > query.number:
                    heappop(found)
    except AUTHORIZATION_ERRORS as error:
        raise access_denied(settings, f"reading {query.topic}", error) from None
    except (KafkaError, OSError) as error:
        raise Unavailable(f"{query.topic} cannot be read now ({type(error).__name__})") from None
    return [show_record(record) for *_, record in sorted(found, reverse=True)]


def show_record(record: ConsumerRecord) -> BrowsedRecord:
    """Return what the page shows of a record."""
    is_personal = record.topic in _PERSONAL or record.topic not in TOPIC_NAMES
    headers = {name: _text(value) for name, value in decode_headers(record.headers).items()}
    if is_personal:
        headers = {
            name: text if name in SHOWN_HEADERS else HIDDEN for name, text in headers.items()
        }
    shows_value = not is_personal or record.topic == REJECTIONS.name
    return BrowsedRecord(
        position=f"{record.partition}@{record.offset}",
        at=record.timestamp / 1000,
        key=HIDDEN if is_personal else _text(decode_text(record.key)),
        headers=headers,
        value=_value_text(record.value, shows_value=shows_value),
        size=len(record.value or b""),
        is_personal=is_personal,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _value_text(value: bytes | None, *, shows_value: bool) -> str:
    if value is None:
        return "(tombstone: the record was deleted)"
    decoded = decode_value(value)
    if not shows_value:
        decoded = form_of(decoded)
    return (
        decoded if isinstance(decoded, str) else json.dumps(decoded, ensure_ascii=False, indent=1)
    )


def form_of(value: Any, depth: int = 0) -> Any:
    """Return a value with each text and number replaced by its kind. Only field names stay."""
    if isinstance(value, Mapping):
        if depth >= MAX_DEPTH or "base64" in value:
            return "object"
        return {plain_name(key): form_of(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        items = [form_of(inner, depth + 1) for inner in value[:MAX_ITEMS]]
        return items + ([f"and {len(value) - MAX_ITEMS} more"] if len(value) > MAX_ITEMS else [])
    if value is None:
        return None
    return {bool: "yes or no", int: "number", float: "number"}.get(type(value), "text")
