"""Apply the rules for levels and credits (R1-R8, R12, R13, R18-R20) to a few values of a record.

An outcome depends only on its question and the tables, and no question identifies a person.
Therefore :class:`~gateway.harmonise.tables.rule_outcome_cache.RuleOutcomeCache` may store it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any

from msgspec import Struct

from gateway.harmonise.tables.credit_frameworks import credit_framework
from gateway.harmonise.tables.credits import MAX_AMOUNT, CreditMatch, Credits, NoCredits
from gateway.harmonise.tables.level_answers import (
    LevelMatch,
    NoLevel,
    NoLevelReason,
    outside_eqf,
)
from gateway.harmonise.tables.levels import Levels
from gateway.harmonise.tables.rule_codes import RULES, Code
from gateway.records import Issue, Lookup, Rejected

CYCLE_EQF = {"short": 5, "first": 6, "second": 7, "third": 8}
UNUSUAL_CREDITS_PER_YEAR, IMPOSSIBLE_CREDITS_PER_YEAR = 60, 90
"""Limits of ECTS credits in one year: above the first an issue, above the second a rejection."""
_MIN_HOURS_PER_CREDIT, _MAX_HOURS_PER_CREDIT = 18, 40


class RecordRefused(Exception):
    """A rule rejects the record. ``rejected`` holds the step, field, reason and detail."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.reason)
        self.rejected = rejected


def record_refused(stage: str, field: str, reason: str, detail: str) -> RecordRefused:
    """Return the exception for a rejection, ready to be raised."""
    return RecordRefused(Rejected(stage=stage, field=field, reason=str(reason), detail=detail))


class RuleOutcome(Struct, frozen=True):
    """The outcome of a rule: values to set, and lookups and issues to note.

    ``credit`` holds converted credits. ``refused`` holds the rejection, if there is one.
    """

    values: dict[str, Any]
    lookups: tuple[Lookup, ...] = ()
    issues: tuple[Issue, ...] = ()
    credit: CreditMatch | None = None
    refused: Rejected | None = None
    usual: UsualEffort | None = None
    """The hours and months for which the outcome stays as it is, for converted credits."""


class UsualEffort(Struct, frozen=True, gc=False):
    """The hours of work and the duration about which R7 and R8 say nothing.

    The bounds are whole numbers within the exact ones.
    """

    min_hours: int
    max_hours: int
    min_months: int

    def covers(self, hours: Decimal | None, months: int | None) -> bool:
        """Return whether no rule says anything about these hours and months."""
        return (hours is None or self.min_hours <= hours <= self.max_hours) and (
            not months or months < 0 or months >= self.min_months
        )


class LevelQuestion(Struct, frozen=True, gc=False):
    """A national level and the EQF level that the registry declares, to be checked by the rules.

    ``prefix`` precedes each field name. An entry that is not an award and has no date ``on`` is
    read at ``started_on``.
    """

    country: str
    prefix: str
    on: date | None
    started_on: date | None
    is_award: bool
    level: str | None
    declared_eqf: int | None
    framework: str | None
    cycle: str | None


class CreditQuestion(Struct, frozen=True, gc=False):
    """An amount of credits, to be checked by the rules.

    ``prefix`` precedes each field name. ``assessed`` is the kind of assessment. ``eqf`` is the EQF
    level that a table states.
    """

    country: str
    prefix: str
    on: date | None
    amount: Decimal
    unit: str | None
    sector: str | None
    assessed: str | None
    eqf: int | None


_DAY_IN_DOUBT = frozenset({NoLevelReason.DATE_REQUIRED, NoLevelReason.REVIEW_DATES})
"""Reasons that mean that a row states a level, but not for certain on this day."""
_NO_ROW = "no table row states a level"

Effort = tuple[Decimal | None, int | None]
"""The hours of work and the months that a record states beside its credits."""


