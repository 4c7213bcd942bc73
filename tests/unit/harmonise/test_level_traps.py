"""Check known traps of qualification levels, each with the source of the fact.

A wrong level on a diploma is the worst fault that this system can have.
"""

from __future__ import annotations

from datetime import date

import pytest

from gateway.harmonise.tables.levels import LevelMatch

TODAY = date(2025, 6, 1)


def eqf(tables, country, framework, level, on=TODAY):
    found = tables.level(country, framework, level, on)
    return found.eqf if isinstance(found, LevelMatch) else str(found.reason)


def check(tables, country, framework, expected, on=TODAY):
    assert {level: eqf(tables, country, framework, level, on) for level in expected} == expected


def test_01_ireland_nfq_8_is_eqf_6(tables):
    """NFQ-EQF referencing report 2009; 'Qualifications can cross boundaries' leaflet."""
    check(
        tables,
        "IE",
        "NFQ",
        {"1": 1, "2": 1, "3": 2, "4": 3, "5": 4, "6": 5, "7": 6, "8": 6, "9": 7, "10": 8},
    )


def test_02_iceland_runs_one_below(tables):
    """enicnaric.is ISQF table; Q-ENTRY and NORRIC for 3 and 4; nothing read pairs 2."""
    check(
        tables, "IS", "ISQF",
        {"1": "split_level", "2": "source_not_official", "3": 4, "4": 5, "5": 6, "5.1": 6, "5.2": 6, "6": 7, "6.1": 7, "6.2": 7, "7": 8, "7.1": 8, "7.2": 8},
    )  # fmt: skip


def test_03_slovenia_runs_one_above(tables):
    """nok.si SOK scheme; the Roman scale is another one."""
    check(
        tables, "SI", "SOK", {"4": 4, "5": 4, "6": 5, "7": 6, "8": 7, "9": "split_level", "10": 8}
    )
    check(
        tables,
        "SI",
        "STOPNJA",
        {"V": "unsure", "VI/2": "unsure", "VII": "unsure"},
        date(2005, 1, 1),
    )
    assert eqf(tables, "SI", "SOK", "VII") == "level_unknown"


def test_04_scotland(tables):
    """'Qualifications can cross boundaries'; SCQF-EQF referencing report 2019."""
    below = {"1": "below_eqf", "2": "below_eqf"}
    check(
        tables,
        "UK-SCT",
        "SCQF",
        below | {"3": 1, "4": 2, "5": 3, "6": 4, "7": 5, "8": 5, "9": 6, "10": 6, "11": 7, "12": 8},
    )
    assert tables.level("UK-SCT", "SCQF", "10", TODAY).relation == "historic"


@pytest.mark.parametrize(("country", "framework"), [("UK-ENI", "RQF"), ("UK-WLS", "CQFW")])
def test_05_england_northern_ireland_and_wales(tables, country, framework):
    """'Qualifications can cross boundaries'; outside the EQF process since the end of 2020."""
    below = {"E1": "below_eqf", "E2": "below_eqf"}
    check(
        tables,
        country,
        framework,
        below | {"E3": 1, "1": 2, "2": 3, "3": 4, "4": 5, "5": 5, "6": 6, "7": 7, "8": 8},
    )
    assert tables.level(country, framework, "6", TODAY).relation == "historic"


def test_06_france_1969_is_inverted(tables):
    """Decree 2019-14 of 8 January 2019, in force on the day after its publication on 9 January."""
    old = {"V": 3, "IV": 4, "III": 5, "II": 6, "I": "split_level"}
    old |= {"I-Master": 7, "I-Doctorat": 8}
    check(
        tables,
        "FR",
        "RNCP-1969",
        old | {"V bis": "no_correspondence", "VI": "no_correspondence"},
        date(2018, 6, 1),
    )
    check(tables, "FR", "CNCP", {str(n): n for n in range(1, 9)}, date(2019, 6, 1))
    assert eqf(tables, "FR", "CNCP", "3", date(2018, 6, 1)) == "not_in_force"
    assert eqf(tables, "FR", "RNCP-1969", "III", date(2019, 1, 10)) == "not_in_force"
    assert eqf(tables, "FR", "RNCP-1969", "III", date(2019, 1, 9)) == 5
    assert eqf(tables, "FR", "RNCP-1969", "III", None) == "date_required"
    assert eqf(tables, "FR", None, "3", date(2018, 6, 1)) == "framework_required"


def test_07_roman_numerals_belong_to_their_framework(tables):
    """PL: Nuffic table; FR: LHEO code list; ME: EU list; MK: ETF inventory, letters may be Cyrillic."""
    assert eqf(tables, "PL", "PRK", "VI") == 6
    assert eqf(tables, "FR", "RNCP-1969", "VI", date(2018, 1, 1)) == "no_correspondence"
    assert tables.level("ME", "CKO", "VII1", TODAY).row == "ME/CKO/7.1"
    assert eqf(tables, "MK", "MRK", "VIA") == 6
    for spelt in ("VI\u0410", "VI\u0412"):
        found = tables.level("MK", "MRK", spelt, TODAY)
        assert (found.eqf, found.level, found.normalised) == (6, spelt, True)
    assert tables.level("MK", "MRK", "VI\u0411", TODAY).row == "MK/MRK/6B"


