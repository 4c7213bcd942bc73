"""Values that registries write with a unit, in another order, without a time or a scheme."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from gateway.check import check_document
from gateway.config.yaml.document import parse_yaml
from gateway.records import Accepted, Outcome, Rejected
from gateway.render.render import Rendered
from tests.support.one_stream import (
    TABLES,
    check_errors,
    connector,
    connector_text,
    documents_of,
    issues_of,
    outcome_of,
    raw_record,
)


def value_of(outcome: Outcome, name: str) -> Any:
    assert isinstance(outcome, Accepted), outcome
    return getattr(outcome.record, name)


def reason_of(outcome: Outcome) -> str:
    assert isinstance(outcome, Rejected), outcome
    return f"{outcome.reason} at {outcome.field}"


@pytest.mark.parametrize(
    ("casts", "text", "expected"),
    [
        ('[{match: "([0-9,]+) .*"}, {decimal: ","}]', "4,5 ECTS", Decimal("4.5")),
        ('[{match: "([0-9,]+) .*"}, {decimal: ","}]', "240 op", Decimal(240)),
        ('[{match: "ECTS: (.*)"}, {decimal: "."}]', "ECTS: 1,200.50", Decimal("1200.50")),
        ('[html, {match: "([0-9]+) .*"}]', "<b>30</b> ECTS", Decimal(30)),
        ("[base64, decimal]", "Ny41", Decimal("7.5")),
        ("decimal", "7.5", Decimal("7.5")),
        ("[decimal]", 12, Decimal(12)),
    ],
)
def test_casts_follow_one_another(casts: str, text: Any, expected: Decimal) -> None:
    rules = f"credit_amount: {{from: c, as: {casts}}}\ncredit_unit: {{const: op}}"
    outcome = outcome_of(rules + "\ncredit_sector: {const: HE}", {"c": text})
    assert value_of(outcome, "credit_amount") == expected


def test_each_cast_may_refuse_the_value() -> None:
    rules = 'credit_amount: {from: c, as: [{match: "([0-9,.]+) .*"}, {decimal: ","}]}'
    assert reason_of(outcome_of(rules, {"c": "none"})) == "no_match at credit_amount"
    assert reason_of(outcome_of(rules, {"c": "1,2,3 op"})) == "not_a_number at credit_amount"
    dropped = outcome_of(rules[:-1] + ", invalid: drop}", {"c": "1,2,3 op"})
    assert issues_of(dropped) == [("invalid_value", "credit_amount")]


@pytest.mark.parametrize(
    ("rule", "payload", "target", "expected"),
    [
        ("languages: {from: l, as: [lower, {match: '(..).*'}]}", {"l": "FINNISH"}, "languages", ("fi",)),
        ("isced_f: {from: f, as: {match: '([0-9]{4}) .*'}}", {"f": "0731 Building"}, "isced_f", ("0731",)),
        ("valid_from: {from: d, as: [epoch, date]}", {"d": 1_717_200_000}, "valid_from", date(2024, 6, 1)),
        (
            "valid_from: {from: d, as: [{match: 'on (.*)'}, {date: '%d.%m.%Y'}]}",
            {"d": "on 3.2.2024"}, "valid_from", date(2024, 2, 3),
        ),
        (
            "partial: {from: m, as: [lower, {boolean: {true: [y], false: [n]}}]}",
            {"m": "Y"}, "partial", True,
        ),
        (
            "mode: {from: m, as: [trim, lower], table: modes}",
            {"m": " DIST "}, "mode", "online",
        ),
        (
            "description: {languages: {each: texts, language: lang, text: text}, as: [html, collapse]}",
            {"texts": [{"lang": "fi", "text": "<p>a</p>  <p>b</p>"}]}, "description", {"fi": "a b"},
        ),
        (
            "duration_months: {first_of: [x, y], as: [{match: '([0-9]+) years'}, integer]}",
            {"y": "3 years"}, "duration_months", 3,
        ),
    ],
)  # fmt: skip
def test_any_target_takes_a_list_of_casts(
    rule: str, payload: dict[str, Any], target: str, expected: Any
) -> None:
    tables = "tables: {modes: {map: {dist: online}}}\n"
    assert value_of(outcome_of(rule, payload, tables=tables), target) == expected


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ("valid_from: {from: d, as: [date, datum]}", "there is no cast 'datum'"),
        ("valid_from: {from: d, as: []}", "at least 1"),
        ("valid_from: {from: d, as: [text, {split: {year: y}}]}", "split stands alone"),
        ("credit_amount: {from: d, as: [{match: '(a'}, decimal]}", "RE2"),
        ("credit_amount: {from: d, as: [{decmal: ','}]}", "did you mean 'decimal'?"),
        ("valid_from: {from: d, as: {period: {form: '{year}', HT: 09-01}}}", "{suffix} once"),
        ("valid_from: {from: d, as: {period: {form: '{term}{year}', HT: 09-01}}}", "{suffix} once"),
        ("valid_from: {from: d, as: {period: {HT: 31-12}}}", "such as 06-01"),
        ("valid_from: {from: d, as: [date, integer]}", "integer cannot read a day"),
        ("valid_from: {from: d, as: [text, date, epoch]}", "epoch cannot read a day"),
        ("title.en: {from: d, as: [epoch, language]}", "language cannot read a moment"),
        ("title.en: {from: d, as: [boolean, upper]}", "upper cannot read true or false"),
        ("title.en: {from: d, as: [{decimal: ','}, country]}", "country cannot read a number"),
        ("title.en: {from: d, as: {match: '([0-9]+)(x)'}}", "has 2 groups"),
        ("title.en: {from: d, as: [trim, {match: '(a)|(b)|(c)'}]}", "has 3 groups"),
        ("homepage: {from: u, as: {url: {scheme: ftp}}}", "https"),
    ],
)
def test_check_refuses_a_wrong_cast(rule: str, hint: str) -> None:
    errors = [error for error in check_errors(rule) if ".as" in error.path or hint in error.message]
    assert any(hint in error.message for error in errors), errors
    assert all(error.line for error in errors)


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ('"{suffix}{year}"', "VT2026", date(2026, 1, 15)),
        ('"{suffix}{year}"', "HT 2026", date(2026, 9, 1)),
        ('"{suffix} {year}/{next}"', "HT 2024/25", date(2024, 9, 1)),
        ('"{suffix} {year}/{next}"', "HT 2024/2025", date(2024, 9, 1)),
        ('"{suffix} {year}/{next}"', "HT2024 / 25", date(2024, 9, 1)),
        ('"{suffix} {year}/{next}"', "HT 1999/00", date(1999, 9, 1)),
        ('["{suffix} {year}/{next}", "{suffix} {year}"]', "VT 2025", date(2025, 1, 15)),
        ('"{suffix}{yy}"', "VT25", date(2025, 1, 15)),
        ('"{suffix}{yy}"', "HT98", date(1998, 9, 1)),
        ('"{year}-{suffix}"', "2025-HT", date(2025, 9, 1)),
        ('"Term {suffix} of {year}"', "Term HT of 2025", date(2025, 9, 1)),
    ],
)
def test_period_has_its_year_where_the_form_states_it(form: str, text: str, expected: date) -> None:
    rule = f"valid_from: {{from: t, as: {{period: {{form: {form}, HT: 09-01, VT: 01-15}}}}}}"
    assert value_of(outcome_of(rule, {"t": text}), "valid_from") == expected


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("{suffix}{year}", "2025HT"),
        ("{suffix}{year}", "HT25"),
        ("{suffix}{year}", "ST2025"),
        ("{suffix} {year}/{next}", "HT 2024/26"),
        ("{suffix} {year}/{next}", "HT 2024"),
        ("{suffix}{yy}", "HT2025"),
        ("{suffix}{year}", "HT٢٠٢٥"),
    ],
)
def test_period_in_another_form_is_rejected(form: str, text: str) -> None:
    rule = f'valid_from: {{from: t, as: {{period: {{form: "{form}", HT: 09-01}}}}}}'
    assert reason_of(outcome_of(rule, {"t": text})) == "not_a_period at valid_from"


def test_period_without_a_form_begins_with_its_year() -> None:
    rule = "valid_from: {from: t, as: {period: {K: 06-01, S: '12'}}}"
    assert value_of(outcome_of(rule, {"t": "2019 S"}), "valid_from") == date(2019, 12, 1)
    assert reason_of(outcome_of(rule, {"t": "S2019"})) == "not_a_period at valid_from"


@pytest.mark.parametrize(
    "zone", ["Europe/Dublin", "Europe/Helsinki", "Pacific/Auckland", "America/Lima"]
)
@pytest.mark.parametrize(
    ("cast", "text"),
    [
        ("datetime", "2026-06-15"),
        ("datetime", "2026-06-15+02:00"),
        ("datetime", "2026-06-15Z"),
        ('{datetime: {format: "%d.%m.%Y"}}', "15.6.2026"),
        ("[{match: '(.*) approx'}, datetime]", "2026-06-15 approx"),
        ('[{date: "%d/%m/%Y"}, datetime]', "15/06/2026"),
    ],
)  # fmt: skip
def test_date_without_a_time_keeps_its_day(zone: str, cast: str, text: str) -> None:
    rule = f"issued_at: {{from: issued, as: {cast}}}"
    outcome = outcome_of(rule, {"issued": text}, stream=f"    zone: {zone}\n")
    assert value_of(outcome, "issued_at") == datetime(2026, 6, 15, tzinfo=UTC)
    plain = outcome_of("issued_at: issued", {"issued": "2026-06-15"}, stream=f"    zone: {zone}\n")
    assert value_of(plain, "issued_at") == datetime(2026, 6, 15, tzinfo=UTC)


def test_time_in_a_zone_stays_an_instant() -> None:
    stream = "    zone: Europe/Dublin\n"
    outcome = outcome_of("issued_at: i", {"i": "2026-06-15T00:30:00"}, stream=stream)
    assert value_of(outcome, "issued_at") == datetime(2026, 6, 14, 23, 30, tzinfo=UTC)
    rule = 'issued_at: {from: i, as: {datetime: {format: "%d.%m.%Y %H.%M"}}}'
    outcome = outcome_of(rule, {"i": "15.6.2026 00.30"}, stream=stream)
    assert value_of(outcome, "issued_at") == datetime(2026, 6, 14, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("www.office.example/x?y=1#z", "https://www.office.example/x?y=1#z"),
        ("office.example", "https://office.example"),
        ("//office.example/x", "https://office.example/x"),
        ("office.example:8443/x", "https://office.example:8443/x"),
        ("http://office.example", "http://office.example"),
        ("HTTPS://office.example".lower(), "https://office.example"),
        ("höchschule.example/ä", "https://höchschule.example/ä"),
    ],
)
def test_address_gets_the_scheme_that_the_rule_states(written: str, address: str) -> None:
    rule = "homepage: {from: u, as: {url: {scheme: https}}}"
    outcome = outcome_of(rule, {"u": written})
    assert issues_of(outcome) == []
    assert value_of(outcome, "homepage") == address
    document = documents_of(outcome, raw_record({})).documents[0]
    assert document.value is not None
    assert json.dumps(address, ensure_ascii=False).encode() in document.value


@pytest.mark.parametrize(
    "written",
    [
        "none", "n/a", "info@office.example", "mailto:info@office.example", "tel:358", "/x",
        "see the website", "ftp://office.example/x", "http:/office.example", "www. office.example",
        "https://", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_text_that_is_no_address_is_left_out(written: str) -> None:
    rules = (
        "homepage: {from: u, as: {url: {scheme: https}}}\n"
        "awarding_body.homepage: u\n"
        "accreditation: {each: list, map: {report: {from: u, invalid: drop}}}"
    )
    outcome = outcome_of(rules, {"u": written, "list": [{"u": written}]})
    assert issues_of(outcome) == [
        ("url_invalid", "homepage"),
        ("url_invalid", "awarding_body.homepage"),
        ("url_invalid", "report"),
    ]
    assert value_of(outcome, "homepage") is None
    document = documents_of(outcome, raw_record({})).documents[0]
    assert document.value is not None
    assert b"WebResource" not in document.value


def test_address_without_a_scheme_is_left_out_as_written() -> None:
    outcome = outcome_of("homepage: u", {"u": "www.office.example/x"})
    assert issues_of(outcome) == [("url_invalid", "homepage")]
    (issue,) = outcome.provenance.issues  # type: ignore[union-attr]
    assert "scheme: https" in issue.message


@pytest.mark.parametrize("amount", [10**17, 1e17, 9_007_199_254_740_993, 2_000_000])
def test_amount_beyond_any_credits_is_called_too_large(amount: float) -> None:
    rules = "credit_amount: c\ncredit_unit: {const: op}\ncredit_sector: {const: HE}"
    outcome = outcome_of(rules, {"c": amount})
    assert issues_of(outcome) == [("credits_too_large", "credit_points")]
    assert value_of(outcome, "credit_points") is None


def test_id_beyond_the_numbers_of_javascript_stays_exact() -> None:
    rules = "awarding_body.identifiers.local: n"
    outcome = outcome_of(rules, {"n": 9_007_199_254_740_993})
    assert value_of(outcome, "awarding_body").identifiers == {"local": "9007199254740993"}


PARTS = "parts: {each: courses, achieved: {always: All were passed}, map: {id: {first_of: [code, {ordinal: true}]}, title.en: name}}"


def test_part_without_an_id_gets_its_position() -> None:
    courses = [{"name": "A"}, {"name": "B", "code": "b"}, {"name": "C", "code": ""}]
    outcome = outcome_of(PARTS, {"courses": courses})
    assert issues_of(outcome) == []
    assert [part.id for part in value_of(outcome, "parts")] == ["1", "b", "3"]
    rendered = documents_of(outcome, raw_record({}))
    assert len(set(_ids_of_parts(rendered))) == 3


@pytest.mark.parametrize("given", [["a", "b", "a"], ["a", "a", "a.2"], ["3", "", "3"]])
def test_parts_with_one_id_stay_apart(given: list[str]) -> None:
    courses = [{"name": name, "code": name} for name in given]
    outcome = outcome_of(PARTS, {"courses": courses})
    ids = [part.id for part in value_of(outcome, "parts")]
    assert len(set(ids)) == 3
    assert ids[0] == given[0]
    assert issues_of(outcome) == [("part_id_repeated", "parts")]


def test_part_without_an_id_and_without_an_ordinal_is_named() -> None:
    rules = "parts: {each: courses, map: {id: code, title.en: name}}"
    outcome = outcome_of(rules, {"courses": [{"code": "a"}, {"name": "B"}]})
    assert reason_of(outcome) == "missing at parts[1].id"
    assert isinstance(outcome, Rejected)
    assert "ordinal: true" in outcome.detail


def test_ordinal_is_for_the_id_of_parts_alone() -> None:
    for rule in ("location: {ordinal: true}", "homepage: {ordinal: true}"):
        assert any(
            "ordinal" in error.message or "location" in error.message
            for error in check_errors(rule)
        )
    assert check_errors(PARTS) == []
    assert connector(PARTS).streams["awards"].map["parts"].map is not None


def _ids_of_parts(rendered: Rendered) -> list[str]:
    value = rendered.documents[0].value
    assert value is not None
    return [part["id"] for part in json.loads(value)["credentialSubject"]["hasClaim"]["hasPart"]]


AT = '{datetime: {format: "%d.%m.%Y %H:%M", zone: ZONE}}'


@pytest.mark.parametrize("stream_zone", ["", "    zone: America/Lima\n"])
@pytest.mark.parametrize(
    ("cast", "text", "day"),
    [
        (AT.replace("ZONE", "Europe/Tallinn"), "01.01.2024 00:30", date(2024, 1, 1)),
        (AT.replace("ZONE", "America/Lima"), "31.12.2023 23:30", date(2023, 12, 31)),
        ("{datetime: {zone: Europe/Athens}}", "2024-01-01T00:10:00", date(2024, 1, 1)),
        ("{datetime: {zone: Europe/Athens}}", "2023-12-31T22:30:00Z", date(2024, 1, 1)),
        ("{datetime: {zone: America/Lima}}", "2024-01-01", date(2024, 1, 1)),
        (
            '{datetime: {format: "%d.%m.%Y", zone: America/Lima}}',
            "01.01.2024",
            date(2024, 1, 1),
        ),
        (
            "[{match: 'on (.*)'}, {datetime: {zone: Pacific/Auckland}}]",
            "on 2024-01-01T00:30:00",
            date(2024, 1, 1),
        ),
    ],
)
def test_day_of_a_moment_is_that_of_the_zone_in_the_rule(
    cast: str, text: str, day: date, stream_zone: str
) -> None:
    rule = f"awarded_on: {{from: v, as: {cast}}}"
    assert value_of(outcome_of(rule, {"v": text}, stream=stream_zone), "awarded_on") == day


@pytest.mark.parametrize(
    ("casts", "severities"),
    [
        ("[{decimal: ','}, {match: '(.*),00'}]", ["warning"]),
        ("[integer, {match: '..'}]", ["warning"]),
        ("[date, {match: '(....).*'}]", ["warning"]),
        ("[{match: '([0-9]+)(?:x|y)'}, integer]", []),
        ("[epoch, date]", []),
        ("[date, text]", []),
        ("[integer, decimal]", []),
        ("[integer, epoch]", []),
    ],
)
def test_check_tells_when_a_pattern_does_not_read_the_text_of_the_registry(
    casts: str, severities: list[str]
) -> None:
    text = connector_text(f"title.en: {{from: d, as: {casts}}}")
    found = check_document(parse_yaml(text.encode(), "office.yaml"), TABLES)
    chains = [one for one in found if one.code in {"wrong-cast", "ambiguous-match"}]
    assert [finding.severity for finding in chains] == severities
    assert all("write match first" in finding.message for finding in chains)
