"""The tables of the record's country judge it, if the source holds records of several countries."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.config.loading import build_connector
from gateway.config.mapping_tables import Mapping
from gateway.config.yaml.document import parse_yaml
from gateway.errors import ConfigError
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.providers import Providers
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.records import Accepted, Organisation, Outcome, Provider, RawRecord, Rejected

KEY = b"0123456789abcdef0123456789abcdef"
FILE = """language: 1
connector: x
country: {home}
title: X
owner: {{name: X, contact: x@example.org}}
rest: {{url: {{production: "https://x.example"}}}}
streams:
  s:
    emits: credential
    request: {{get: /}}
    records: items
    keep: {{around: country}}
    id: id
    null_values: [none]
    record_country: {country}
    map:
      kind: {kind}
      title.en: title
      eqf_declared: eqf
      nqf_level: level
      credit_amount: credits
      credit_unit: unit
      credit_sector: {{const: HE}}
      awarded_on: day
      assessment.grade: {{from: grade, basis: law}}
      assessment.grading_scale: scale
      awarding_body.name.en: body
{more}    tests: [{{name: t, given: {{a: 1}}, expect_rejected: {{reason: missing}}}}]
"""
RECORD: dict[str, Any] = {"id": "1", "title": "A", "day": "2019-07-15", "body": "A university"}


def harmoniser(
    tables: Tables,
    country: str = "'country'",
    home: str = "EU",
    more: str = "",
    kind: str = "{const: diploma}",
) -> Harmoniser:
    text = FILE.format(country=country, home=f'"{home}"', more=more, kind=kind)
    connector, findings = build_connector(parse_yaml(text.encode(), "x.yaml"))
    assert connector is not None, [str(finding) for finding in findings]
    return Harmoniser(connector, tables, pseudonym_key=KEY)


def ask(harmonise: Harmoniser, context: dict[str, str] | None = None, **fields: Any) -> Outcome:
    raw = RawRecord(
        connector="x",
        stream="s",
        native_id="1",
        context=context or {},
        body=json.dumps(RECORD | fields).encode(),
        media_type="application/json",
    )
    outcome = harmonise(raw)
    assert outcome == harmonise.harmonise_with_rules(raw)
    return outcome


def accepted(outcome: Outcome) -> Accepted:
    assert isinstance(outcome, Accepted), outcome
    return outcome


def issues(outcome: Outcome) -> list[tuple[str, str]]:
    return [(issue.code, issue.field) for issue in accepted(outcome).provenance.issues]


@pytest.mark.parametrize("country", ["NO", "no", " NO ", "NOR", "NO-03"])
def test_the_levels_of_the_country_judge_the_record(tables, country):
    outcome = ask(harmoniser(tables), country=country, eqf="7")
    assert accepted(outcome).record.eqf_level == 7
    assert [lookup.row for lookup in outcome.provenance.lookups] == ["NO/NKR/7"]
    assert outcome.provenance.country == "NO"
    assert not issues(outcome)


def test_each_record_has_its_own_country(tables):
    harmonise = harmoniser(tables)
    rows = [
        accepted(ask(harmonise, country=country, level=level)).provenance.lookups[0].row
        for country, level in (("NO", "6.1"), ("IE", "8"), ("EL", "6"), ("NO", "7"))
    ]
    assert [row.partition("/")[0] for row in rows] == ["NO", "IE", "GR", "NO"]


def test_the_credits_of_the_country_judge_the_record(tables):
    harmonise = harmoniser(tables)
    swedish = ask(harmonise, country="SE", credits="7.5", unit="hp")
    assert str(accepted(swedish).record.credit_points) == "7.50"
    assert swedish.provenance.lookups[0].table == "SE/credits"
    norwegian = ask(harmonise, country="NO", credits="7.5", unit="hp")
    assert accepted(norwegian).record.credit_points is None
    assert ("credits_unit_unknown", "credit_points") in issues(norwegian)


def test_the_grades_of_the_country_judge_the_record(tables):
    harmonise = harmoniser(tables)
    grade = {"grade": "Z", "scale": "A-F"}
    assert ("grade_outside_scale", "assessment.grade") in issues(
        ask(harmonise, country="NO", **grade)
    )
    assert not issues(ask(harmonise, country="PL", **grade))


def test_a_part_with_its_own_tables_counts(tables):
    harmonise = harmoniser(tables)
    flemish = ask(harmonise, country="BE-FL", credits="60", unit="studiepunten")
    assert str(accepted(flemish).record.credit_points) == "60.00"
    assert flemish.provenance.country == "BE-FL"
    assert flemish.record.awarding_body.country == "BE"
    belgian = ask(harmonise, country="BE", credits="60", unit="studiepunten")
    assert ("credits_unit_unknown", "credit_points") in issues(belgian)


def test_a_country_without_tables_is_refused_with_what_to_do(tables):
    outcome = ask(harmoniser(tables), country="BR", eqf="6")
    assert isinstance(outcome, Rejected)
    assert (outcome.stage, outcome.field, outcome.reason) == (
        "table",
        "record_country",
        "country_without_tables",
    )
    assert "BR has none" in outcome.detail
    assert "mappings/br.yaml" in outcome.detail
    assert outcome.tables_digest == tables.digest


@pytest.mark.parametrize(
    ("country", "code"),
    [
        (None, "record_country_missing"),
        ("", "record_country_missing"),
        ("none", "record_country_missing"),
        ([], "record_country_missing"),
        (["NO", "SE"], "record_country_ambiguous"),
        ("Norway", "record_country_unreadable"),
        ("ZZ", "record_country_unreadable"),
        ("EU", "record_country_unreadable"),
        ("NO SE", "record_country_unreadable"),
        ({"code": "NO"}, "record_country_unreadable"),
    ],
)
@pytest.mark.parametrize("home", ["EU", "NO"])
def test_no_table_is_guessed_for_a_record_without_one_country(tables, country, code, home):
    harmonise = harmoniser(tables, "'country || countries'", home)
    outcome = ask(harmonise, country=country, eqf="6", credits="5", unit="ECTS")
    assert issues(outcome) == [
        (code, "record_country"),
        ("eqf_declared_unsupported", "eqf_declared"),
    ]
    assert outcome.record.eqf_level is None
    assert str(outcome.record.credit_points) == "5.00"
    assert outcome.record.awarding_body.country is None
    assert outcome.provenance.country == "EU"


def test_the_same_country_twice_is_one_country(tables):
    outcome = ask(harmoniser(tables, "'country[]'"), country=["NO", "NOR", "no"], eqf="6")
    assert accepted(outcome).record.eqf_level == 6


def test_a_value_around_the_record_may_name_the_country(tables):
    harmonise = harmoniser(tables, "$around")
    assert accepted(ask(harmonise, {"around": "NO"}, eqf="6")).record.eqf_level == 6


def test_an_institution_is_in_the_country_of_the_record(tables):
    harmonise = harmoniser(tables, more="      awarding_body.identifiers.pic: pic\n")
    spanish = Provider(
        id="p", organisation=Organisation(country="ES", identifiers={"pic": "999880560"})
    )
    harmonise.providers = Providers([spanish])
    outcome = ask(harmonise, country="NO", pic="999880560")
    assert issues(outcome) == [("provider_country_differs", "awarding_body.identifiers.pic")]
    assert outcome.record.awarding_body.country == "NO"
    outcome = ask(harmonise, country="ES", pic="999880560")
    assert outcome.provenance.quality_assurance["outcome"] == "NO_REPORT_KNOWN"


def test_a_country_of_the_institution_stays(tables):
    harmonise = harmoniser(tables, more="      awarding_body.country: {const: SE}\n")
    assert accepted(ask(harmonise, country="NO")).record.awarding_body.country == "SE"


def code_tables() -> Tables:
    """Two countries with a code table of one name, and one country without it."""
    kinds = {"NO": "diploma", "SE": "certificate"}
    mappings = [
        {
            "country": country,
            "name": country,
            "codes": {"kinds": {"name": "k", "versions": [{"source": "s", "map": {"1": kind}}]}},
        }
        for country, kind in kinds.items()
    ]
    mappings.append({"country": "FI", "name": "FI"})
    return Tables([Mapping.model_validate(mapping) for mapping in mappings], "d")


def test_the_code_tables_of_the_country_translate_codes():
    harmonise = harmoniser(code_tables(), kind="{from: code, table: kinds}")
    for country, kind in (("NO", "diploma"), ("SE", "certificate")):
        assert accepted(ask(harmonise, country=country, code="1")).record.kind == kind
    for country, code, reason in (("FI", "1", "table_unknown"), ("SE", "2", "unmapped")):
        outcome = ask(harmonise, country=country, code=code)
        assert isinstance(outcome, Rejected)
        assert (outcome.field, outcome.reason, outcome.country) == ("kind", reason, country)


def test_the_crosswalks_of_the_country_translate_fields():
    rows = {"NO": "0613", "SE": "0711"}
    edition = {"version": "1", "from": "2000-01-01", "source": "s", "as_of": "2026-01-01"}
    fields = {
        country: {"nat": {"name": "n", "versions": [{**edition, "rows": {"1": field}}]}}
        for country, field in rows.items()
    }
    mappings = [
        {"country": country, "name": country, "fields": fields.get(country, {})}
        for country in ("NO", "SE", "FI")
    ]
    tables = Tables([Mapping.model_validate(mapping) for mapping in mappings], "d")
    harmonise = harmoniser(tables, more="      isced_f: {from: field, table: nat}\n")
    for country, field in rows.items():
        assert accepted(ask(harmonise, country=country, field="1")).record.isced_f == (field,)
    assert issues(ask(harmonise, country="FI", field="1")) == [("isced_not_stated", "isced_f")]


def test_a_code_table_that_no_country_has_is_refused():
    with pytest.raises(ConfigError, match="neither under tables nor in any file of mappings/"):
        harmoniser(code_tables(), kind="{from: code, table: other}")
