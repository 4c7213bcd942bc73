"""Describe the documents of enrolments and cards as parts.

The order of the parts is that of :mod:`gateway.render.student_card`. Values about a person are
written for each record, and no memory has them in a key.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from orjson import dumps

from gateway.identifiers import (
    CardNumber,
    is_card_number,
    is_student_identifier,
    parse_card_number,
)
from gateway.messages.cloudevents import midnight_of
from gateway.messages.topics import CARDS_TOPIC, STUDENT_STATUS_TOPIC
from gateway.pipeline.fast_path.memory import NotFastError
from gateway.pipeline.fast_path.plan import (
    STATUS_DAYS,
    Constant,
    Group,
    Plan,
    Remembered,
    Written,
)
from gateway.records import Card, RawRecord
from gateway.render import student_card
from gateway.render.record_ids import event_uuid_writer, pseudonym_writer

_PIC_LENGTH = 9
_LEVEL_FIELDS = ("nqf_framework", "nqf_level", "eqf_declared", "degree_programme")


class Registry(NamedTuple):
    """What the documents of a connector state about it, and the key of its pseudonyms."""

    connector: str
    country: str
    key: bytes


_Source = tuple[str, str, str, str, str]
"""Pseudonym, version, time and day on the topic, and the native id if it is a card number."""


def status_plan(registry: Registry) -> Plan:
    """Return the plan of a ``StudentStatus`` with an agreement."""
    pseudonym_of = pseudonym_writer(registry.key, registry.connector)

    def identify(raw: RawRecord, timestamp: int) -> tuple[bytes, _Source]:
        pseudonym = pseudonym_of(raw.native_id)
        return pseudonym.encode(), (pseudonym, raw.version, *_time_of(timestamp), "")

    return Plan(
        STUDENT_STATUS_TOPIC,
        (_status(), _institution()),
        (
            Written(_envelope_writer(registry), ("source", "status_event", "changed_at")),
            Constant(b',"esi":'),
            Written(_student_identifier, ("holder.esi",)),
            Remembered("institution", "identifiers"),
            Remembered("status", "state"),
            Written(_term, ("valid_from", "valid_until")),
            Remembered("status", "levels"),
            Written(
                _holder,
                ("holder.full_name", "holder.given_name", "holder.family_name", "holder.email"),
            ),
            Constant(b',"escAgreement":true}'),
        ),
        checked=("id", "holder.pseudonym"),
        expressions={"source": "prefix"},
        identify=identify,
        days=STATUS_DAYS,
    )


def card_plan(registry: Registry) -> Plan:
    """Return the plan of a ``Card`` with an agreement."""
    pseudonym_of = pseudonym_writer(registry.key, registry.connector)

    def identify(raw: RawRecord, timestamp: int) -> tuple[bytes, _Source]:
        pseudonym = pseudonym_of(raw.native_id)
        number = _card_number_of(raw.native_id)
        key = (number or pseudonym).encode()
        return key, (pseudonym, raw.version, *_time_of(timestamp), number)

    return Plan(
        CARDS_TOPIC,
        (_card(), _issuer()),
        (
            Written(_envelope_writer(registry), ("source", "card_event", "changed_at")),
            Written(_card_number, ("source", "card_number", "issuer_pic")),
            Written(_student_identifier, ("holder.esi",)),
            Remembered("issuer", "identifier"),
            Remembered("card", "state"),
            Written(_days_of_card, ("issued_on", "expires_on")),
            Remembered("card", "processor"),
            Written(_display_name, ("display_name",)),
        ),
        checked=("id", "holder.pseudonym"),
        expressions={"source": "prefix"},
        identify=identify,
    )


PLANS: dict[str, Callable[[Registry], Plan]] = {"student_status": status_plan, "card": card_plan}
"""The plans by type of record."""


# groups


def _status() -> Group:
    return Group(
        "status",
        ("active", "ended", "esc_agreement", *_LEVEL_FIELDS),
        {
            "event": student_card.event_of_status,
            "state": lambda record: _members(status=student_card.state_of_status(record)),
            "levels": lambda record: _members(**student_card.levels_of_status(record)),
        },
        allows=lambda record: record.esc_agreement and (record.active is not None or record.ended),
        period="status",
        judge="status",
    )


def _institution() -> Group:
    def identifiers(record: Any) -> bytes:
        return _members(institution=student_card.institution_identifiers(record.institution))

    return Group(
        "institution",
        ("institution",),
        {"identifiers": identifiers},
        allows=lambda record: "pic" in student_card.institution_identifiers(record.institution),
    )


def _card() -> Group:
    def is_complete(record: Card) -> bool:
        return (
            record.esc_agreement
            and (record.active is not None or record.event != "updated")
            and record.card_type in student_card.CARD_TYPES
            and not student_card.left_out_texts(record)
        )

    def state(record: Card) -> bytes:
        return _members(
            cardStatusType=student_card.state_of_card(record), cardType=record.card_type
        )

    return Group(
        "card",
        ("event", "active", "card_type", "processor", "esc_agreement"),
        {
            "event": lambda record: f"card.{record.event}",
            "state": state,
            "processor": lambda record: _members(processorIdentifier=record.processor),
        },
        allows=is_complete,
    )


def _issuer() -> Group:
    def pic(record: Any) -> str | None:
        return student_card.institution_identifiers(record.issuer).get("pic")

    return Group(
        "issuer",
        ("issuer",),
        {"pic": pic, "identifier": lambda record: _members(issuerIdentifier=pic(record))},
        allows=lambda record: pic(record) is not None,
    )


def _members(**values: Any) -> bytes:
    """Return the members that have a value, each with a comma before it."""
    found = student_card.add_fields({}, **values)
    return b"," + dumps(found)[1:-1] if found else b""


# parts that are written for each record


@lru_cache(maxsize=256)
def _time_of(timestamp: int) -> tuple[str, str]:
    """Return a time on a topic and its day. Many records of a batch have the same one."""
    moment = datetime.fromtimestamp(timestamp / 1000, UTC)
    return moment.isoformat(), midnight_of(moment)


def _envelope_writer(registry: Registry) -> Callable[[_Source, str, datetime | None], bytes]:
    connector, country, key = registry
    # The parts are those of student_card._envelope, where connector and pseudonym are one part.
    event_id_of = event_uuid_writer(key, connector)
    start = dumps({"registryId": connector, "country": country[:2]})[:-1].decode()

    def write(source: _Source, event: str, changed_at: datetime | None) -> bytes:
        pseudonym, version, published, published_on, _ = source
        occurred, occurred_on = published, published_on
        if changed_at is not None:
            occurred_on = midnight_of(changed_at)
            if changed_at.tzinfo is UTC:  # faster than the form of the whole time
                occurred = f"{occurred_on[:11]}{changed_at.time().isoformat()}+00:00"
            else:
                occurred = changed_at.isoformat()
        event_id = event_id_of(f"{pseudonym}|{version}|{event}|{occurred}|{published}")
        return (
            f'{{"schemaVersion":"1","eventId":"{event_id}","eventType":"{event}",'
            f'"occurredAt":"{occurred_on}","publishedAt":"{published_on}",'
            f'"source":{start},"sourceEventId":"{pseudonym}"}}'
        ).encode()

    return write


def _student_identifier(esi: str | None) -> bytes:
    if esi is None:
        raise NotFastError
    if not is_student_identifier(esi):
        raise NotFastError
    return dumps(esi)


def _card_number(source: _Source, text: str | None, pic: str) -> bytes:
    """Return the members up to the person's identifier. The number must end with ``pic``."""
    number = text if text and text == source[-1] else _card_number_of(text or "")
    if number[-_PIC_LENGTH:] != pic:
        raise NotFastError
    return f',"cardNumber":"{number}","personIdentifier":'.encode()


