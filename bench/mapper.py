"""Measure the cost of mapping one record, by configuration and by hand.

Run: ``python -m bench.mapper``. The records are a JSON record of 1.2 KB and an XML record of 2.6
KB. The figures are CPU time of this process: the median of nine rounds. Each round runs all
alternatives in turn on the same 256 variants. The benchmark loads no table of ``mappings/`` and
measures mapping alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from lxml import etree

from bench import by_hand
from gateway.config.loading import build_connector
from gateway.config.yaml.document import parse_yaml
from gateway.harmonise.harmoniser import Harmoniser
from gateway.pipeline.garbage_collector import tune_garbage_collector
from gateway.records import Accepted, RawRecord

KEY = b"the key of benchmarks, never of a gateway"
VARIANTS = 256
PASSES = 8
ROUNDS = 9

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
    "awardId": "A-2026-000123", "version": 3, "type": "DEG",
    "lastChanged": "2026-03-01T12:00:00Z", "status": "CONFERRED",
    "title": {
        "en": "Bachelor of Science in Water Management",
        "ga": "Baitsiléir Eolaíochta i mBainistíocht Uisce",
    },
    "summary": "Models the flow of lowland rivers, designs flood protection "
    "and manages the quality of surface water.",
    "level": {"scheme": "NFQ", "value": "8"},
    "credits": {"value": 240, "unit": "ECTS", "hours": 4800},
    "fields": ["0712", "0521"], "language": "eng", "decided": "2026-02-27",
    "link": "https://awards.example/awards/A-2026-000123",
    "body": {
        "name": "Atlantic University", "country": "IE", "schac": "atlantic.example",
        "pic": "999990002", "city": "Galway",
    },
    "student": {"number": "19900101-1234", "cohort": "2022", "campus": "Main"},
    "modules": [
        {
            "code": f"WM{n}01", "name": f"Module number {n} of water management",
            "credits": 5, "grade": "B",
        }
        for n in range(5)
    ],
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
      holder.pseudonym:
        from: "r:learner/r:identifier[@type='nationalIdentifier']"
        pseudonym: student
      parts:
        each: "r:hasPart"
        map: {id: "@id", title.en: "r:title", credit_amount: "r:credit/r:value"}
    tests: [{name: t, given: "<r/>", expect_rejected: {reason: missing}}]
"""
)
_PARTS = "".join(
    f'<hasPart id="WM{n}01"><title xml:lang="en">Module number {n} of water management</title>'
    f"<type>Module</type><date>2025-0{n + 1}-15</date>"
    '<credit scheme="ects"><value>5</value></credit><resultLabel>B</resultLabel>'
    "<status>passed</status></hasPart>"
    for n in range(6)
)
XML_RECORD = f"""<award xmlns="urn:example:elmo-like" id="A-2026-000123"><type>DEG</type>
<changed>2026-03-01T12:00:00Z</changed><status>passed</status>
<title xml:lang="en">Bachelor of Science in Water Management</title>
<title xml:lang="ga">Baitsiléir Eolaíochta i mBainistíocht Uisce</title>
<description xml:lang="en">Models the flow of lowland rivers, designs flood protection and
 manages the quality of surface water.</description>
<level><type>EQF</type><value>6</value></level><level type="NQF"><value>8</value></level>
<credit scheme="ects"><value>240</value></credit>
<credit scheme="no-vt"><value>1</value></credit><engagementHours>4800</engagementHours>
<iscedCode>0712</iscedCode><iscedCode>0521</iscedCode>
<language>en</language><start>2022-09-01</start><date>2026-02-27</date>
<link>https://awards.example/awards/A-2026-000123</link>
<issuer><country>IE</country><identifier type="schac">atlantic.example</identifier>
<identifier type="pic">999990002</identifier>
<title>Atlantic University</title><url>https://atlantic.example</url></issuer>
<learner><citizenship>IE</citizenship>
<identifier type="nationalIdentifier">19900101-1234</identifier>
<givenNames>Aoife</givenNames>
<familyName>Example</familyName><bday>1990-01-01</bday></learner>{_PARTS}</award>"""


def harmoniser(text: str) -> Harmoniser:
    """Return the compiled connector without tables, because only mapping is measured."""
    connector, findings = build_connector(parse_yaml(text.encode(), "bench.yaml"))
    if connector is None:
        raise SystemExit("\n".join(map(str, findings)))
    return Harmoniser(connector, None, pseudonym_key=KEY)


