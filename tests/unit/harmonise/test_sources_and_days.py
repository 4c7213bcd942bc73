"""Issue only on official sources, on days that have come and on which a row is known to hold."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.harmonise.record_rules import apply_record_rules
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.credits import CreditMatch, NoCredits
from gateway.harmonise.tables.level_answers import LevelMatch, NoLevel
from gateway.records import Rejected

FILE = """country: XX
name: X
outside_eqf_since: 2020-12-31
sources:
  act: {kind: act, title: Act of X, article: section 2, gazette: OJ 1/2010, read: 2026-01-02, states: [pairing, unit]}
  unread: {kind: act, title: Act, article: section 3, gazette: OJ 2, states: [pairing, unit]}
  labels: {kind: eu, title: List of levels, read: 2026-01-02, states: [levels]}
  wiki: {kind: other, title: A wiki, read: 2026-01-02, states: [pairing, unit]}
frameworks:
  A:
    name: A
    versions:
      - from: 2010-01-01
        relation: law
        referenced: [2011, 2023]
        confidence: verified
        sources: [wiki, act]
        levels:
          - {level: "1", eqf: 1}
          - {level: "2", eqf: 2, sources: [unread]}
          - {level: "3", eqf: 3, sources: [labels]}
          - {level: "4", eqf: 4, sources: [wiki]}
          - {level: "5", eqf: 5, source: a book}
  B:
    name: B
    versions:
      - {undated: the report has no day, safe_from: 2012-01-01, relation: law, confidence: verified, sources: [act], levels: [{level: b, eqf: 3}]}
credits:
  - {unit: good, system: S, sector: HE, ects: "1/2", conversion: fixed_ratio, from: 2010-01-01, confidence: verified, sources: [act]}
  - {unit: unread, system: S, sector: HE, ects: "1/2", conversion: fixed_ratio, from: 2010-01-01, confidence: verified, sources: [unread]}
  - {unit: wiki, system: S, sector: HE, ects: 1, conversion: identity, from: 2010-01-01, confidence: verified, sources: [wiki, labels]}
  - {unit: undated, system: S, sector: HE, ects: 1, conversion: identity, undated: no law names it, safe_from: 2012-01-01, confidence: verified, sources: [act]}
