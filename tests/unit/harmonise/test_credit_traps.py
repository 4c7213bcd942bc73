"""Check known traps of credit systems, each with the source of the fact."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from gateway.harmonise.tables.credits import CreditMatch


def ects(tables, country, unit, amount="60", sector="HE", on=None, **more):
    found = tables.credits(country, unit, Decimal(amount), sector, on, **more)
    return found.points if isinstance(found, CreditMatch) else str(found.reason)


@pytest.mark.parametrize(
    ("country", "unit", "amount", "sector", "on", "expected"),
    [
        ("LV", "KP", "40", "HE", date(2022, 10, 10), Decimal("60.00")),
        ("LV", "KP", "40", "HE", date(2023, 6, 1), "year_norm_required"),
        ("LV", "KP", "60", "HE", date(2025, 6, 1), Decimal("60.00")),
        ("EE", "ainepunkt", "40", "HE", date(2009, 8, 31), Decimal("60.00")),
        ("EE", "ainepunkt", "60", "HE", date(2009, 9, 1), Decimal("60.00")),
        ("LT", "kreditas", "40", "HE", date(2011, 8, 31), Decimal("60.00")),
        ("LT", "kreditas", "60", "HE", date(2011, 9, 1), Decimal("60.00")),
        ("SE", "poäng", "40", "HE", date(2007, 6, 30), Decimal("60.00")),
        ("SE", "poäng", "60", "HE", date(2007, 7, 1), Decimal("60.00")),
        ("SE", "poäng", "40", None, date(2007, 6, 30), "sector_required"),
        ("NL", "studiepunt", "42", "HE", date(2001, 6, 1), Decimal("60.00")),
        ("NL", "studiepunt", "60", "HE", date(2010, 6, 1), Decimal("60.00")),
        ("FI", "opintopiste", "5", "HE", date(2020, 6, 1), Decimal("5.00")),
        ("FI", "opintopiste", "5", "GEN", date(2022, 6, 1), "not_higher_education"),
        ("FI", "opintopiste", "5", None, date(2022, 6, 1), "sector_required"),
        ("NO", "studiepoeng", "60", "HE", date(2020, 6, 1), Decimal("60.00")),
        ("NO", "studiepoeng", "60", "VET", date(2020, 6, 1), "not_higher_education"),
        ("SI", "KT", "60", None, date(2020, 6, 1), "sector_required"),
    ],
)
def test_trap_1_equal_words_are_different_units(
    tables, country, unit, amount, sector, on, expected
):
    """aic.lv; netipedia.com; mruni.eu; ibg.uu.se; jyu.fi; norric.org."""
    assert ects(tables, country, unit, amount, sector, on) == expected


def test_trap_1_credits_per_year_distinguish_units(tables):
    """aic.lv: 40 a year before, 60 after; onderwijsinspectie.nl: 42 and 60."""
    on = date(2023, 6, 1)
    assert [ects(tables, "LV", "KP", "40", "HE", on, per_year=norm) for norm in (40, 60)] == [
        Decimal("60.00"),
        Decimal("40.00"),
    ]
    assert ects(tables, "LV", "KP-40", "40", "HE", on) == Decimal("60.00")
    assert ects(tables, "NL", "studiepunt", "42", "HE", date(2001, 6, 1), per_year=42) == Decimal(
        "60.00"
    )


@pytest.mark.parametrize(
    ("country", "unit", "amount"),
    [
        ("NO", "vekttall", "20"),
        ("SE", "poang (p)", "40"),
    ],
)
def test_trap_2_fixed_ratios(tables, country, unit, amount):
    """NARIC guide; UKÄ: one full-time year is 60 ECTS."""
    assert ects(tables, country, unit, amount) == Decimal("60.00")


@pytest.mark.parametrize(
    ("country", "unit", "sector"),
    [
        ("IE", "FET credit", "VET"), ("SE", "YH", "VET"), ("FI", "osp", "VET"), ("IS", "fein", "GEN"), ("HR", "HROO", "GEN"),
        ("HR", "HSVET", "VET"), ("PT", "CNQ", "VET"), ("MK", "ECVET", "VET"), ("MK", "MGECS", "GEN"), ("EU", "ECVET point", "VET"),
        ("DE", "SWS", "HE"), ("AT", "SST", "HE"), ("TR", "Kredi", "HE"), ("ES", "crédito LRU", "HE"), ("FI", "ov", "HE"),
    ],
)  # fmt: skip
def test_trap_3_other_credits_never_become_ects(tables, country, unit, sector):
    """nuffic.nl; yhguiden.se; starfsmennt.is; CROQF Act; grupoioe.es; and whatever sector is claimed."""
    for claimed in (sector, "HE", None):
        assert isinstance(ects(tables, country, unit, "60", claimed, date(2003, 1, 1)), str)


def test_trap_4_hours_use_the_country_range(tables):
    """tudublin.ie 20-25; UG 2002 25; onderwijsinspectie.nl 28; DL 42/2005 25-28."""
    ranges = {
        place: tables.credits(place, unit, Decimal(10), "HE", date(2020, 1, 1)).hours
        for place, unit in (("IE", "ECTS"), ("AT", "ECTS"), ("NL", "EC"), ("PT", "crédito ECTS"))
    }
    assert ranges == {"IE": (20, 30), "AT": (25, 25), "NL": (28, 28), "PT": (25, 28)}


def test_trap_5_rounding_happens_once(tables):
    """Exact fractions: 10/7, not 1.428571; 1/28, not 0.0357142857."""
    found = tables.credits("NL", "studiepunt (before 2002)", Decimal(168), "HE", date(2001, 1, 1))
    assert (found.exact, found.points) == (Fraction(240), Decimal("240.00"))
    assert tables.credits("NL", "SBU", Decimal(1680), "HE", None).points == Decimal("60.00")
    assert ects(tables, "NL", "SBU", "1680", None) == "sector_required"
    assert ects(tables, "SE", "poang (p)", "15") == Decimal("22.50")


@pytest.mark.parametrize(
    ("country", "sector", "on", "expected"),
    [
        ("MT", "VET", None, Decimal("60.00")),
        ("MT", "GEN", None, "not_higher_education"),
        ("MT", None, None, Decimal("60.00")),
        ("ES", "VET", date(2020, 6, 1), Decimal("60.00")),
        ("ES", "VET", date(2005, 6, 1), "not_in_force"),
        ("FR", "VET", date(2020, 6, 1), Decimal("60.00")),
        ("FR", None, date(2020, 6, 1), Decimal("60.00")),
        ("FI", "VET", date(2020, 6, 1), "not_higher_education"),
        ("IE", "VET", date(2020, 6, 1), "not_higher_education"),
    ],
)
def test_trap_6_only_an_act_makes_vocational_credits_ects(tables, country, sector, on, expected):
    """mfhea.mt; RD 1147/2011; décret 2007-540."""
    assert ects(tables, country, "ECTS", "60", sector, on) == expected


@pytest.mark.parametrize("amount", ["0", "-5", "NaN", "Infinity", "1e30"])
def test_invalid_amounts_are_refused(tables, amount):
    assert ects(tables, "IE", "ECTS", amount) == "amount_not_positive"