def test_08_latvia_changed_on_1_august_2022(tables):
    """nki-latvija.lv: Vocational Education Law s. 5, in force 2022-08-01; latvijaskvalifikacijas.lv."""
    check(
        tables,
        "LV",
        "PKL-OLD",
        {"1": 2, "2": 3, "3": 4, "4": 5, "5": "split_level"},
        date(2022, 7, 31),
    )
    check(tables, "LV", "PKL", {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5}, date(2022, 8, 1))
    assert eqf(tables, "LV", "PKL-OLD", "3", date(2022, 8, 1)) == "not_in_force"
    assert eqf(tables, "LV", "PKL", "3", date(2022, 7, 31)) == "not_in_force"


def test_09_ukraine_never_states_an_eqf_level(tables):
    """Comparison report 2023 (ETF); Law on Education 2017; Cabinet Resolution 519 of 2020."""
    assert {eqf(tables, "UA", "NRK", str(n)) for n in range(1, 9)} == {"comparison_only"}
    assert {
        eqf(tables, "UA", "NRK-2017", str(n), date(2018, 6, 1)) for n in (1, 2, 6, 7, 8, 9, 10)
    } == {"no_correspondence"}
    assert {eqf(tables, "UA", "NRK-2011", str(n), date(2014, 6, 1)) for n in (5, 6, 7, 8)} == {
        "no_correspondence"
    }
    assert eqf(tables, "UA", None, "7", date(2018, 6, 1)) == "framework_required"


def test_10_spain_nivel_3_has_three_meanings(tables):
    """RD 22/2015 (MECES); RD 272/2022, art. 4 (MECU); RD 69/2025, annex II (CNCP)."""
    check(tables, "ES", "MECES", {"1": 5, "2": 6, "3": 7, "4": 8})
    check(
        tables,
        "ES",
        "MECU",
        {str(n): n for n in range(1, 7)} | {"3A": 3, "3B": 3, "4B": 4, "5A": 5, "5B": 5},
    )
    check(tables, "ES", "CNCP", {"1": 3, "2": 4, "3": 5})
    assert eqf(tables, "ES", None, "3") == "framework_required"


def test_11_netherlands_keeps_the_plus(tables):
    """NLQF; Nuffic, level of Dutch diplomas."""
    check(tables, "NL", "NLQF", {"entry": "below_eqf", "4": 4, "4+": 4, "5": 5})
    assert tables.level("NL", "NLQF", "4+", TODAY).row != tables.level("NL", "NLQF", "4", TODAY).row
    assert eqf(tables, "NL", "NLQF", "5+") == "level_unknown"


def test_12_norway_has_no_level_1_and_6_1_is_a_short_cycle(tables):
    """nokut.no; norric.org."""
    check(tables, "NO", "NKR", {"1": "level_unused", "5.1": 5, "6.1": 6, "6.2": 6})
    assert tables.level("NO", "NKR", "6.1", TODAY).cycle == "short"


def test_13_croatia(tables):
    """NN 22/13, 64/18, 20/21: bare 6, 7 and 7.1 end on 26 February 2021."""
    check(
        tables, "HR", "HKO",
        {"1": 1, "4.1": 4, "4.2": 4, "6.st": 6, "6.sv": 6, "6 sv": 6, "7.1.st": 7, "7.1.sv": 7}
        | {"7.2": 7, "8.1": 8, "8.2": 8, "7": "not_in_force", "8": "source_not_official"},
    )  # fmt: skip
    assert eqf(tables, "HR", "HKO", "6.st", date(2021, 2, 26)) == "not_in_force"
    assert eqf(tables, "HR", "HKO", "6.st", date(2021, 2, 27)) == 6
    assert eqf(tables, "HR", "HKO", "7.1", date(2018, 1, 1)) == "not_in_force"


def test_14_cyprus_only_7c_is_a_master(tables):
    """cyqf.gov.cy diagram."""
    check(tables, "CY", "CyQF", {"5a": 5, "5b": 5, "5c": 5, "7a": 7, "7b": 7, "7c": 7})
    assert [tables.level("CY", "CyQF", level, TODAY).cycle for level in ("7a", "7b", "7c")] == [
        None,
        None,
        "second",
    ]


def test_15_malta_a_and_b_are_below(tables):
    """MFHEA interactive MQF."""
    check(tables, "MT", "MQF", {"A": "below_eqf", "B": "below_eqf"})
    assert tables.level("MT", "MQF", "7", TODAY).cycle is None


