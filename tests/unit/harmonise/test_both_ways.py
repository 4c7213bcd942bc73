"""Check that generated code and rule functions give the same outcome for every payload.

The test covers every stream of every connector in the repository.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from gateway.check.run_tests import raw_record_of_test
from gateway.config.connector import Connector, payload_format
from gateway.config.loading import build_connector, load_connector
from gateway.config.yaml.document import parse_yaml
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.records import Accepted, RawRecord, Rejected

ROOT = Path(__file__).parents[3]
KEY = b"0123456789abcdef0123456789abcdef"
TABLES = Tables.load(ROOT / "mappings")

HEAD = """language: 1
connector: forms
country: IE
title: Every form of a rule
owner: {name: X, contact: x@example.org}
rest: {url: {production: "https://x.example"}, namespaces: {n: "urn:n"}}
tables:
  kind: {map: {D: diploma, C: certificate, T: transcript, bad: nonsense}}
  mode: {map: {a: online, b: blended, c: null}, unmapped: flag}
  yes: {map: {"true": true, "false": false, J: true}, unmapped: null}
"""
FORMS = """
      kind: {from: %(kind)s, table: kind, default: certificate}
      title: {languages: {each: %(title)s, language: %(lang)s, text: %(value)s, otherwise: en}}
      title.ga: %(ga)s
      description: {languages: {en: %(en)s, ga: %(ga)s}}
      nqf_level: {first_of: [%(level)s, {from: $level}, {from: %(deep)s, when: %(when)s}], framework: NFQ}
      eqf_declared: %(eqf)s
      credit_amount: {from: %(credits)s, as: {decimal: ","}}
      credit_unit: {const: ECTS, when: {path: %(credits)s, exists: true}}
      credit_sector: HE_RULE
      workload_hours: {from: %(hours)s, default: 25}
      duration_months: {from: %(months)s, as: duration, invalid: drop}
      isced_f: %(isced)s
      languages: {from: %(tongue)s, invalid: drop}
      mode: {from: %(mode)s, table: mode}
      partial: {from: %(partial)s, table: yes}
      micro: %(micro)s
      entry_requirement.en: {from: %(deep)s, as: html}
      homepage: {join: {code: %(code)s}, text: "https://x.example/{code}"}
      awarding_body.name.en: {from: %(body)s, pick: first}
      awarding_body.country: %(country)s
      awarding_body.identifiers.local: {join: [%(code)s, %(en)s], with: /}
      accreditation: {each: %(parts)s, map: {agency.name.en: %(en)s, agency.country: %(country)s, valid_from: %(day)s}}
      awarded_on: {from: %(day)s, as: {date: ["%%Y-%%m-%%d", "%%d.%%m.%%Y"]}}
      valid_from: %(day)s
      changed_at: %(moment)s
      issued_at: {from: %(moment)s, invalid: drop}
      holder.pseudonym: {first_of: [%(code)s, {from: $person}], pseudonym: x}
      holder.birth_date: {from: %(born)s, basis: law}
      holder.full_name: {from: %(en)s, basis: law, as: collapse}
      assessment.grade: {from: %(grade)s, basis: law}
      parts: {each: %(parts)s, map: {id: %(code)s, title: {languages: {each: %(title)s, language: %(lang)s, text: %(value)s}}, credit_amount: %(credits)s, mode: {from: %(mode)s, table: mode}, nqf_level: {from: %(level)s, framework: NFQ}}}
      learning_outcomes: {each: %(outcomes)s, map: {title.en: %(self)s}}
    tests: [{name: t, given: GIVEN, expect_rejected: {reason: missing}}]
