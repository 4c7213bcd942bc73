"""The smallest change that causes each code, for a record that is accepted without it.

A case names the country of the tables, the stream of ``tests/support/every_kind.py``, and the
values of the payload that change. ``None`` for a value means that the registry sends no value.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.support.every_kind import ACCEPTED


class RuleCase(NamedTuple):
    """A record that causes a code."""

    country: str
    stream: str
    changes: dict[str, Any]


def _with(stream: str, field: str, **changes: Any) -> dict[str, Any]:
    return {field: ACCEPTED[stream][field] | changes}


def _award(country: str, scheme: str | None, level: str, day: str) -> RuleCase:
    changes = {"level": {"scheme": scheme, "value": level}, "awarded": day, "begins": None}
    return RuleCase(country, "awards", changes)


def _credits(
    country: str, unit: str | None, sector: str | None, day: str | None = None, value: Any = 30
) -> RuleCase:
    amount = {"value": value, "unit": unit, "sector": sector}
    changes = {"credits": amount, "months": None, "begins": None, "ends": None}
    if day is None:
        return RuleCase(country, "programmes", changes)
    return RuleCase(country, "awards", changes | {"awarded": day})


LEVELS = {
    "below_eqf": _award("BG", "NKR", "0", "2012-02-02"),
    "comparison_only": _award("AU", "AQF", "1", "2016-12-14"),
    "date_required": RuleCase(
        "ES",
        "programmes",
        {"level": {"scheme": "MECES", "value": "1"}, "begins": None, "ends": None},
    ),
    "eqf_conflict": RuleCase("IE", "programmes", _with("programmes", "level", eqf="7")),
    "eqf_declared_unsupported": _award("IE", "none of this country", "8", "2023-06-15")._replace(
        changes=_with("awards", "level", scheme="none of this country")
    ),
    "eqf_out_of_range": RuleCase("IE", "programmes", _with("programmes", "level", eqf="9")),
    "first_day_unknown": _award("AL", "KSHK", "1", "2000-01-01"),
    "framework_required": _award("EE", None, "1", "2019-09-30"),
    "framework_unknown": _award("IE", "none", "8", "2020-01-01"),
    "indirect_via_cycle": _award("CH", "NQF.CH-HS", "first", "2012-01-01"),
    "level_letters_normalised": _award("MK", "MRK", "VI\u0410", "2020-06-01"),
    "level_unknown": _award("IE", "NFQ", "11", "2020-06-01"),
    "level_unused": _award("FI", "FiNQF", "1", "2017-03-01"),
    "no_correspondence": _award("EE", "KUTSE-5", "I", "2001-01-19"),
    "not_in_force": _award("AT", "NQR", "1", "1990-07-20"),
    "not_referenced": _award("BA", "BQF-BiH", "1", "2011-03-24"),
    "nqf_uri_missing": _award("AU", "AQF", "1", "2000-01-01"),
    "outside_eqf": _award("GB-ENI", "FHEQ", "4", "2008-08-01"),
    "review_dates": _award("BA", "BQF-BiH", "1", "2011-03-23"),
    "source_not_official": _award("AL", "KSHK", "1", "2022-01-01"),
    "split_level": _award("FR", "RNCP-1969", "I", "1994-06-20"),
    "unsure": _award("DK", "NKR-DK", "1", "2009-07-01"),
    "cycle_and_level_differ": RuleCase(
        "IE", "programmes", _with("programmes", "level", cycle="second")
    ),
    "academic_level_out_of_range": RuleCase(
        "IE", "statuses", _with("statuses", "level", value="5")
    ),
    "country_unknown": _award("AD", "NFQ", "8", "2020-06-01"),
}
CREDITS = {
    "credit_unit_missing": _credits("IE", None, "HE"),
    "credits_a_year_high": RuleCase(
        "IE", "programmes", {"credits": {"value": 75, "unit": "ECTS", "sector": "HE"}, "months": 12}
    ),
    "credits_a_year_impossible": RuleCase(
        "IE", "programmes", {"credits": {"value": 91, "unit": "ECTS", "sector": "HE"}, "months": 12}
    ),
    "credits_country_unknown": _credits("AD", "ECTS", "HE", "2015-06-01"),
    "credits_date_required": _credits("LT", "kreditas", "HE"),
    "credits_first_day_unknown": _credits("AL", "kredit ECTS", "HE", "2000-01-01"),
    "credits_institutional_table": _credits("ES", "credito LRU", "HE", "1999-09-30"),
    "credits_not_convertible": _credits("AT", "SST (Semesterstunde)", "HE", "1990-07-20"),
    "credits_not_higher_education": _credits("AL", "kredit ECTS", "VET", "2020-01-01"),
    "credits_not_in_force": _credits("AT", "ECTS-Anrechnungspunkte", "HE", "1990-07-20"),
    "credits_not_positive": _credits("IE", "ECTS", "HE", value=0),
    "credits_sector_required": _credits("LT", "kreditas", None, "1999-09-30"),
    "credits_source_not_official": _credits("IS", "namseining", "HE", "1990-07-20"),
    "credits_too_large": _credits("IE", "ECTS", "HE", value=1_000_001),
    "credits_unit_unknown": _credits("IE", "zz", "HE"),
    "credits_unsure": _credits("AL", "kredit", "HE", "2008-01-01"),
    "credits_unusual_for_cycle": _credits("IE", "ECTS", "HE", value=300),
    "credits_without_assessment": RuleCase(
        "IE", "awards", _with("awards", "exam", kind="attendance")
    ),
    "credits_year_norm_required": _credits("LV", "KP", "HE", "2023-06-01"),
    "hours_per_credit_impossible": RuleCase(
        "IE", "programmes", _with("programmes", "credits", hours=1)
    ),
    "hours_per_credit_unusual": RuleCase(
        "IE", "programmes", _with("programmes", "credits", hours=6_840)
    ),
    "workload_not_positive": RuleCase(
        "IE", "programmes", _with("programmes", "credits", hours=-1)
    ),
}  # fmt: skip
WHOLE = {
    "dates_unordered": RuleCase("IE", "programmes", {"ends": "2018-01-01"}),
    "date_implausible": RuleCase("IE", "awards", {"awarded": "1700-01-01"}),
    "day_in_future": RuleCase("IE", "awards", {"awarded": "2090-01-01"}),
    "encoding_suspect": RuleCase("IE", "programmes", {"title": {"en": "J\u00c5\u00abras"}}),
    "grade_outside_scale": RuleCase("FI", "awards", _with("awards", "exam", grade="9")),
    "grade_scale_obsolete": RuleCase(
        "IE", "awards", _with("awards", "exam", scale="ECTS grading scale (A-E, FX, F)")
    ),
    "grade_without_scale": RuleCase("IE", "awards", _with("awards", "exam", scale=None)),
    "micro_credential_large": RuleCase("IE", "awards", {"type": "M"}),
    "micro_element_missing": RuleCase("IE", "awards", {"type": "M", "form": None}),
    "micro_not_identified": RuleCase("IE", "awards", {"type": "M", "person": {}}),
    "parts_do_not_add_up": RuleCase(
        "IE",
        "credentials",
        {"modules": [ACCEPTED["credentials"]["modules"][1] | {"credits": 20}] * 2},
    ),
}
VALUES = {
    "ambiguous": RuleCase("IE", "programmes", _with("programmes", "body", country=["IE", "FI"])),
    "control_character": RuleCase("IE", "programmes", {"code": "a\x01"}),
    "dates_out_of_order": RuleCase("IE", "cards", {"expires": "2024-01-01"}),
    "email_invalid": RuleCase("IE", "statuses", _with("statuses", "person", email="nobody")),
    "esi_invalid": RuleCase("IE", "awards", _with("awards", "person", esi="urn:other")),
    "invalid": RuleCase("IE", "cards", {"person": {"esi": "urn:other"}}),
    "kind_missing": RuleCase("IE", "awards", {"type": None}),
    "loq_field_missing": RuleCase("IE", "programmes", {"outcomes": []}),
    "missing": RuleCase("IE", "programmes", {"title": None}),
    "no_agreement": RuleCase("IE", "statuses", {"agreed": False}),
    "not_a_country": RuleCase("IE", "programmes", _with("programmes", "body", country="Erin")),
    "not_a_date": RuleCase("IE", "programmes", {"begins": "31.02.2021"}),
    "not_a_datetime": RuleCase("IE", "programmes", {"changed": "yesterday"}),
    "not_a_number": RuleCase("IE", "programmes", _with("programmes", "credits", value="many")),
    "not_boolean": RuleCase("IE", "programmes", {"partial": "perhaps"}),
    "not_one_value": RuleCase("IE", "programmes", {"code": {"a": "b"}}),
    "pic_conflict": RuleCase("IE", "cards", {"body": {"pic": "900000002"}}),
    "unmapped": RuleCase("IE", "programmes", {"form": "other"}),
}
"""Codes of casts, tables and renderers."""

CASES: dict[str, RuleCase] = LEVELS | CREDITS | WHOLE | VALUES
UNREACHABLE = {
    "credits_amount_not_positive": "credits_not_positive rejects such a record before",
    "credits_by_hours_only": "only units outside higher education, which another reason covers",
    "credits_sector_mismatch": "no unit of the tables gives it",
    "credits_day_in_future": "day_in_future rejects an award before; an entry has its first day",
    "level_ambiguous": "only words that mean several levels; see tests/unit/harmonise",
    "record_country_missing": "only sources of several countries; see test_equal_corpus.py",
    "record_country_ambiguous": "only sources of several countries; see test_equal_corpus.py",
    "record_country_unreadable": "only sources of several countries; see test_equal_corpus.py",
}
"""Codes that no record of these streams causes, with the reason."""
