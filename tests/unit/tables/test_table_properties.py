"""Hold for every input: only a row that holds on the day, on an official source, gives a value."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.issuing_rows import (
    may_issue_credits,
    may_issue_level,
    states_credits,
    states_level,
)
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.credits import CreditMatch
from gateway.harmonise.tables.level_answers import LevelMatch, NoLevel, version_label

TABLES = Tables.load(Path(__file__).parents[3] / "mappings")
LEVELS = [
    (mapping, key, version, level)
    for mapping in TABLES.mappings
    for key, framework in mapping.frameworks.items()
    for version in framework.versions
    for level in version.levels
]
UNITS = [(mapping, unit) for mapping in TABLES.mappings for unit in mapping.credits]
TODAY = datetime.now(UTC).date()
DAY = timedelta(days=1)
ECTS_BEGAN = date(1989, 1, 1)
"""The pilot of ECTS began in the academic year 1989/90."""

systems = st.sampled_from(
    [code for mapping in TABLES.mappings for code in (mapping.country, *mapping.also)]
)
frameworks = st.one_of(
    st.none(),
    st.sampled_from([key for _, key, _, _ in LEVELS]),
    st.sampled_from([f.name for mapping in TABLES.mappings for f in mapping.frameworks.values()]),
    st.text(max_size=8),
)
stated = st.sampled_from(
    [text for _, _, _, level in LEVELS for text in (level.level, *level.also, level.uri or "-")]
)
frames = st.sampled_from(["{}", " {}", "{}.0", "0{}", "{}0", "Level {}", "NQF {}", "-{}", "{}/8"])
levels = st.one_of(
    stated,
    st.builds(str.format, frames, stated),
    st.text(max_size=12),
    st.integers(-20, 20).map(str),
)
days = st.one_of(st.none(), st.dates(date(1900, 1, 1), date(2100, 1, 1)))


@settings(max_examples=1500, deadline=None)
@given(systems, frameworks, levels, days)
def test_no_input_gives_a_level_that_no_row_states(
    system: str, framework: str | None, text: str, on: date | None
):
    answer = TABLES.level(system, framework, text, on)
    if isinstance(answer, LevelMatch):
        assert any(
            f"{mapping.country}/{key}/{level.level}" == answer.row
            and version_label(key, version) == answer.version
            and level.eqf == answer.eqf
            and states_level(version, level)
            and may_issue_level(mapping, version, level)
            and system in {mapping.country, *mapping.also}
            and (
                on is None
                or (level.from_ or version.first_safe_day or date.min)
                <= on
                <= (level.until or version.until or date.max)
            )
            for mapping, key, version, level in LEVELS
        ), answer
        assert on is None or on <= TODAY + DAY


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(LEVELS), st.integers(1, 20_000))
def test_before_its_first_day_a_version_gives_no_level(row, days_before: int):
    mapping, key, version, level = row
    first = version.first_safe_day
    if first is None or (first - date.min).days <= days_before:
        return
    for day in (first - DAY, first - days_before * DAY):
        for framework in (key, None):
            answer = TABLES.level(mapping.country, framework, level.level, day)
            assert isinstance(answer, NoLevel) or answer.version != version_label(key, version)


def test_the_day_before_the_first_day_of_a_row_is_not_its_day():
    for mapping, key, version, level in LEVELS:
        first = level.from_ or version.first_safe_day
        if first is not None:
            answer = TABLES.level(mapping.country, key, level.level, first - DAY)
            assert isinstance(answer, NoLevel) or answer.version != version_label(key, version)


@settings(max_examples=1000, deadline=None)
@given(
    st.sampled_from(UNITS),
    st.sampled_from(["HE", "VET", "GEN", None]),
    st.dates(date(1900, 1, 1), TODAY),
    st.sampled_from([None, 20, 30, 40, 60]),
)
def test_no_credit_is_converted_before_its_unit_existed(row, sector, on: date, per_year):
    mapping, unit = row
    for name in (unit.unit, *unit.also):
        answer = TABLES.credits(mapping.country, name, Decimal(30), sector, on, per_year=per_year)
        if isinstance(answer, CreditMatch):
            assert any(
                f"{owner.country}/{other.unit}" == answer.row
                and other.ects == answer.ratio
                and states_credits(other)
                and may_issue_credits(owner, other)
                and (other.first_safe_day or date.min) <= on <= (other.until or date.max)
                for owner, other in UNITS
            ), answer


def test_every_unit_that_converts_has_a_first_day():
    for mapping, unit in UNITS:
        if states_credits(unit) and may_issue_credits(mapping, unit):
            name = f"{mapping.country} {unit.unit}"
            assert unit.first_safe_day is not None, name
            assert unit.conversion != "identity" or unit.first_safe_day >= ECTS_BEGAN, name
            eve = unit.first_safe_day - DAY
            answer = TABLES.credits(mapping.country, unit.unit, Decimal(30), unit.sector, eve)
            label = f"{unit.unit}@{unit.first_safe_day}"
            assert not isinstance(answer, CreditMatch) or answer.version != label, name


def test_every_row_that_issues_a_level_has_a_first_day():
    assert not [
        f"{mapping.country}/{key}/{level.level}"
        for mapping, key, version, level in LEVELS
        if states_level(version, level)
        and may_issue_level(mapping, version, level)
        and not (level.from_ or version.first_safe_day)
    ]
