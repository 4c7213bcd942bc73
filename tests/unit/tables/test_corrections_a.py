"""Check corrected rows of Albania to Czechia, Australia, Hong Kong and New Zealand.

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


def ects(tables, system, unit, on=DAY):
    found = tables.credits(system, unit, Decimal(30), "HE", on)
    return found.points if isinstance(found, CreditMatch) else str(found.reason)


def test_austria_has_levels_from_the_act(tables):
    """NQR-Gesetz, BGBl. I 14/2016: section 11(2) gives the day, section 1(2) the pairing."""
    assert eqf(tables, "AT", "NQR", "6", date(2016, 3, 14)) == "not_in_force"
    assert eqf(tables, "AT", "NQR", "6", date(2016, 3, 15)) == 6
    assert tables.level("AT", "NQR", "6", DAY).source == "BGBl. I Nr. 14/2016"


def test_austria_has_credits_from_the_act(tables):
    """Universitätsgesetz 2002, BGBl. I 120/2002, section 54(2); ECTS by name is older."""
    unit = "ECTS-Anrechnungspunkte"
    assert ects(tables, "AT", unit, date(2003, 12, 31)) == "not_in_force"
    assert ects(tables, "AT", unit, date(2004, 1, 1)) == 30
    assert ects(tables, "AT", "ECTS", date(1999, 9, 30)) == "first_day_unknown"
    assert ects(tables, "AT", "ECTS", date(1999, 10, 1)) == 30


def test_flanders_has_a_framework_from_the_tenth_day(tables):
    """Decreet 30 april 2009, numac 2009035656: it names no EQF level; Nuffic names 4, 5, 6 and 7."""
    assert eqf(tables, "BE-FL", "VKS", "6", date(2009, 7, 25)) == "not_in_force"
    assert eqf(tables, "BE-FL", "VKS", "6", date(2009, 7, 26)) == 6
    assert [eqf(tables, "BE-FL", "VKS", level) for level in "4567"] == [4, 5, 6, 7]
    assert {eqf(tables, "BE-FL", "VKS", level) for level in "1238"} == {"source_not_official"}
    assert "Vlaamstalige" in tables.level("BE-FL", "VKS", "6", DAY).source


def test_flanders_has_credits_from_the_act(tables):
    """Decreet 30 april 2004, numac 2004036500, art. 2, 22° and 25°."""
    assert ects(tables, "BE-FL", "studiepunten", date(2004, 10, 21)) == "not_in_force"
    assert ects(tables, "BE-FL", "studiepunten", date(2004, 10, 22)) == 30
    assert ects(tables, "BE-FL", "ECTS-studiepunten", date(2004, 10, 21)) == 30


def test_french_community_has_two_starts(tables):
    """Décret 7 novembre 2013, numac 2013029625, art. 15; levels 1 to 4 rest on the accord of 2015.

    Neither names an EQF level; Nuffic names 4, 6 and 7.
    """
    assert eqf(tables, "BE-FR", "CFC", "7", date(2013, 12, 31)) == "not_in_force"
    assert eqf(tables, "BE-FR", "CFC", "7", date(2014, 1, 1)) == 7
    assert [eqf(tables, "BE-FR", "CFC", level) for level in "467"] == [4, 6, 7]
    assert {eqf(tables, "BE-FR", "CFC", level) for level in "12358"} == {"source_not_official"}
    assert not tables.level("BE-FR", "CFC", "4", date(2014, 1, 1)).version.endswith("2014-01-01")


def test_french_community_has_credits_from_2004(tables):
    """Décret 31 mars 2004, numac 2004029170, art. 63(3) and 187."""
    assert ects(tables, "BE-FR", "crédits", date(2004, 9, 30)) == "first_day_unknown"
    assert ects(tables, "BE-FR", "crédits", date(2004, 10, 1)) == 30


def test_german_community_has_a_framework_from_september(tables):
    """Dekret 18. November 2013, numac 2014200749, art. 16; it is not referenced."""
    assert eqf(tables, "BE-DG", "QDG", "6", date(2013, 8, 31)) == "not_in_force"
    assert eqf(tables, "BE-DG", "QDG", "6", date(2013, 9, 1)) == "not_referenced"


def test_bulgaria_starts_on_the_day_of_the_decision(tables):
    """РМС № 96/02.02.2012, and the ministry's notice of the same day."""
    assert eqf(tables, "BG", "NKR", "6", date(2012, 2, 1)) == "not_in_force"
    assert eqf(tables, "BG", "NKR", "6", date(2012, 2, 2)) == 6


def test_bulgaria_pairs_seven_levels_in_acts(tables):
    """ДВ 11/2026 pairs 2 to 5, ДВ 75/2004 with 57/2022 pairs 6 to 8; no act read pairs level 1."""
    assert {n: eqf(tables, "BG", "NKR", str(n)) for n in range(2, 9)} == {n: n for n in range(2, 9)}
    assert eqf(tables, "BG", "NKR", "1") == "source_not_official"
    assert "ДВ" in tables.level("BG", "NKR", "4", DAY).source


