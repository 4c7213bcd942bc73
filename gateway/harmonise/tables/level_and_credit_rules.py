"""What follows for a level, or for an amount of credits, from a few values and the tables (R1-R8, R12, R13, R18-R20).

A judgement is made of its arguments alone, and none of them says whose record it is. So :class:`Judgements` may remember it: levels, days
and amounts are few and records are many, and most ask what another asked before.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from msgspec import Struct

from gateway.harmonise.tables.credits import CreditMatch, Credits, NoCredits
from gateway.harmonise.tables.levels import LevelMatch, Levels, NoLevel, NoLevelReason
from gateway.harmonise.tables.rule_codes import RULES, Code
from gateway.records import Issue, Lookup, Rejected

CYCLE_EQF = {"short": 5, "first": 6, "second": 7, "third": 8}
UNUSUAL_CREDITS_PER_YEAR, IMPOSSIBLE_CREDITS_PER_YEAR = 60, 90
"""ECTS credits of a year."""
_MIN_HOURS_PER_CREDIT, _MAX_HOURS_PER_CREDIT = 18, 40
_CACHE_SIZE = 10_000


class RecordRefused(Exception):
    """The rules refuse the record."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.reason)
        self.rejected = rejected


def record_refused(stage: str, field: str, reason: str, detail: str) -> RecordRefused:
    """Return a refusal to raise."""
    return RecordRefused(Rejected(stage=stage, field=field, reason=str(reason), detail=detail))


class RuleOutcome(Struct, frozen=True):
    """What comes of it: values to be set, look-ups and issues to be noted; ``credit`` when credits were converted, or a refusal."""

    values: dict[str, Any]
    lookups: tuple[Lookup, ...] = ()
    issues: tuple[Issue, ...] = ()
    credit: CreditMatch | None = None
    refused: Rejected | None = None


class RuleOutcomeCache:
    """The judgements of one set of tables: asked again, they are not made again."""

    __slots__ = ("_credits", "_known_credits", "_known_levels", "_levels")

    def __init__(self, levels: Levels, credits_: Credits) -> None:
        self._levels, self._credits = levels, credits_
        self._known_levels: dict[tuple[Any, ...], RuleOutcome] = {}
        self._known_credits: dict[tuple[Any, ...], RuleOutcome] = {}

    def level(self, *arguments: Any) -> RuleOutcome:
        """Return what :meth:`_Judging.level` says of (country, prefix, and its arguments in order)."""
        return self._known_levels.get(arguments) or self._evaluate(
            self._known_levels, arguments, _RuleEvaluation.level
        )

    def credits(self, *arguments: Any) -> RuleOutcome:
        """Return what :meth:`_Judging.credits` says of (country, prefix, and its arguments in order)."""
        return self._known_credits.get(arguments) or self._evaluate(
            self._known_credits, arguments, _RuleEvaluation.credits
        )

    def _evaluate(
        self, known: dict[tuple[Any, ...], RuleOutcome], arguments: tuple[Any, ...], judge: Any
    ) -> RuleOutcome:
        country, prefix, *rest = arguments
        work = _RuleEvaluation(self._levels, self._credits, country, prefix)
        try:
            judge(work, *rest)
        except RecordRefused as error:
            made = RuleOutcome({}, refused=error.rejected)
        else:
            made = RuleOutcome(work.values, tuple(work.lookups), tuple(work.issues), work.credit)
        if len(known) >= _CACHE_SIZE:
            known.clear()
        known[arguments] = made
        return made


