# ruff: noqa: E501
"""What mapping one record costs: a 1.2 KB JSON record and a 3 KB XML record, by configuration and by hand.

Run: ``python -m bench.mapper``. CPU time of this process, best of five.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
from lxml import etree

from gateway.harmonise import Harmoniser
from gateway.language import connector_of
from gateway.language.document import parse
from gateway.records import Accepted, Credential, Holder, Learning, Organisation, Part, Provenance, Raw

KEY = b"the key of benchmarks, never of a gateway"
ROUNDS = 2_000

HEAD = """language: 1
connector: bench
country: IE
title: Benchmark
owner: {name: Benchmark, contact: bench@example.org}
"""

JSON_FILE = (
    HEAD
    + """
rest: {url: {production: "https://registry.example"}}
tables: {kind: {map: {DEG: diploma, CERT: certificate}}}
streams:
  awards:
    emits: credential
    request: {get: /}
    records: items
    id: awardId
    map:
      kind: {from: type, table: kind}
      title.en: title.en
      title.ga: title.ga
      description.en: summary
      nqf_framework: {const: NFQ}
      nqf_level: level.value
      credit_amount: credits.value
      credit_unit: credits.unit
      credit_sector: {const: HE}
      workload_hours: credits.hours
      isced_f: fields
      languages: language
      awarded_on: decided
      valid_from: decided
      changed_at: lastChanged
      homepage: link
      setting: {const: formal}
      awarding_body.name.en: body.name
      awarding_body.country: body.country
      awarding_body.identifiers.schac: body.schac
      awarding_body.identifiers.pic: body.pic
      holder.pseudonym: {from: student.number, pseudonym: student}
      parts: {each: modules, map: {id: code, title.en: name, credit_amount: credits}}
    tests: [{name: t, given: {a: 1}, expect_rejected: {reason: missing}}]
"""
)
JSON_RECORD: dict[str, Any] = {
    "awardId": "A-2026-000123", "version": 3, "type": "DEG", "lastChanged": "2026-03-01T12:00:00Z", "status": "CONFERRED",
    "title": {"en": "Bachelor of Science in Water Management", "ga": "Baitsiléir Eolaíochta i mBainistíocht Uisce"},
    "summary": "Models the flow of lowland rivers, designs flood protection and manages the quality of surface water.",
    "level": {"scheme": "NFQ", "value": "8"}, "credits": {"value": 240, "unit": "ECTS", "hours": 4800}, "fields": ["0712", "0521"],
    "language": "eng", "decided": "2026-02-27", "link": "https://awards.example/awards/A-2026-000123",
    "body": {"name": "Atlantic University", "country": "IE", "schac": "atlantic.example", "pic": "999990002", "city": "Galway"},
    "student": {"number": "19900101-1234", "cohort": "2022", "campus": "Main"},
    "modules": [{"code": f"WM{n}01", "name": f"Module number {n} of water management", "credits": 5, "grade": "B"} for n in range(5)],
}  # fmt: skip

XML_FILE = (
    HEAD
    + """
rest: {url: {production: "https://registry.example"}, namespaces: {r: "urn:example:elmo-like"}}
tables: {kind: {map: {DEG: diploma, CERT: certificate}}}
streams:
  awards:
    emits: credential
    request: {get: /}
    decode: xml
    records: "//r:award"
    id: "@id"
    map:
      kind: {from: "r:type", table: kind}
      title: {languages: {each: "r:title", language: "@xml:lang"}}
      description: {languages: {each: "r:description", language: "@xml:lang"}}
      nqf_framework: {const: NFQ}
      nqf_level: "r:level[@type='NQF']/r:value"
      credit_amount: "r:credit[@scheme='ects']/r:value"
      credit_unit: {const: ECTS}
      credit_sector: {const: HE}
      workload_hours: "r:engagementHours"
      isced_f: "r:iscedCode"
      languages: "r:language"
      awarded_on: "r:date"
      changed_at: "r:changed"
      homepage: "r:link"
      setting: {const: formal}
      awarding_body.name.en: "r:issuer/r:title"
      awarding_body.country: "r:issuer/r:country"
      awarding_body.identifiers.schac: "r:issuer/r:identifier[@type='schac']"
      awarding_body.identifiers.pic: "r:issuer/r:identifier[@type='pic']"
      holder.pseudonym: {from: "r:learner/r:identifier[@type='nationalIdentifier']", pseudonym: student}
      parts: {each: "r:hasPart", map: {id: "@id", title.en: "r:title", credit_amount: "r:credit/r:value"}}
    tests: [{name: t, given: "<r/>", expect_rejected: {reason: missing}}]
