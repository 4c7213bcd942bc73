"""Corrections of the tables from Bosnia and Herzegovina to Kosovo, each with its source."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.credits import CreditMatch
from gateway.harmonise.tables.level_answers import LevelMatch

MAPPINGS = Path(__file__).parents[3] / "mappings"


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(MAPPINGS)


def level(tables, country, framework, name, on):
    found = tables.level(country, framework, name, date.fromisoformat(on))
    return found.eqf if isinstance(found, LevelMatch) else str(found.reason)


def ects(tables, country, unit, on, amount="60"):
    found = tables.credits(country, unit, Decimal(amount), "HE", date.fromisoformat(on))
    return str(found.points) if isinstance(found, CreditMatch) else str(found.reason)


@pytest.mark.parametrize(
    ("country", "framework", "name", "day_before", "first_day", "eqf"),
    [
        pytest.param("PL", "PRK", "6", "2016-01-14", "2016-01-15", 6, id="Dz.U. 2016 poz. 64"),
        pytest.param("SE", "SeQF", "6", "2015-09-30", "2015-10-01", 6, id="SFS 2015:545"),
        pytest.param("SI", "SOK", "8", "2016-01-11", "2016-01-12", 7, id="ZSOK, in force by CPI"),
        pytest.param("RS", "NOKS", "6.1", "2018-04-13", "2018-04-14", 6, id="Sl. glasnik RS 27/18"),
        pytest.param("RO", "CNC", "6", "2013-11-27", "2013-11-28", 6, id="HG 918/2013, 567/2015"),
        pytest.param("MK", "MRK", "VIB", "2015-09-29", "2015-09-30", 6, id="ETF; Eurydice 7.2.1"),
        pytest.param("NO", "NKR", "7", "2011-12-14", "2011-12-15", 7, id="Kunnskapsdepartementet"),
        pytest.param("PT", "QNQ", "6", "2010-09-30", "2010-10-01", 6, id="DGES"),
    ],
)
def test_a_level_holds_from_its_first_day(
    tables, country, framework, name, day_before, first_day, eqf
):
    assert level(tables, country, framework, name, day_before) == "not_in_force"
    assert level(tables, country, framework, name, first_day) == eqf


@pytest.mark.parametrize(
    ("country", "framework", "name", "day_before", "safe_day", "eqf"),
    [
        pytest.param("SK", "SKKR", "6", "2017-12-31", "2018-01-01", 6, id="minedu.sk, Dec. 2017"),
        pytest.param("UK-SCT", "SCQF", "10", "2001-12-31", "2002-01-01", 6, id="SCQF Handbook"),
        pytest.param("UK-WLS", "CQFW", "6", "2003-12-31", "2004-01-01", 6, id="Welsh Government"),
    ],
)
def test_a_framework_without_a_first_day_waits_for_a_safe_day(
    tables, country, framework, name, day_before, safe_day, eqf
):
    assert level(tables, country, framework, name, day_before) == "first_day_unknown"
    assert level(tables, country, framework, name, safe_day) == eqf


def test_the_turkish_framework_begins_with_the_communique(tables):
    """Resmî Gazete 29581 of 2 January 2016. No official text with the EQF levels was read."""
    assert level(tables, "TR", "TYC", "6", "2016-01-01") == "not_in_force"
    assert level(tables, "TR", "TYC", "6", "2016-01-02") == "source_not_official"


@pytest.mark.parametrize(
    ("country", "framework", "name", "hint"),
    [
        ("ME", "CKO", "VII-1", "7"),
        ("MT", "MQF", "5", "5"),
        ("NO", "NKR", "2", "2"),
        ("TR", "TYC", "4", "4"),
        ("XK", "NQF-KS", "6", "6"),
    ],
)
def test_a_level_without_an_official_pairing_is_a_hint_only(tables, country, framework, name, hint):
    found = tables.level(country, framework, name, date(2020, 6, 1))
    assert (str(found.reason), found.hint) == ("source_not_official", hint)


def test_the_old_portuguese_levels_have_no_pairing_that_was_read(tables):
    """Portaria 782/2009: its annexes were not read."""
    found = tables.level("PT", "CE-85/368", "3", date(2005, 6, 1))
    assert (str(found.reason), found.hint) == ("source_not_official", "4")


@pytest.mark.parametrize(
    ("name", "roman"),
    [
        ("1.1", "I-1"), ("1.2", "I-2"), ("2", "II"), ("3", "III"), ("4.1", "IV-1"), ("4.2", "IV-2"),
        ("5", "V"), ("6", "VI"), ("7.1", "VII-1"), ("7.2", "VII-2"), ("8", "VIII"),
    ],
)  # fmt: skip
def test_montenegro_writes_its_levels_in_roman_numbers(tables, name, roman):
    """Eurydice, Montenegro 7.2: sub-level IV-1."""
    found = tables.level("ME", "CKO", roman, date(2020, 6, 1))
    assert (found.row, found.hint) == (f"ME/CKO/{name}", name[0])


def test_level_9_of_slovenia_has_two_eqf_levels(tables):
    """nok.si: magisterij znanosti is EQF 8, specializacija po univerzitetni izobrazbi EQF 7."""
    found = tables.level("SI", "SOK", "9", date(2020, 6, 1))
    assert (isinstance(found, LevelMatch), found.hint) == (False, "7|8")
    assert [level(tables, "SI", "SOK", name, "2020-06-01") for name in ("7", "8", "10")] == [
        6,
        7,
        8,
    ]


def test_the_old_romanian_scale_ends_with_the_new_framework(tables):
    """HG 918/2013 art. 3(2), MO 734 of 28 November 2013."""
    mapping = next(mapping for mapping in tables.mappings if mapping.country == "RO")
    old = mapping.frameworks["NIVEL-OLD"].versions[0]
    assert old.until == date(2013, 11, 27)
    assert mapping.frameworks["CNC"].versions[0].from_ == date(2013, 11, 28)
    assert level(tables, "RO", "NIVEL-OLD", "3", "2018-06-01") == "not_in_force"


@pytest.mark.parametrize(
    ("name", "eqf"),
    [("E3", 1), ("1", 2), ("2", 3), ("3", 4), ("4", 5), ("5", 5), ("6", 6), ("7", 7), ("8", 8)],
)
def test_the_qcf_has_the_levels_of_the_leaflet_until_the_rqf(tables, name, eqf):
    """Qualifications can cross boundaries, table 1. The days are approximate."""
    assert level(tables, "UK-ENI", "QCF", name, "2008-09-01") == eqf
    assert level(tables, "UK-ENI", "QCF", name, "2015-09-30") == eqf
    assert level(tables, "UK-ENI", "QCF", name, "2015-10-01") == "review_dates"
    assert level(tables, "UK-ENI", "QCF", name, "2018-06-01") == "not_in_force"
    assert level(tables, "UK-ENI", "RQF", name, "2015-10-01") == eqf


@pytest.mark.parametrize(("name", "eqf"), [("4", 5), ("5", 5), ("6", 6), ("7", 7), ("8", 8)])
def test_welsh_degrees_have_the_levels_of_the_fheq(tables, name, eqf):
    """Qualifications can cross boundaries, edition with a column FHEQ."""
    assert level(tables, "UK-WLS", "FHEQ", name, "2012-06-01") == eqf
    assert level(tables, "UK-WLS", "FHEQ", name, "2005-06-01") == "not_in_force"


def test_the_first_entry_levels_of_the_qcf_and_the_nqf_give_no_level(tables):
    """The leaflet puts E1 and E2 below EQF 1; the NQF of 2004 was never referenced itself."""
    assert level(tables, "UK-ENI", "QCF", "E1", "2012-06-01") == "below_eqf"
    found = tables.level("UK-ENI", "NQF-2004", "3", date(2006, 6, 1))
    assert (isinstance(found, LevelMatch), found.hint) == (False, "4")


@pytest.mark.parametrize(
    ("country", "unit"),
    [("UK", "CATS"), ("GB", "CATS"), ("UK-ENI", "CATS"), ("UK-SCT", "SCQF"), ("UK-WLS", "CQFW")],
)
def test_two_british_credits_are_one_ects_credit(tables, country, unit):
    """Compendium of the ASEM Education Secretariat, section 1.2: 120 UK credits, 60 ECTS."""
    found = tables.credits(country, unit, Decimal(120), "HE", date(2020, 6, 1))
    assert str(found.points) == "60.00"
    assert any("asem-education.org" in (source.address or "") for source in found.sources)


@pytest.mark.parametrize(
    ("country", "unit", "day_before", "safe_day"),
    [
        pytest.param("BA", "ECTS bod", "2007-12-31", "2008-01-01", id="wb-qualifications.org"),
        pytest.param("MD", "credit de studiu", "2015-08-31", "2015-09-01", id="Code 152/2014"),
        pytest.param("ME", "ECTS kredit", "2007-12-31", "2008-01-01", id="Eurydice ME 7.2"),
        pytest.param("XK", "ECTS", "2011-08-31", "2011-09-01", id="Law 04/L-037"),
        pytest.param("RS", "ESPB bod", "2007-09-30", "2007-10-01", id="Study in Serbia"),
        pytest.param("TR", "AKTS kredisi", "2011-12-31", "2012-01-01", id="YÖK"),
    ],
)
def test_ects_of_the_european_area_is_an_identity(tables, country, unit, day_before, safe_day):
    assert ects(tables, country, unit, day_before) == "first_day_unknown"
    assert ects(tables, country, unit, safe_day) == "60.00"


@pytest.mark.parametrize(
    ("country", "unit", "day_before", "first_day"),
    [
        pytest.param("SK", "kredit", "2002-10-31", "2002-11-01", id="614/2002 Z. z. § 10"),
        pytest.param("PT", "crédito ECTS", "2005-02-21", "2005-02-22", id="DL 42/2005"),
        pytest.param("SE", "högskolepoäng", "2007-06-30", "2007-07-01", id="UKÄ, Poängsystem"),
        pytest.param("NO", "studiepoeng", "2003-07-31", "2003-08-01", id="SSB"),
    ],
)
def test_a_national_credit_holds_from_its_first_day(tables, country, unit, day_before, first_day):
    assert ects(tables, country, unit, day_before) == "not_in_force"
    assert ects(tables, country, unit, first_day) == "60.00"


@pytest.mark.parametrize("country", ["NO", "PT", "RO", "SE", "SI", "SK", "TR", "UA"])
def test_a_credit_printed_as_ects_does_not_wait_for_the_national_reform(tables, country):
    """ENIC-NARIC networks, page on the ECTS: 60 credits are a full-time year."""
    assert ects(tables, country, "ECTS", "2010-06-01") == "60.00"
    assert ects(tables, country, "ECTS", "1998-06-01") == "first_day_unknown"


@pytest.mark.parametrize("country", ["BA", "MD", "ME", "MK", "NO", "PL", "PT", "RO", "RS", "XK"])
def test_no_credit_is_converted_before_ects_existed(tables, country):
    assert ects(tables, country, "ECTS", "1988-06-01") == "first_day_unknown"


@pytest.mark.parametrize(
    ("country", "scale"),
    [("PT", "0-20"), ("SK", "A-FX (1-4)"), ("SI", "1-10 (HE)")],
)
def test_a_grading_scale_of_an_act_names_it(tables, country, scale):
    """DL 42/2005 art. 15; 614/2002 Z. z. § 6; nok.si register."""
    mapping = next(m for m in tables.mappings if m.country == country)
    row = next(row for row in mapping.grading if row.scale == scale)
    assert any(source.is_official_for("scale") for source in mapping.sources_of(row))