def json_raws() -> list[RawRecord]:
    """Return variants of the JSON record with different ids, people, dates, times and amounts."""
    made = []
    for number in range(VARIANTS):
        changes = {
            "awardId": f"A-2026-{number:06}",
            "lastChanged": f"2026-03-{number % 28 + 1:02}"
            f"T{number % 24:02}:{number % 60:02}:{number * 7 % 60:02}Z",
            "credits": {"value": 60 + number, "unit": "ECTS", "hours": 1_500 + number},
            "decided": f"20{number % 26:02}-{number % 12 + 1:02}-{number % 28 + 1:02}",
            "student": {
                "number": f"1990{number % 12 + 1:02}{number % 28 + 1:02}-{number:04}",
                "cohort": "2022",
                "campus": "Main",
            },
        }
        body = msgspec.json.encode({**JSON_RECORD, **changes})
        made.append(
            RawRecord(
                connector="bench", stream="awards", native_id=f"A-2026-{number:06}", body=body
            )
        )
    return made


def xml_raws() -> list[RawRecord]:
    """Return variants of the XML record."""
    made = []
    for number in range(VARIANTS):
        text = XML_RECORD.replace("\n", "").replace("A-2026-000123", f"A-2026-{number:06}")
        text = text.replace(
            "2026-02-27", f"20{number % 26:02}-{number % 12 + 1:02}-{number % 28 + 1:02}"
        )
        text = text.replace(
            "T12:00:00Z", f"T{number % 24:02}:{number % 60:02}:{number * 7 % 60:02}Z"
        ).replace("-1234<", f"-{number:04}<")
        made.append(
            RawRecord(
                connector="bench",
                stream="awards",
                native_id=f"A-2026-{number:06}",
                body=text.encode(),
                media_type="application/xml",
            )
        )
    return made


def costs(raws: Sequence[RawRecord], *works: Callable[[RawRecord], object]) -> list[float]:
    """Return the CPU microseconds a record of each function."""
    measured: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, times in zip(works, measured, strict=True):
            start = time.process_time()
            for _ in range(PASSES):
                for raw in raws:
                    work(raw)
            times.append((time.process_time() - start) / (PASSES * len(raws)))
    return [statistics.median(times) * 1e6 for times in measured]


def figures() -> dict[str, float]:
    """Check that all alternatives give the same outcome, then measure them."""
    json_one, xml_one = harmoniser(JSON_FILE), harmoniser(XML_FILE)
    digest = json_one.connector.digest
    least, careful = by_hand.unchecked(KEY, digest), by_hand.checked(KEY, digest)
    jsons, xmls = json_raws(), xml_raws()
    for raw in jsons:
        outcome = json_one(raw)
        if not isinstance(outcome, Accepted) or not outcome == least(raw) == careful(
            raw
        ) == json_one.harmonise_with_rules(raw):
            raise SystemExit(f"not the same outcome: {outcome}")
    for raw in xmls:
        outcome = xml_one(raw)
        if not isinstance(outcome, Accepted) or outcome != xml_one.harmonise_with_rules(raw):
            raise SystemExit(f"not the same outcome: {outcome}")
    tune_garbage_collector()  # as the stage does
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    config, same_checks, no_checks, slow = costs(
        jsons, json_one, careful, least, json_one.harmonise_with_rules
    )
    xml_config, xml_slow, xml_parse = costs(
        xmls,
        xml_one,
        xml_one.harmonise_with_rules,
        lambda raw: etree.fromstring(raw.body or b"", parser),
    )
    size, xml_size = len(jsons[0].body or b""), len(xmls[0].body or b"")
    return {
        f"JSON {size} bytes, by configuration": config,
        f"JSON {size} bytes, by hand, with the same checks": same_checks,
        f"JSON {size} bytes, by hand, without any check": no_checks,
        f"JSON {size} bytes, by configuration, rule by rule": slow,
        f"XML {xml_size} bytes, by configuration": xml_config,
        f"XML {xml_size} bytes, by configuration, rule by rule": xml_slow,
        f"XML {xml_size} bytes, lxml's parse alone": xml_parse,
        "ratio, configuration to hand with the same checks": config / same_checks,
        "ratio, configuration to hand without any check": config / no_checks,
    }


def main() -> dict[str, float]:
    """Print the figures."""
    found = figures()
    for name, figure in found.items():
        if name.startswith("ratio"):
            print(f"{name:52} {figure:7.2f}")
        else:
            print(f"{name:52} {figure:7.1f} µs/record {1e6 / figure:10,.0f} records/s/core")
    return found


if __name__ == "__main__":
    main()
