"""Encode and decode CloudEvents in binary mode.

The attributes of an event are the headers of its record. The value is the document alone.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Any, Literal

import msgspec

from gateway.accelerator import accelerated
from gateway.messages.event_ids import EVENT_ID_LENGTH, EventIds, event_id, new_event_id
from gateway.messages.header_block import HeaderBlock, encode_header, encode_name, varint
from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.topics import DAY_MS, PERSONAL_DOCUMENT_TOPICS
from gateway.records import ChangeTimeProblem, Document, Provenance, RawRecord

JSON = b"application/json"
CONTENT_ID_HEADER = "ce_contentid"
"""The header with the id of the content. The same content always has the same id."""
RECORD_TYPE_HEADER = "ce_recordtype"
"""The header of an incomplete entry that names its type as connector files do."""
MISSING_FIELDS_HEADER = "ce_missingfields"
"""The header of an incomplete entry that lists what LOQ requires and the entry lacks."""
SPEC_VERSION_HEADER = ("ce_specversion", b"1.0")
_JSON = ("content-type", JSON)
_CONTENT_ID = encode_name(CONTENT_ID_HEADER) + varint(32)
_PROVENANCE = encode_name("provenance")
_NINE, _TEN = varint(9), varint(10)
_NAMES_OF_ALL = (
    "ce_specversion", "ce_id", CONTENT_ID_HEADER, "ce_source", "ce_type", "content-type"
)  # fmt: skip
"""The headers of a raw record of which nothing else is known, as of most records, in order."""
_MIDNIGHT = b"T00:00:00Z"
_ENCODER = msgspec.json.Encoder()
_pack_length = Struct(">BQ").pack
DELETED_DIGEST = bytes(16)
"""Digest of a record that the registry has deleted."""
_CHANGE_TIME_PROBLEMS: dict[bytes, ChangeTimeProblem] = {
    b"unreadable": "unreadable",
    b"in_future": "in_future",
}
_ERASED: dict[bytes, Literal["", "asked", "met"]] = {b"asked": "asked", b"met": "met"}


def content_id(*parts: str | bytes | None) -> str:
    """Return an id that depends on the content alone.

    The id is the first half of a SHA-256 in hexadecimal. Processors have instructions for
    SHA-256, so it is three times as fast as a hash without them.
    """
    pieces: list[bytes] = []
    for part in parts:
        if part is None:
            pieces.append(b"\x00")
        else:
            data = part.encode() if isinstance(part, str) else part
            pieces += (_pack_length(1, len(data)), data)
    return _short_sha256(b"".join(pieces))


@accelerated
def document_ids(
    topic: str, key: bytes, value: bytes | None, secret: bytes, raw_event_id: str
) -> tuple[bytes, bytes]:
    """Return the :func:`content_id` and the :func:`event_id` of a document.

    This is faster than the two functions, because the types are known.
    """
    name, size = _length_prefixed(topic), _pack_length(1, len(key))
    if value is None:
        content = _short_sha256(b"%b%b%b\x00" % (name, size, key))
    else:
        content = _short_sha256(b"".join((name, size, key, _pack_length(1, len(value)), value)))
    return content.encode(), event_id(secret, raw_event_id, content).encode()


def _short_sha256(data: bytes) -> str:
    return sha256(data).hexdigest()[:32]


@lru_cache(maxsize=64)
def _length_prefixed(topic: str) -> bytes:
    data = topic.encode()
    return _pack_length(1, len(data)) + data


def content_digest(raw: RawRecord) -> bytes:
    """Return a digest of 16 bytes that covers everything a mapping rule can read.

    That is the body, the context and the kind of the record.
    """
    if raw.body is None:
        return DELETED_DIGEST
    state = sha256(raw.body)
    for name in sorted(raw.context):
        text = _without_separators(raw.context[name])
        state.update(b"\x00" + name.encode() + b"\x00" + text.encode())
    state.update(b"\x01" + raw.kind.encode())
    return state.digest()[:16]


def _without_separators(text: str) -> str:
    """Return a text without the two characters that separate the values of a digest.

    Different texts stay different, and a text without control characters stays as it is.
    """
    if text.isprintable():
        return text
    return text.replace("\x02", "\x02\x02").replace("\x00", "\x020").replace("\x01", "\x021")


def stored_content_id(headers: Any) -> str:
    """Return the content id of a record on a topic.

    Earlier releases wrote it as ``ce_id``.
    """
    by_name = dict(headers)
    found: bytes = by_name.get(CONTENT_ID_HEADER) or by_name.get("ce_id") or b""
    return found.decode(errors="replace")


def encode_raw_headers(raw: RawRecord, content: bytes | None = None) -> list[tuple[str, bytes]]:
    """Return the headers of a record on ``gateway.raw.v1``.

    Pass the :func:`content_digest` of the record as ``content`` if you have it already. A record
    without an event id gets a new one.
    """
    digest = content_digest(raw) if content is None else content
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", (raw.event_id or new_event_id()).encode()),
        (CONTENT_ID_HEADER, content_id(raw.key, raw.version, digest).encode()),
        ("ce_source", f"/connectors/{raw.connector}/{raw.stream}".encode()),
        (
            "ce_type",
            b"eu.qualification-gateway.raw.received.v1"
            if raw.body is not None
            else b"eu.qualification-gateway.raw.deleted.v1",
        ),
        ("content-type", raw.media_type.encode()),
    ]
    if raw.changed_at:
        headers.append(("ce_time", to_rfc3339(raw.changed_at).encode()))
    if raw.kind:
        headers.append(("kind", raw.kind.encode()))
    if raw.version:
        headers.append(("version", raw.version.encode()))
    if raw.change_time_problem:
        headers.append(("changetime", raw.change_time_problem.encode()))
    if raw.row:
        headers.append(("row", raw.row.encode()))
    if raw.written_before:
        headers.append(("again", b"1"))
    if raw.corrects_event_id:
        headers.append(("correctionof", raw.corrects_event_id.encode()))
    if raw.erasure:
        headers.append(("erased", raw.erasure.encode()))
    if raw.context:
        headers.append(("context", _ENCODER.encode(raw.context)))
    return headers


def decode_raw(key: bytes, value: bytes | None, headers: Any) -> RawRecord:
    """Return the raw record whose headers :func:`encode_raw_headers` wrote."""
    connector, _, native_id = key.decode().partition("|")
    if len(headers) == len(_NAMES_OF_ALL):
        # The order in which encode_raw_headers writes them. Unpacking is faster than a dictionary.
        (one, _), (two, event), (three, _), (four, source), (five, _), (six, media) = headers
        if (one, two, three, four, five, six) == _NAMES_OF_ALL:
            return RawRecord(
                connector=connector,
                stream=_stream_of(source),
                native_id=native_id,
                body=value,
                media_type="application/xml" if media == b"application/xml" else "application/json",
                event_id=event.decode(),
            )
    by_name = dict(headers)
    header = by_name.get
    time, context, kind = header("ce_time"), header("context"), header("kind")
    version, row, corrected = header("version"), header("row"), header("correctionof")
    # Earlier releases gave the same id to the same content, so it does not identify an event.
    event_id = header("ce_id") if header(CONTENT_ID_HEADER) is not None else None
    return RawRecord(
        connector=connector,
        stream=_stream_of(header("ce_source", b"")),
        native_id=native_id,
        body=value,
        media_type="application/xml"
        if header("content-type") == b"application/xml"
        else "application/json",
        kind=kind.decode() if kind else "",
        context=msgspec.json.decode(context, type=dict[str, str]) if context else {},
        changed_at=datetime.fromisoformat(time.decode()) if time else None,
        version=version.decode() if version else "",
        row=row.decode() if row else "",
        change_time_problem=_CHANGE_TIME_PROBLEMS.get(header("changetime", b""), ""),
        written_before=header("again") is not None,
        corrects_event_id=corrected.decode() if corrected else "",
        event_id=event_id.decode() if event_id else "",
        erasure=_ERASED.get(header("erased", b""), ""),
    )


@lru_cache(maxsize=1024)
def _stream_of(source: bytes) -> str:
    return source.decode().rpartition("/")[2]


def encode_document_headers(
    document: Document, raw: RawRecord, provenance: Provenance | None, event_ids: EventIds
) -> HeaderBlock:
    """Return the CloudEvents headers of a harmonised document or its tombstone."""
    front, middle, end = _constant_headers(
        raw.connector, raw.stream, document.type, document.schema
    )
    key = document.key.encode()
    content, event = document_ids(
        document.topic, key, document.value, event_ids.key(document.topic), raw.event_id
    )
    subject = key if document.subject is document.key else document.subject.encode()
    count = 8
    pieces = [
        b"",
        front,
        event,
        _CONTENT_ID,
        content,
        middle,
        varint(len(subject)),
        subject,
        end,
    ]
    if raw.changed_at:
        count += 1
        pieces.append(encode_header("ce_time", event_time(document.topic, raw.changed_at)))
    if provenance is not None:
        count += 1
        encoded = _ENCODER.encode(provenance)
        pieces += (_PROVENANCE, varint(len(encoded)), encoded)
    if raw.corrects_event_id:
        count += 1
        pieces.append(encode_header("ce_correctionof", raw.corrects_event_id.encode()))
    if document.missing:
        count += 2
        pieces.append(encode_header(RECORD_TYPE_HEADER, document.record_type.encode()))
        pieces.append(encode_header(MISSING_FIELDS_HEADER, ",".join(document.missing).encode()))
    pieces[0] = varint(count)
    return HeaderBlock(b"".join(pieces))


class DocumentHeaderEncoder:
    """Encodes the headers of one stream's documents on one topic.

    The result equals that of :func:`encode_document_headers` for a complete document whose raw
    record corrects no event. It is faster, because the constant headers are encoded once.
    """

    __slots__ = ("_end", "_front", "_key", "_middle", "_tells_days", "_topic")

    def __init__(
        self, connector: str, stream: str, document: Document, event_ids: EventIds
    ) -> None:
        """Take any document of the topic, for its type and its schema."""
        self._front, self._middle, self._end = _constant_headers(
            connector, stream, document.type, document.schema
        )
        self._topic, self._key = document.topic, event_ids.key(document.topic)
        self._tells_days = document.topic in PERSONAL_DOCUMENT_TOPICS

    def __call__(
        self, raw: RawRecord, key: bytes, value: bytes | None, provenance: bytes
    ) -> HeaderBlock:
        """Return the headers of a document with this key, which is also its subject.

        ``provenance`` is the header as :func:`encode_provenance_header` encodes it.
        """
        content, event = document_ids(self._topic, key, value, self._key, raw.event_id)
        time, count = b"", _NINE
        if raw.changed_at:
            count = _TEN
            if self._tells_days:
                time = _day_header(midnight_of(raw.changed_at))
            else:
                time = encode_header("ce_time", event_time(self._topic, raw.changed_at))
        return HeaderBlock(
            b"".join(
                (count, self._front, event, _CONTENT_ID, content, self._middle,
                 varint(len(key)), key, self._end, time, provenance)
            )
        )  # fmt: skip


def encode_provenance_header(provenance: Provenance) -> bytes:
    """Return the header ``provenance`` as a header block contains it."""
    encoded = _ENCODER.encode(provenance)
    return b"%b%b%b" % (_PROVENANCE, varint(len(encoded)), encoded)


def encode_move(message: OutgoingRecord, tombstone: Document) -> OutgoingRecord:
    """Return the tombstone of a document that ``message`` replaces on another topic.

    It has the source and the times of ``message``. A repeat gets the same event id.
    """
    by_name = dict(message.headers)
    event = content_id("moved", tombstone.topic, by_name["ce_id"])
    headers = [
        SPEC_VERSION_HEADER,
        ("ce_id", event.encode()),
        (CONTENT_ID_HEADER, content_id(tombstone.topic, message.key, None).encode()),
        ("ce_source", by_name["ce_source"]),
        *_type_headers(tombstone.type, tombstone.schema),
        ("ce_subject", message.key),
        _JSON,
        *((name, by_name[name]) for name in ("ce_time", "ce_correctionof") if name in by_name),
    ]
    return OutgoingRecord(tombstone.topic, message.key, None, headers)


def event_time(topic: str, changed_at: datetime) -> bytes:
    """Return the time of a document's event.

    For a record about a person it is midnight of the day. A registry may change all records of a
    person at one moment, and the platforms that receive them could join them by an exact time.
    """
    if topic in PERSONAL_DOCUMENT_TOPICS:
        return midnight_of(changed_at).encode()
    return to_rfc3339(changed_at).encode()


@lru_cache(maxsize=4096)
def _day_header(day: str) -> bytes:
    return encode_header("ce_time", day.encode())


def has_exact_time(record: Any) -> bool:
    """Return whether a record on a topic is about a person and states more than a day."""
    return record.topic in PERSONAL_DOCUMENT_TOPICS and bool(
        record.timestamp % DAY_MS
        or not dict(record.headers).get("ce_time", _MIDNIGHT).endswith(_MIDNIGHT)
    )


def midnight_of(moment: datetime) -> str:
    """Return midnight, in UTC, of the day of a time, in the form of RFC 3339."""
    return _midnight((moment if moment.tzinfo is UTC else moment.astimezone(UTC)).date())


@lru_cache(maxsize=4096)
def _midnight(day: date) -> str:
    return f"{day}T00:00:00Z"


@lru_cache(maxsize=1024)
def _constant_headers(
    connector: str, stream: str, kind: str, schema: str
) -> tuple[bytes, bytes, bytes]:
    """Return what precedes the event id, the subject, and the optional headers of a document."""
    source = f"/connectors/{connector}/{stream}".encode()
    type_header, schema_header = _type_headers(kind, schema)
    return (
        encode_header(*SPEC_VERSION_HEADER) + encode_name("ce_id") + varint(EVENT_ID_LENGTH),
        encode_header("ce_source", source)
        + encode_header(*type_header)
        + encode_name("ce_subject"),
        encode_header(*schema_header) + encode_header(*_JSON),
    )


@lru_cache(maxsize=1024)
def _type_headers(kind: str, schema: str) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    return ("ce_type", kind.encode()), ("ce_dataschema", schema.encode())


def to_rfc3339(moment: datetime) -> str:
    """Return a time in the RFC 3339 form that CloudEvents requires, in UTC with a ``Z``."""
    return f"{(moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat()[:-6]}Z"