def test_16_bulgaria_level_0(tables):
    """Cedefop NQF tool."""
    check(tables, "BG", "NKR", {"0": "below_eqf", "2": 2, "4": 4})
    assert eqf(tables, "BG", "NKR", "SPK 3") == "level_unknown"


def test_17_switzerland_has_two_frameworks(tables):
    """sbfi.admin.ch."""
    check(tables, "CH", "NQR-BB", {str(n): n for n in range(1, 9)})
    check(
        tables,
        "CH",
        "NQF.CH-HS",
        dict.fromkeys(("first", "second", "third", "CET"), "indirect_via_cycle"),
    )
    assert tables.level("CH", "NQR-BB", "6", TODAY).cycle is None


def test_18_germany_and_austria_school_certificates_take_no_level_by_name(tables):
    """Cedefop NQF tool: AHS Matura has none, BHS Matura 5; DQR assigned school certificates in 2017."""
    check(tables, "AT", "NQR", {"4": 4, "5": 5, "AHS": "level_unknown", "Matura": "level_unknown"})
    assert eqf(tables, "DE", "DQR", "Abitur") == "level_unknown"


def test_19_italy_master_is_not_a_cycle(tables):
    """Europass compare page."""
    check(tables, "IT", "QNQ", {"7": 7, "8": 8})


@pytest.mark.parametrize(
    ("country", "framework", "level"),
    [("FI", "FiNQF", "8"), ("SE", "SeQF", "8")],
)
def test_20_eqf_8_without_a_doctorate(tables, country, framework, level):
    """OPH; Ordinance 2015:545. No cycle is made from the level: rules add none."""
    assert eqf(tables, country, framework, level) == 8
    assert eqf(tables, "SE", "SeQF", "6") == 6


@pytest.mark.parametrize(
    ("country", "framework"),
    [("BE-DG", "QDG"), ("BA", "BQF-BiH"), ("GE", "NQF-GE"), ("MD", "CNC-RM")],
)
def test_21_not_referenced(tables, country, framework):
    """Cedefop NQF tool 2024; EQF Advisory Group, March 2025."""
    assert {eqf(tables, country, framework, str(n)) for n in range(1, 9)} == {"not_referenced"}


def test_22_portugal_old_level_3(tables):
    """Portaria 782/2009: QNQ in force 1 October 2010."""
    check(
        tables,
        "PT",
        "CE-85/368",
        {
            "1": "split_level",
            "2": "unsure",
            "3": "source_not_official",
            "4": "source_not_official",
            "5": "split_level",
        },
        date(2005, 1, 1),
    )
    check(tables, "PT", "QNQ", {"3": 3, "4": 4}, date(2010, 10, 1))
    assert eqf(tables, "PT", "QNQ", "3", date(2010, 9, 30)) == "not_in_force"


def test_23_old_scales_without_a_rule(tables):
    """kutsekoda.ee; HG 918/2013; the Czech report places DiS. at 6."""
    check(
        tables, "EE", "KUTSE-5", dict.fromkeys(("I", "II", "III", "IV", "V"), "no_correspondence")
    )
    check(
        tables,
        "RO",
        "NIVEL-OLD",
        dict.fromkeys(("1", "2", "3", "3 avansat", "4", "5"), "unsure"),
        date(2010, 1, 1),
    )
    assert eqf(tables, "CZ", "NSK", "6") == 6


@pytest.mark.parametrize(
    ("country", "framework", "name"),
    [
        ("DK", "NKR-DK", "EUD"),
        ("IE", "NFQ", "Leaving Certificate"),
        ("CH", "NQR-BB", "EFZ"),
        ("DE", "DQR", "Meister"),
    ],
)
def test_24_types_of_award_are_no_levels(tables, country, framework, name):
    """norric.org; sbfi.admin.ch; DQR handbook."""
    assert eqf(tables, country, framework, name) == "level_unknown"


def test_25_isced_is_no_level(tables):
    """ISCED 3 is usually EQF 4: nothing but a framework's own level text is looked up."""
    assert eqf(tables, "IE", "ISCED", "6") == "framework_unknown"


def test_26_one_label_several_countries_and_an_unsure_row(tables):
    """Cedefop NQF tool 2024; the ministry's page for DK 1 was not read."""
    assert eqf(tables, "DK", "NKR-DK", "1") == "unsure"
    assert (eqf(tables, "NO", "NKR", "1"), eqf(tables, "BG", "NKR", "2")) == ("level_unused", 2)
    assert (eqf(tables, "PT", "QNQ", "3"), eqf(tables, "IT", "QNQ", "3")) == (3, 3)
    assert eqf(tables, "AU", "AQF", "7") == "comparison_only"


@pytest.mark.parametrize(
    "country", ["EE", "ES", "FR", "LV", "PT", "RO", "SI", "UA", "UK-ENI", "UK-WLS"]
)
def test_a_bare_number_needs_its_framework(tables, country):
    assert eqf(tables, country, None, "4") == "framework_required"
    assert eqf(tables, country, "", "4") == "framework_required"
