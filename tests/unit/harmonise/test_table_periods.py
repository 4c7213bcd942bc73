"""Check that the memories of levels and credits answer for any day as the tables do.

The memories keep one outcome for all days between two days on which the tables may answer
differently. A day, the day before it and the day after it must get the answer of the slow way.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.config.mapping_tables import Mapping, load_mappings
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.level_and_credit_rules import CreditQuestion, LevelQuestion
from gateway.harmonise.tables.table_periods import TablePeriods, day_after, middles

MAPPINGS = {
    mapping.country: mapping
    for mapping in load_mappings(Path(__file__).parents[3] / "mappings").values()
}
TABLES = Tables(MAPPINGS.values(), "t")
JUDGEMENTS = TABLES.judgements
REACHES = (-367, -366, -365, -1, 0, 1, 365, 366, 367)
COUNTRIES = sorted(code for code in MAPPINGS if code != "EU")


@lru_cache
def edges(country: str) -> tuple[date, ...]:
    """Return the days that a mapping file states, with the middle between any two of them."""
    mapping = MAPPINGS[country]
    stated = {day for day in _stated(mapping) if day is not None}
    days = stated | {
        date.fromordinal((one.toordinal() + other.toordinal()) // 2)
        for one, other in pairwise(sorted(stated))
    }
    return tuple(sorted(day_after(day, reach) for day in days for reach in REACHES))


def _stated(mapping: Mapping) -> Iterator[date | None]:
    for framework in mapping.frameworks.values():
        for version in framework.versions:
            yield from (version.from_, version.safe_from, version.until)
            for level in version.levels:
                yield from (level.from_, level.until)
    for owner in (mapping, MAPPINGS.get("EU")):
        for unit in owner.credits if owner else ():
            yield from (unit.from_, unit.safe_from, unit.until)


def levels_of(country: str) -> list[tuple[str, str]]:
    return [
        (key, text)
        for key, framework in MAPPINGS[country].frameworks.items()
        for version in framework.versions
        for level in version.levels
        for text in (level.level, *level.also)
    ]


def level_question(country: str, on: date, framework: str | None, level: str | None, **rest):
    return LevelQuestion(
        country=country,
        prefix="",
        on=on,
        started_on=None,
        is_award=rest.get("is_award", True),
        level=level,
        declared_eqf=rest.get("declared"),
        framework=framework,
        cycle=None,
    )


def credit_question(country: str, on: date, unit: str, sector: str | None, amount: Decimal):
    return CreditQuestion(
        country=country,
        prefix="",
        on=on,
        amount=amount,
        unit=unit,
        sector=sector,
        assessed=None,
        eqf=6,
    )


def assert_level_as_slowly(country: str, on: date, *args, **rest):
    first_day = JUDGEMENTS.level_day(country, on)
    quick = JUDGEMENTS.level(level_question(country, first_day, *args, **rest))
    slow = JUDGEMENTS.evaluate_level(level_question(country, on, *args, **rest))
    assert repr(quick) == repr(slow), (country, on, args)


def assert_credits_as_slowly(country: str, on: date, *args, effort=(None, None)):
    first_day = JUDGEMENTS.credit_day(country, on)
    quick = JUDGEMENTS.credits(credit_question(country, first_day, *args), effort)
    slow = JUDGEMENTS.evaluate_credits(credit_question(country, on, *args), effort)
    assert (quick.values, quick.lookups, quick.issues, quick.credit, quick.refused) == (
        slow.values,
        slow.lookups,
        slow.issues,
        slow.credit,
        slow.refused,
    ), (country, on, args, effort)


@pytest.mark.parametrize("country", COUNTRIES)
def test_every_level_and_unit_answers_around_every_edge_as_the_tables_do(country: str):
    days = sorted({date.min, *edges(country), date.max})
    for framework, level in dict.fromkeys(levels_of(country)):
        for day in days:
            assert_level_as_slowly(country, day, framework, level)
    for unit in MAPPINGS[country].credits:
        for day in days:
            assert_credits_as_slowly(country, day, unit.unit, unit.sector, Decimal(60))


def test_there_are_few_periods():
    for country in COUNTRIES:
        days = [date.fromordinal(day) for day in _all_days()]
        assert len({JUDGEMENTS.level_day(country, day) for day in days}) < 40, country
        assert len({JUDGEMENTS.credit_day(country, day) for day in days}) < 10, country


def _all_days() -> range:
    return range(date(2015, 1, 1).toordinal(), date(2026, 1, 1).toordinal())


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, date, str | None, str | None, dict]:
    country = draw(st.sampled_from(COUNTRIES))
    days = st.sampled_from(edges(country) or (date.min,)) | st.dates(date(1900, 1, 1))
    framework, level = draw(st.sampled_from(levels_of(country) or [("", "6")]))
    return (
        country,
        draw(days),
        draw(st.sampled_from((framework, None))),
        draw(st.sampled_from((level, "6", None))),
        {
            "is_award": draw(st.booleans()),
            "declared": draw(st.none() | st.integers(0, 9)),
        },
    )


@settings(max_examples=1000, deadline=None)
@given(questions())
def test_a_level_of_any_day_is_answered_as_the_tables_do(question):
    country, on, framework, level, rest = question
    assert_level_as_slowly(country, on, framework, level, **rest)


AMOUNTS = st.decimals(Decimal("0.5"), Decimal(600), places=1)


@st.composite
def amounts(draw: st.DrawFn):
    country = draw(st.sampled_from([code for code in COUNTRIES if MAPPINGS[code].credits]))
    unit = draw(st.sampled_from(MAPPINGS[country].credits))
    amount = draw(AMOUNTS)
    usual = int(amount * draw(st.sampled_from((17, 18, 19, 22, 24, 25, 27, 30, 33, 36, 40, 41))))
    hours = draw(st.none() | st.integers(max(usual - 2, 1), usual + 2).map(Decimal))
    years = int(amount // 60)
    months = draw(st.none() | st.integers(-1, 12 * years + 8))
    on = draw(st.sampled_from(edges(country)) | st.dates(date(1990, 1, 1), date(2040, 1, 1)))
    sector = draw(st.sampled_from((unit.sector, None, "HE", "VET")))
    return country, on, unit.unit, sector, amount, (hours, months)


@settings(max_examples=2000, deadline=None)
@given(amounts())
def test_an_amount_of_any_day_with_any_hours_is_answered_as_the_tables_do(question):
    *asked, effort = question
    assert_credits_as_slowly(*asked, effort=effort)


@pytest.mark.parametrize("country", COUNTRIES)
def test_the_level_of_an_award_decides_nothing_in_higher_education(country: str):
    for unit in MAPPINGS[country].credits:
        asked = credit_question(country, date(2020, 1, 1), unit.unit, "HE", Decimal(60))
        found = {
            repr(JUDGEMENTS.evaluate_credits(replace(asked, eqf=eqf), (None, None)))
            for eqf in (None, 0, 4, 8)
        }
        assert len(found) == 1


def test_a_period_begins_on_the_days_that_change_answers():
    first, second = date(2000, 1, 1), date(2010, 6, 15)
    periods = TablePeriods({"XA": {first, second}})
    assert periods.first_day("XA", first - timedelta(1)) == date.min
    assert periods.first_day("XA", first) == first
    assert periods.first_day("XA", second - timedelta(1)) == first
    assert periods.first_day("XA", second) == second
    assert periods.first_day("XB", second) == date.min


def test_the_nearest_of_two_days_changes_in_their_middle():
    one, other = date(2020, 1, 1), date(2020, 1, 10)
    for middle in middles({one, other}):
        before, after = middle - timedelta(1), middle
        nearest = [min((one, other), key=lambda day: abs(day - at)) for at in (before, after)]
        assert nearest[0] == one
    assert max(middles({one, other})) == date(2020, 1, 6)
