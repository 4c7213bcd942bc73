"""Publish one person's records to two platforms and check that the platforms cannot join them.

Only the identifiers that the agreements name may appear on both platforms' topics.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord
from pydantic import SecretStr

from gateway.messages.cloudevents import encode_raw_headers
from gateway.messages.outgoing import OutgoingRecord
from gateway.pipeline.loaded_config import LoadedConfig, load_config
from gateway.pipeline.record_processor import RecordProcessor, build_record_processor
from gateway.pseudonym_keys import (
    CREDENTIAL_ID_AUDIENCE,
    ESC_AUDIENCE,
    SUPPRESSION_AUDIENCE,
    derive_key,
    key_id,
    load_keys,
)
from gateway.records import RawRecord
from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
NEW, OLD = "a key for tests only, never for people", "the key of before, for tests only, for nobody"
PERSONS = {
    "010190-901A": (
        "Aava",
        "Mallikas",
        "1990-01-01",
        "urn:schac:personalUniqueCode:int:esi:lakeland.example:aava",
    ),
    "020280-902B": (
        "Piru",
        "Sammalto",
        "1980-02-02",
        "urn:schac:personalUniqueCode:int:esi:lakeland.example:piru",
    ),
}
SCHOOL = (
    '<t:{0} code="90002"><t:name lang="en">University of Lakeland</t:name><t:country>FI</t:country>'
    "<t:schac>lakeland.example</t:schac><t:pic>999990002</t:pic></t:{0}>"
)


@pytest.fixture(scope="module")
def fleet() -> LoadedConfig:
    return load_config(settings(), ["demo-soap"])


def settings(**changes: str) -> Settings:
    given = {"pseudonym_key": NEW} | changes
    return Settings(
        connectors=ROOT / "connectors",
        mappings=ROOT / "mappings",
        **{name: SecretStr(value) for name, value in given.items()},
    )


def raws(number: str, consent: str) -> list[RawRecord]:
    """A degree and an enrolment of one person, under that person's national number, as some registries have it."""
    given, family, born, esi = PERSONS[number]
    student = (
        f"<t:student><t:nationalNumber>{number}</t:nationalNumber><t:esi>{esi}</t:esi><t:givenName>{given}</t:givenName>"
        f"<t:familyName>{family}</t:familyName><t:birthDate>{born}</t:birthDate></t:student>"
    )
    degree = (
        f'<t:degree xmlns:t="urn:example:student-records:1" kind="degree">{student}{SCHOOL.format("awardedBy")}'
        '<t:name lang="en">Bachelor</t:name><t:level framework="FiNQF">6</t:level><t:outcome lang="en">Models rivers</t:outcome>'
        f"<t:awarded>2021-05-31</t:awarded><t:consent>{consent}</t:consent></t:degree>"
    )
    enrolment = (
        f'<t:enrolment xmlns:t="urn:example:student-records:1">{student}{SCHOOL.format("institution")}<t:state>1</t:state>'
        "<t:from>2025-08-01</t:from><t:until>2026-07-31</t:until><t:consent>true</t:consent></t:enrolment>"
    )
    return [
        RawRecord(
            connector="demo-soap",
            stream=stream,
            native_id=number,
            body=body.encode(),
            media_type="application/xml",
        )
        for stream, body in (("degrees", degree), ("enrolments", enrolment))
    ]


def outgoing(deliver: RecordProcessor, raw: RawRecord) -> list[OutgoingRecord]:
    record = ConsumerRecord(
        "gateway.raw.v1",
        0,
        7,
        1_700_000_000_000,
        0,
        raw.key.encode(),
        raw.body,
        None,
        0,
        0,
        encode_raw_headers(raw),
    )
    result = deliver(record)
    assert result.outcome in {"accepted", "deleted"}, result
    return result.outgoing


def words(one: OutgoingRecord) -> set[str]:
    """Every text a reader of a record gets: key, headers, and the texts of the value."""
    found = {one.key.decode(), *(value.decode() for _, value in one.headers)}
    return found | set(re.findall(r'"((?:[^"\\]|\\.)*)"', (one.value or b"").decode()))


