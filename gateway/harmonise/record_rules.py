"""The rules R1-R20 on a harmonised record: what is added from tables, what is noted, what is refused. Nothing is inferred.

Every rule ends in a code of :data:`gateway.harmonise.tables.rule_codes.RULES`, the one table of them, or in a reason a table gave
(:class:`NoLevelReason` as it is, :class:`NoCreditsReason` after ``credits_``). Three rules need no code, because the way the
record is built keeps them: a level is never made from a title, a cycle, ISCED or an amount of credits (R3); a part never takes
the level of the whole (R15); every value of a table travels with its row (R18).
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.credits import CreditMatch
from gateway.harmonise.tables.level_and_credit_rules import CYCLE_EQF, YEAR_HIGH, Judgement, Refusal, refusal
from gateway.harmonise.tables.rule_codes import Code
from gateway.records import Issue, Lookup, Rejected

ECTS_RANKS = "ECTS grading scale (A-E, FX, F)"
_CYCLE_CREDITS = {"short": ((90, 120),), "first": ((180, 240),), "second": ((60, 120), (270, 420))}
_LEARNING = {"qualification", "learning_opportunity", "credential"}

_FIRST_YEAR, _LAST_YEAR = 1850, 2100
_MISREAD = re.compile(r"[\u00c2-\u00c5][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u2013-\u203a]|\u00e2\u20ac|\ufffd")
_SUSPECT = re.compile("[\u00c2-\u00c5\u00e2\ufffd]")
"""What a misread letter begins with: found sooner than the whole of it."""

_NUMBER = re.compile(r"-?[0-9]{1,4}(?:[.,][0-9]{1,4})?")
_SPAN = re.compile(r"([0-9]{1,4}(?:[.,][0-9]{1,4})?)-([0-9]{1,4}(?:[.,][0-9]{1,4})?)")

Enriched = tuple[dict[str, Any], tuple[Lookup, ...], tuple[Issue, ...]]


def enrich(values: dict[str, Any], *, country: str, emits: str, tables: Tables) -> Enriched | Rejected:
    """Add what tables state and judge the whole. ``values`` stays as it was; the answer holds a new mapping, lookups and issues."""
    work = _Work(country, tables)
    try:
        if emits in _LEARNING:
            made = work.learning(values, emits)
        elif emits == "student_status":
            made = work.status(values)
        else:
            return values, (), ()
    except Refusal as error:
        return error.rejected
    return made, tuple(work.lookups), tuple(work.issues)


class _Work:
    """The rules on one record."""

    __slots__ = ("country", "issues", "lookups", "tables")

    def __init__(self, country: str, tables: Tables) -> None:
        self.country = country
        self.tables = tables
        self.lookups: list[Lookup] = []
        self.issues: list[Issue] = []

    # what kinds of record have to keep -----------------------------------------------------------------------------------------

    def learning(self, values: dict[str, Any], emits: str) -> dict[str, Any]:
        """Qualifications, opportunities and credentials, with their parts."""
        made = dict(values)
        award = emits == "credential"
        on = _award_day(made) if award else made.get("valid_until")
        self._dates(made)
        self._charset(made)
        self._level(made, "", on, award=award)
        credit = self._credits(made, "", on or made.get("valid_from"))
        if award:
            self._grade(made.get("assessment"), "")
        if parts := made.get("parts"):
            made["parts"] = tuple([self._part(part, f"parts[{index}].", on) for index, part in enumerate(parts)])
            self._sum(made)
        micro = made.get("micro") or made.get("kind") == "micro_credential"
        if micro:
            self._micro(made, credit, award=award)
        elif credit and (emits == "qualification" or made.get("kind") == "diploma"):
            self._size(made, credit)
        return made

    def status(self, values: dict[str, Any]) -> dict[str, Any]:
        """Enrolments: only degree programmes have a level, and it is EQF 5 to 8 (ESC Router)."""
        made = dict(values)
        self._dates(made)
        if made.get("degree_programme", True):
            self._level(made, "", made.get("valid_from") or made.get("valid_until"), award=False)
            eqf = made.get("eqf_level")
            if eqf is not None and eqf < CYCLE_EQF["short"]:
                del made["eqf_level"]
                self._issue(Code.ACADEMIC_LEVEL, "eqf_level")
        made.pop("nqf_uri", None)
        return made

    def _part(self, part: dict[str, Any], prefix: str, award: date | None) -> dict[str, Any]:
        made = dict(part)
        on = made.get("awarded_on") or award
        self._dates(made, prefix)
        self._level(made, prefix, on, award=True)
        self._credits(made, prefix, on)
        self._grade(made.get("assessment"), prefix)
        return made

    # what is judged by a few values and the tables: R1-R8, R12, R13, R18-R20 -------------------------------------------------------

    def _level(self, made: dict[str, Any], prefix: str, on: date | None, *, award: bool) -> None:
        level, declared = made.get("nqf_level"), made.get("eqf_declared")
        if level or declared is not None:
            begun = made.get("valid_from") if on is None else None
            judged = self.tables.judgements.level(
                self.country, prefix, on, begun, award, level, declared, made.get("nqf_framework"), made.get("cycle")
            )
            self._judged(judged, made)

    def _credits(self, made: dict[str, Any], prefix: str, on: date | None) -> CreditMatch | None:
        hours, amount = made.get("workload_hours"), made.get("credit_amount")
        if hours is not None and not (hours.is_finite() and hours > 0):
            raise refusal("rule", f"{prefix}workload_hours", Code.WORKLOAD_NOT_POSITIVE, "expected more than 0 hours")
        if amount is None:
            return None
        if not amount.is_finite() or amount <= 0:
            raise refusal("rule", f"{prefix}credit_amount", Code.CREDITS_NOT_POSITIVE, "expected an amount above 0")
        assessed = (made.get("assessment") or {}).get("kind")
        unit, sector, months = made.get("credit_unit"), made.get("credit_sector"), made.get("duration_months")
        judged = self.tables.judgements.credits(self.country, prefix, on, amount, unit, sector, hours, months, assessed)
        self._judged(judged, made)
        return judged.credit

    def _judged(self, judged: Judgement, made: dict[str, Any]) -> None:
        if judged.refused is not None:
            raise Refusal(judged.refused)
        made.update(judged.values)
        self.lookups += judged.lookups
        self.issues += judged.issues

    # the whole: R6, R9-R11, R14, R16, R17 ---------------------------------------------------------------------------------------

    def _dates(self, made: dict[str, Any], prefix: str = "") -> None:
        for first, last in (("valid_from", "valid_until"), ("starts_on", "ends_on")):
            begin, end = made.get(first), made.get(last)
            if begin is not None and end is not None and begin > end:
                raise refusal("rule", f"{prefix}{last}", Code.DATES_UNORDERED, f"expected {first} on or before {last}")
        awarded, born = made.get("awarded_on"), (made.get("holder") or {}).get("birth_date")
        for name, day in (("awarded_on", awarded), ("holder.birth_date", born)):
            if day is not None and not _FIRST_YEAR <= day.year <= _LAST_YEAR:
                raise refusal("rule", prefix + name, Code.DATE_IMPLAUSIBLE, "expected a day of this age, not a stand-in for no day")
        if awarded is not None and born is not None and born >= awarded:
            raise refusal("rule", f"{prefix}awarded_on", Code.DATES_UNORDERED, "expected a birth before the award")

    def _charset(self, made: dict[str, Any]) -> None:
        """Note texts in which two letters stand where one was meant: UTF-8 that somebody read as Latin-1."""
        for field in ("title", "description", "holder"):
            if texts := made.get(field):
                for text in texts.values():
                    if type(text) is str and not text.isascii() and _SUSPECT.search(text) and _MISREAD.search(text):
                        self._issue(Code.ENCODING_SUSPECT, field)
                        break

    def _size(self, made: dict[str, Any], credit: CreditMatch) -> None:
        ranges = _CYCLE_CREDITS.get(made.get("cycle") or "")
        if ranges and not any(least <= credit.points <= most for least, most in ranges):
            self._issue(Code.CREDITS_UNUSUAL, "credit_points", f"{credit.points} ECTS credits, {made['cycle']} cycle")

    def _sum(self, made: dict[str, Any]) -> None:
        whole = made.get("credit_points")
        points = [part.get("credit_points") for part in made["parts"]]
        if whole is None or None in points:
            return
        if abs(sum(points) - whole) > Decimal("0.01") * len(points):
            self._issue(Code.PARTS_DIFFER, "parts", f"parts add up to {sum(points)}, the whole says {whole}")

    def _micro(self, made: dict[str, Any], credit: CreditMatch | None, *, award: bool) -> None:
        if award:
            for field, present in _identified(made).items():
                if not present:
                    raise refusal("rule", field, Code.MICRO_UNIDENTIFIED, "expected a value: a micro-credential cannot do without it")
        for field in _MICRO_ELEMENTS:
            if not _there(made, field):
                self._issue(Code.MICRO_INCOMPLETE, field)
        if credit and credit.points > YEAR_HIGH:
            self._issue(Code.MICRO_LARGE, "credit_points", f"{credit.points} ECTS credits")

    def _grade(self, assessment: dict[str, Any] | None, prefix: str) -> None:
        if not assessment or not assessment.get("grade"):
            return
        name = assessment.get("grading_scale")
        if not name:
            self._issue(Code.GRADE_WITHOUT_SCALE, f"{prefix}assessment.grading_scale")
            return
        if name == ECTS_RANKS:
            self._issue(Code.GRADE_SCALE_OBSOLETE, f"{prefix}assessment.grading_scale")
        scale = self.tables.grading_scale(self.country, name)
        values = scale.values if scale else ()
        if len(values) > 1 and not any("-" in value[1:] for value in values) and assessment["grade"] not in values:
            self._issue(Code.GRADE_OUTSIDE_SCALE, f"{prefix}assessment.grade")
        elif len(values) == 1 and (span := _SPAN.fullmatch(values[0])) and (found := _NUMBER.fullmatch(assessment["grade"].strip())):
            least, grade, most = (Decimal(text.replace(",", ".")) for text in (span[1], found[0], span[2]))
            if not least <= grade <= most:
                self._issue(Code.GRADE_OUTSIDE_SCALE, f"{prefix}assessment.grade")

    # notes ----------------------------------------------------------------------------------------------------------------------

    def _issue(self, code: str, field: str, message: str = "") -> None:
        self.issues.append(Issue(code=str(code), field=field, message=message))


_MICRO_ELEMENTS = (
    "learning_outcomes", "workload_hours", "assessment.kind", "mode", "accreditation", "awarding_body.country",
)  # fmt: skip


def _identified(made: dict[str, Any]) -> dict[str, bool]:
    return {
        "holder": bool(made.get("holder")),
        "title": bool(made.get("title")),
        "awarding_body": bool(made.get("awarding_body") or made.get("issuer")),
        "awarded_on": _award_day(made) is not None,
    }


def _there(made: dict[str, Any], field: str) -> bool:
    if field == "workload_hours" and made.get("credit_amount"):
        return True
    here: Any = made
    for part in field.split("."):
        here = here.get(part) if isinstance(here, dict) else None
    return bool(here)


def _award_day(made: dict[str, Any]) -> date | None:
    found = made.get("awarded_on") or made.get("issued_at")
    return found.date() if isinstance(found, datetime) else found
