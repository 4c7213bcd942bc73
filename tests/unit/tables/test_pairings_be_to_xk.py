"""Issue the levels and units whose official source was read last, and no others."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.credits import CreditMatch
from gateway.harmonise.tables.level_answers import LevelMatch

MAPPINGS = Path(__file__).parents[3] / "mappings"
DAY = date(2024, 6, 1)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(MAPPINGS)


@pytest.mark.parametrize(
    ("name", "eqf"),
    [
        ("1", 1), ("2", 2), ("3", 3), ("4", 4), ("5", 5), ("5A", 5), ("VB", 5),
        ("5Б", 5), ("6", 6), ("VIA", 6), ("6Б", 6), ("7", 7), ("7A", 7), ("VIIБ", 7),
        ("8", 8),
    ],
)  # fmt: skip
def test_the_macedonian_levels_rest_on_the_table_of_the_ministry(tables, name, eqf):
    """Macedonian Qualification Framework, slides of the ministry: columns of MKQF and EQF levels."""
    found = tables.level("MK", "MRK", name, DAY)
    assert isinstance(found, LevelMatch)
    assert found.eqf == eqf
    assert tables.level("MK", "MRK", name, date(2015, 9, 29)).reason == "not_in_force"


def test_the_maltese_levels_whose_pairing_was_read_are_issued(tables):
    """Cedefop, VET in Europe: 1, 2, 3, 8; its news: 6; its timeline: 7. Q-ENTRY, IM certificate: 4."""
    found = {name: tables.level("MT", "MQF", name, DAY) for name in "12345678"}
    issued = {name: level.eqf for name, level in found.items() if isinstance(level, LevelMatch)}
    assert issued == {"1": 1, "2": 2, "3": 3, "4": 4, "6": 6, "7": 7, "8": 8}
    hints = {name: level.hint for name, level in found.items() if name not in issued}
    assert hints == {"5": "5"}


@pytest.mark.parametrize(("name", "eqf"), [("7", 7), ("8", 8)])
def test_the_albanian_levels_of_the_second_and_third_cycle_are_issued(tables, name, eqf):
    """Eurydice, Albania, 7.3: level 7 of the framework and EQF 7; 6.5: level 8 of the AQF and EQF 8."""
    assert tables.level("AL", "KSHK", name, DAY).eqf == eqf


@pytest.mark.parametrize(("name", "eqf"), [("3", 4), ("4", 5)])
def test_levels_3_and_4_of_iceland_are_one_below_the_eqf(tables, name, eqf):
    """Q-ENTRY, stúdentspróf: EQF 4, NQF 3. NORRIC, Meistarabréf: NQF level 4, EQF level 5."""
    assert tables.level("IS", "ISQF", name, DAY).eqf == eqf


@pytest.mark.parametrize(("name", "eqf"), [("5", 5), ("6", 6)])
def test_levels_5_and_6_of_luxembourg_are_those_that_the_government_pairs(tables, name, eqf):
    """Guichet.lu on the BTS: level 5 CLQ/EQF. MESR on Benelux degrees: EQF 6 is CLQ 6."""
    assert tables.level("LU", "CLQ", name, DAY).eqf == eqf


@pytest.mark.parametrize(
    ("unit", "day", "points"),
    [
        ("eining", "2008-08-31", "first_day_unknown"),
        ("eining", "2008-09-01", "30.00"),
        ("staðlaðar námseiningar", "2020-06-01", "30.00"),
        ("námseining", "2005-06-01", "source_not_official"),
        ("námseining", "2020-06-01", "not_in_force"),
    ],
)
def test_icelandic_units_count_by_the_act_on_universities(tables, unit, day, points):
    """Act 63/2006, article 6: 60 standard units are one year of full study."""
    found = tables.credits("IS", unit, Decimal(30), "HE", date.fromisoformat(day))
    assert str(found.points if isinstance(found, CreditMatch) else found.reason) == points


def test_a_year_of_an_icelandic_secondary_school_is_no_ects(tables):
    """Act 92/2008, article 15, in force on 1 August 2008."""
    found = tables.credits("IS", "framhaldsskólaeiningar", Decimal(60), "GEN", DAY)
    assert str(found.reason) == "not_higher_education"


@pytest.mark.parametrize(
    ("country", "framework", "names"),
    [
        ("AL", "KSHK", "123456"), ("BE-FL", "VKS", "1238"), ("BE-FR", "CFC", "12358"),
        ("IS", "ISQF", "2"), ("LU", "CLQ", "123478"), ("XK", "NQF-KS", "12345678"),
    ],
)  # fmt: skip
def test_a_level_whose_official_table_was_not_found_is_a_hint(tables, country, framework, names):
    reasons = {str(tables.level(country, framework, name, DAY).reason) for name in names}
    assert reasons == {"source_not_official"}
