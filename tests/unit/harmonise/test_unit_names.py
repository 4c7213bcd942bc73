"""Credit units as transcripts print them: with accents, in the plural and in other cases."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from unicodedata import normalize

import pytest

from gateway.harmonise.tables.credits import CreditMatch

ON = date(2025, 6, 1)


def answer(tables, country, unit, on=ON, sector="HE"):
    found = tables.credits(country, unit, Decimal(30), sector, on)
    return (found.row, found.points if isinstance(found, CreditMatch) else str(found.reason))


@pytest.mark.parametrize(
    ("country", "printed", "word"),
    [
        ("LV", "kredītpunkts", "kreditpunkts"),
        ("LV", "kredītpunkti", "kreditpunkts"),
        ("ES", "créditos ECTS", "crédito ECTS"),
        ("PT", "créditos ECTS", "crédito ECTS"),
        ("FR", "crédits", "crédit ECTS"),
        ("BE-FR", "crédits", "credit"),
        ("BE-FL", "studiepunten", "studiepunt"),
        ("NL", "studiepunten", "studiepunt"),
        ("DE", "ECTS-Punkte", "ECTS-Punkt"),
        ("AT", "ECTS-Punkte", "ECTS-Punkt"),
        ("FI", "opintopistettä", "opintopiste"),
        ("SE", "Högskolepoäng", "hp"),
        ("CZ", "kreditů", "kredit"),
        ("SK", "kreditov", "kredit"),
        ("PL", "punktów ECTS", "punkt ECTS"),
        ("LT", "kreditų", "kreditas"),
        ("EE", "ainepunkti", "ainepunkt"),
        ("SI", "kreditnih točk", "KT"),
        ("HR", "ECTS bodova", "ECTS bod"),
        ("RS", "ЕСПБ бодова", "ESPB"),
        ("BG", "кредита", "kredit"),
        ("GR", "πιστωτικές μονάδες", "πιστωτική μονάδα"),
        ("GR", "ΠΙΣΤΩΤΙΚΈΣ ΜΟΝΆΔΕΣ", "πιστωτική μονάδα"),
        ("RO", "credite", "credit"),
        ("IS", "ECTS einingar", "ECTS"),
        ("HU", "kreditpont", "kredit"),
        ("TR", "AKTS Kredisi", "AKTS"),
        ("UA", "кредитів ЄКТС", "кредит ЄКТС"),
        ("IT", "crediti formativi universitari", "CFU"),
    ],
)
def test_a_printed_form_has_the_answer_of_its_word(tables, country, printed, word):
    expected = answer(tables, country, word)
    assert expected[0].startswith(f"{country}/")
    for text in (
        printed,
        printed.upper(),
        normalize("NFD", printed),
        printed.replace(" ", "\u00a0"),
    ):
        assert answer(tables, country, text) == expected


@pytest.mark.parametrize(
    ("country", "unit", "old_day", "old_row"),
    [
        ("LV", "kredītpunkti", date(2015, 6, 1), "kreditpunkts (KP, old)"),
        ("LT", "kreditų", date(2010, 6, 1), "kreditas (old)"),
        ("NL", "studiepunten", date(1999, 6, 1), "studiepunt (before 2002)"),
        ("ES", "créditos", date(1999, 6, 1), "credito LRU"),
        ("EE", "ainepunkti", date(2005, 6, 1), "AP (ainepunkt)"),
    ],
)
def test_a_case_form_belongs_to_each_unit_with_the_word(tables, country, unit, old_day, old_row):
    """A plural may not pick the new unit for an award of the old one."""
    found = tables.credits(country, unit, Decimal(30), "HE", old_day)
    names = getattr(found, "units", ()) or (found.row.partition("/")[2],)
    assert old_row in names


def test_upper_secondary_forms_still_need_their_sector(tables):
    for unit in ("opintopistettä", "studiepoäng", "sp"):
        assert answer(tables, "FI", unit, sector=None)[1] == "sector_required"
        assert answer(tables, "FI", unit, sector="GEN")[1] == "not_higher_education"
    assert answer(tables, "SI", "kreditnih točk", sector=None)[1] == "sector_required"


@pytest.mark.parametrize("unit", ["kredīt", "kredītpunktss", " kredītpunkts", "kredītpunkts²", ""])
def test_only_whole_declared_names_are_understood(tables, unit):
    assert answer(tables, "LV", unit)[1] == "unit_unknown"
