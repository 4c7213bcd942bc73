"""Check that rules do what they declare and that no payload can stop the harmoniser."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.loading import build_connector
from gateway.config.yaml.document import parse_yaml
from gateway.errors import ConfigError
from gateway.harmonise.harmoniser import Harmoniser
from gateway.records import Accepted, Outcome, RawRecord, Rejected, Withheld

KEY = b"0123456789abcdef0123456789abcdef"

HEAD = """language: 1
connector: x
country: IE
title: X
owner: {name: X, contact: x@example.org}
"""
TEST = "    tests: [{name: t, given: {a: 1}, expect_rejected: {reason: missing}}]\n"


def harmoniser(
    rules: str,
    *,
    emits: str = "credential",
    extra: str = "",
    tables: str = "",
    xml: bool = False,
    lookup: Any = None,
) -> Harmoniser:
    lines = "".join(f"      {line}\n" for line in rules.strip().splitlines())
    block = 'rest: {url: {production: "https://x.example"}, namespaces: {n: "urn:n"}}\n'
    decode = "    decode: xml\n" if xml else ""
    text = (
        f"{HEAD}{block}{tables}streams:\n  s:\n    emits: {emits}\n    request: {{get: /}}\n    records: items\n    id: id\n{decode}{extra}"
        f"    map:\n{lines}{TEST}"
    )
    connector, findings = build_connector(parse_yaml(text.encode(), "x.yaml"))
    assert connector is not None, [str(finding) for finding in findings]
    return Harmoniser(connector, lookup, pseudonym_key=KEY)


def ask(
    harmonise: Harmoniser, body: Any, *, context: dict[str, str] | None = None, kind: str = ""
) -> Outcome:
    xml = isinstance(body, str)
    return harmonise(
        RawRecord(
            connector="x",
            stream="s",
            native_id="1",
            kind=kind,
            context=context or {},
            body=body.encode() if xml else json.dumps(body).encode(),
            media_type="application/xml" if xml else "application/json",
        )
    )


def record(outcome: Outcome) -> Any:
    assert isinstance(outcome, Accepted), outcome
    return outcome.record


TITLE = "title.en: t\n"


def test_missing_ambiguous_and_unmapped_values_differ() -> None:
    tables = "tables:\n  kind: {map: {D: diploma}}\n"
    harmonise = harmoniser("title.en: t\nkind: {from: k, table: kind}", tables=tables)
    missing, ambiguous, unmapped = (
        ask(harmonise, body)
        for body in ({"k": "D"}, {"t": ["a", "b"], "k": "D"}, {"t": "a", "k": "X"})
    )
    assert isinstance(missing, Rejected)
    assert (missing.field, missing.reason) == ("title", "missing")
    assert isinstance(ambiguous, Rejected)
    assert (ambiguous.field, ambiguous.reason) == ("title.en", "ambiguous")
    assert isinstance(unmapped, Rejected)
    assert (unmapped.stage, unmapped.field, unmapped.reason) == ("table", "kind", "unmapped")


def test_table_can_drop_or_flag_unknown_codes() -> None:
    for policy, codes in (("null", []), ("flag", ["unmapped"])):
        harmonise = harmoniser(
            TITLE + "mode: {from: m, table: mode}",
            tables=f"tables:\n  mode: {{map: {{a: online}}, unmapped: {policy}}}\n",
        )
        outcome = ask(harmonise, {"t": "T", "m": "z"})
        assert record(outcome).mode is None
        assert isinstance(outcome, Accepted)
        assert [issue.code for issue in outcome.provenance.issues] == codes


def test_alternatives_have_the_options_of_their_rule() -> None:
    harmonise = harmoniser(
        TITLE + "workload_hours: {first_of: [h, {from: k, invalid: reject}], invalid: drop}"
    )
    outcome = ask(harmonise, {"t": "T", "h": "many", "k": "30"})
    assert record(outcome).workload_hours == 30
    assert isinstance(outcome, Accepted)
    assert [issue.code for issue in outcome.provenance.issues] == ["invalid_value"]
    strict = ask(harmonise, {"t": "T", "h": "many", "k": "more"})
    assert isinstance(strict, Rejected), "the option of an alternative takes precedence"
    first = harmoniser("title.en: {first_of: [a, t], pick: first}")
    assert record(ask(first, {"t": ["one", "two"]})).title == {"en": "one"}


def test_rule_forms_give_the_same_value() -> None:
    harmonise = harmoniser(
        """
