"""Describe the documents of catalogue entries as parts.

The order of the parts is that of :mod:`gateway.render.elm_catalogue`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import msgspec
from orjson import dumps

from gateway.config.code_lists import ISCED_F
from gateway.messages.topics import QUALIFICATIONS_TOPIC
from gateway.pipeline.fast_path.memory import NotFastError
from gateway.pipeline.fast_path.plan import Constant, Group, Plan, Remembered, Root, Written
from gateway.records import LearningOutcome
from gateway.render import elm_catalogue, elm_common, elm_credits, elm_levels
from gateway.render.elm_common import ID_PREFIX_MARKER, ProfileStyle

_OUTCOMES = tuple[LearningOutcome, ...]
_ONLY_TITLE = {"title"}


def qualification_plan(version: str) -> Plan:
    """Return the plan of a ``Qualification`` with levels, an awarding body and outcomes."""
    _, style, context = elm_catalogue.VERSIONS[version]
    return Plan(
        QUALIFICATIONS_TOPIC,
        (_level(style), _credits(), _subject(), _mode(), _body("awarding_body", style), *_flags()),
        (
            Constant(b'{"@context":%b,"id":"' % context),
            Root(),
            Constant(elm_catalogue.IS_QUALIFICATION),
            Written(elm_common.title_member, ("title",)),
            Written(elm_common.description_member, ("description",)),
            Remembered("subject", "fields"),
            Written(partial(_outcomes_member, style), ("learning_outcomes",), required=True),
            Remembered("credits", "points"),
            Written(elm_common.workload_members, ("workload_hours", "duration_months")),
            Written(elm_common.entry_requirement_member, ("entry_requirement",)),
            Written(partial(_homepage_member, style), ("homepage",)),
            Remembered("mode", "mode"),
            Remembered("level", "other_levels"),
            Remembered("credits", "national_amount"),
            Remembered("level", "levels"),
            Remembered("partial", "partial"),
            Written(elm_catalogue.identifier_member, ("code_or_id",)),
            Remembered("awarding_body", "awarding"),
            Written(_validity_member, ("valid_from", "valid_until")),
            Constant(elm_catalogue.AWARDED_SPECIFICATION),
            Root(),
            Constant(elm_catalogue.AWARDING_END),
            Remembered("status", "status"),
            Written(elm_catalogue.end_member, ("changed_at",)),
        ),
        checked=("id", "code"),
        expressions={"code_or_id": "{code} or {id}"},
    )


def _level(style: ProfileStyle) -> Group:
    return Group(
        "level",
        ("nqf_framework", "nqf_level", "eqf_declared", "cycle"),
        {
            "other_levels": lambda record: elm_common.other_levels_member(record, style),
            "levels": elm_levels.levels,
        },
        allows=elm_levels.has_levels,
        period="level",
        judge="level",
    )


def _credits() -> Group:
    return Group(
        "credits",
        ("credit_amount", "credit_unit", "credit_sector", "cycle"),
        {"points": elm_common.credit_member, "national_amount": _national_amount},
        period="credits",
        judge="credits",
    )


def _national_amount(record: Any) -> bytes:
    amount = elm_credits.national_amount(record)
    return elm_common.additional_notes((amount,)) if amount else b""


def _subject() -> Group:
    return Group(
        "subject",
        ("isced_f", "languages"),
        {
            "fields": lambda record: elm_common.fields_and_languages(
                record.isced_f, record.languages
            )
        },
        allows=lambda record: not ISCED_F.isdisjoint(record.isced_f),
    )


def _mode() -> Group:
    return Group(
        "mode",
        ("mode", "setting"),
        {"mode": lambda record: elm_common.mode_and_setting(record.mode, record.setting)},
    )


def _body(field: str, style: ProfileStyle) -> Group:
    def awarding(record: Any) -> bytes:
        body = elm_common.organisation(getattr(record, field), "awarding-body", style)
        return elm_catalogue.awarding_start(body.json, ID_PREFIX_MARKER)

    return Group(
        field,
        (field,),
        {"awarding": awarding},
        allows=lambda record: elm_common.is_complete(getattr(record, field)),
    )


def _flags() -> tuple[Group, ...]:
    return (
        Group("partial", ("partial",), {"partial": _partial}),
        Group(
            "status",
            ("status",),
            {"status": lambda record: elm_catalogue.status_member(record.status)},
        ),
        Group("micro", ("micro",), {}, allows=lambda record: not record.micro),
    )


def _partial(record: Any) -> bytes:
    return elm_catalogue.partial_member(record.partial)


def _outcomes_member(style: ProfileStyle, items: Sequence[Mapping[str, Any]] | None) -> bytes:
    """Return the member for learning outcomes that rules have mapped."""
    written: list[bytes] = []
    for number, item in enumerate(items or (), 1):
        if style.ordered or item.keys() != _ONLY_TITLE:
            return _unusual_outcomes_member(style, items)
        written += (_outcome_start(number), dumps(item["title"]), b"}")
    return b',"learningOutcome":[%b]' % b"".join(written) if written else b""


@lru_cache(maxsize=1_000)
def _outcome_start(number: int) -> bytes:
    return b'%b{"id":"\0outcome/%d","type":"LearningOutcome","title":' % (
        b"," if number > 1 else b"",
        number,
    )


def _unusual_outcomes_member(style: ProfileStyle, items: Any) -> bytes:
    outcomes = msgspec.convert(items, type=_OUTCOMES)
    if any(not elm_common.ESCO_SKILL.fullmatch(uri) for each in outcomes for uri in each.esco):
        raise NotFastError  # the record gets an issue
    return elm_common.outcomes_member(outcomes, style)


def _homepage_member(style: ProfileStyle, url: str | None) -> bytes:
    return elm_common.homepage_member(url, style)


def _validity_member(start: Any, end: Any) -> bytes:
    return elm_catalogue.validity_member(start, end, ID_PREFIX_MARKER)


PLANS: dict[str, Callable[[str], Plan]] = {"qualification": qualification_plan}
"""The plans by type of record. Call one with the ELM version of the documents."""