"""
)
_PARTS = "".join(
    f'<hasPart id="WM{n}01"><title xml:lang="en">Module number {n} of water management</title><type>Module</type><date>2025-0{n + 1}-15</date>'
    f'<credit scheme="ects"><value>5</value></credit><resultLabel>B</resultLabel><status>passed</status></hasPart>'
    for n in range(6)
)
XML_RECORD = f"""<award xmlns="urn:example:elmo-like" id="A-2026-000123"><type>DEG</type><changed>2026-03-01T12:00:00Z</changed><status>passed</status>
<title xml:lang="en">Bachelor of Science in Water Management</title><title xml:lang="ga">Baitsiléir Eolaíochta i mBainistíocht Uisce</title>
<description xml:lang="en">Models the flow of lowland rivers, designs flood protection and manages the quality of surface water.</description>
<level><type>EQF</type><value>6</value></level><level type="NQF"><value>8</value></level><credit scheme="ects"><value>240</value></credit>
<credit scheme="no-vt"><value>1</value></credit><engagementHours>4800</engagementHours><iscedCode>0712</iscedCode><iscedCode>0521</iscedCode>
<language>en</language><start>2022-09-01</start><date>2026-02-27</date><link>https://awards.example/awards/A-2026-000123</link>
<issuer><country>IE</country><identifier type="schac">atlantic.example</identifier><identifier type="pic">999990002</identifier>
<title>Atlantic University</title><url>https://atlantic.example</url></issuer>
<learner><citizenship>IE</citizenship><identifier type="nationalIdentifier">19900101-1234</identifier><givenNames>Aoife</givenNames>
<familyName>Example</familyName><bday>1990-01-01</bday></learner>{_PARTS}</award>"""


def harmoniser(text: str) -> Harmoniser:
    """Return the compiled connector; without tables, so that mapping alone is measured."""
    connector, findings = connector_of(parse(text.encode(), "bench.yaml"))
    if connector is None:
        raise SystemExit("\n".join(map(str, findings)))
    return Harmoniser(connector, None, pseudonym_key=KEY)


def json_raw() -> Raw:
    """Return the JSON record as fetched."""
    return Raw(connector="bench", stream="awards", native_id="A-2026-000123", body=msgspec.json.encode(JSON_RECORD))


def xml_raw() -> Raw:
    """Return the XML record as fetched."""
    body = XML_RECORD.replace("\n", "").encode()
    return Raw(connector="bench", stream="awards", native_id="A-2026-000123", body=body, media_type="application/xml")


def by_hand(body: bytes) -> Accepted:
    """Map the JSON record without any checks: the least that can be written."""
    found = msgspec.json.decode(body)
    body_, credits_ = found["body"], found["credits"]
    record = Credential(
        id=found["awardId"],
        kind={"DEG": "diploma", "CERT": "certificate"}[found["type"]],  # type: ignore[arg-type]
        title={"en": found["title"]["en"], "ga": found["title"]["ga"]},
        description={"en": found["summary"]},
        nqf_framework="NFQ",
        nqf_level=found["level"]["value"],
        credit_amount=Decimal(credits_["value"]),
        credit_unit=credits_["unit"],
        credit_sector="HE",
        workload_hours=Decimal(credits_["hours"]),
        isced_f=tuple(found["fields"]),
        languages=("en",),
        awarded_on=date.fromisoformat(found["decided"]),
        homepage=found["link"],
        setting="formal",
        awarding_body=Organisation(
            name={"en": body_["name"]}, country=body_["country"], identifiers={"schac": body_["schac"], "pic": body_["pic"]}
        ),
        holder=Holder(pseudonym=found["student"]["number"]),
        parts=tuple(Part(id=one["code"], title={"en": one["name"]}, credit_amount=Decimal(one["credits"])) for one in found["modules"]),
    )
    return Accepted(record=record, provenance=Provenance(connector="bench", stream="awards", config_digest=""))


def cost(work: Callable[[], object]) -> float:
    """Return the best CPU time of a call, in microseconds."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _ in range(ROUNDS):
            work()
        best = min(best, (time.process_time() - start) / ROUNDS)
    return best * 1e6


def figures() -> dict[str, float]:
    """Measure; every outcome is looked at first."""
    json_one, xml_one = harmoniser(JSON_FILE), harmoniser(XML_FILE)
    json_record, xml_record = json_raw(), xml_raw()
    for harmonise, raw in ((json_one, json_record), (xml_one, xml_record)):
        outcome = harmonise(raw)
        if not isinstance(outcome, Accepted) or not isinstance(outcome.record, Learning):
            raise SystemExit(f"the record should be accepted: {outcome}")
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    return {
        f"JSON {len(json_record.body or b'')} bytes, by configuration": cost(lambda: json_one(json_record)),
        f"JSON {len(json_record.body or b'')} bytes, by hand, unchecked": cost(lambda: by_hand(json_record.body or b"")),
        f"XML {len(xml_record.body or b'')} bytes, by configuration": cost(lambda: xml_one(xml_record)),
        f"XML {len(xml_record.body or b'')} bytes, parse alone": cost(lambda: etree.fromstring(xml_record.body or b"", parser)),
    }


def main() -> None:
    """Print the figures."""
    for name, micros in figures().items():
        print(f"{name:46} {micros:7.1f} µs/record {1e6 / micros:10,.0f} records/s/core")


if __name__ == "__main__":
    main()
