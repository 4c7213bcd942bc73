"""Compare a grade with the scale that the registry names (R16)."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache

from gateway.config.mapping_tables import GradingScale
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.rule_codes import Code
from gateway.records import Issue

ECTS_GRADING_SCALE = "ECTS grading scale (A-E, FX, F)"
_NUMBER = re.compile(r"-?[0-9]{1,4}(?:[.,][0-9]{1,4})?")
_NUMBER_RANGE = re.compile(r"([0-9]{1,4}(?:[.,][0-9]{1,4})?)-([0-9]{1,4}(?:[.,][0-9]{1,4})?)")


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


@lru_cache(maxsize=1024)
def _grades_of(
    values: tuple[str, ...],
) -> tuple[frozenset[str] | None, tuple[Decimal, Decimal] | None]:
    """Return the grades of a scale, or the least and the greatest number if it is a range."""
    if len(values) > 1 and not any("-" in value[1:] for value in values):
        return frozenset(values), None
    if len(values) == 1 and (span := _NUMBER_RANGE.fullmatch(values[0])):
        return None, (_decimal(span[1]), _decimal(span[2]))
    return None, None


def _decimal(text: str) -> Decimal:
    return Decimal(text.replace(",", "."))
