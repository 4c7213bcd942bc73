"""Map the JSON record of :mod:`bench.mapper` with hand-written code, in two versions.

One version is as short as possible. The other makes the same checks as the gateway.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from gateway.harmonise.pseudonyms import pseudonymiser
from gateway.harmonise.values.iso_codes import COUNTRIES, LANGUAGES
from gateway.harmonise.values.payload import json_value
from gateway.records import (
    Accepted,
    Credential,
    CredentialPart,
    Holder,
    Lookup,
    Organisation,
    Provenance,
    RawRecord,
)

KINDS: dict[str, Any] = {"DEG": "diploma", "CERT": "certificate"}
MapOne = Callable[[RawRecord], Accepted]


def _accepted(raw: RawRecord, digest: str, code: str, record: Credential) -> Accepted:
    row = Lookup(
        field="kind", table="kind", version=digest, row=code, source=f"connector {raw.connector}"
    )
    return Accepted(
        record=record,
        provenance=Provenance(
            connector=raw.connector, stream=raw.stream, config_digest=digest, lookups=(row,)
        ),
    )


def unchecked(key: bytes, digest: str) -> MapOne:
    """Return the shortest function that gives the same record.

    It expects a perfect payload and would not notice a faulty one.
    """
    decode = msgspec.json.Decoder().decode
    pseudonym = pseudonymiser(key, "IE", "student")

    def map_one(raw: RawRecord) -> Accepted:
        found = decode(raw.body or b"")
        body, credits_ = found["body"], found["credits"]
        day = date.fromisoformat(found["decided"])
        record = Credential(
            id=raw.native_id,
            kind=KINDS[found["type"]],
            title={"en": found["title"]["en"], "ga": found["title"]["ga"]},
            description={"en": found["summary"]},
            nqf_framework="NFQ",
            nqf_level=found["level"]["value"],
            credit_amount=Decimal(credits_["value"]),
            credit_unit=credits_["unit"],
            credit_sector="HE",
            workload_hours=Decimal(credits_["hours"]),
            isced_f=tuple(found["fields"]),
            languages=(LANGUAGES[found["language"]],),
            awarded_on=day,
            valid_from=day,
            changed_at=datetime.fromisoformat(found["lastChanged"]),
            homepage=found["link"],
            setting="formal",
            awarding_body=Organisation(
                name={"en": body["name"]},
                country=body["country"],
                identifiers={"schac": body["schac"], "pic": body["pic"]},
            ),
            holder=Holder(pseudonym=pseudonym(found["student"]["number"])),
            parts=tuple(
                [
                    CredentialPart(
                        id=one["code"],
                        title={"en": one["name"]},
                        credit_amount=Decimal(one["credits"]),
                    )
                    for one in found["modules"]
                ]
            ),
        )
        return _accepted(raw, digest, found["type"], record)

    return map_one


_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_FORBIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]"
)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if type(value) is not str:
        raise TypeError("a text was expected")
    value = value.strip()
    if value.isascii() and value.isprintable():
        return value or None
    if _FORBIDDEN.search(value):
        raise ValueError("a character that cannot be seen")
    return unicodedata.normalize("NFC", value)


def _number(value: Any) -> Decimal | None:
    if value is None:
        return None
    if type(value) is not int:
        raise TypeError("a number was expected")
    return Decimal(value)


def _day(value: Any) -> date | None:
    text = _text(value)
    if text is None:
        return None
    if not _DAY.fullmatch(text):
        raise ValueError("a day was expected")
    return date.fromisoformat(text)


def _moment(value: Any) -> datetime | None:
    text = _text(value)
    if text is None:
        return None
    if not _MOMENT.fullmatch(text):
        raise ValueError("a moment was expected")
    return datetime.fromisoformat(text).astimezone(UTC)


def _by_language(**texts: Any) -> dict[str, str]:
    return {tag: text for tag, value in texts.items() if (text := _text(value)) is not None}


def checked(key: bytes, digest: str) -> MapOne:
    """Return a function that is as careful as the gateway.

    It makes the same checks of the bytes and of each text, date and number. It distinguishes an
    absent value from an invalid one.
    """
    pseudonym = pseudonymiser(key, "IE", "student")

    def map_one(raw: RawRecord) -> Accepted:
        found = json_value(raw.body or b"")
        if type(found) is not dict:
            raise TypeError("an object was expected")
        title, level, credits_ = (
            found.get("title") or {},
            found.get("level") or {},
            found.get("credits") or {},
        )
        body, student = found.get("body") or {}, found.get("student") or {}
        code, number = _text(found.get("type")), _text(student.get("number"))
        country, tongue = _text(body.get("country")), _text(found.get("language"))
        identifiers = {
            name: text for name in ("schac", "pic") if (text := _text(body.get(name))) is not None
        }
        record = Credential(
            id=raw.native_id,
            kind=KINDS[code] if code is not None else "certificate",
            title=_by_language(en=title.get("en"), ga=title.get("ga")),
            description=_by_language(en=found.get("summary")),
            nqf_framework="NFQ",
            nqf_level=_text(level.get("value")),
            credit_amount=_number(credits_.get("value")),
            credit_unit=_text(credits_.get("unit")),
            credit_sector="HE",
            workload_hours=_number(credits_.get("hours")),
            isced_f=tuple(
                [text for one in found.get("fields") or () if (text := _text(one)) is not None]
            ),
            languages=(LANGUAGES[tongue],) if tongue is not None else (),
            awarded_on=_day(found.get("decided")),
            valid_from=_day(found.get("decided")),
            changed_at=_moment(found.get("lastChanged")),
            homepage=_text(found.get("link")),
            setting="formal",
            awarding_body=Organisation(
                name=_by_language(en=body.get("name")),
                country=COUNTRIES[country] if country is not None else None,
                identifiers=identifiers,
            ),
            holder=Holder(pseudonym=pseudonym(number) if number is not None else None),
            parts=tuple([_part(one) for one in found.get("modules") or ()]),
        )
        if not record.title:
            raise ValueError("a title was expected")
        return _accepted(raw, digest, str(code), record)

    return map_one


def _part(one: dict[str, Any]) -> CredentialPart:
    code = _text(one.get("code"))
    if code is None:
        raise ValueError("an id was expected")
    return CredentialPart(
        id=code, title=_by_language(en=one.get("name")), credit_amount=_number(one.get("credits"))
    )