class RuleEvaluation:
    """The evaluation of the rules for one level or amount. ``prefix`` precedes each field name."""

    def __init__(self, levels: Levels, credits_: Credits, country: str, prefix: str) -> None:
        self._levels, self._credits, self.country, self.prefix = levels, credits_, country, prefix
        self.values: dict[str, Any] = {}
        self.lookups: list[Lookup] = []
        self.issues: list[Issue] = []
        self.credit: CreditMatch | None = None

    def outcome(self, evaluate: Callable[[], None]) -> RuleOutcome:
        """Return the outcome of a method of this evaluation."""
        try:
            evaluate()
        except RecordRefused as error:
            return RuleOutcome({}, refused=error.rejected)
        return RuleOutcome(
            self.values,
            tuple(self.lookups),
            tuple(self.issues),
            self.credit,
            usual=_usual_effort(self.credit) if self.credit else None,
        )

    # Levels: R1-R6, R12, R18, R20

    def level(self, question: LevelQuestion) -> None:
        """Apply the rules to a national level and to the EQF level that the registry declares.

        Raises :class:`RecordRefused` when a rule rejects the record.
        """
        declared_eqf = question.declared_eqf
        if declared_eqf is not None and not 1 <= declared_eqf <= 8:  # noqa: PLR2004 - the EQF has eight levels
            raise self._refusal(
                "rule",
                "eqf_declared",
                Code.EQF_OUT_OF_RANGE,
                f"declared {declared_eqf}; expected 1 to 8",
            )
        if question.level:
            answer = self._judge_level(question, question.level)
        elif declared_eqf is not None:
            answer = self._judge_declared_level(question, declared_eqf)
        else:
            return
        if (
            declared_eqf is not None
            and isinstance(answer, NoLevel)
            and answer.reason not in _DAY_IN_DOUBT
        ):
            row = f"{answer.row}: {RULES[answer.reason].meaning}" if answer.row else _NO_ROW
            self._issue(
                Code.EQF_DECLARED_UNSUPPORTED, "eqf_declared", f"declared {declared_eqf}; {row}"
            )

    def _judge_level(self, question: LevelQuestion, level: str) -> LevelMatch | NoLevel:
        """Apply the rules to a national level, and return the answer of its table."""
        on, is_award = question.on, question.is_award
        framework = question.framework or None
        answer = self._levels.find(self.country, framework, level, on)
        if _may_ask_again(question, answer):
            answer = self._levels.find(self.country, framework, level, question.started_on)
        self._record_answer(answer, framework, level)
        if isinstance(answer, NoLevel):
            self._handle_no_level(answer, on, is_award=is_award)
        elif is_award and on is None:
            return self._refuse_without_day(answer)
        else:
            self._apply_level(answer, question.declared_eqf, question.cycle)
        return answer

    def _judge_declared_level(self, question: LevelQuestion, eqf: int) -> LevelMatch | NoLevel:
        """Apply the rules to a declared EQF level without a national level.

        A row of the country's tables must state this level on the day. Return its answer.
        """
        framework = question.framework or None
        answer = self._levels.find_declared(self.country, framework, eqf, question.on)
        if isinstance(answer, NoLevel) and _may_ask_again(question, answer):
            answer = self._levels.find_declared(self.country, framework, eqf, question.started_on)
        found = (answer,) if isinstance(answer, NoLevel) else answer
        for one in found:
            if one.row:
                self._record_lookup(
                    "eqf_level", one.framework, one, one.relation, one.referenced_year
                )
        if isinstance(answer, NoLevel):
            if answer.reason in _DAY_IN_DOUBT:
                self._handle_no_level(answer, question.on, is_award=question.is_award)
            return answer
        if question.is_award and question.on is None:
            return self._refuse_without_day(answer[0])
        self._apply_level(answer[0], eqf, question.cycle)
        return answer[0]

    def _refuse_without_day(self, answer: LevelMatch) -> NoLevel:
        self._issue(
            NoLevelReason.DATE_REQUIRED,
            "eqf_level",
            f"{answer.row}: an award without its date takes no level",
        )
        return NoLevel(reason=NoLevelReason.DATE_REQUIRED)

    def _record_answer(
        self, answer: LevelMatch | NoLevel, framework: str | None, level: str
    ) -> None:
        self._record_lookup(
            "eqf_level", answer.framework, answer, answer.relation, answer.referenced_year
        )
        if answer.framework and answer.framework != framework:
            self.values["nqf_framework"] = answer.framework
        if answer.row and answer.level != level:
            self.values["nqf_level"] = answer.level
        if answer.normalised:
            self._issue(Code.LEVEL_LETTERS, "nqf_level")
        if answer.uri:
            self.values["nqf_uri"] = answer.uri
        elif answer.row:
            self._issue(
                Code.NQF_URI_MISSING, "nqf_uri", f"{answer.row}: published with its notation only"
            )

    def _handle_no_level(self, answer: NoLevel, on: date | None, *, is_award: bool) -> None:
        reason = answer.reason
        if reason is NoLevelReason.FRAMEWORK_REQUIRED:
            frameworks = ", ".join(answer.frameworks)
            raise self._refusal(
                "table",
                "nqf_level",
                reason,
                f"level {answer.level} alone is ambiguous; name its framework: {frameworks}",
            )
        if reason is NoLevelReason.NOT_IN_FORCE and is_award and on is not None:
            detail = f"{answer.row} did not hold on the day of the award ({answer.version})"
            raise self._refusal("rule", "nqf_framework", reason, detail)
        self._issue(reason, "eqf_level", f"{answer.row or answer.level}: {RULES[reason].meaning}")

    def _apply_level(self, answer: LevelMatch, declared_eqf: int | None, cycle: str | None) -> None:
        if declared_eqf is not None and declared_eqf != answer.eqf:
            detail = (
                f"the registry declares EQF {declared_eqf}; "
                f"{answer.row} ({answer.version}) states EQF {answer.eqf}"
            )
            raise self._refusal("rule", "eqf_declared", Code.EQF_CONFLICT, detail)
        self.values["eqf_level"] = answer.eqf
        if answer.outside_eqf_since:
            self._issue(Code.OUTSIDE_EQF, "eqf_level", outside_eqf(answer.outside_eqf_since))
        if cycle is not None and cycle != answer.cycle and CYCLE_EQF.get(cycle) != answer.eqf:
            self._issue(Code.CYCLE_DIFFERS, "cycle", f"{cycle} cycle beside EQF {answer.eqf}")

    # Credits and hours: R6-R8, R13, R18, R19

    def credits(self, question: CreditQuestion, effort: Effort) -> None:
        """Apply the rules to an amount of credits, with its hours of work and its duration.

        Raises :class:`RecordRefused` when a rule rejects the record.
        """
        unit, (hours, months) = question.unit, effort
        if not unit:
            self._issue(Code.CREDIT_UNIT_MISSING, "credit_unit")
            self.values["credit_framework"] = credit_framework(self.country, "")
            return
        if question.amount > MAX_AMOUNT:
            self._issue(
                Code.CREDITS_TOO_LARGE, "credit_points", f"expected at most {MAX_AMOUNT} credits"
            )
            return
        answer = self._credits.find(
            self.country, unit, question.amount, question.sector, question.on, eqf=question.eqf
        )
        self._record_lookup("credit_points", "credits", answer, answer.conversion, None)
        if isinstance(answer, NoCredits):
            self._issue(
                f"credits_{answer.reason}",
                "credit_points",
                f"{answer.row or unit}: published in its own unit",
            )
            other_sector = question.sector and answer.sector not in {question.sector, "ALL"}
            self.values["credit_framework"] = credit_framework(
                self.country, unit if other_sector else answer.unit or unit, answer.framework
            )
            return
        if question.assessed == "attendance":
            raise self._refusal(
                "rule",
                "assessment.kind",
                Code.NOT_ASSESSED,
                "expected a form of assessment beside ECTS credits",
            )
        self.values["credit_points"] = answer.points
        self._check_credits_per_year(months, answer)
        if hours is not None:
            self._check_hours_per_credit(Fraction(hours) / answer.exact, answer)
        self.credit = answer

    def _check_credits_per_year(self, months: int | None, credit: CreditMatch) -> None:
        if not months or months < 0:
            return
        years = max(1, -(-(months - 2) // 12))
        if credit.points > IMPOSSIBLE_CREDITS_PER_YEAR * years:
            detail = (
                f"{credit.points} ECTS credits in {months} months; "
                f"at most {IMPOSSIBLE_CREDITS_PER_YEAR} a year"
            )
            raise self._refusal("rule", "credit_points", Code.CREDITS_A_YEAR_IMPOSSIBLE, detail)
        if credit.points > UNUSUAL_CREDITS_PER_YEAR * years:
            self._issue(
                Code.CREDITS_A_YEAR_HIGH,
                "credit_points",
                f"{credit.points} ECTS credits in {months} months",
            )

    def _check_hours_per_credit(self, each: Fraction, credit: CreditMatch) -> None:
        if not _MIN_HOURS_PER_CREDIT <= each <= _MAX_HOURS_PER_CREDIT:
            detail = (
                f"{float(each):.1f} hours for one ECTS credit; "
                f"expected {_MIN_HOURS_PER_CREDIT} to {_MAX_HOURS_PER_CREDIT}"
            )
            raise self._refusal("rule", "workload_hours", Code.HOURS_IMPOSSIBLE, detail)
        if credit.hours and not credit.hours[0] * 9 / 10 <= each <= credit.hours[1] * 11 / 10:
            self._issue(
                Code.HOURS_UNUSUAL,
                "workload_hours",
                f"{float(each):.1f} hours for one ECTS credit ({credit.row})",
            )

    def _refusal(self, stage: str, field: str, reason: str, detail: str) -> RecordRefused:
        return record_refused(stage, f"{self.prefix}{field}", reason, detail)

    def _issue(self, code: str, field: str, message: str = "") -> None:
        self.issues.append(Issue(code=str(code), field=f"{self.prefix}{field}", message=message))

    def _record_lookup(
        self,
        field: str,
        table: str,
        answer: LevelMatch | NoLevel | CreditMatch | NoCredits,
        relation: str,
        referenced: int | None,
    ) -> None:
        self.lookups.append(
            Lookup(
                field=f"{self.prefix}{field}",
                table=f"{self.country}/{table}" if table else self.country,
                version=answer.version,
                row=answer.row,
                source=_legal_source(answer),
                confidence=answer.confidence,
                relation=relation,
                referenced_year=referenced,
                reason=str(answer.reason) if isinstance(answer, NoLevel | NoCredits) else "",
            )
        )


def _usual_effort(credit: CreditMatch) -> UsualEffort:
    low, high = Fraction(_MIN_HOURS_PER_CREDIT), Fraction(_MAX_HOURS_PER_CREDIT)
    if credit.hours:
        low, high = max(low, credit.hours[0] * 9 / 10), min(high, credit.hours[1] * 11 / 10)
    years = -(-int(credit.points * 100) // (UNUSUAL_CREDITS_PER_YEAR * 100))
    return UsualEffort(
        ceil(low * credit.exact),
        floor(high * credit.exact),
        0 if years <= 1 else 12 * (years - 1) + 3,
    )


def _may_ask_again(question: LevelQuestion, answer: LevelMatch | NoLevel) -> bool:
    """Return whether the first day of an entry without a date decides between its rows."""
    return (
        not question.is_award
        and question.on is None
        and isinstance(answer, NoLevel)
        and answer.reason is NoLevelReason.DATE_REQUIRED
    )


def _legal_source(answer: LevelMatch | NoLevel | CreditMatch | NoCredits) -> str:
    """Return the act that grants the credits with its source, or the source alone."""
    act = answer.act if isinstance(answer, CreditMatch) else ""
    return f"{act} ({answer.source})" if act else answer.source
