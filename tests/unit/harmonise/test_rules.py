"""Produce each code of R1 to R20 from the smallest record that causes it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from gateway.harmonise.record_rules import apply_record_rules
from gateway.harmonise.tables.credit_frameworks import ECVET, NATIONAL_UNITS
from gateway.harmonise.tables.credits import NoCreditsReason
from gateway.harmonise.tables.levels import NoLevelReason
from gateway.harmonise.tables.rule_codes import RULES, Code
from gateway.records import Rejected

DAY = date(2020, 6, 1)
IE = {"id": "1", "title": {"en": "x"}, "nqf_framework": "NFQ", "nqf_level": "8", "awarded_on": DAY}
ECTS = {"credit_unit": "ECTS", "credit_sector": "HE"}


def run(tables, values, country="IE", emits="credential"):
    return apply_record_rules({"id": "1", **values}, country=country, emits=emits, tables=tables)


def codes(answer):
    assert isinstance(answer, tuple), answer
    return {issue.code for issue in answer[2]}


def refused(answer):
    assert isinstance(answer, Rejected), answer
    return answer.reason, answer.field


def test_rule_codes_are_described():
    assert set(RULES) == {
        *Code,
        *NoLevelReason,
        *(f"credits_{reason}" for reason in NoCreditsReason),
    }


@pytest.mark.parametrize(
    "emits", ["credential", "qualification", "learning_opportunity", "student_status"]
)
def test_level_is_added_to_every_kind(tables, emits):
    made, lookups, _ = run(tables, IE, emits=emits)
    assert made["eqf_level"] == 6
    assert (lookups[0].row, lookups[0].relation, lookups[0].referenced_year) == (
        "IE/NFQ/8",
        "referenced",
        2009,
    )
    assert lookups[0].confidence == "verified"
    assert lookups[0].source


@pytest.mark.parametrize("emits", ["card", "provider"])
def test_other_record_kinds_pass_unchanged(tables, emits):
    assert run(tables, {"level": 1}, emits=emits)[0] == {"id": "1", "level": 1}


def test_r1_an_unknown_level_keeps_the_national_level_and_states_no_eqf(tables):
    made, lookups, _ = answer = run(tables, IE | {"nqf_level": "11"})
    assert codes(answer) == {"level_unknown"}
    assert "eqf_level" not in made
    assert made["nqf_level"] == "11"
    assert lookups[0].reason == "level_unknown"


def test_r2_a_bare_number_is_rejected_where_it_is_ambiguous(tables):
    assert refused(run(tables, {"nqf_level": "3", "awarded_on": DAY}, "FR")) == (
        "framework_required",
        "nqf_level",
    )


def test_r3_no_level_is_inferred(tables):
    made, lookups, _ = run(
        tables,
        {
            "title": {"en": "Bachelor"},
            "cycle": "first",
            "isced_f": ("0611",),
            "credit_amount": Decimal(180),
            **ECTS,
            "awarded_on": DAY,
        },
    )
    assert "eqf_level" not in made
    assert "nqf_level" not in made
    assert [lookup.field for lookup in lookups] == ["credit_points"]


def test_r4_a_declared_level_that_differs_is_rejected_with_both_values(tables):
    answer = run(tables, IE | {"eqf_declared": 7})
    assert refused(answer) == ("eqf_conflict", "eqf_declared")
    assert "EQF 7" in answer.detail
    assert "EQF 6" in answer.detail
    assert run(tables, IE | {"eqf_declared": 6})[0]["eqf_level"] == 6


@pytest.mark.parametrize(
    ("country", "framework", "level", "declared"),
    [("IE", "NFQ", "7", 7), ("CY", "CyQF", "5a", 3), ("HR", "HKO", "5", 4), ("IE", "NFQ", "2", 2)],
)
def test_r4_the_wrong_pairs_of_official_samples(tables, country, framework, level, declared):
    """Pairs that occur in published sample credentials."""
    values = {
        "nqf_framework": framework,
        "nqf_level": level,
        "eqf_declared": declared,
        "awarded_on": DAY,
    }
    assert refused(run(tables, values, country))[0] == "eqf_conflict"


@pytest.mark.parametrize(
    ("country", "declared", "on", "rows"),
    [
        ("NO", 6, date(2015, 12, 15), ["NO/NKR/6"]),
        ("NO", 7, date(2019, 7, 15), ["NO/NKR/7"]),
        ("CY", 7, DAY, ["CyQF/7a"]),
        ("FR", 6, date(2011, 6, 1), ["FR/RNCP-1969/II"]),
        ("ES", 5, date(2023, 6, 1), ["ES/MECES/1", "ES/MECU/5"]),
        ("ES", 7, date(2023, 6, 1), ["ES/MECES/3"]),
    ],
)
def test_r4_a_row_of_the_country_supports_a_declared_level(tables, country, declared, on, rows):
    made, lookups, _ = answer = run(tables, {"eqf_declared": declared, "awarded_on": on}, country)
    assert made["eqf_level"] == declared
    assert not codes(answer) & {"eqf_declared_unsupported", "review_dates"}
    assert [lookup.field for lookup in lookups] == ["eqf_level"] * len(rows)
    assert all(lookup.row.endswith(row) for lookup, row in zip(lookups, rows, strict=True))
    assert all(lookup.source for lookup in lookups)
    assert "nqf_level" not in made
    assert "nqf_framework" not in made


@pytest.mark.parametrize(
    ("country", "declared", "on", "code", "reason"),
    [
        ("NO", 6, date(2009, 6, 1), "eqf_declared_unsupported", "not_in_force"),
        ("HU", 5, date(2012, 3, 17), "review_dates", "review_dates"),
        ("CH", 7, DAY, "eqf_declared_unsupported", "indirect_via_cycle"),
        ("NO", 1, DAY, "eqf_declared_unsupported", ""),
        ("UA", 6, DAY, "eqf_declared_unsupported", ""),
        ("BE", 6, DAY, "eqf_declared_unsupported", ""),
        ("EU", 6, DAY, "eqf_declared_unsupported", ""),
        ("ZZ", 6, DAY, "eqf_declared_unsupported", ""),
        ("NO", 6, None, "date_required", ""),
    ],
)
def test_r5_a_declared_level_without_a_row_is_an_issue(tables, country, declared, on, code, reason):
    values = {"eqf_declared": declared} | ({"awarded_on": on} if on else {})
    made, lookups, issues = run(tables, values, country)
    assert "eqf_level" not in made
    assert [issue.code for issue in issues] == [code]
    assert [lookup.reason for lookup in lookups if lookup.reason] == [reason] * bool(reason)


def test_r5_a_named_framework_alone_supports_a_declared_level(tables):
    values = {"eqf_declared": 7, "nqf_framework": "NQR-BB", "awarded_on": DAY}
    assert run(tables, values, "CH")[0]["eqf_level"] == 7
    values["nqf_framework"] = "none of this country"
    assert codes(run(tables, values, "CH")) == {"eqf_declared_unsupported"}


def test_r5_an_entry_without_a_date_takes_a_declared_level_at_its_first_day(tables):
    entry = {"eqf_declared": 6, "valid_from": date(2011, 6, 1)}
    assert run(tables, entry, "FR", emits="qualification")[0]["eqf_level"] == 6


@pytest.mark.parametrize(
    ("country", "framework", "level", "on", "code"),
    [
        ("UK-SCT", "SCQF", "2", DAY, "below_eqf"), ("BA", "BQF-BiH", "6", DAY, "not_referenced"), ("UA", "NRK", "6", date(2023, 1, 1), "comparison_only"),
        ("IS", "ISQF", "1", DAY, "split_level"), ("CH", "NQF.CH-HS", "first", DAY, "indirect_via_cycle"), ("DK", "NKR-DK", "1", DAY, "unsure"),
        ("NO", "NKR", "1", DAY, "level_unused"), ("ES", "CNCP", "3", DAY, "no_correspondence"),
    ],
)  # fmt: skip
def test_r5_r18_rows_without_a_level(tables, country, framework, level, on, code):
    made, _, _ = answer = run(
        tables,
        {"nqf_framework": framework, "nqf_level": level, "awarded_on": on, "eqf_declared": 6},
        country,
    )
    assert {code, "eqf_declared_unsupported"} <= codes(answer)
    assert "eqf_level" not in made


@pytest.mark.parametrize(
    ("values", "reason", "field"),
    [
        ({"eqf_declared": 9}, "eqf_out_of_range", "eqf_declared"),
        ({"credit_amount": Decimal(0), **ECTS}, "credits_not_positive", "credit_amount"),
        ({"credit_amount": Decimal("NaN"), **ECTS}, "credits_not_positive", "credit_amount"),
        ({"workload_hours": Decimal(-1)}, "workload_not_positive", "workload_hours"),
        ({"valid_from": DAY, "valid_until": date(2019, 1, 1)}, "dates_unordered", "valid_until"),
        ({"starts_on": DAY, "ends_on": date(2019, 1, 1)}, "dates_unordered", "ends_on"),
        (
            {"awarded_on": DAY, "holder": {"birth_date": date(2021, 1, 1)}},
            "dates_unordered",
            "awarded_on",
        ),
    ],
)
def test_r6_impossible_values_are_rejected(tables, values, reason, field):
    assert refused(run(tables, values)) == (reason, field)


def test_r6_a_framework_that_did_not_hold_at_the_award(tables):
    values = {"nqf_framework": "CNCP", "nqf_level": "5"}
    assert refused(run(tables, values | {"awarded_on": date(2018, 6, 1)}, "FR")) == (
        "not_in_force",
        "nqf_framework",
    )
    old = values | {"valid_from": date(2015, 1, 1), "valid_until": date(2018, 6, 1)}
    assert "not_in_force" in codes(run(tables, old, "FR", "qualification"))


def test_r6_approximate_days_are_only_noted(tables):
    award = {"nqf_framework": "MKKR", "nqf_level": "6", "awarded_on": date(2012, 6, 1)}
    assert "review_dates" in codes(run(tables, award, "HU"))


@pytest.mark.parametrize(
    ("amount", "months", "code"),
    [
        (60, 12, None),
        (180, 33, None),
        (75, 12, "credits_a_year_high"),
        (90, 12, "credits_a_year_high"),
    ],
)
def test_r7_credits_per_year_are_checked(tables, amount, months, code):
    found = codes(
        run(
            tables,
            {
                "credit_amount": Decimal(amount),
                "duration_months": months,
                **ECTS,
                "awarded_on": DAY,
            },
        )
    )
    assert ("credits_a_year_high" in found) == bool(code)


def test_r7_over_90_credits_per_year_is_noted(tables):
    assert (
        refused(run(tables, {"credit_amount": Decimal(91), "duration_months": 12, **ECTS}))[0]
        == "credits_a_year_impossible"
    )


def test_r8_hours_per_credit_use_the_country_range(tables):
    def hours(country, unit, amount, hours):
        return run(
            tables,
            {
                "credit_amount": Decimal(amount),
                "credit_unit": unit,
                "credit_sector": "HE",
                "workload_hours": Decimal(hours),
            },
            country,
        )

    assert codes(hours("IE", "ECTS", 5, 100)) == set()
    assert codes(hours("PT", "crédito ECTS", 5, 140)) == set()
    assert codes(hours("AT", "ECTS", 5, 150)) == {"hours_per_credit_unusual"}
    assert refused(hours("AT", "ECTS", 5, 50)) == ("hours_per_credit_impossible", "workload_hours")


@pytest.mark.parametrize(
    ("cycle", "amount", "unusual"),
    [
        ("first", 180, False),
        ("first", 120, True),
        ("second", 300, False),
        ("second", 60, False),
        ("short", 120, False),
        ("third", 10, False),
    ],
)
def test_r9_r10_r11_size_is_a_warning_only(tables, cycle, amount, unusual):
    answer = run(
        tables,
        {
            "kind": "diploma",
            "cycle": cycle,
            "credit_amount": Decimal(amount),
            **ECTS,
            "awarded_on": DAY,
        },
    )
    assert ("credits_unusual_for_cycle" in codes(answer)) == unusual


def test_r11_r12_norway_6_1_is_eqf_6_and_a_short_cycle(tables):
    values = {
        "kind": "diploma",
        "nqf_framework": "NKR",
        "nqf_level": "6.1",
        "cycle": "short",
        "credit_amount": Decimal(120),
        **ECTS,
        "awarded_on": DAY,
    }
    made, _, _ = answer = run(tables, values, "NO")
    assert codes(answer) == set()
    assert (made["eqf_level"], made["cycle"], made["credit_points"]) == (6, "short", 120)


def test_r12_a_cycle_at_another_level_is_noted_and_both_stay(tables):
    made, _, _ = answer = run(tables, IE | {"cycle": "second"})
    assert "cycle_and_level_differ" in codes(answer)
    assert (made["eqf_level"], made["cycle"]) == (6, "second")


def test_r12_no_cycle_is_inferred_from_a_level(tables):
    assert "cycle" not in run(tables, IE)[0]


def test_r13_attendance_gives_no_credits(tables):
    values = {"credit_amount": Decimal(3), **ECTS, "assessment": {"kind": "attendance"}}
    assert refused(run(tables, values)) == ("credits_without_assessment", "assessment.kind")


def test_r14_micro_credentials(tables):
    whole = {
        "kind": "micro_credential", "holder": {"full_name": "A"}, "title": {"en": "x"}, "awarding_body": {"country": "IE"}, "awarded_on": DAY,
        "learning_outcomes": ({"title": {"en": "y"}},), "assessment": {"kind": "quiz"}, "mode": "online",
        "accreditation": ({"kind": "programme"},), "credit_amount": Decimal(5), **ECTS,
    }  # fmt: skip
    assert codes(run(tables, whole)) == set()
    answer = run(
        tables, {key: value for key, value in whole.items() if key not in {"mode", "accreditation"}}
    )
    assert {issue.field for issue in answer[2]} == {"mode", "accreditation"}
    assert codes(run(tables, whole | {"credit_amount": Decimal(61)})) == {"micro_credential_large"}
    for field in ("holder", "title", "awarding_body", "awarded_on"):
        assert refused(
            run(tables, {key: value for key, value in whole.items() if key != field})
        ) == ("micro_not_identified", field)


def test_r15_a_part_takes_no_level_from_the_whole(tables):
    parts = (
        {"id": "p1", "title": {"en": "a"}},
        {"id": "p2", "nqf_framework": "NFQ", "nqf_level": "7"},
    )
    made, lookups, _ = run(tables, IE | {"parts": parts})
    assert [part.get("eqf_level") for part in made["parts"]] == [None, 6]
    assert lookups[-1].field == "parts[1].eqf_level"
    assert (
        refused(
            run(
                tables,
                IE | {"parts": ({"nqf_framework": "NFQ", "nqf_level": "7", "eqf_declared": 7},)},
            )
        )[1]
        == "parts[0].eqf_declared"
    )


def test_r16_grades_keep_their_scale(tables):
    assert codes(run(tables, {"assessment": {"grade": "3"}})) == {"grade_without_scale"}
    assert codes(run(tables, {"assessment": {"grade": "9", "grading_scale": "0-5"}}, "FI")) == {
        "grade_outside_scale"
    }
    made, _, issues = run(tables, {"assessment": {"grade": "4", "grading_scale": "0-5"}}, "FI")
    assert made["assessment"] == {"grade": "4", "grading_scale": "0-5"}
    assert issues == ()
    assert "grade_scale_obsolete" in codes(
        run(
            tables,
            {"assessment": {"grade": "B", "grading_scale": "ECTS grading scale (A-E, FX, F)"}},
        )
    )


def test_r16_messages_never_contain_the_grade(tables):
    issues = run(tables, {"assessment": {"grade": "secret-grade", "grading_scale": "0-5"}}, "FI")[2]
    assert "secret" not in repr(issues)


@pytest.mark.parametrize(("amounts", "differ"), [((60, 120), False), ((60, 100), True)])
def test_r17_parts_add_up(tables, amounts, differ):
    parts = tuple(
        {"id": str(index), "credit_amount": Decimal(amount), **ECTS}
        for index, amount in enumerate(amounts)
    )
    found = codes(
        run(tables, {"credit_amount": Decimal(180), **ECTS, "awarded_on": DAY, "parts": parts})
    )
    assert ("parts_do_not_add_up" in found) == differ


def test_r17_rounded_parts_add_up(tables):
    parts = tuple(
        {
            "id": str(n),
            "credit_amount": Decimal(1),
            "credit_unit": "studiepunt (before 2002)",
            "credit_sector": "HE",
        }
        for n in range(42)
    )
    values = {
        "credit_amount": Decimal(42),
        "credit_unit": "studiepunt (before 2002)",
        "credit_sector": "HE",
        "awarded_on": date(2001, 6, 1),
        "parts": parts,
    }
    made, _, _ = answer = run(tables, values, "NL")
    assert made["credit_points"] == 60
    assert codes(answer) == set()


@pytest.mark.parametrize("sector", ["VET", "GEN"])
def test_r19_other_sectors_never_give_ects(tables, sector):
    made, _, _ = answer = run(
        tables,
        {
            "credit_amount": Decimal(10),
            "credit_unit": "ECTS",
            "credit_sector": sector,
            "awarded_on": DAY,
        },
    )
    assert codes(answer) == {"credits_not_higher_education"}
    assert "credit_points" not in made
    assert made["credit_amount"] == 10
    assert made["credit_framework"] == f"{NATIONAL_UNITS}/IE/ects"


@pytest.mark.parametrize(
    ("country", "level", "points"),
    [
        ("MT", None, Decimal(10)),
        ("FR", ("CNCP", "5"), Decimal(10)),
        ("FR", ("CNCP", "4"), None),
        ("FR", None, None),
        ("ES", ("MECES", "1"), Decimal(10)),
        ("ES", ("MECES", "2"), None),
        ("ES", None, None),
        ("FI", None, None),
    ],
)
def test_r19_an_act_makes_credits_ects_at_its_levels_only(tables, country, level, points):
    values = {
        "credit_amount": Decimal(10),
        "credit_unit": "ECTS",
        "credit_sector": "VET",
        "awarded_on": DAY,
    }
    if level:
        values |= {"nqf_framework": level[0], "nqf_level": level[1]}
    made, lookups, _ = run(tables, values, country)
    assert made.get("credit_points") == points
    if points and country == "MT":
        assert any("Malta Qualifications Framework" in lookup.source for lookup in lookups)


@pytest.mark.parametrize(
    ("whole", "points"),
    [
        ({"nqf_framework": "CNCP", "nqf_level": "5", "credit_sector": "VET"}, Decimal(10)),
        ({"nqf_framework": "CNCP", "nqf_level": "3", "credit_sector": "VET"}, None),
        ({"credit_sector": "VET"}, None),
        ({"credit_sector": "HE"}, Decimal(10)),
    ],
)
def test_r19_a_part_has_the_level_and_the_sector_of_its_award(tables, whole, points):
    part = {"id": "p1", "credit_amount": Decimal(10), "credit_unit": "ECTS"}
    made, _, _ = run(tables, whole | {"awarded_on": DAY, "parts": (part,)}, "FR")
    assert made["parts"][0].get("credit_points") == points


@pytest.mark.parametrize(
    ("country", "unit", "framework"),
    [
        ("FI", "osp", f"{NATIONAL_UNITS}/FI/osaamispiste-osp"),
        ("MT", "ECVET", ECVET),
        ("FI", "a unit nobody knows", f"{NATIONAL_UNITS}/FI/a-unit-nobody-knows"),
        ("GR", "μονάδα", f"{NATIONAL_UNITS}/GR/%CE%BC%CE%BF%CE%BD%CE%AC%CE%B4%CE%B1"),
        ("FI", None, f"{NATIONAL_UNITS}/FI/not-stated"),
    ],
)
def test_an_amount_that_is_not_ects_names_its_framework(tables, country, unit, framework):
    values = {"credit_amount": Decimal(180), "credit_sector": "VET", "awarded_on": DAY}
    made, _, _ = run(tables, values | ({"credit_unit": unit} if unit else {}), country)
    assert "credit_points" not in made
    assert made["credit_framework"] == framework


def test_r20_an_award_without_a_day_takes_no_level(tables):
    values = {key: value for key, value in IE.items() if key != "awarded_on"}
    assert "date_required" in codes(answer := run(tables, values))
    assert "eqf_level" not in answer[0]
    assert (
        run(tables, values | {"issued_at": datetime(2020, 6, 1, tzinfo=UTC)})[0]["eqf_level"] == 6
    )
    assert run(tables, values, emits="qualification")[0]["eqf_level"] == 6


def test_level_without_an_eu_concept_is_noted(tables):
    values = {"nqf_framework": "CNCP", "nqf_level": "5", "awarded_on": DAY}
    made, _, _ = answer = run(tables, values, "FR")
    assert "nqf_uri_missing" in codes(answer)
    assert "nqf_uri" not in made


def test_look_alike_letters_are_noted_and_the_text_stays(tables):
    made, _, _ = answer = run(
        tables, {"nqf_framework": "MRK", "nqf_level": "VI\u0410", "awarded_on": DAY}, "MK"
    )
    assert "level_letters_normalised" in codes(answer)
    assert (made["nqf_level"], made["eqf_level"]) == ("VI\u0410", 6)


def test_enrolment_level_needs_a_degree_programme(tables):
    status = {"nqf_framework": "NFQ", "nqf_level": "8", "valid_from": DAY}
    assert run(tables, status, emits="student_status")[0]["eqf_level"] == 6
    assert (
        "eqf_level"
        not in run(tables, status | {"degree_programme": False}, emits="student_status")[0]
    )
    answer = run(tables, status | {"nqf_level": "5"}, emits="student_status")
    assert "academic_level_out_of_range" in codes(answer)
    assert "eqf_level" not in answer[0]
