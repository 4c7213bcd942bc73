"""A record that differs in one value from a remembered one has the result of the ordinary way."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from itertools import chain

import pytest
from msgspec.structs import replace

from bench.harmonise import Fetched
from gateway.config.connector import payload_format
from tests.support.equality import (
    ROOT,
    Comparison,
    World,
    fetched,
    mapping_tables,
    outcomes,
)
from tests.support.equality_neighbours import neighbours
from tests.support.equality_records import CONNECTORS, inline_records
from tests.support.every_kind import (
    FORMATS,
    KINDS,
    Format,
    accepted,
    body_of,
    every_kind,
    raw_of,
    raw_of_body,
)

pytestmark = pytest.mark.slow
"""``make equality`` runs these tests."""

COUNTRIES = [one.country for one in mapping_tables().mappings if one.country != "EHEA"]
GROUPS = 8
FIRST_DAY, DAYS = date(1950, 1, 1), 27_900
"""The days on which the tables are searched for boundaries, until May 2026."""


def _reads_json(name: str) -> bool:
    connector = CONNECTORS[name]
    return any(payload_format(connector, stream) != "xml" for stream in connector.streams.values())


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_value_is_another(kind: str, form: Format):
    """Each value in turn is missing, empty, of another type, in another spelling."""
    base = fetched(raw_of(kind, accepted(kind), form))
    records = [base, base, base]
    for _, payload in neighbours(accepted(kind)):
        records.append(fetched(raw_of(kind, payload, form)))
    results = Comparison(World({"every-kind": every_kind(form)})).assert_equal(records, passes=2)
    assert outcomes(results[:3]) == {"accepted": 3}
    assert set(outcomes(results)) >= {"accepted", "rejected"}


@pytest.mark.parametrize("kind", KINDS)
def test_one_value_is_another_between_accepted_records(kind: str):
    """An accepted record stands before each changed one."""
    base = fetched(raw_of(kind, accepted(kind), "json"))
    changed = [payload for _, payload in neighbours(accepted(kind))][::7]
    pairs = ((base, fetched(raw_of(kind, payload, "json"))) for payload in changed)
    Comparison(World({"every-kind": every_kind("json")})).assert_equal(
        list(chain.from_iterable(pairs)), passes=1
    )


@pytest.mark.parametrize("name", [name for name in CONNECTORS if _reads_json(name)])
def test_one_value_of_an_inline_test_is_another(name: str):
    """Each value of the JSON records of a connector file in turn."""
    records = []
    for raw in inline_records(name):
        if raw.body is None or raw.media_type != "application/json":
            continue
        records.append(fetched(raw))
        for _, payload in list(neighbours(json.loads(raw.body)))[::11]:
            body = json.dumps(payload, ensure_ascii=False).encode("utf-8", "surrogatepass")
            records.append(fetched(replace(raw, body=body)))
    assert records
    Comparison(World({name: CONNECTORS[name]})).assert_equal(records, passes=2)


def _spellings(kind: str) -> list[bytes]:
    """Return the accepted JSON body in other spellings, and bodies that are no JSON."""
    body = body_of(accepted(kind), "json")
    text = body.decode()
    escaped = json.dumps(accepted(kind)).encode()
    return [
        body,
        escaped,
        json.dumps(accepted(kind), indent=2).encode(),
        json.dumps(accepted(kind), sort_keys=True).encode(),
        re.sub(r"[a-z]", lambda found: f"\\u{ord(found[0]):04x}", text).encode(),
        text.replace('"id"', '"\\u0069d"').encode(),
        text.replace("/", "\\/").encode(),
        text.replace('":"', '" : \t"').encode(),
        b"\xef\xbb\xbf" + body,
        b"\n" + body + b"\n",
        body + b" ",
        body + b"x",
        body + body,
        body[:-1],
        body[1:],
        b"[" + body + b"]",
        body.decode().encode("utf-16"),
        body.replace(b"e", b"\xc3\x28", 1),
        body.replace(b'"en"', b'"\\ud800"'),
        body.replace(b"true", b"True"),
        body.replace(b"true", b'"true"'),
        body.replace(b":180", b":180.0").replace(b":36", b":36.0"),
        body.replace(b":180", b":1.8e2").replace(b":36", b":3.6E+1"),
        body.replace(b":180", b":180.00000000000000000000001"),
        body.replace(b":180", b":0180"),
        body.replace(b":180", b":-0"),
        body.replace(b":180", b":1e999"),
        body.replace(b":180", b":NaN"),
        body.replace(b":180", b":99999999999999999999999999999999999999"),
        body[:-1] + b',"id":"again"}',
        body[:-1] + b',"unused":1,"unused":2}',
        body[:-1] + b',"\\u0069d":"again"}',
        body[:-1] + b',"unused":{"a":1,"a":2}}',
        body[:-1] + b',"unused":' + b"[" * 40 + b"]" * 40 + b"}",
        body[:-1] + b',"unused":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        body[:-1] + b',"unused":NaN}',
        body[:-1] + b',"unused":"\xff"}',
        body[:-1] + b',"unused":"\\ud83d"}',
        body[:-1] + b',"unused":"\\u0000"}',
        body[:-1] + b',"unused":"' + b"y" * 300_000 + b'"}',
        body[:-1] + b',"_malformed":[3,4]}',
        body[:-1] + b',"":1}',
        body[:-1] + b',"title":null}',
        body[:-1] + b',"title.en":"x"}',
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_json_in_other_spellings(kind: str):
    """Escapes, blanks, repeated keys, odd numbers, broken texts and other encodings."""
    bodies = _spellings(kind)
    records = [fetched(raw_of_body(kind, body, "json")) for body in bodies]
    Comparison(World({"every-kind": every_kind("json")})).assert_equal(
        [records[0]] * 3 + records, passes=3
    )


def _xml_spellings(kind: str) -> list[bytes]:
    body = body_of(accepted(kind), "xml")
    inside = body[len("<record>") : -len("</record>")]
    text = body.decode()
    return [
        body,
        b"<?xml version='1.0' encoding='UTF-8'?>" + body,
        b"<?xml version='1.0' encoding='ISO-8859-1'?>"
        + text.encode("latin-1", "xmlcharrefreplace"),
        b"<?xml version='1.0'?>" + text.encode("utf-16"),
        b"\xef\xbb\xbf" + body,
        b" " + body,
        body + b"\n",
        body + body,
        body[:-3],
        b"<!-- a --><record><!-- b -->" + inside + b"<?c d?></record><!-- e -->",
        b"<!DOCTYPE record>" + body,
        b"<!DOCTYPE r [<!ENTITY e 'x'>]>" + body.replace(b"<id>", b"<id>&e;"),
        text.replace("ū", "&#363;").replace("e", "&#x65;").encode(),
        re.sub(rb"<id>([^<]*)</id>", rb"<id><![CDATA[\1]]></id>", body),
        re.sub(rb"<id>([^<]*)</id>", rb"<id>a<!-- b -->\1</id>", body),
        re.sub(rb"<id>([^<]*)</id>", rb"<id>a<b>\1</b>c</id>", body),
        re.sub(rb"<([a-z]+)>([^<]+)</\1>", rb"<\1> \2\n</\1>", body),
        re.sub(rb"<([a-z]+)>([^<]+)</\1>", rb"<\1 a='b'>\2</\1>", body),
        re.sub(rb"<([a-z]+)>([^<]+)</\1>", rb"<\1>\2</\1><\1/>", body),
        re.sub(rb"<([a-z]+)>([^<]+)</\1>", rb"<\1/><\1>\2</\1>", body),
        re.sub(rb"<([a-z]+)>([^<]+)</\1>", rb"<\1>\2</\1><\1>\2</\1>", body),
        body.replace(b"<record>", b"<record xmlns='urn:x'>"),
        body.replace(b"<record>", b"<record xmlns:x='urn:x' x:nil='true'>"),
        body.replace(b"<id>", b"<id xmlns='urn:x'>"),
        body.replace(b"<record>", b"<record xml:lang='en'>"),
        body.replace(b"record>", b"other>"),
        b"<list><record>" + inside + b"</record></list>",
        body.replace(b"<id>", b"<id>\xff"),
        body.replace(b"<id>", b"<id>&undefined;"),
        body.replace(b"<id>", b"<id>&#0;"),
        body.replace(b"<id>", b"<id>\x0b"),
        body.replace(b"<id>", b"<id>" + b"z" * 100_000),
        b"<record>" + b"<a>" * 400 + b"</a>" * 400 + inside + b"</record>",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_xml_in_other_spellings(kind: str):
    """Entities, sections, comments, namespaces, attributes, encodings and broken texts."""
    records = [fetched(raw_of_body(kind, body, "xml")) for body in _xml_spellings(kind)]
    Comparison(World({"every-kind": every_kind("xml")})).assert_equal(
        [records[0]] * 3 + records, passes=3
    )


@pytest.mark.parametrize("group", range(GROUPS))
def test_days_around_each_boundary_of_the_tables(group: int):
    """Each level and unit of a country, on the days around each date of its file.

    A memory that is keyed by the interval between two boundaries must end at each of them.
    """
    countries = COUNTRIES[group::GROUPS]
    connectors = {
        country: every_kind("json", country.replace("UK", "GB")).model_copy(
            update={"connector": country}
        )
        for country in countries
    }
    records = [record for country in countries for record in _records_of_boundaries(country)]
    Comparison(World(connectors)).assert_equal(records, passes=2)


def _records_of_boundaries(country: str) -> list[Fetched]:
    text = (ROOT / f"mappings/{country.lower()}.yaml").read_text()
    dates = {date.fromisoformat(day) for day in re.findall(r"\b\d{4}-\d\d-\d\d\b", text)}
    judgements = mapping_tables().judgements
    for day in (FIRST_DAY + timedelta(number) for number in range(DAYS)):
        if day in {judgements.level_day(country, day), judgements.credit_day(country, day)}:
            dates.add(day)
    days = sorted({day + timedelta(step) for day in dates for step in (-1, 0, 1)})
    mapping = next(one for one in mapping_tables().mappings if one.country == country)
    levels = [
        {"scheme": key, "value": level.level}
        for key, framework in mapping.frameworks.items()
        for version in framework.versions
        for level in version.levels
    ]
    units = [
        {"value": 30, "unit": unit.unit, "sector": sector}
        for unit in mapping.credits
        for sector in ("HE", "VET")
    ]
    return [
        make(country, day, changes)
        for index, day in enumerate(days)
        for changes in (
            *({"level": level} for level in levels[index % 3 :: 3]),
            *({"credits": unit} for unit in units),
        )
        for make in (_award, _entry)
    ]


def _award(country: str, day: date, changes: dict[str, dict[str, object]]) -> Fetched:
    payload = {**accepted("credentials"), "awarded": day.isoformat(), **changes}
    payload = {key: value for key, value in payload.items() if key not in {"modules", "months"}}
    payload |= {"begins": None, "ends": None}
    return fetched(raw_of("credentials", payload, "json", connector=country))


def _entry(country: str, day: date, changes: dict[str, dict[str, object]]) -> Fetched:
    payload = {**accepted("qualifications"), "begins": f"{day:%d.%m.%Y}", **changes}
    payload |= {"ends": None, "months": None}
    return fetched(raw_of("qualifications", payload, "json", connector=country))
