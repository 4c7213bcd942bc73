"""Check corrected rows of Finland, France, Georgia, Greece and Croatia to Latvia.

Each test names the source that decides the row: its day, its level or the value of its unit.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.credits import CreditMatch
from gateway.harmonise.tables.level_answers import LevelMatch

DAY = date(2025, 9, 1)
EVE = timedelta(days=1)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(Path(__file__).parents[3] / "mappings")


def eqf(tables, system, framework, level, on=DAY):
    found = tables.level(system, framework, level, on)
    return found.eqf if isinstance(found, LevelMatch) else str(found.reason)


def ects(tables, system, unit, on=DAY):
    found = tables.credits(system, unit, Decimal(30), "HE", on)
    return found.points if isinstance(found, CreditMatch) else str(found.reason)


@pytest.mark.parametrize(
    ("system", "framework", "level", "first", "answer", "before"),
    [
        # Act 93/2017, section 3, and decree 120/2017, section 2, with its annex 1.
        ("FI", "FiNQF", "6", date(2017, 3, 1), 6, "not_in_force"),
        # Décret 2019-14, JORF 7 of 9 January 2019: in force on the day after publication.
        ("FR", "CNCP", "6", date(2019, 1, 10), 6, "not_in_force"),
        # DM 8 gennaio 2018, GU 20 of 25 January 2018; 8 January is the signature.
        ("IT", "QNQ", "6", date(2018, 1, 25), 6, "not_in_force"),
        # NQFL-BBV, LGBl. 2017 Nr. 396, article 10.
        ("LI", "NQFL", "4", date(2018, 1, 1), 4, "not_in_force"),
        # Profesionālās izglītības likums, section 5, as the coordination point quotes it.
        ("LV", "PKL", "3", date(2022, 8, 1), 3, "not_in_force"),
        # Izglītības likums, section 8.1, in force on 16 July 2015.
        ("LV", "PKL-OLD", "3", date(2015, 7, 16), 4, "not_in_force"),
        # NN 20/2021: the act in force on 27 February 2021 has 6.st and 6.sv.
        ("HR", "HKO", "6.sv", date(2021, 2, 27), 6, "not_in_force"),
        # NN 22/2013 of 22 February 2013, article 23: in force on the eighth day after publication.
        ("HR", "HKO", "4.2", date(2013, 3, 2), 4, "not_in_force"),
        # NN 64/2018 of 18 July 2018, article 19: in force on the eighth day after publication.
        ("HR", "HKO", "7.2", date(2018, 7, 26), 7, "not_in_force"),
        # Approved by the EQF Advisory Group in December 2015 (Cedefop).
        ("GR", "HQF", "5", date(2016, 1, 1), 5, "first_day_unknown"),
        # NQAI, determinations of October 2003.
        ("IE", "NFQ", "8", date(2003, 11, 1), 6, "first_day_unknown"),
        # ENIC/NARIC Iceland; report of March 2014, version with sublevels of 2016.
        ("IS", "ISQF", "7", date(2014, 4, 1), 8, "first_day_unknown"),
        ("IS", "ISQF", "5.2", date(2017, 1, 1), 6, "first_day_unknown"),
        # Ministry of education of Lithuania; resolution 535 of 4 May 2010.
        ("LT", "LTKS", "6", date(2012, 1, 1), 6, "first_day_unknown"),
        # MK noteikumi 322, annex 1, column LKI/EKI.
        ("LV", "LKI", "6", date(2011, 12, 31), 6, "first_day_unknown"),
    ],
)
def test_a_level_starts_on_the_day_of_its_source(
    tables, system, framework, level, first, answer, before
):
    assert eqf(tables, system, framework, level, first) == answer
    assert eqf(tables, system, framework, level, first - EVE) == before


@pytest.mark.parametrize(
    ("system", "unit", "first", "before"),
    [
        # The unit before 2005 has another name; ECTS by name is older.
        ("FI", "opintopistettä", date(2005, 8, 1), "not_in_force"),
        ("FI", "ECTS", date(1999, 10, 1), "first_day_unknown"),
        # Décret 2002-482, JO of 10 April 2002.
        ("FR", "crédits ECTS", date(2002, 4, 11), "not_in_force"),
        # Law 3374/2005, article 16: at the latest from 2005-2006.
        ("GR", "πιστωτικές μονάδες", date(2005, 10, 1), "first_day_unknown"),
        # AZVO, glossary: 60 ECTS credits.
        ("HR", "ECTS bodova", date(2005, 10, 1), "first_day_unknown"),
        # Oktatási Hivatal, felvi.hu: one kredit is 30 hours.
        ("HU", "kredit", date(2006, 9, 1), "first_day_unknown"),
        # NQAI, national approach to credit, November 2004.
        ("IE", "ECTS", date(2004, 12, 1), "first_day_unknown"),
        # DM 509/1999, GU 2 of 4 January 2000: in force on 19 January 2000.
        ("IT", "CFU", date(2000, 1, 19), "not_in_force"),
        ("IT", "crediti ECTS", date(1999, 10, 1), "first_day_unknown"),
        # DPR 212/2005, GU 243 of 18 October 2005: in force on 2 November 2005.
        ("IT", "CFA", date(2005, 11, 2), "not_in_force"),
        # HSG, LGBl. 2005 Nr. 2: in force on the day of publication.
        ("LI", "ECTS", date(2005, 1, 21), "not_in_force"),
        ("LT", "ECTS", date(1999, 10, 1), "first_day_unknown"),
        # Règlement grand-ducal of 22 May 2006, in force on 25 June 2006.
        ("LU", "ECTS", date(2006, 6, 25), "not_in_force"),
        ("LV", "ECTS", date(1999, 10, 1), "first_day_unknown"),
        # NCEQE; Order N3 of 5 January 2007 was not read.
        ("GE", "krediti", date(2007, 9, 1), "first_day_unknown"),
    ],
)
def test_a_credit_is_not_converted_before_its_unit_existed(tables, system, unit, first, before):
    assert ects(tables, system, unit, first) == 30
    assert ects(tables, system, unit, first - EVE) == before


def test_french_levels_of_1969_end_on_the_day_of_publication(tables):
    """Décret 2019-14; service-public.fr F199 has the master at 7 and the doctorate at 8, once I."""
    assert eqf(tables, "FR", "RNCP-1969", "II", date(2019, 1, 9)) == 6
    assert eqf(tables, "FR", "RNCP-1969", "II", date(2019, 1, 10)) == "not_in_force"
    assert eqf(tables, "FR", "RNCP-1969", "I-Master", date(2018, 6, 1)) == 7
    assert eqf(tables, "FR", "RNCP-1969", "I-Doctorat", date(2018, 6, 1)) == 8
    assert eqf(tables, "FR", "RNCP-1969", "I-Master", date(2020, 1, 1)) == "not_in_force"


def test_croatian_levels_end_when_sublevels_replace_them(tables):
    """NN 20/2021, in force on 27 February 2021; decision U-I-2854/2018, NN 47/2020."""
    assert eqf(tables, "HR", "HKO", "6", date(2021, 2, 26)) == 6
    assert eqf(tables, "HR", "HKO", "6", date(2021, 2, 27)) == "not_in_force"
    assert eqf(tables, "HR", "HKO", "7", date(2021, 2, 27)) == "not_in_force"
    assert "NN 47/2020" in tables.level("HR", "HKO", "6", date(2020, 6, 1)).note


def test_croatian_levels_are_those_of_the_act(tables):
    """NN 20/2021, article 12: a new article 16(2) pairs the full levels one by one."""
    pairs = {"1": 1, "2": 2, "3": 3, "4.1": 4, "4.2": 4, "5": 5, "6.st": 6, "6.sv": 6, "7.1.st": 7}
    pairs |= {"7.1.sv": 7, "7.2": 7, "8.1": 8, "8.2": 8}
    assert {level: eqf(tables, "HR", "HKO", level) for level in pairs} == pairs
    assert tables.level("HR", "HKO", "8.2", DAY).source == "NN 22/2013, 359"


def test_latvian_old_levels_are_one_below_the_framework(tables):
    """kval.lv pairs 1 to 3, and the Nordic-Baltic admission manual pairs 4 with EQF/LQF level 5."""
    levels = {level: eqf(tables, "LV", "PKL-OLD", level, date(2020, 6, 1)) for level in "12345"}
    assert levels == {"1": 2, "2": 3, "3": 4, "4": 5, "5": "split_level"}


def test_greek_degrees_rest_on_the_law(tables):
    """Law 4957/2022, article 63(1)."""
    assert tables.level("GR", "HQF", "7", DAY).source == "ΦΕΚ Α 141/21.7.2022"
    assert [eqf(tables, "GR", "HQF", level) for level in "12345678"] == list(range(1, 9))


def test_lithuanian_levels_are_written_in_roman_numerals(tables):
    """Acts and supplements write "VI lygis"."""
    assert [eqf(tables, "LT", "LTKS", level) for level in ("I", "VI", "VIII")] == [1, 6, 8]


def test_lithuanian_credits_before_2011_are_weeks(tables):
    """Mokslo ir studijų įstatymas, article 95(2): 40 hours until 31 August 2011."""
    assert ects(tables, "LT", "kreditų", date(2011, 8, 31)) == 45
    assert ects(tables, "LT", "kreditų", date(2011, 9, 1)) == 30


def test_hours_of_a_credit_are_those_of_the_act(tables):
    """HSG, article 22a: 30 hours. DM 509/1999, article 5: 25, a fifth more or less."""
    hours = {
        (system, unit): tables.credits(system, unit, Decimal(1), "HE", DAY).hours
        for system, unit in (("LI", "ECTS"), ("IT", "CFU"), ("HU", "kredit"), ("LU", "ECTS"))
    }
    assert hours == {
        ("LI", "ECTS"): (30, 30),
        ("IT", "CFU"): (20, 30),
        ("HU", "kredit"): (30, 30),
        ("LU", "ECTS"): (25, 30),
    }


@pytest.mark.parametrize(
    ("system", "framework", "levels"),
    [
        # Act of 28 October 2016, article 69, names the levels and no level of the EQF.
        ("LU", "CLQ", "123478"),
        # Eurydice pairs 5, 6 and 7 only.
        ("HU", "MKKR", "12348"),
        # Article 16(2) of the act pairs 8.1 and 8.2, and no level 8 without a sublevel.
        ("HR", "HKO", "8"),
        ("IS", "ISQF", ("2",)),
    ],
)
def test_a_level_without_an_official_pairing_is_not_issued(tables, system, framework, levels):
    assert {eqf(tables, system, framework, level) for level in levels} == {"source_not_official"}


def test_a_unit_without_an_official_value_is_not_converted(tables):
    """Act 136/1997, which act 63/2006 repealed, was not read."""
    assert ects(tables, "IS", "námseiningar", date(2005, 6, 1)) == "source_not_official"
    assert ects(tables, "IS", "ECTS einingar") == 30