class _RuleEvaluation:
    """One judgement in the making. ``prefix`` is written in front of the fields it names."""

    def __init__(self, levels: Levels, credits_: Credits, country: str, prefix: str) -> None:
        self._levels, self._credits, self.country, self.prefix = levels, credits_, country, prefix
        self.values: dict[str, Any] = {}
        self.lookups: list[Lookup] = []
        self.issues: list[Issue] = []
        self.credit: CreditMatch | None = None

    # levels: R1-R6, R12, R18, R20 ----------------------------------------------------------------------------------------------

    def level(
        self,
        on: date | None,
        started_on: date | None,
        is_award: bool,
        level: str | None,
        declared_eqf: int | None,
        framework: str | None,
        cycle: str | None,
    ) -> None:
        """Judge a national level and the EQF level that the registry declares; an entry without a day is read at the day it ``begun``."""
        if declared_eqf is not None and not 1 <= declared_eqf <= 8:  # noqa: PLR2004 - the EQF has eight levels
            raise self._refusal(
                "rule",
                "eqf_declared",
                Code.EQF_OUT_OF_RANGE,
                f"declared {declared_eqf}; expected 1 to 8",
            )
        if level:
            answer = self._levels.find(self.country, framework or None, level, on)
            if (
                not is_award
                and on is None
                and isinstance(answer, NoLevel)
                and answer.reason is NoLevelReason.DATE_REQUIRED
            ):
                answer = self._levels.find(self.country, framework or None, level, started_on)
            self._record_answer(answer, framework)
            if isinstance(answer, NoLevel):
                self._handle_no_level(answer, on, is_award=is_award)
            elif is_award and on is None:
                self._issue(
                    NoLevelReason.DATE_REQUIRED,
                    "eqf_level",
                    f"{answer.row}: an award without its date takes no level",
                )
            else:
                self._apply_level(answer, declared_eqf, cycle)
        if declared_eqf is not None and "eqf_level" not in self.values:
            self._issue(
                Code.EQF_DECLARED_UNSUPPORTED,
                "eqf_declared",
                f"declared {declared_eqf}; no table row states a level",
            )

    def _record_answer(self, answer: LevelMatch | NoLevel, framework: str | None) -> None:
        self._record_lookup(
            "eqf_level", answer.framework, answer, answer.relation, answer.referenced_year
        )
        if answer.framework and not framework:
            self.values["nqf_framework"] = answer.framework
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
            known = ", ".join(answer.frameworks)
            raise self._refusal(
                "table",
                "nqf_level",
                reason,
                f"level {answer.level} alone is ambiguous; name its framework: {known}",
            )
        if reason is NoLevelReason.NOT_IN_FORCE and is_award and on is not None:
            detail = f"{answer.row} did not hold on the day of the award ({answer.version})"
            raise self._refusal("rule", "nqf_framework", reason, detail)
        self._issue(reason, "eqf_level", f"{answer.row or answer.level}: {RULES[reason].meaning}")

    def _apply_level(self, answer: LevelMatch, declared_eqf: int | None, cycle: str | None) -> None:
        if declared_eqf is not None and declared_eqf != answer.eqf:
            detail = f"the registry declares EQF {declared_eqf}; {answer.row} ({answer.version}) states EQF {answer.eqf}"
            raise self._refusal("rule", "eqf_declared", Code.EQF_CONFLICT, detail)
        self.values["eqf_level"] = answer.eqf
        if cycle is not None and cycle != answer.cycle and CYCLE_EQF.get(cycle) != answer.eqf:
            self._issue(Code.CYCLE_DIFFERS, "cycle", f"{cycle} cycle beside EQF {answer.eqf}")

    # credits and hours: R6-R8, R13, R18, R19 -----------------------------------------------------------------------------------

    def credits(
        self,
        on: date | None,
        amount: Decimal,
        unit: str | None,
        sector: str | None,
        hours: Decimal | None,
        months: int | None,
        assessed: str | None,
    ) -> None:
        """Judge an amount of credits beside hours of work and a duration; ``assessed`` is the kind of assessment."""
        if not unit:
            self._issue(Code.CREDIT_UNIT_MISSING, "credit_unit")
            return
        answer = self._credits.find(self.country, unit, amount, sector, on)
        self._record_lookup("credit_points", "credits", answer, answer.conversion, None)
        if isinstance(answer, NoCredits):
            self._issue(
                f"credits_{answer.reason}",
                "credit_points",
                f"{answer.row or unit}: the national credits stay",
            )
            return
        if assessed == "attendance":
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
            detail = f"{credit.points} ECTS credits in {months} months; at most {IMPOSSIBLE_CREDITS_PER_YEAR} a year"
            raise self._refusal("rule", "credit_points", Code.CREDITS_A_YEAR_IMPOSSIBLE, detail)
        if credit.points > UNUSUAL_CREDITS_PER_YEAR * years:
            self._issue(
                Code.CREDITS_A_YEAR_HIGH,
                "credit_points",
                f"{credit.points} ECTS credits in {months} months",
            )

    def _check_hours_per_credit(self, each: Fraction, credit: CreditMatch) -> None:
        if not _MIN_HOURS_PER_CREDIT <= each <= _MAX_HOURS_PER_CREDIT:
            detail = f"{float(each):.1f} hours for one ECTS credit; expected {_MIN_HOURS_PER_CREDIT} to {_MAX_HOURS_PER_CREDIT}"
            raise self._refusal("rule", "workload_hours", Code.HOURS_IMPOSSIBLE, detail)
        if credit.hours and not credit.hours[0] * 9 / 10 <= each <= credit.hours[1] * 11 / 10:
            self._issue(
                Code.HOURS_UNUSUAL,
                "workload_hours",
                f"{float(each):.1f} hours for one ECTS credit ({credit.row})",
            )

    # notes ----------------------------------------------------------------------------------------------------------------------

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
                source=answer.source,
                confidence=answer.confidence,
                relation=relation,
                referenced_year=referenced,
                reason=str(answer.reason) if isinstance(answer, NoLevel | NoCredits) else "",
            )
        )