"""
DAY = date(2015, 6, 30)


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    (tmp_path / "xx.yaml").write_text(FILE)
    return Tables.load(tmp_path)


def credits_of(tables: Tables, unit: str, on: date = DAY) -> CreditMatch | NoCredits:
    return tables.credits("XX", unit, Decimal(30), "HE", on)


def test_a_level_needs_one_official_source_that_was_read_and_states_it(tables: Tables):
    answer = tables.level("XX", "A", "1", DAY)
    assert isinstance(answer, LevelMatch)
    assert (answer.eqf, answer.source) == (1, "OJ 1/2010")
    assert [source.kind for source in answer.sources] == ["other", "act"]
    assert (answer.referenced_year, answer.referenced_years) == (2023, (2011, 2023))


@pytest.mark.parametrize("level", ["2", "3", "4", "5"])
def test_a_level_without_such_a_source_is_a_hint_only(tables: Tables, level: str):
    answer = tables.level("XX", "A", level, DAY)
    assert isinstance(answer, NoLevel)
    assert (answer.reason, answer.hint) == ("source_not_official", level)


def test_credits_need_one_official_source_that_states_the_unit(tables: Tables):
    answer = credits_of(tables, "good")
    assert isinstance(answer, CreditMatch)
    assert (answer.points, answer.source) == (Decimal("15.00"), "OJ 1/2010")


@pytest.mark.parametrize(("unit", "hint"), [("unread", "15.00"), ("wiki", "30.00")])
def test_credits_without_such_a_source_are_a_hint_only(tables: Tables, unit: str, hint: str):
    answer = credits_of(tables, unit)
    assert isinstance(answer, NoCredits)
    assert (answer.reason, answer.hint) == ("source_not_official", hint)


def test_before_the_safe_day_an_undated_row_says_that_its_first_day_is_unknown(tables: Tables):
    eve, first = date(2011, 12, 31), date(2012, 1, 1)
    assert tables.level("XX", "B", "b", eve).reason == "first_day_unknown"
    assert tables.level("XX", "B", "b", first).eqf == 3
    assert credits_of(tables, "undated", eve).reason == "first_day_unknown"
    assert credits_of(tables, "undated", first).points == 30


def test_before_its_first_day_a_row_is_not_in_force(tables: Tables):
    assert tables.level("XX", "A", "1", date(2009, 12, 31)).reason == "not_in_force"
    assert credits_of(tables, "good", date(2009, 12, 31)).reason == "not_in_force"


@pytest.mark.parametrize("days", [2, 30, 4000])
def test_a_day_that_has_not_come_gives_nothing(tables: Tables, days: int):
    day = datetime.now(UTC).date() + timedelta(days=days)
    assert tables.level("XX", "A", "1", day).reason == "day_in_future"
    assert credits_of(tables, "good", day).reason == "day_in_future"


def test_today_is_no_day_in_the_future(tables: Tables):
    today = datetime.now(UTC).date()
    assert tables.level("XX", "A", "1", today).eqf == 1
    assert credits_of(tables, "good", today).points == 15


def award(tables: Tables, **values: object):
    record = {"awarded_on": DAY, "nqf_framework": "A", "nqf_level": "1", **values}
    return apply_record_rules(record, country="XX", emits="credential", tables=tables)


def test_an_award_of_a_day_to_come_is_rejected(tables: Tables):
    outcome = award(tables, awarded_on=datetime.now(UTC).date() + timedelta(days=2))
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.field) == ("day_in_future", "awarded_on")


def test_a_credential_that_is_issued_on_a_day_to_come_is_rejected(tables: Tables):
    outcome = award(tables, awarded_on=None, issued_at=datetime.now(UTC) + timedelta(days=2))
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.field) == ("day_in_future", "issued_at")


def test_a_part_of_a_day_to_come_is_rejected(tables: Tables):
    part = {"awarded_on": datetime.now(UTC).date() + timedelta(days=2)}
    outcome = award(tables, parts=[part])
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.field) == ("day_in_future", "parts[0].awarded_on")


def test_a_programme_may_end_in_the_future(tables: Tables):
    later = datetime.now(UTC).date() + timedelta(days=400)
    values = {"nqf_framework": "A", "nqf_level": "1", "valid_until": later}
    record, _, _ = apply_record_rules(
        values, country="XX", emits="learning_opportunity", tables=tables
    )
    assert record["eqf_level"] == 1


def test_a_record_has_an_issue_and_no_level_when_the_source_is_not_official(tables: Tables):
    record, lookups, issues = award(
        tables, nqf_level="4", credit_amount=Decimal(30), credit_unit="wiki", credit_sector="HE"
    )
    assert "eqf_level" not in record
    assert "credit_points" not in record
    assert {"source_not_official", "credits_source_not_official"} <= {one.code for one in issues}
    assert {one.reason for one in lookups} == {"source_not_official"}
    assert "EQF 4" not in str((lookups, issues))


def test_a_declared_level_is_not_published_on_a_source_that_is_not_official(tables: Tables):
    record, _, issues = award(tables, nqf_level=None, eqf_declared=4)
    assert "eqf_level" not in record
    assert "eqf_declared_unsupported" in {one.code for one in issues}


def test_every_record_of_a_country_outside_the_eqf_says_so(tables: Tables):
    record, _, issues = award(tables)
    assert record["eqf_level"] == 1
    (issue,) = [one for one in issues if one.code == "outside_eqf"]
    assert issue.message == "outside the EQF since 31 December 2020"
