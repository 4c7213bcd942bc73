"""Check corrected rows of Germany, Denmark, Estonia, Spain, Malta, the Netherlands and the EHEA.

Each test names the source that decides the row: its day, its level or the value of its unit.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.credits import CreditMatch
from gateway.harmonise.tables.levels import LevelMatch

DAY = date(2025, 9, 1)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(Path(__file__).parents[3] / "mappings")


def eqf(tables, system, framework, level, on=DAY):
    found = tables.level(system, framework, level, on)
    return found.eqf if isinstance(found, LevelMatch) else str(found.reason)


def ects(tables, system, unit, on=DAY, sector="HE", amount=30):
    found = tables.credits(system, unit, Decimal(amount), sector, on)
    return found.points if isinstance(found, CreditMatch) else str(found.reason)


def test_germany_has_levels_since_1_may_2013(tables):
    """DQR portal: eight levels which correspond to the EQF; IHK Lippe zu Detmold: the day."""
    assert eqf(tables, "DE", "DQR", "6", date(2013, 4, 30)) == "not_in_force"
    assert [eqf(tables, "DE", "DQR", str(n), date(2013, 5, 1)) for n in range(1, 9)] == [
        *range(1, 9)
    ]


def test_germany_has_credits_from_the_resolution(tables):
    """Kultusministerkonferenz, Beschluss vom 10.10.2003, annex; ECTS by name is older."""
    assert ects(tables, "DE", "Leistungspunkte", date(2003, 10, 9)) == "first_day_unknown"
    assert ects(tables, "DE", "Leistungspunkte", date(2003, 10, 10)) == 30
    assert ects(tables, "DE", "ECTS", date(1999, 9, 30)) == "first_day_unknown"
    assert ects(tables, "DE", "ECTS", date(1999, 10, 1)) == 30


def test_denmark_has_levels_after_the_month_of_approval(tables):
    """Eurydice: June 2009; ufm.dk: one page for a level, and the table of degrees."""
    assert eqf(tables, "DK", "NKR-DK", "5", date(2009, 6, 30)) == "first_day_unknown"
    assert eqf(tables, "DK", "NKR-DK", "5", date(2009, 7, 1)) == 5
    assert eqf(tables, "DK", "NKR-DK", "1") == "unsure"
    assert tables.level("DK", "NKR-DK", "5", DAY).cycle == "short"


def test_denmark_has_credits_that_are_ects(tables):
    """UddannelsesGuiden: all institutions of higher education use ECTS."""
    assert ects(tables, "DK", "ECTS-point", date(1970, 6, 1)) == "first_day_unknown"
    assert ects(tables, "DK", "ECTS-point") == 30


def test_estonia_has_levels_from_the_coordination_point(tables):
    """Kutseseadus, RT I 2008, 24, 156; SA Kutsekoda: descriptions identical with the EQF."""
    assert eqf(tables, "EE", "EKR", "5", date(2008, 8, 31)) == "not_in_force"
    assert eqf(tables, "EE", "EKR", "5", date(2008, 9, 1)) == 5


def test_estonia_had_five_older_levels_since_19_january_2001(tables):
    """Kutseseadus, RT I 2001, 3, 7, section 3(3)."""
    assert eqf(tables, "EE", "KUTSE-5", "III", date(2001, 1, 18)) == "not_in_force"
    assert eqf(tables, "EE", "KUTSE-5", "III", date(2001, 1, 19)) == "no_correspondence"


def test_estonia_had_two_units_of_one_name(tables):
    """Regulation 312 of 2004, RT I 2004, 72, 509, section 4(1): 240 ainepunkti are 360 of ECTS."""
    assert ects(tables, "EE", "AP", date(2004, 10, 28), amount=240) == "first_day_unknown"
    assert ects(tables, "EE", "AP", date(2004, 10, 29), amount=240) == 360
    assert ects(tables, "EE", "ainepunkt", date(2009, 8, 31), amount=40) == 60
    assert ects(tables, "EE", "ainepunkt", date(2009, 9, 1), amount=60) == 60


def test_estonia_printed_ects_before_its_reform(tables):
    """ENIC-NARIC networks; Archimedes: both systems could be used until 2009/2010."""
    assert ects(tables, "EE", "ECTS", date(2005, 6, 1)) == 30
    assert ects(tables, "EE", "EAP", date(2005, 6, 1)) == "not_in_force"


def test_cycles_are_tied_to_the_eqf_since_2008(tables):
    """Recommendation 2008/C 111/01, Annex II, note on the short cycle (OJ 6 May 2008)."""
    assert eqf(tables, "EHEA", "QF-EHEA", "short", date(2008, 5, 5)) == "not_in_force"
    assert eqf(tables, "EHEA", "QF-EHEA", "short", date(2008, 5, 6)) == 5
    assert [eqf(tables, "EHEA", "QF-EHEA", name) for name in ("first", "second", "third")] == [
        6,
        7,
        8,
    ]


def test_spanish_higher_education_has_eqf_levels_since_2015(tables):
    """Real Decreto 22/2015, disp. final 2ª, BOE 7 February 2015."""
    last, first = date(2015, 2, 7), date(2015, 2, 8)
    assert eqf(tables, "ES", "MECES", "1", date(2011, 8, 3)) == "not_in_force"
    assert [eqf(tables, "ES", "MECES", n, last) for n in "1234"] == ["no_correspondence"] * 4
    assert [eqf(tables, "ES", "MECES", n, first) for n in "1234"] == [5, 6, 7, 8]


def test_the_spanish_framework_holds_from_the_day_after_publication(tables):
    """Real Decreto 272/2022, art. 4 and disp. final 4ª, BOE 7 May 2022."""
    levels = ("1", "2", "3", "3A", "3B", "4", "4A", "4B", "4C", "5", "5A", "5B", "5C")
    before = {eqf(tables, "ES", "MECU", level, date(2022, 5, 7)) for level in levels}
    assert before == {"not_in_force"}
    first = [eqf(tables, "ES", "MECU", level, date(2022, 5, 8)) for level in levels]
    assert first == [int(level[0]) for level in levels]


def test_the_higher_levels_of_the_spanish_framework_need_a_text(tables):
    """Ley 14/2013, art. 71(2)(a): MECU 6 is EQF 6. No text was found for 7 and 8."""
    assert [eqf(tables, "ES", "MECU", n) for n in "678"] == [
        6,
        "source_not_official",
        "source_not_official",
    ]


def test_spanish_standards_of_competence_have_levels_since_2025(tables):
    """Real Decreto 69/2025, preamble and annex II, BOE 5 February 2025."""
    last, first = date(2025, 2, 5), date(2025, 2, 6)
    assert [eqf(tables, "ES", "CNCP", n, last) for n in "123"] == ["no_correspondence"] * 3
    assert [eqf(tables, "ES", "CNCP", n, first) for n in "123"] == [3, 4, 5]


def test_spanish_credits_have_days_of_their_decrees(tables):
    """Real Decreto 1125/2003, BOE 18 September 2003; Real Decreto 1147/2011, BOE 30 July 2011."""
    assert ects(tables, "ES", "crédito europeo", date(2003, 9, 18)) == "not_in_force"
    assert ects(tables, "ES", "crédito europeo", date(2003, 9, 19)) == 30
    assert ects(tables, "ES", "ECTS", date(2011, 7, 30), "VET") == "not_in_force"
    assert ects(tables, "ES", "ECTS", date(2011, 7, 31), "VET") == 30


def test_the_spanish_scale_has_an_act(tables):
    """Real Decreto 1125/2003, art. 5(4): 0 to 10, pass 5,0."""
    spain = next(mapping for mapping in tables.mappings if mapping.country == "ES")
    scale = spain.grading[0]
    sources = spain.sources_of(scale)
    assert (scale.best, scale.passes, scale.confidence) == ("10", "5", "verified")
    assert [source.is_official_for("scale") for source in sources] == [True]


def test_malta_counts_credits_of_25_hours_and_has_levels_below_the_eqf(tables):
    """MFHEA, Interactive MQF: the levels, and credits of 25 hours."""
    assert eqf(tables, "MT", "MQF", "A") == "below_eqf"
    assert ects(tables, "MT", "ECTS") == 30


def test_the_netherlands_have_an_act_since_2025(tables):
    """Wet NLQF, Stb. 2024, 223, in force 1 January 2025; the levels of before are deemed set."""
    versions = [
        tables.level("NL", "NLQF", "4+", on) for on in (date(2024, 12, 31), date(2025, 1, 1))
    ]
    assert [(found.eqf, found.relation) for found in versions] == [(4, "referenced_sublevel")] * 2
    assert versions[0].version != versions[1].version
    assert eqf(tables, "NL", "NLQF", "6", date(2012, 1, 31)) == "first_day_unknown"
    assert tables.level("NL", "NLQF", "6", DAY).relation == "law"


def test_dutch_units_of_one_name_are_told_apart_by_the_day(tables):
    """WHW, art. 7.4(1) and art. 18.19(1) with 7.4b(1): 168 studiepunten of before are 240."""
    assert ects(tables, "NL", "studiepunt", date(2002, 8, 31), amount=168) == 240
    assert ects(tables, "NL", "studiepunt", date(2002, 9, 1), amount=60) == 60
    assert ects(tables, "NL", "EC", date(1995, 6, 1)) == "not_in_force"
    assert ects(tables, "NL", "ECTS", date(2000, 6, 1)) == 30


def test_ects_of_any_country_is_not_converted_before_its_time(tables):
    """ENIC-NARIC networks, page on ECTS."""
    assert ects(tables, "NL", "ECTS", date(1970, 6, 1)) == "first_day_unknown"
    assert ects(tables, "ES", "ECTS", date(1970, 6, 1)) == "first_day_unknown"