@pytest.mark.parametrize("level", ["6A", "6А", "6Б", "6B"])
def test_bulgaria_has_two_sublevels(tables, level):
    """Annex 1, section 8.1, of the ordinance on documents of schools, as of ДВ 57/2022."""
    assert eqf(tables, "BG", "NKR", level, date(2022, 7, 21)) == "not_in_force"
    assert eqf(tables, "BG", "NKR", level, date(2022, 7, 22)) == 6


def test_bulgaria_has_credits_and_grades_from_acts(tables):
    """Наредба № 21, ДВ 89/2004, art. 8 and 9; Закон за висшето образование, art. 44."""
    assert ects(tables, "BG", "кредити", date(2004, 10, 11)) == "not_in_force"
    assert ects(tables, "BG", "кредити", date(2004, 10, 12)) == 30
    assert tables.grading_scale("BG", "2-6").confidence == "verified"


def test_switzerland_has_its_own_first_days(tables):
    """SR 412.105.1, art. 13; SR 414.205.1, art. 3; the higher education framework has cycles."""
    assert eqf(tables, "CH", "NQR-BB", "6", date(2014, 9, 30)) == "not_in_force"
    assert eqf(tables, "CH", "NQR-BB", "6", date(2014, 10, 1)) == 6
    assert eqf(tables, "CH", "NQF.CH-HS", "first") == "indirect_via_cycle"
    assert ects(tables, "CH", "ECTS", date(2004, 9, 30)) == "first_day_unknown"
    assert ects(tables, "CH", "ECTS", date(2004, 10, 1)) == 30


def test_cyprus_pairs_the_bare_five(tables):
    """cyqf.gov.cy, diagram: SVQ level 5 stands beside EQF 5; the decision of 2012 has no day."""
    assert eqf(tables, "CY", "CyQF", "5", date(2017, 12, 31)) == "first_day_unknown"
    assert eqf(tables, "CY", "CyQF", "5", date(2018, 1, 1)) == 5
    assert eqf(tables, "CY", "CyQF", "7a", date(2018, 1, 1)) == 7
    assert ects(tables, "CY", "ECTS", date(2005, 8, 31)) == "first_day_unknown"


def test_czechia_keeps_the_register_apart(tables):
    """zákon 179/2006 Sb. and europass.cz: a school award prints the EQF level itself."""
    assert eqf(tables, "CZ", "NSK", "5", date(2011, 7, 31)) == "first_day_unknown"
    assert eqf(tables, "CZ", "NSK", "5", date(2011, 8, 1)) == 5
    assert eqf(tables, "CZ", "KKOV-2011", "EQF 4") == 4
    assert eqf(tables, "CZ", "KKOV-2011", "EQF 5") == "level_unknown"
    assert eqf(tables, "CZ", None, "6") == 6


def test_czechia_has_levels_of_higher_education_by_act(tables):
    """vyhláška 200/2025 Sb., annex and section 2."""
    assert eqf(tables, "CZ", "RKVV", "II.", date(2025, 6, 23)) == "not_in_force"
    assert [eqf(tables, "CZ", "RKVV", n, date(2025, 6, 24)) for n in ("I.", "II", "III.")] == [
        6,
        7,
        8,
    ]


def test_czechia_has_credits_by_act(tables):
    """vyhláška 200/2025 Sb., annex; before it only ECTS by name is one."""
    assert ects(tables, "CZ", "kreditů", date(2025, 6, 23)) == "first_day_unknown"
    assert ects(tables, "CZ", "kreditů", date(2025, 6, 24)) == 30
    assert ects(tables, "CZ", "kreditů ECTS", date(2015, 6, 1)) == 30


def test_albania_states_no_pairing(tables):
    """AKAFPK, Cedefop 2022 and Eurydice name eight levels and the year 2021 alone."""
    assert eqf(tables, "AL", "KSHK", "6", date(2023, 1, 1)) == "source_not_official"
    assert tables.level("AL", "KSHK", "6", DAY).referenced_year == 2021


def test_albania_has_ects_by_name(tables):
    """ENIC-NARIC networks: a unit printed as ECTS is ECTS; a bare kredit stays open."""
    assert ects(tables, "AL", "kredite ECTS") == 30
    assert ects(tables, "AL", "kredit") == "unsure"


def test_third_countries_compare_and_issue_nothing(tables):
    """Europass, node 2036 (Cabo Verde); NZQA leaves level 8 without a level of the EQF."""
    for system, framework, level in (
        ("AU", "AQF", "7"), ("CV", "QNQ", "6"), ("HK", "HKQF", "5"), ("NZ", "NZQF", "7"),
    ):  # fmt: skip
        assert eqf(tables, system, framework, level) == "comparison_only"
    assert tables.level("NZ", "NZQF", "8", DAY).hint == ""
    assert tables.level("NZ", "NZQF", "9", DAY).hint == "7"