title.en: {first_of: [b, c, {const: Untitled}]}
setting: {const: formal}
mode: {from: m, default: online}
workload_hours: {from: h.value, when: {path: h.unit, is: [hour, sbu]}}
description.en: {join: [x, y], with: ", "}
homepage: {join: {code: c}, text: "https://x.example/{code}"}
isced_f: fields
parts:
  each: units
  map:
    id: code
    title: {languages: {en: name}}
    credit_amount: {from: points, as: {decimal: ","}}
awarded_on: {as: {split: {year: d.y, month: d.m}}}
nqf_level: {from: $level, framework: NFQ}
""",
        extra="    keep: {level: l}\n",
    )
    body = {
        "c": "C", "h": {"unit": "hour", "value": 10}, "x": "one", "y": "two", "fields": ["0712", "0712", "061"], "d": {"y": 2015, "m": 3},
        "units": [{"code": "u1", "name": "Unit", "points": "7,5"}],
    }  # fmt: skip
    made = record(ask(harmonise, body, context={"level": "6"}))
    assert made.title == {"en": "C"}
    assert (made.setting, made.mode, made.workload_hours) == ("formal", "online", 10)
    assert made.description == {"en": "one, two"}
    assert made.homepage == "https://x.example/C"
    assert made.isced_f == ("0712", "061")
    assert made.awarded_on.isoformat() == "2015-03-01"
    assert (made.nqf_framework, made.nqf_level) == ("NFQ", "6")
    assert [(part.id, part.title, str(part.credit_amount)) for part in made.parts] == [
        ("u1", {"en": "Unit"}, "7.5")
    ]


@pytest.mark.parametrize(
    ("rule", "body"),
    [
        (
            "{languages: {each: n, language: l, text: v}}",
            {"n": [{"l": "fin", "v": "A"}, {"l": "sv", "v": "B"}]},
        ),
        (
            "{languages: {each: n.strings, language: l, text: v}}",
            {"n": {"strings": [{"l": "fi", "v": "A"}, {"l": "sv", "v": "B"}]}},
        ),
        ("{languages: {object: n}}", {"n": {"fi": "A", "sv": "B", "x-code": "z"}}),
        ("{languages: {fi: n_fi, sv: n_sv}}", {"n_fi": "A", "n_sv": "B"}),
        (
            "{languages: {each: 'n:t', language: '@xml:lang'}}",
            '<r xmlns:n="urn:n"><n:t xml:lang="fi">A</n:t><n:t xml:lang="sv">B</n:t></r>',
        ),
        (
            "{languages: {each: t, language: '@kieli'}}",
            '<r><t kieli="fi">A</t><t kieli="sv">B</t></r>',
        ),
        (
            "{languages: {each: t, language: c, text: v}}",
            "<r><t><c>fi</c><v>A</v></t><t><c>sv</c><v>B</v></t></r>",
        ),
        ("{languages: {object: t}}", "<r><t><fi>A</fi><sv>B</sv></t></r>"),
    ],
)
def test_language_maps_are_read_in_every_shape(rule: str, body: Any) -> None:
    made = record(ask(harmoniser(f"title: {rule}", xml=isinstance(body, str)), body))
    assert made.title == {"fi": "A", "sv": "B"}


def test_language_variants_are_merged() -> None:
    harmonise = harmoniser(
        'title: {languages: {text: t, language: "$locale"}}', extra="    keep: {locale: l}\n"
    )
    assert record(ask(harmonise, {"t": "Hi"}, context={"locale": "is"})).title == {"is": "Hi"}


def test_null_values_count_as_missing() -> None:
    harmonise = harmoniser(
        TITLE + "nqf_level: l\ncredit_amount: c", extra='    null_values: ["-", NBS, "9999"]\n'
    )
    for body in ({"t": "T", "l": " - ", "c": 9999}, {"t": "T", "l": "\t", "c": "NBS"}):
        made = record(ask(harmonise, body))
        assert (made.nqf_level, made.credit_amount) == (None, None)


def test_xml_text_includes_cdata_and_ignores_comments() -> None:
    harmonise = harmoniser("title.en: t", xml=True)
    assert record(
        ask(harmonise, "<r><t>Ba<!-- x -->che<?pi?>lor <![CDATA[of <b>]]></t></r>")
    ).title == {"en": "Bachelor of <b>"}


def test_kinds_have_rules_and_unknown_kinds_are_rejected() -> None:
    extra = '    kinds: {D: {map: {"kind": {const: diploma}}}, "old*": {skip: not wanted}}\n'
    harmonise = harmoniser(TITLE, extra=extra)
    assert record(ask(harmonise, {"t": "T"}, kind="D")).kind == "diploma"
    skipped, unknown = (
        ask(harmonise, {"t": "T"}, kind="old-1"),
        ask(harmonise, {"t": "T"}, kind="Z"),
    )
    assert isinstance(skipped, Rejected)
    assert isinstance(unknown, Rejected)
    assert (skipped.reason, unknown.reason) == ("kind_skipped", "unknown_kind")


def test_personal_values_need_a_pseudonym_or_a_basis() -> None:
    with pytest.raises(ConfigError, match="personal-field"):
        harmoniser(TITLE + "holder.given_name: g")
    made = record(
        ask(
            harmoniser(TITLE + "holder.pseudonym: {from: p, pseudonym: pps}"),
            {"t": "T", "p": " 1234567ta"},
        )
    )
    again = record(
        ask(
            harmoniser(TITLE + "holder.pseudonym: {from: q, pseudonym: pps}"),
            {"t": "T", "q": "1234567TA"},
        )
    )
    assert made.holder.pseudonym == again.holder.pseudonym
    assert "1234567" not in made.holder.pseudonym


def test_record_without_agreement_is_withheld() -> None:
    harmonise = harmoniser("active: a\nesc_agreement: e", emits="student_status")
    assert ask(harmonise, {"a": True, "e": False}) == Withheld(reason="no_agreement")
    assert record(ask(harmonise, {"a": True, "e": True})).active is True


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"t": "a", "t": "b"}', "duplicate_key"),
        (b'{"t": NaN}', "not_json"),
        (b"[" * 5000, "too_deep"),
        (b"[" * 150 + b"]" * 150, "too_deep"),
        (b'{"t": "\xff"}', "not_json"),
        (b"", "not_json"),
    ],
)
def test_json_is_read_strictly(body: bytes, reason: str) -> None:
    outcome = harmoniser(TITLE)(RawRecord(connector="x", stream="s", native_id="1", body=body))
    assert isinstance(outcome, Rejected)
    assert (outcome.stage, outcome.reason) in {("decode", reason), ("decode", "not_json")}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<!DOCTYPE r [<!ENTITY x 'y'>]><r><t>&x;</t></r>", "doctype"),
        (b"<!DOCTYPE r SYSTEM 'file:///etc/passwd'><r/>", "doctype"),
        (b"<r><t>", "not_xml"),
        (b"<r>" * 400 + b"</r>" * 400, "not_xml"),
    ],
)
def test_xml_is_read_strictly(body: bytes, reason: str) -> None:
    outcome = harmoniser(TITLE, xml=True)(
        RawRecord(connector="x", stream="s", native_id="1", body=body, media_type="application/xml")
    )
    assert isinstance(outcome, Rejected)
    assert (outcome.stage, outcome.reason) == ("decode", reason)


RULES = """
title: {languages: {each: n, language: l, text: t}}
nqf_level: level
awarded_on: {from: date, as: {date: "%d.%m.%Y"}}
credit_amount: {from: credits, as: {decimal: ","}}
awarding_body.name.en: body.name
parts: {each: parts, map: {id: id, title.en: name}}
holder.pseudonym: {from: person, pseudonym: x}
"""
JSON = harmoniser(RULES)
XML = harmoniser(
    "title.en: t\nnqf_level: l/@v\nisced_f: f\nholder.pseudonym: {from: p, pseudonym: x}", xml=True
)
_keys = st.sampled_from(
    ["n", "l", "t", "level", "date", "credits", "body", "name", "parts", "id", "person", "x"]
)
_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    body=st.binary(max_size=200) | _json.map(lambda value: json.dumps(value).encode()),
    media=st.sampled_from(["application/json", "application/xml"]),
)
def test_harmoniser_returns_an_outcome_for_any_bytes(body: bytes, media: Any) -> None:
    for harmonise in (JSON, XML):
        raw = RawRecord(connector="x", stream="s", native_id="1", body=body, media_type=media)
        outcome = harmonise(raw)
        assert isinstance(outcome, Accepted | Rejected | Withheld)
        assert not isinstance(outcome, Rejected) or outcome.reason != "internal_error", outcome
        assert harmonise(raw) == outcome


def test_rejection_never_contains_a_value() -> None:
    outcome = ask(
        harmoniser(TITLE + "awarded_on: d\nholder.birth_date: {from: b, basis: law}"),
        {"t": "T", "b": "secret-birthday"},
    )
    assert isinstance(outcome, Rejected)
    assert "secret" not in repr(outcome)