def told(fleet: LoadedConfig, number: str, consent: str) -> dict[str, set[str]]:
    """What each platform is told of a person."""
    deliver = build_record_processor(settings(), fleet.harmonisers.get)
    found: dict[str, set[str]] = {"europass": set(), "esc": set()}
    for one in [
        one for raw in raws(number, consent) for one in outgoing(deliver, raw) if one.value
    ]:  # a tombstone names nobody
        found[one.topic.partition(".")[0]] |= words(one)
    return found


@pytest.mark.parametrize("consent", ["true", "false"])
def test_platforms_share_no_identifier_beyond_the_agreed(fleet: LoadedConfig, consent: str):
    [one, other] = [told(fleet, number, consent) for number in PERSONS]
    of_the_person = {platform: texts - other[platform] for platform, texts in one.items()}
    assert len(of_the_person["europass"]) > 5
    assert len(of_the_person["esc"]) >= 4
    number = next(iter(PERSONS))
    esi = PERSONS[number][3]
    shared = of_the_person["europass"] & of_the_person["esc"]
    credential = {text for text in shared if text.startswith("urn:uuid:")}
    assert shared - credential == {esi}, (
        "the identifier that the card initiative and the credential share by design"
    )
    assert len(credential) == (consent == "true"), (
        "the pointer names the credential, with the holder's consent"
    )
    assert not [text for texts in one.values() for text in texts if number in text], (
        "the native id is a national number"
    )


def test_linkage_check_detects_a_shared_identifier(fleet: LoadedConfig):
    """With the native id as it is, the comparison finds it on both sides."""
    number = next(iter(PERSONS))
    raw = raws(number, "false")[1]
    [plain] = outgoing(build_record_processor(settings(), fleet.harmonisers.get), raw)
    document = json.loads(plain.value)
    assert document["source"]["sourceEventId"] not in {number, raw.key}
    document["source"]["sourceEventId"] = number
    assert number in words(
        OutgoingRecord(plain.topic, plain.key, json.dumps(document).encode(), plain.headers)
    )


def test_audiences_have_separate_keys_and_opaque_ids(fleet: LoadedConfig):
    keys = load_keys(settings())
    made = {
        audience: keys.for_audience(audience)[0]
        for audience in (ESC_AUDIENCE, CREDENTIAL_ID_AUDIENCE, SUPPRESSION_AUDIENCE)
    }
    assert len({*made.values(), NEW.encode()}) == 4
    assert len({key_id(key) for key in made.values()}) == 3
    assert all(re.fullmatch("[0-9a-f]{8}", key_id(key)) for key in made.values())
    assert derive_key(b"a", ESC_AUDIENCE) != derive_key(b"b", ESC_AUDIENCE)


def test_key_rotation_publishes_no_record_twice(fleet: LoadedConfig):
    """In the window a record goes out under the new key and is taken away under the old one; credentials keep their ids."""
    number = next(iter(PERSONS))
    credential, enrolment = raws(number, "true")
    before = build_record_processor(settings(pseudonym_key=OLD), fleet.harmonisers.get)
    window = build_record_processor(
        settings(pseudonym_key_previous=OLD, permanent_key=OLD), fleet.harmonisers.get
    )
    after = build_record_processor(settings(permanent_key=OLD), fleet.harmonisers.get)

    standing = {
        (one.topic, one.key): one.value
        for one in outgoing(before, enrolment) + outgoing(before, credential)
    }
    moved = outgoing(window, enrolment)
    assert [(one.topic, one.key) for one in moved if one.value is None] == [
        place for place in standing if place[0] == "esc.student-status.v1"
    ]
    assert {one.key for one in moved if one.value} == {
        one.key for one in outgoing(after, enrolment)
    }
    assert {(one.topic, one.key) for one in outgoing(after, credential)} <= standing.keys()
    assert all(one.value for one in outgoing(window, credential))
    for one in [*moved, *outgoing(window, credential)]:
        standing[one.topic, one.key] = one.value
    left = {place for place, value in standing.items() if value}
    assert left == {
        (one.topic, one.key) for raw in (credential, enrolment) for one in outgoing(after, raw)
    }

    gone = RawRecord(connector="demo-soap", stream="enrolments", native_id=number, body=None)
    assert {one.key for one in outgoing(window, gone)} >= {one.key for one in moved}, (
        "a deletion finds both"
    )