"""
STREAM = "  {name}:\n    emits: credential\n    request: {{get: /}}\n    records: items\n    id: {id}\n    keep: {{level: l, person: p}}\n    null_values: {nulls}\n{more}    map:"
JSON_NAMES = {
    "kind": "kind", "title": "title", "lang": "language", "value": "value", "ga": "names.ga", "en": "names.en", "level": "level.value", "deep": "a.b.c",
    "when": "a.b", "eqf": "eqf", "credits": "credits", "hours": "hours", "months": "months", "isced": "isced", "tongue": "tongue", "mode": "mode",
    "partial": "partial", "micro": "micro", "code": "code", "body": '"body[].name"', "country": "country", "parts": "parts", "day": "day",
    "moment": "moment", "grade": "'list[0]'", "born": "born", "outcomes": "outcomes", "self": "'@'",
}  # fmt: skip
XML_NAMES = {
    **{name: name for name in ("kind", "title", "eqf", "credits", "hours", "months", "isced", "tongue", "mode", "partial", "micro", "country", "parts", "day", "moment", "outcomes")},
    "lang": '"@xml:lang"', "value": '"."', "ga": "names/ga", "en": "names/en", "level": "\"level[@type='nqf']/value\"", "deep": "a/b/c", "when": "a/b",
    "code": '"@code"', "body": "body/name", "grade": "\"list[1] | a\"", "born": "born", "self": '"."',
}  # fmt: skip
JSON_GIVEN: dict[str, Any] = {
    "kind": "D", "title": [{"language": "en", "value": "One"}, {"language": "ga", "value": "A hAon é"}], "names": {"ga": "A hAon é", "en": "One"},
    "level": {"value": "8"}, "a": {"b": {"c": "<p>x</p>"}}, "eqf": "6", "credits": "7,5", "hours": 200, "months": "P1Y", "isced": ["0712", "0521"],
    "tongue": "eng", "mode": "a", "partial": False, "micro": True, "code": "X1", "body": [{"name": "B"}], "country": "IRL", "day": "2020-02-28",
    "moment": "2020-02-28T12:00:00Z", "list": [5], "born": "1990-01-01", "outcomes": ["knows", "does"],
    "parts": [{"code": "p1", "title": [{"language": "en", "value": "P"}], "credits": 5, "mode": "b", "level": {"value": "6"}, "names": {"en": "Q"}}, {"code": "p2"}],
}  # fmt: skip
XML_GIVEN = (
    "<r code='X1'><kind>D</kind><title xml:lang='en'>One</title><title xml:lang='ga'>A hAon é</title><names><ga>A hAon é</ga><en> One </en></names>"
    "<level type='eqf'><value>6</value></level><level type='nqf'><value>8</value></level><a><b><c>x</c></b></a><eqf>6</eqf><credits>7,5</credits>"
    "<hours>200</hours><months>P1Y</months><isced>0712</isced><isced>0521</isced><tongue>en</tongue><mode>a</mode><micro>true</micro>"
    "<body><name>B</name><name>C</name></body><country>IE</country><day>2020-02-28</day><moment>2020-02-28T12:00:00Z</moment>"
    "<born>1990-01-01</born><parts code='p1'><title xml:lang='en'>P</title><credits>5</credits><mode>b</mode></parts><parts code='p2'/><outcomes>knows</outcomes></r>"
)


def forms() -> Connector:
    """A connector whose streams use every form of a rule."""
    text = HEAD + "streams:\n"
    for name, names, given_, identity, nulls, more in (
        ("json", JSON_NAMES, json.dumps(JSON_GIVEN), "code", '["-"]', ""),
        ("plain", JSON_NAMES, json.dumps(JSON_GIVEN), "code", "[]", ""),
        ("xml", XML_NAMES, json.dumps(XML_GIVEN), '"@code"', '["-"]', "    decode: xml\n"),
        ("own", JSON_NAMES, json.dumps(JSON_GIVEN), "code", "[]", "    record_country: country\n"),
    ):
        text += STREAM.format(name=name, id=identity, nulls=nulls, more=more)
        text += (
            (FORMS % names)
            .replace("HE_RULE", "{const: HE, when: {path: country, is: [IRL, IE]}}")
            .replace("GIVEN", given_)
        )
    connector, findings = build_connector(parse_yaml(text.encode(), "forms.yaml"))
    assert connector is not None, [str(finding) for finding in findings]
    return connector


CONNECTORS = {
    path.stem: load_connector(path) for path in sorted((ROOT / "connectors").glob("*.yaml"))
} | {"forms": forms()}
HARMONISERS = {
    name: Harmoniser(connector, TABLES, pseudonym_key=KEY) for name, connector in CONNECTORS.items()
}
STREAMS = [(name, stream) for name, connector in CONNECTORS.items() for stream in connector.streams]


def samples(connector: Connector, stream: str) -> list[RawRecord]:
    return [
        raw
        for example in connector.streams[stream].tests
        if example.given is not None
        and (raw := raw_record_of_test(connector, stream, example)).body
    ]


def agree(name: str, raw: RawRecord) -> None:
    fast, slow = HARMONISERS[name](raw), HARMONISERS[name].harmonise_with_rules(raw)
    assert fast == slow
    assert repr(fast) == repr(slow)  # the order of languages, of lookups, of issues
    assert not isinstance(fast, Rejected) or fast.reason != "internal_error", fast


_scalars = (
    st.none() | st.booleans() | st.integers(-3, 10_000) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", " ", "-", "D", "en", "eng", "x-none", "8", "6+", "7,5", "1.0", "IE", "2020-02-30", "2020-02-28", "28.02.2020", "2020-02-28T12:00:00Z", "é", "e\u0301", "\x7f", "a\tb", "\u202e"])
    | st.text(max_size=6)
)  # fmt: skip
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["value", "language", "name"]), inner, max_size=2)
    ),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    for key, inner in (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    ):
        found += places(inner, (*path, key))
    return found


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    value = copy.copy(value)
    value[path[0]] = put(value[path[0]], path[1:], new)
    return value


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def altered_json(data: st.DataObject, body: bytes) -> bytes:
    value = json.loads(body)
    for _ in range(data.draw(st.integers(0, 3))):
        path = data.draw(st.sampled_from(places(value)))
        here = at(value, path)
        new = data.draw(st.sampled_from(["replace", "repeat", "wrap"]))
        value = put(
            value,
            path,
            data.draw(_values) if new == "replace" else [here, here] if new == "repeat" else [here],
        )
    return msgspec.json.encode(value) if data.draw(st.booleans()) else json.dumps(value).encode()


_texts = st.sampled_from(
    [
        "",
        "  ",
        "-",
        "D",
        "8",
        "7,5",
        "5",
        "en",
        "2020-02-30",
        "2020-02-28",
        "2020-02-28T12:00:00Z",
        "true",
        " \n x\u00a0",
        "e\u0301",
        "\x7f",
        "\u202e",
    ]
)
_attributes = st.sampled_from(
    ["code", "type", "id", "{http://www.w3.org/XML/1998/namespace}lang", "kieli", "tila"]
)


def altered_xml(data: st.DataObject, body: bytes) -> bytes:
    root = etree.fromstring(body)
    for _ in range(data.draw(st.integers(0, 3))):
        element = data.draw(
            st.sampled_from([one for one in root.iter() if isinstance(one.tag, str)])
        )
        way = data.draw(
            st.sampled_from(
                ["text", "attribute", "strip", "repeat", "remove", "inside", "tail", "comment"]
            )
        )
        if way == "text":
            element.text = data.draw(_texts)
        elif way == "attribute":
            element.set(data.draw(_attributes), data.draw(_texts))
        elif way == "strip":
            element.attrib.clear()
        elif way == "tail" and element is not root:
            element.tail = data.draw(_texts)
        elif way == "comment":
            element.append(etree.Comment("x"))
        elif way == "inside":
            etree.SubElement(element, element.tag).text = data.draw(_texts)
        elif element.getparent() is not None:
            parent = element.getparent()
            if way == "repeat":
                parent.append(copy.deepcopy(element))
            else:
                parent.remove(element)
    return etree.tostring(root, encoding="utf-8")


@pytest.mark.parametrize(("name", "stream"), STREAMS, ids=lambda part: part)
def test_generated_code_equals_the_functions(name: str, stream: str) -> None:
    raws = samples(CONNECTORS[name], stream)
    assert raws or not any(example.given for example in CONNECTORS[name].streams[stream].tests)
    for raw in raws:
        agree(name, raw)
    if not raws:
        pytest.skip("every test of this stream is an exchange or a deletion")
    xml = payload_format(CONNECTORS[name], CONNECTORS[name].streams[stream]) == "xml"
    examples = 500 if name == "forms" else 60

    @settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(st.data())
    def altered(data: st.DataObject) -> None:
        raw = data.draw(st.sampled_from(raws))
        assert raw.body is not None
        body = altered_xml(data, raw.body) if xml else altered_json(data, raw.body)
        context = {
            key: data.draw(_texts) if data.draw(st.integers(0, 3)) == 0 else value
            for key, value in raw.context.items()
        }
        agree(name, msgspec.structs.replace(raw, body=body, context=context))

    altered()


def test_rule_forms_are_accepted() -> None:
    """Else the property above would only ever compare rejections."""
    for stream in CONNECTORS["forms"].streams:
        (raw,) = samples(CONNECTORS["forms"], stream)
        outcome = HARMONISERS["forms"](raw)
        assert isinstance(outcome, Accepted), outcome
        assert outcome.provenance.lookups


_names = st.sampled_from(
    [
        "kind",
        "title",
        "names",
        "en",
        "ga",
        "level",
        "value",
        "a",
        "b",
        "c",
        "credits",
        "code",
        "body",
        "name",
        "parts",
        "day",
        "language",
    ]
)
_any = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(
    body=st.binary(max_size=60) | _any.map(lambda value: msgspec.json.encode(value)),
    stream=st.sampled_from(["json", "plain"]),
)
def test_generated_code_equals_the_functions_for_any_json(body: bytes, stream: str) -> None:
    agree(
        "forms",
        RawRecord(
            connector="forms", stream=stream, native_id="1", body=body, context={"level": "8"}
        ),
    )


def test_generated_code_is_readable() -> None:
    code = HARMONISERS["forms"].compiled_stream("json").kinds()[0].source
    compile(code, "code", "exec")
    assert "# holder.pseudonym" in code
    assert KEY.decode() not in code
