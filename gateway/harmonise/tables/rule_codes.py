"""Define each code of the rules, once for metrics, documentation and explanations."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from gateway.harmonise.tables.credits import NoCreditsReason
from gateway.harmonise.tables.levels import NoLevelReason


class Code(StrEnum):
    """The codes that the rules for records use. The values are metric labels and stay stable."""

    EQF_CONFLICT = "eqf_conflict"
    EQF_OUT_OF_RANGE = "eqf_out_of_range"
    EQF_DECLARED_UNSUPPORTED = "eqf_declared_unsupported"
    LEVEL_LETTERS = "level_letters_normalised"
    NQF_URI_MISSING = "nqf_uri_missing"
    CYCLE_DIFFERS = "cycle_and_level_differ"
    CREDITS_NOT_POSITIVE = "credits_not_positive"
    CREDITS_TOO_LARGE = "credits_too_large"
    CREDIT_UNIT_MISSING = "credit_unit_missing"
    WORKLOAD_NOT_POSITIVE = "workload_not_positive"
    DATES_UNORDERED = "dates_unordered"
    DATE_IMPLAUSIBLE = "date_implausible"
    ENCODING_SUSPECT = "encoding_suspect"
    CREDITS_A_YEAR_HIGH = "credits_a_year_high"
    CREDITS_A_YEAR_IMPOSSIBLE = "credits_a_year_impossible"
    HOURS_UNUSUAL = "hours_per_credit_unusual"
    HOURS_IMPOSSIBLE = "hours_per_credit_impossible"
    CREDITS_UNUSUAL = "credits_unusual_for_cycle"
    NOT_ASSESSED = "credits_without_assessment"
    MICRO_INCOMPLETE = "micro_element_missing"
    MICRO_UNIDENTIFIED = "micro_not_identified"
    MICRO_LARGE = "micro_credential_large"
    GRADE_WITHOUT_SCALE = "grade_without_scale"
    GRADE_OUTSIDE_SCALE = "grade_outside_scale"
    GRADE_SCALE_OBSOLETE = "grade_scale_obsolete"
    PARTS_DIFFER = "parts_do_not_add_up"
    ACADEMIC_LEVEL = "academic_level_out_of_range"
    OUTSIDE_EQF = "outside_eqf"
    COUNTRY_MISSING = "record_country_missing"
    COUNTRY_AMBIGUOUS = "record_country_ambiguous"
    COUNTRY_UNREADABLE = "record_country_unreadable"


class RuleDescription(Struct, frozen=True):
    """One code: the rule of the specification, its effect (rejection or issue), and its meaning."""

    rule: str
    kind: str
    meaning: str


_NO_LEVEL = {
    NoLevelReason.COUNTRY_UNKNOWN: "There is no table for this country",
    NoLevelReason.FRAMEWORK_UNKNOWN: "The country's tables do not have this framework",
    NoLevelReason.LEVEL_UNKNOWN: "The framework does not have this level",
    NoLevelReason.LEVEL_AMBIGUOUS: "The label or the words may mean several levels",
    NoLevelReason.DATE_REQUIRED: "The level depends on the day of the award, which is not known",
    NoLevelReason.REVIEW_DATES: (
        "The day is within a year of a change whose day is only about right; a person has to decide"
    ),
    NoLevelReason.BELOW_EQF: "The level lies below EQF 1",
    NoLevelReason.UNUSED: "The level is in a list but not in the country",
    NoLevelReason.SPLIT: "The level covers several EQF levels; the kind of award decides",
    NoLevelReason.INDIRECT: (
        "The framework has cycles and is tied to the EQF only through the QF-EHEA"
    ),
    NoLevelReason.NOT_REFERENCED: "The framework was never referenced to the EQF",
    NoLevelReason.COMPARISON: "The framework was compared with the EQF, which binds nobody",
    NoLevelReason.NO_CORRESPONDENCE: "No rule ties this older or lower level to the EQF",
    NoLevelReason.UNSURE: "The row is not certain enough to state a level",
    NoLevelReason.SOURCE_NOT_OFFICIAL: (
        "No act, authority or text of the EU that a person read states the level of the row"
    ),
    NoLevelReason.FIRST_DAY_UNKNOWN: (
        "The first day of the row is not known, and the day is before the first safe day"
    ),
}
_NO_CREDITS = {
    NoCreditsReason.COUNTRY_UNKNOWN: "There is no table for this country",
    NoCreditsReason.UNIT_UNKNOWN: "The country's table does not have this unit",
    NoCreditsReason.AMOUNT_NOT_POSITIVE: "The amount is not a number above 0",
    NoCreditsReason.NOT_HIGHER_EDUCATION: (
        "No act makes these credits of vocational or general education ECTS"
    ),
    NoCreditsReason.SECTOR_REQUIRED: "Several units share this name; the sector is needed",
    NoCreditsReason.SECTOR_MISMATCH: "The unit does not belong to this sector",
    NoCreditsReason.DATE_REQUIRED: "Several units share this name; the day is needed",
    NoCreditsReason.YEAR_NORM_REQUIRED: (
        "Several units share this name on this day; the units of one full-time year are needed"
    ),
    NoCreditsReason.NOT_IN_FORCE: "The unit did not hold on this day",
    NoCreditsReason.HOURS_ONLY: "The unit's hours are known, but nobody declares it to be ECTS",
    NoCreditsReason.INSTITUTIONAL: "Each institution has its own table for this unit",
    NoCreditsReason.NOT_CONVERTIBLE: "The unit does not measure workload as ECTS does",
    NoCreditsReason.UNSURE: "The row is not certain enough to state a value",
    NoCreditsReason.SOURCE_NOT_OFFICIAL: (
        "No act, authority or text of the EU that a person read states the value of the unit"
    ),
    NoCreditsReason.FIRST_DAY_UNKNOWN: (
        "The first day of the unit is not known, and the day is before the first safe day"
    ),
    NoCreditsReason.DAY_IN_FUTURE: "The day has not come yet",
}

_NO_COUNTRY = {
    Code.COUNTRY_MISSING: "The record of a source of several countries names no country",
    Code.COUNTRY_AMBIGUOUS: "The record names several countries",
    Code.COUNTRY_UNREADABLE: "The record names its country by a text that is no code of ISO 3166-1",
}

RULES: dict[str, RuleDescription] = {
    NoLevelReason.FRAMEWORK_REQUIRED: RuleDescription(
        "R2", "reject", "A bare number without its framework is ambiguous in this country"
    ),
    NoLevelReason.NOT_IN_FORCE: RuleDescription(
        "R1 R6", "reject for an award, else issue", "The framework did not hold on this day"
    ),
    NoLevelReason.DAY_IN_FUTURE: RuleDescription(
        "R6", "reject", "An award, its issue or a birth has a day that has not come yet"
    ),
    **{
        reason: RuleDescription(
            "R1 R5 R18 R20", "issue", f"{meaning}: no EQF level, the national level stays"
        )
        for reason, meaning in _NO_LEVEL.items()
    },
    **{
        f"credits_{reason}": RuleDescription(
            "R18 R19", "issue", f"{meaning}: no ECTS value, published in its own unit"
        )
        for reason, meaning in _NO_CREDITS.items()
    },
    Code.EQF_CONFLICT: RuleDescription(
        "R4", "reject", "The registry declares another EQF level than the table row states"
    ),
    Code.EQF_OUT_OF_RANGE: RuleDescription(
        "R6", "reject", "A declared EQF level is a whole number from 1 to 8"
    ),
    Code.EQF_DECLARED_UNSUPPORTED: RuleDescription(
        "R4 R5", "issue", "The registry declares an EQF level and no table row states one"
    ),
    Code.LEVEL_LETTERS: RuleDescription(
        "R1", "issue", "Letters of another script that look like Latin ones were read as Latin"
    ),
    Code.OUTSIDE_EQF: RuleDescription(
        "R18",
        "issue",
        "The country has left the EQF; the level is that of the framework as it was referenced",
    ),
    Code.NQF_URI_MISSING: RuleDescription(
        "R18", "issue", "The EU list has no concept for this national level: notation only"
    ),
    Code.CYCLE_DIFFERS: RuleDescription(
        "R12",
        "issue",
        "The declared cycle usually stands at another EQF level; both stay as they are",
    ),
    Code.CREDITS_NOT_POSITIVE: RuleDescription("R6", "reject", "An amount of credits is above 0"),
    Code.CREDITS_TOO_LARGE: RuleDescription(
        "R6", "issue", "More than a million is no amount of credits: no ECTS value"
    ),
    Code.CREDIT_UNIT_MISSING: RuleDescription(
        "R18", "issue", "An amount of credits without its unit means nothing"
    ),
    Code.WORKLOAD_NOT_POSITIVE: RuleDescription("R6", "reject", "Hours of work are above 0"),
    Code.DATES_UNORDERED: RuleDescription(
        "R6", "reject", "A first day comes before a last day, a birth before an award"
    ),
    Code.DATE_IMPLAUSIBLE: RuleDescription(
        "R6", "reject", "An award or a birth before 1850 or after 2100: a stand-in for no day"
    ),
    Code.ENCODING_SUSPECT: RuleDescription(
        "R6",
        "issue",
        "A text looks as if it had been read in the wrong charset; it is carried as it came",
    ),
    Code.CREDITS_A_YEAR_HIGH: RuleDescription("R7", "issue", "More than 60 ECTS credits a year"),
    Code.CREDITS_A_YEAR_IMPOSSIBLE: RuleDescription(
        "R7", "reject", "More than 90 ECTS credits a year"
    ),
    Code.HOURS_UNUSUAL: RuleDescription(
        "R8", "issue", "Hours for one ECTS credit are more than a tenth outside the country's range"
    ),
    Code.HOURS_IMPOSSIBLE: RuleDescription(
        "R8", "reject", "Hours for one ECTS credit are outside 18 to 40"
    ),
    Code.CREDITS_UNUSUAL: RuleDescription(
        "R9 R10 R11", "issue", "ECTS credits of the whole award are unusual for its cycle"
    ),
    Code.NOT_ASSESSED: RuleDescription(
        "R13", "reject", "ECTS credits are given for assessed outcomes, not for attendance"
    ),
    Code.MICRO_INCOMPLETE: RuleDescription(
        "R14", "issue", "A mandatory element of a micro-credential is missing"
    ),
    Code.MICRO_UNIDENTIFIED: RuleDescription(
        "R14", "reject", "A micro-credential names its learner, title, awarding body and date"
    ),
    Code.MICRO_LARGE: RuleDescription(
        "R14", "issue", "A micro-credential of more than 60 ECTS credits"
    ),
    Code.GRADE_WITHOUT_SCALE: RuleDescription(
        "R16", "issue", "A grade without its scale cannot be read by others"
    ),
    Code.GRADE_OUTSIDE_SCALE: RuleDescription(
        "R16", "issue", "The grade is not a value of its scale"
    ),
    Code.GRADE_SCALE_OBSOLETE: RuleDescription(
        "R16", "issue", "The ECTS rank scale A-F is obsolete; carried, not interpreted"
    ),
    Code.PARTS_DIFFER: RuleDescription(
        "R17", "issue", "The parts' ECTS credits do not add up to the whole"
    ),
    Code.ACADEMIC_LEVEL: RuleDescription(
        "R5", "issue", "An enrolment's academic level is EQF 5 to 8; this one is not published"
    ),
    **{
        code: RuleDescription("R1", "issue", f"{meaning}, so no national table judges the record")
        for code, meaning in _NO_COUNTRY.items()
    },
}
"""All codes of the rules for records."""
