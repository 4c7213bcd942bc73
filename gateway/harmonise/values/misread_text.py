"""Tell texts in UTF-8 that somebody read as Latin-1."""

from __future__ import annotations

import re

_MOJIBAKE = re.compile(
    r"[\u00c2-\u00c5]"
    r"[\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u2013-\u203a]"
    r"|\u00e2\u20ac|\ufffd"
)
_MOJIBAKE_START = re.compile("[\u00c2-\u00c5\u00e2\ufffd]")
"""The first characters of a misread letter. This search is faster than the whole pattern."""


def is_suspect(text: str) -> bool:
    """Return whether a text looks like UTF-8 that was read as Latin-1."""
    return (
        not text.isascii()
        and _MOJIBAKE_START.search(text) is not None
        and _MOJIBAKE.search(text) is not None
    )


def find_bad_day(
    awarded: date | None, issued: datetime | date | None, born: date | None, country: str
) -> tuple[str, str, str] | None:
    """Return the field, the code and the expectation for a day that cannot be true (R9)."""
    if awarded is not None and not _FIRST_YEAR <= awarded.year <= _LAST_YEAR:
        return "awarded_on", str(Code.DATE_IMPLAUSIBLE), _NO_STAND_IN
    if born is not None and not _FIRST_YEAR <= born.year <= _LAST_YEAR:
        return "holder.birth_date", str(Code.DATE_IMPLAUSIBLE), _NO_STAND_IN
    issued_on = issued.date() if isinstance(issued, datetime) else issued
    if awarded is not None and is_in_future(awarded, country):
        return "awarded_on", str(NoLevelReason.DAY_IN_FUTURE), _HAS_COME
    if issued_on is not None and is_in_future(issued_on, country):
        return "issued_at", str(NoLevelReason.DAY_IN_FUTURE), _HAS_COME
    if born is not None and is_in_future(born, country):
        return "holder.birth_date", str(NoLevelReason.DAY_IN_FUTURE), _HAS_COME
    if awarded is not None and born is not None and born >= awarded:
        return "awarded_on", str(Code.DATES_UNORDERED), "expected a birth before the award"
    return None


def grade_issues(
    grade: str, scale: str | None, country: str, tables: Tables, prefix: str = ""
) -> tuple[Issue, ...]:
    """Return the issues of a grade on a scale (R16)."""
    place = f"{prefix}assessment.grading_scale"
    if not scale:
        return (Issue(code=str(Code.GRADE_WITHOUT_SCALE), field=place),)
    issues: tuple[Issue, ...] = ()
    if scale == ECTS_GRADING_SCALE:
        issues = (Issue(code=str(Code.GRADE_SCALE_OBSOLETE), field=place),)
    if not _is_on_scale(grade, *_grades_on(tables.grading_scale(country, scale))):
        issues += (Issue(code=str(Code.GRADE_OUTSIDE_SCALE), field=f"{prefix}assessment.grade"),)
    return issues


def grade_rule(
    scale: str | None, country: str, tables: Tables
) -> Callable[[str], tuple[Issue, ...]]:
    """Return a function that gives the :func:`grade_issues` of any grade on one scale."""
    grades, span = _grades_on(tables.grading_scale(country, scale)) if scale else (None, None)
    has_values = grades is not None or span is not None
    if scale and scale != ECTS_GRADING_SCALE and has_values:
        outside = (Issue(code=str(Code.GRADE_OUTSIDE_SCALE), field="assessment.grade"),)
        return lambda grade: () if _is_on_scale(grade, grades, span) else outside
    return lambda grade: grade_issues(grade, scale, country, tables)


_Grades = tuple[frozenset[str] | None, tuple[Decimal, Decimal] | None]
"""The grades of a scale, or its least and its greatest number."""


def _grades_on(scale: GradingScale | None) -> _Grades:
    return _grades_of(scale.values) if scale else (None, None)


def _is_on_scale(
    grade: str, grades: frozenset[str] | None, span: tuple[Decimal, Decimal] | None
) -> bool:
    """Return whether a grade is one of its scale, if the tables state its grades or its range."""
    if grades is not None:
        return grade in grades
    if span is None or not (found := _NUMBER.fullmatch(grade.strip())):
        return True
    least, most = span
    return least <= _decimal(found[0]) <= most
