"""Apply the rules R1-R20 to a harmonised record.

The rules add values from tables, note issues and reject records. They never infer a value. The
codes are in :data:`gateway.harmonise.tables.rule_codes.RULES`. A reason of a table keeps its name,
and a :class:`~gateway.harmonise.tables.credits.NoCreditsReason` gets the prefix ``credits_``.

Three rules need no code, because the structure of the record guarantees them. A level never comes
from a title, a cycle, ISCED or an amount of credits (R3). A part never takes the level of the whole
(R15). A value of a table always travels with its row (R18).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from gateway.harmonise.grade_rules import grade_issues
from gateway.harmonise.part_ids import distinguish_parts
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.credits import CreditMatch
from gateway.harmonise.tables.level_and_credit_rules import (
    CYCLE_EQF,
    UNUSUAL_CREDITS_PER_YEAR,
    CreditQuestion,
    LevelQuestion,
    RecordRefused,
    RuleOutcome,
    record_refused,
)
from gateway.harmonise.tables.level_answers import NoLevelReason
from gateway.harmonise.tables.rule_codes import Code
from gateway.harmonise.values.future_days import is_in_future
from gateway.harmonise.values.misread_text import is_suspect
from gateway.records import Issue, Lookup, Rejected

_CYCLE_CREDITS = {"short": ((90, 120),), "first": ((180, 240),), "second": ((60, 120), (270, 420))}
_LEVEL_NOT_KNOWN = 0
_LEARNING = {"qualification", "learning_opportunity", "credential"}

_FIRST_YEAR, _LAST_YEAR = 1850, 2100
_NO_STAND_IN = "expected a day of this age, not a stand-in for no day"
_HAS_COME = "expected a day that has come"
Enriched = tuple[dict[str, Any], tuple[Lookup, ...], tuple[Issue, ...]]


def apply_record_rules(
    values: dict[str, Any], *, country: str, emits: str, tables: Tables
) -> Enriched | Rejected:
    """Return new values with those of the tables, and the lookups and issues, or a rejection.

    ``values`` stays unchanged.
    """
    work = RecordRules(country, tables)
    try:
        if emits in _LEARNING:
            record = work.learning(values, emits)
        elif emits == "student_status":
            record = work.status(values)
        else:
            return values, (), ()
    except RecordRefused as error:
        return error.rejected
    return record, tuple(work.lookups), tuple(work.issues)


class RecordRules:
    """The rules for one record, with the lookups and issues that they collect."""

    __slots__ = ("country", "issues", "lookups", "tables", "whole")

    def __init__(self, country: str, tables: Tables) -> None:
        self.country = country
        self.tables = tables
        self.lookups: list[Lookup] = []
        self.issues: list[Issue] = []
        self.whole: dict[str, Any] = {}

    # One method for each kind of record

    def learning(self, values: dict[str, Any], emits: str) -> dict[str, Any]:
        """Return the record of a qualification, opportunity or credential after all rules."""
        record = dict(values)
        award = emits == "credential"
        reference_date = _award_date(record) if award else record.get("valid_until")
        self.check_dates(record)
        self.check_charset(record)
        self.apply_level(record, "", reference_date, award=award)
        judged = self.apply_credits(record, "", reference_date or record.get("valid_from"))
        credit = judged.credit if judged else None
        if award:
            self._grade(record.get("assessment"), "")
        if parts := record.get("parts"):
            self.whole = record
            record["parts"] = parts = [
                self._apply_to_part(part, f"parts[{index}].", reference_date)
                for index, part in enumerate(parts)
            ]
            self._check_part_ids(parts)
            self._check_sum_of_parts(record)
        micro = record.get("micro") or record.get("kind") == "micro_credential"
        if micro:
            self._check_micro_credential(record, credit, award=award)
        elif credit and (emits == "qualification" or record.get("kind") == "diploma"):
            self.check_size_of_cycle(record, credit)
        return record

    def status(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the record of an enrolment after all rules.

        Only degree programmes have a level, which is EQF 5 to 8 (ESC Router).
        """
        record = dict(values)
        self.check_dates(record)
        if record.get("degree_programme", True):
            self.apply_level(
                record, "", record.get("valid_from") or record.get("valid_until"), award=False
            )
            eqf = record.get("eqf_level")
            if eqf is not None and eqf < CYCLE_EQF["short"]:
                del record["eqf_level"]
                self._issue(Code.ACADEMIC_LEVEL, "eqf_level")
        record.pop("nqf_uri", None)
        return record

    def _apply_to_part(
        self, part: dict[str, Any], prefix: str, award: date | None
    ) -> dict[str, Any]:
        record = dict(part)
        reference_date = record.get("awarded_on") or award
        self.check_dates(record, prefix)
        self.apply_level(record, prefix, reference_date, award=True)
        self.apply_credits(record, prefix, reference_date)
        self._grade(record.get("assessment"), prefix)
        return record

    # Rules on a few values and the tables: R1-R8, R12, R13, R18-R20

    def apply_level(
        self, record: dict[str, Any], prefix: str, reference_date: date | None, *, award: bool
    ) -> None:
        """Apply the rules to the level of a record or part."""
        level, declared = record.get("nqf_level"), record.get("eqf_declared")
        if level or declared is not None:
            begun = record.get("valid_from") if reference_date is None else None
            first_day = self.tables.judgements.level_day
            question = LevelQuestion(
                country=self.country,
                prefix=prefix,
                on=reference_date and first_day(self.country, reference_date),
                started_on=begun and first_day(self.country, begun),
                is_award=award,
                level=level,
                declared_eqf=declared,
                framework=record.get("nqf_framework"),
                cycle=record.get("cycle"),
            )
            self._merge_outcome(self.tables.judgements.level(question), record)

    def apply_credits(
        self, record: dict[str, Any], prefix: str, reference_date: date | None
    ) -> RuleOutcome | None:
        """Apply the rules to the credits of a record or part, and return their outcome."""
        hours, amount = record.get("workload_hours"), record.get("credit_amount")
        if hours is not None and not (hours.is_finite() and hours > 0):
            raise record_refused(
                "rule",
                f"{prefix}workload_hours",
                Code.WORKLOAD_NOT_POSITIVE,
                "expected more than 0 hours",
            )
        if amount is None:
            return None
        if not amount.is_finite() or amount <= 0:
            raise record_refused(
                "rule",
                f"{prefix}credit_amount",
                Code.CREDITS_NOT_POSITIVE,
                "expected an amount above 0",
            )
        sector = self._own_or_of_whole(record, "credit_sector")
        question = CreditQuestion(
            country=self.country,
            prefix=prefix,
            on=reference_date and self.tables.judgements.credit_day(self.country, reference_date),
            amount=amount,
            unit=record.get("credit_unit"),
            sector=sector,
            assessed=(record.get("assessment") or {}).get("kind"),
            eqf=self._level_of_act(record, sector),
        )
        judged = self.tables.judgements.credits(question, (hours, record.get("duration_months")))
        self._merge_outcome(judged, record)
        return judged

    def _level_of_act(self, record: dict[str, Any], sector: str | None) -> int | None:
        """Return the EQF level that decides whether an act grants ECTS credits to a record.

        No act is needed in higher education. Outside higher education, an act for some levels
        grants nothing to a record of which no level is known.
        """
        if sector == "HE":
            return None
        level: int | None = self._own_or_of_whole(record, "eqf_level")
        if level is None and sector in {"VET", "GEN"}:
            return _LEVEL_NOT_KNOWN
        return level

    def _own_or_of_whole(self, record: dict[str, Any], name: str) -> Any:
        """Return a value of a record. A part that does not state it has that of the whole."""
        value = record.get(name)
        return self.whole.get(name) if value is None else value

    def _merge_outcome(self, judged: RuleOutcome, record: dict[str, Any]) -> None:
        if judged.refused is not None:
            raise RecordRefused(judged.refused)
        record.update(judged.values)
        self.lookups += judged.lookups
        self.issues += judged.issues

    # Rules on the whole record: R6, R9-R11, R14, R16, R17

    def check_dates(self, record: dict[str, Any], prefix: str = "") -> None:
        """Reject days in the wrong order, and days that cannot be true."""
        for first, last in (("valid_from", "valid_until"), ("starts_on", "ends_on")):
            begin, end = record.get(first), record.get(last)
            if begin is not None and end is not None and begin > end:
                raise record_refused(
                    "rule",
                    f"{prefix}{last}",
                    Code.DATES_UNORDERED,
                    f"expected {first} on or before {last}",
                )
        holder = record.get("holder")
        born = holder.get("birth_date") if holder else None
        bad = find_bad_day(record.get("awarded_on"), record.get("issued_at"), born, self.country)
        if bad is not None:
            field, code, detail = bad
            raise record_refused("rule", prefix + field, code, detail)

    def check_charset(self, record: dict[str, Any]) -> None:
        """Note an issue for each field whose UTF-8 was read as Latin-1."""
        for field in ("title", "description", "holder"):
            if texts := record.get(field):
                for text in texts.values():
                    if type(text) is str and is_suspect(text):
                        self._issue(Code.ENCODING_SUSPECT, field)
                        break

    def check_size_of_cycle(self, record: dict[str, Any], credit: CreditMatch) -> None:
        """Note an issue if the cycle of a record usually has other credits."""
        ranges = _CYCLE_CREDITS.get(record.get("cycle") or "")
        if ranges and not any(least <= credit.points <= most for least, most in ranges):
            self._issue(
                Code.CREDITS_UNUSUAL,
                "credit_points",
                f"{credit.points} ECTS credits, {record['cycle']} cycle",
            )

    def _check_part_ids(self, parts: list[dict[str, Any]]) -> None:
        index = distinguish_parts(parts, self.issues)
        if index is not None:
            raise record_refused(
                "map",
                f"parts[{index}].id",
                "missing",
                "expected a value; if the parts have no id, write id: {ordinal: true}",
            )

    def _check_sum_of_parts(self, record: dict[str, Any]) -> None:
        whole = record.get("credit_points")
        points = [part.get("credit_points") for part in record["parts"]]
        if whole is None or None in points:
            return
        if abs(sum(points) - whole) > Decimal("0.01") * len(points):
            self._issue(
                Code.PARTS_DIFFER, "parts", f"parts add up to {sum(points)}, the whole says {whole}"
            )

    def _check_micro_credential(
        self, record: dict[str, Any], credit: CreditMatch | None, *, award: bool
    ) -> None:
        if award:
            for field, present in _identifying_elements(record).items():
                if not present:
                    raise record_refused(
                        "rule",
                        field,
                        Code.MICRO_UNIDENTIFIED,
                        "expected a value: a micro-credential cannot do without it",
                    )
        elements = {field: _has_value(record, field) for field in _MICRO_ELEMENTS}
        self.issues += missing_micro_elements(elements)
        if credit:
            self.check_size_of_micro_credential(credit)

    def check_size_of_micro_credential(self, credit: CreditMatch) -> None:
        """Note an issue if a micro-credential has more credits than usual."""
        if credit.points > UNUSUAL_CREDITS_PER_YEAR:
            self._issue(Code.MICRO_LARGE, "credit_points", f"{credit.points} ECTS credits")

    def _grade(self, assessment: dict[str, Any] | None, prefix: str) -> None:
        if assessment and (grade := assessment.get("grade")):
            scale = assessment.get("grading_scale")
            self.issues += grade_issues(grade, scale, self.country, self.tables, prefix)

    def _issue(self, code: str, field: str, message: str = "") -> None:
        self.issues.append(Issue(code=str(code), field=field, message=message))


