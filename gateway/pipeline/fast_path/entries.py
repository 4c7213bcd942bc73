"""Make the entries of the memories of the fast path, with the closures, rules and renderers.

An entry of a group holds what its fields add to the provenance, and the parts of the document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from typing import Any

import msgspec

from gateway.harmonise import rules_by_part
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.mapping.rule_functions import FieldRule, MappingState, set_field
from gateway.harmonise.rules_by_part import JudgedPart
from gateway.messages.cloudevents import encode_provenance_header
from gateway.observability import lookup_labels
from gateway.pipeline.fast_path.memory import MAX_ENTRIES, Entry, NotFastError
from gateway.pipeline.fast_path.plan import Conclusion, Group, Plan, Presence
from gateway.records import Issue, Lookup, Provenance

Additions = tuple[tuple[int, tuple[Lookup, ...], tuple[Issue, ...]], ...]
"""What a group adds to the provenance: lookups and issues, each with their place."""
_AFTER_RULES = {
    "level": 1_000_001,
    "status": 1_000_001,
    "credits": 1_000_002,
    "grade": 1_000_003,
    "presence": 1_000_004,
    "size": 1_000_005,
    "institution": 1_000_006,
    "document": 1_000_007,
}

_NOTHING = Conclusion({}, {}, {})


class EntryMaker:
    """Makes the entries for one kind of record of a connector."""

    def __init__(
        self,
        harmoniser: Harmoniser,
        stream: str,
        emits: str,
        record_type: type[Any],
        plan: Plan,
    ) -> None:
        self._harmoniser = harmoniser
        self._stream = stream
        self._emits = emits
        self._record_type = record_type
        self._plan = plan
        tables = harmoniser.tables
        if tables is None:
            raise NotFastError
        self._tables = tables
        self._country = harmoniser.connector.country
        self._additions: dict[Additions, int] = {}
        self._additions_by_number: list[Additions] = []
        self._periods: dict[tuple[date | None, date | None], tuple[int, int]] = {}
        self._award_periods: dict[date, tuple[int, int, int]] = {}
        self._period_numbers: dict[Any, int] = {}
        self._status_periods: dict[date | None, date | None] = {}

    def periods(self, valid_from: date | None, valid_until: date | None) -> tuple[int, int]:
        """Return the numbers of the periods in which the tables answer for levels and credits.

        Records of one period have the same answers.
        """
        days = valid_from, valid_until
        found = self._periods.get(days)
        if found is None:
            tables, country, numbers = self._tables, self._country, self._period_numbers
            level = rules_by_part.level_period(tables, country, *days)
            credit = rules_by_part.credit_period(tables, country, *days)
            found = (
                numbers.setdefault(("level", level), len(numbers)),
                numbers.setdefault(("credits", credit), len(numbers)),
            )
            if len(self._periods) >= MAX_ENTRIES:
                self._periods.clear()
            self._periods[days] = found
        return found

    def award_periods(self, awarded_on: date) -> tuple[int, int, int]:
        """Return the numbers of the periods of a day of award.

        The third one is the period in which the lists of institutions stay the same.
        """
        found = self._award_periods.get(awarded_on)
        if found is None:
            level, credit, *_ = self.periods(None, awarded_on)
            found = level, credit, self._tables.institutions.period(awarded_on)
            if len(self._award_periods) >= MAX_ENTRIES:
                self._award_periods.clear()
            self._award_periods[awarded_on] = found
        return found

    def status_period(self, valid_from: date | None, valid_until: date | None) -> date | None:
        """Return a day with the same answers of the tables for an enrolment as these days."""
        day = valid_from or valid_until
        found = self._status_periods.get(day)
        if found is None:
            found = rules_by_part.status_period(self._tables, self._country, day)
            if len(self._status_periods) >= MAX_ENTRIES:
                self._status_periods.clear()
            self._status_periods[day] = found
        return found

    def group_maker(
        self,
        group: Group,
        steps: Sequence[tuple[int, FieldRule]],
        level_steps: Sequence[tuple[int, FieldRule]] = (),
    ) -> Callable[..., Entry]:
        """Return the function that makes the entries of a group.

        ``level_steps`` fill the level, if it decides about the credits.
        """
        return partial(self._group_entry, group, steps, level_steps)

    def _group_entry(
        self,
        group: Group,
        steps: Sequence[tuple[int, FieldRule]],
        level_steps: Sequence[tuple[int, FieldRule]],
        node: Any,
        context: Mapping[str, Any],
        days: Sequence[date | None],
    ) -> Entry:
        named_days = zip(self._plan.days, days, strict=True)
        partly: dict[str, Any] = {name: day for name, day in named_days if day is not None}
        additions: list[tuple[int, tuple[Lookup, ...], tuple[Issue, ...]]] = []
        for position, step in (*level_steps, *steps):
            state = MappingState(partly)
            value = step.shape.run(node, context, state)
            if value is not None:
                set_field(partly, step.parents, step.name, value)
            if (state.lookups or state.issues) and (position, step) in steps:
                additions.append((position, tuple(state.lookups), tuple(state.issues)))
        usual = None
        if group.judge:
            judged = self._judge(group.judge, partly)
            partly, usual = judged.values, judged.usual
            additions.append((_AFTER_RULES[group.judge], judged.lookups, judged.issues))
            if judged.later_issues:
                additions.append((_AFTER_RULES["size"], (), judged.later_issues))
        record = msgspec.convert({**partly, "id": ""}, type=self._record_type)
        original_parts = [write(record) for write in group.original_parts.values()]
        record, _, listed, issues = self._harmoniser.identify_institution(record, "")
        if listed or issues:
            additions.append((_AFTER_RULES["institution"], listed, issues))
        if not group.allows(record):
            raise NotFastError
        parts = [*(write(record) for write in group.parts.values()), *original_parts]
        return (
            self._number(tuple(additions)),
            *([usual] if group.judge == "credits" else ()),
            *parts,
        )

    def presence_maker(self, presence: Presence) -> Callable[..., Entry]:
        """Return the function that makes the entries of a rule about which fields there are."""

        def make(*present: bool) -> Entry:
            issues = presence.judge(*present)
            return (self._number(((_AFTER_RULES["presence"], (), issues),) if issues else ()),)

        return make

    def _judge(self, rule: str, values: dict[str, Any]) -> JudgedPart:
        if rule == "level":
            return rules_by_part.judge_level(
                values, country=self._country, emits=self._emits, tables=self._tables
            )
        if rule == "status":
            return rules_by_part.judge_status(values, country=self._country, tables=self._tables)
        return rules_by_part.judge_credits(
            values, country=self._country, emits=self._emits, tables=self._tables
        )

    def _number(self, additions: Additions) -> int:
        """Return the number of additions to the provenance. Equal ones have one number."""
        number = self._additions.setdefault(additions, len(self._additions))
        if number == len(self._additions_by_number):
            self._additions_by_number.append(additions)
        if number >= MAX_ENTRIES:
            raise NotFastError
        return number

    def provenance_entry(self, *addition_numbers: Any) -> Entry:
        """Return the provenance header and the counted labels of what the groups add.

        If the plan has facts, their values follow the numbers of the groups.
        """
        numbers, conclusion = addition_numbers, _NOTHING
        if self._plan.conclude is not None:
            numbers, conclusion = addition_numbers[:-1], self._plan.conclude(*addition_numbers[-1])
        # Two groups may read one field, which adds the same to both.
        by_place = {
            part[0]: part for number in numbers for part in self._additions_by_number[number]
        }
        for name, found in conclusion.issues.items():
            by_place[_AFTER_RULES[name]] = (_AFTER_RULES[name], (), found)
        additions = [by_place[place] for place in sorted(by_place)]
        lookups = tuple(lookup for _, found, _ in additions for lookup in found)
        issues = tuple(issue for _, _, found in additions for issue in found)
        country = self._country
        table_versions, unmapped = lookup_labels.lookup_labels(country, lookups)
        codes = tuple([issue.code for issue in issues])
        if unmapped or "unmapped" in codes:
            raise NotFastError  # samples of such values are kept for operators
        provenance = Provenance(
            connector=self._harmoniser.connector.connector,
            stream=self._stream,
            config_digest=self._harmoniser.connector.digest,
            tables_digest=self._tables.digest,
            lookups=lookups,
            issues=issues,
            annex1=conclusion.annex1,
            quality_assurance=conclusion.quality_assurance,
        )
        return encode_provenance_header(provenance), codes, table_versions
