"""Apply the rules for records to one part of an entry or award: its level or its credits.

The outcome for a part depends on few values of the record. So a program may remember it, and apply
it to another record with the same values.
"""

from __future__ import annotations

from datetime import date
from typing import Any, NamedTuple

from gateway.harmonise.record_rules import RecordRules
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.level_and_credit_rules import UsualEffort
from gateway.records import Issue, Lookup


class JudgedPart(NamedTuple):
    """The outcome of the rules for the level or the credits of a record.

    ``values`` are those of the record after the rules. ``usual`` are the hours and months about
    which no rule says anything, or ``None`` for any. ``later_issues`` follow those of other rules.
    """

    values: dict[str, Any]
    lookups: tuple[Lookup, ...]
    issues: tuple[Issue, ...]
    usual: UsualEffort | None = None
    later_issues: tuple[Issue, ...] = ()


def level_period(
    tables: Tables, country: str, valid_from: date | None, valid_until: date | None
) -> tuple[date | None, date | None]:
    """Return the days on which the rules read the level of an entry. Other days give the same."""
    first_day = tables.judgements.level_day
    if valid_until is not None:
        return first_day(country, valid_until), None
    return None, valid_from and first_day(country, valid_from)


def credit_period(
    tables: Tables, country: str, valid_from: date | None, valid_until: date | None
) -> date | None:
    """Return the day on which the rules read the credits of an entry. Others give the same."""
    day = valid_until or valid_from
    return day and tables.judgements.credit_day(country, day)


def status_period(tables: Tables, country: str, day: date | None) -> date | None:
    """Return the day on which the rules read the level of an enrolment. Others give the same.

    ``day`` is its first day, or its last one if only that is known.
    """
    return day and tables.judgements.level_day(country, day)


def judge_level(values: dict[str, Any], *, country: str, emits: str, tables: Tables) -> JudgedPart:
    """Apply the rules to the level of an entry or award. Raises :class:`RecordRefused`."""
    work = RecordRules(country, tables)
    record = dict(values)
    _apply_level(work, record, emits)
    return JudgedPart(record, tuple(work.lookups), tuple(work.issues))


def _apply_level(work: RecordRules, record: dict[str, Any], emits: str) -> date | None:
    """Apply the rules for levels, and return the day on which they read the tables."""
    is_award = emits == "credential"
    day: date | None = record.get("awarded_on" if is_award else "valid_until")
    work.apply_level(record, "", day, award=is_award)
    return day


def judge_status(values: dict[str, Any], *, country: str, tables: Tables) -> JudgedPart:
    """Apply the rules to the level of an enrolment. Raises :class:`RecordRefused`."""
    work = RecordRules(country, tables)
    return JudgedPart(work.status(values), tuple(work.lookups), tuple(work.issues))


def judge_credits(
    values: dict[str, Any], *, country: str, emits: str, tables: Tables
) -> JudgedPart:
    """Apply the rules to the credits of an entry or award, after those for its level.

    The values state no hours and no months. Raises :class:`RecordRefused`.
    """
    work = RecordRules(country, tables)
    record = dict(values)
    day = _apply_level(work, record, emits)
    work.lookups, work.issues = [], []
    judged = work.apply_credits(record, "", day or record.get("valid_from"))
    lookups, issues = tuple(work.lookups), tuple(work.issues)
    work.issues = []
    if judged and judged.credit:
        if record.get("micro") or record.get("kind") == "micro_credential":
            work.check_size_of_micro_credential(judged.credit)
        elif emits == "qualification" or record.get("kind") == "diploma":
            work.check_size_of_cycle(record, judged.credit)
    return JudgedPart(record, lookups, issues, judged.usual if judged else None, tuple(work.issues))