def _card_number_of(text: str) -> str:
    """Return a card number in lower case, or an empty text if it is none."""
    if is_card_number(text):
        return text
    number = parse_card_number(text)
    return number.value if isinstance(number, CardNumber) else ""


def _term(start: date | None, end: date | None) -> bytes:
    if type(end) is not date:
        raise NotFastError
    if start is None:
        return f',"validUntil":"{end.isoformat()}"'.encode()
    if type(start) is not date:
        raise NotFastError
    return f',"validFrom":"{start.isoformat()}","validUntil":"{end.isoformat()}"'.encode()


def _days_of_card(issued: date | None, expires: date | None) -> bytes:
    if type(issued) is not date or type(expires) is not date or expires < issued:
        raise NotFastError
    return f',"issuedAt":"{issued.isoformat()}","expiresAt":"{expires.isoformat()}"'.encode()


def _holder(
    full_name: str | None, given_name: str | None, family_name: str | None, email: str | None
) -> bytes:
    if given_name and family_name and not full_name:
        name = f"{given_name} {family_name}"
    else:
        name = full_name or given_name or family_name or ""
    if len(name) > student_card.MAX_TEXT_LENGTH:
        raise NotFastError
    named = b',"fullName":' + dumps(name) if name else b""
    return named + b',"email":' + dumps(email) if email else named


def _display_name(text: str | None) -> bytes:
    if not text:
        return b"}"
    if len(text) > student_card.MAX_TEXT_LENGTH:
        raise NotFastError
    return b',"displayName":%b}' % dumps(text)