def find_bad_day(
    awarded: date | None, issued: datetime | date | None, born: date | None, country: str
) -> tuple[str, str, str] | None:
    """Return the field, the code and the expectation for a day that cannot be true (R9)."""
    if awarded is not None and not _FIRST_YEAR <= awarded.year <= _LAST_YEAR:
        return "awarded_on", str(Code.DATE_IMPLAUSIBLE), _NO_STAND_IN
    if born is not None and not _FIRST_YEAR <= born.year <= _LAST_YEAR:
        return "holder.birth_date", str(Code.DATE_IMPLAUSIBLE), _NO_STAND_IN
    if awarded is not None and is_in_future(awarded, country):
        return "awarded_on", str(NoLevelReason.DAY_IN_FUTURE), _HAS_COME
    issued_on = issued.date() if isinstance(issued, datetime) else issued
    # A day that is not after the award has come, too.
    begun = awarded or date.min
    if issued_on is not None and issued_on > begun and is_in_future(issued_on, country):
        return "issued_at", str(NoLevelReason.DAY_IN_FUTURE), _HAS_COME
    if born is not None and born > begun and is_in_future(born, country):
        return "holder.birth_date", str(NoLevelReason.DAY_IN_FUTURE), _HAS_COME
    if awarded is not None and born is not None and born >= awarded:
        return "awarded_on", str(Code.DATES_UNORDERED), "expected a birth before the award"
    return None


_MICRO_ELEMENTS = (
    "learning_outcomes",
    "workload_hours",
    "assessment.kind",
    "mode",
    "accreditation",
    "awarding_body.country",
)


def missing_micro_elements(present: Mapping[str, bool]) -> tuple[Issue, ...]:
    """Return an issue for each element of a micro-credential that is not ``present`` (R14)."""
    return tuple(
        Issue(code=str(Code.MICRO_INCOMPLETE), field=field)
        for field in _MICRO_ELEMENTS
        if not present.get(field)
    )


def _identifying_elements(record: dict[str, Any]) -> dict[str, bool]:
    return {
        "holder": bool(record.get("holder")),
        "title": bool(record.get("title")),
        "awarding_body": bool(record.get("awarding_body") or record.get("issuer")),
        "awarded_on": _award_date(record) is not None,
    }


def _has_value(record: dict[str, Any], field: str) -> bool:
    if field == "workload_hours" and record.get("credit_amount"):
        return True
    here: Any = record
    for part in field.split("."):
        here = here.get(part) if isinstance(here, dict) else None
    return bool(here)


def _award_date(record: dict[str, Any]) -> date | None:
    found = record.get("awarded_on") or record.get("issued_at")
    return found.date() if isinstance(found, datetime) else found
