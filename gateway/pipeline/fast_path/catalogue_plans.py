"""Describe the documents of catalogue entries as parts.

The order of the parts is that of :mod:`gateway.render.elm_catalogue`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import lru_cache, partial
from typing import Any

import msgspec
from orjson import dumps

from gateway.config.code_lists import ISCED_F
from gateway.harmonise.record_rules import missing_micro_elements
from gateway.harmonise.tables.level_and_credit_rules import UNUSUAL_CREDITS_PER_YEAR
from gateway.messages.topics import OPPORTUNITIES_TOPIC, QUALIFICATIONS_TOPIC
from gateway.pipeline.fast_path.memory import NotFastError
from gateway.pipeline.fast_path.plan import (
    Constant,
    Group,
    Part,
    Plan,
    Presence,
    Remembered,
    Root,
    Written,
)
from gateway.records import Issue, LangMap, LearningOutcome
from gateway.render import elm_catalogue, elm_common, elm_credits, elm_levels, vocabularies
from gateway.render.elm_common import ID_PREFIX_MARKER, ProfileStyle
from gateway.render.elm_periods import validity_text

_OUTCOMES = tuple[LearningOutcome, ...]


_NO_PREFIX = ID_PREFIX_MARKER
_SPECIFICATION = elm_catalogue.SPECIFICATION + b"/"
"""The prefix of the nodes of an opportunity's specification."""


def qualification_plan(version: str) -> Plan:
    """Return the plan of a ``Qualification`` with levels, an awarding body and outcomes."""
    _, style, context = elm_catalogue.VERSIONS[version]
    return Plan(
        QUALIFICATIONS_TOPIC,
        (
            _level(style, allows=elm_levels.has_levels),
            _credits(_NO_PREFIX),
            _subject(),
            _mode(),
            _bodies(style, "awarding_body", _NO_PREFIX),
            *_flags(),
        ),
        (
            Constant(b'{"@context":%b,"id":"' % context),
            Root(),
            Constant(elm_catalogue.IS_QUALIFICATION),
            *_specification(style, _NO_PREFIX),
            Written(elm_catalogue.identifier_member, ("code_or_id",)),
            *_awarding(_NO_PREFIX),
            Root(),
            Constant(elm_catalogue.AWARDING_END),
            Remembered("status", "status"),
            Written(elm_catalogue.end_member, ("changed_at",)),
        ),
        checked=("id", "code"),
        presences=(_micro(),),
        expressions={"code_or_id": "{code} or {id}"},
    )


def opportunity_plan(version: str) -> Plan:
    """Return the plan of a ``LearningOpportunity`` with a provider, a homepage and outcomes."""
    _, style, context = elm_catalogue.VERSIONS[version]
    return Plan(
        OPPORTUNITIES_TOPIC,
        (
            _level(style),
            _credits(_SPECIFICATION),
            _subject(),
            _mode(),
            _bodies(style, "provider", _SPECIFICATION),
            *_flags(),
        ),
        (
            Constant(b'{"@context":%b,"id":"' % context),
            Root(),
            Constant(elm_catalogue.IS_OPPORTUNITY),
            Written(elm_common.title_member, ("title",)),
            Written(_default_language, ("tag",), required=True),
            Remembered("bodies", "provider"),
            Written(partial(_homepage_member, style, _NO_PREFIX), ("homepage",), required=True),
            Constant(elm_catalogue.SPECIFICATION_START),
            Remembered("level", "kind"),
            *_specification(style, _SPECIFICATION),
            Written(_language_of_specification, ("tag", "subject_languages", "level_kind")),
            *_awarding(_SPECIFICATION),
            Remembered("bodies", "awarded_specification"),
            Constant(b"}"),
            Written(elm_common.description_member, ("description",)),
            Written(elm_catalogue.duration_member, ("duration_months",)),
            Written(elm_catalogue.dates_member, ("starts_on", "ends_on")),
            Written(_location, ("location", "location_country", "tag", "bodies_country")),
            Written(_activity, ("title", "leads_to")),
            Written(_short_programme, ("micro_flag",)),
            Written(elm_catalogue.identifier_member, ("id",)),
            Written(elm_catalogue.end_member, ("changed_at",)),
        ),
        checked=("id",),
        presences=(_micro(),),
        expressions={"tag": "subject_tag or next(iter({title}))"},
    )


PLANS: dict[str, Callable[[str], Plan]] = {
    "qualification": qualification_plan,
    "learning_opportunity": opportunity_plan,
}
"""The plans by type of record. Call one with the ELM version of the documents."""


def _specification(style: ProfileStyle, prefix: bytes) -> tuple[Part, ...]:
    """Return the members of a specification, in the order of ``elm_common.specification``."""
    return (
        Written(elm_common.title_member, ("title",)),
        Written(elm_common.description_member, ("description",)),
        Remembered("subject", "fields"),
        Written(partial(outcomes_member, style, prefix), ("learning_outcomes",), required=True),
        Remembered("credits", "points"),
        Written(elm_common.workload_members, ("workload_hours", "duration_months")),
        Written(partial(_entry_requirement, prefix), ("entry_requirement",)),
        Written(partial(_homepage_member, style, prefix), ("homepage",)),
        Remembered("mode", "mode"),
        Remembered("level", "other_levels"),
        Written(_short_programme, ("micro_flag",)),
        Written(
            partial(_notes, prefix),
            ("valid_from", "valid_until", "bodies_awarding", "credits_national_amount"),
        ),
        Remembered("level", "levels"),
        Written(_partial_of_qualification, ("partial_partial", "level_kind")),
    )


def _awarding(prefix: bytes) -> tuple[Part, ...]:
    """Return the members about the awarding body, up to the id of what it awards."""
    return (
        Remembered("bodies", "awarding"),
        Written(partial(_validity, prefix), ("valid_from", "valid_until", "bodies_awarding")),
        Remembered("bodies", "awarded"),
    )


# groups


def _level(style: ProfileStyle, allows: Callable[[Any], bool] = lambda _record: True) -> Group:
    def kind(record: Any) -> bytes:
        complete = elm_levels.has_levels(record)
        return elm_catalogue.IS_QUALIFICATION if complete else elm_catalogue.IS_SPECIFICATION

    return Group(
        "level",
        ("nqf_framework", "nqf_level", "eqf_declared", "cycle"),
        {
            "kind": kind,
            "other_levels": lambda record: _nested(
                elm_common.other_levels_member(record, style),
                _NO_PREFIX if allows is elm_levels.has_levels else _SPECIFICATION,
            ),
            "levels": lambda record: (
                elm_levels.levels(record) if elm_levels.has_levels(record) else b""
            ),
        },
        allows=allows,
        period="level",
        judge="level",
    )


def _credits(prefix: bytes) -> Group:
    return Group(
        "credits",
        ("credit_amount", "credit_unit", "credit_sector", "cycle"),
        {
            "points": lambda record: _nested(elm_common.credit_member(record), prefix),
            "national_amount": elm_credits.national_amount,
            "are_many": lambda record: (record.credit_points or 0) > UNUSUAL_CREDITS_PER_YEAR,
            "amount": lambda record: record.credit_amount,
        },
        period="credits",
        judge="credits",
    )


def _subject() -> Group:
    return Group(
        "subject",
        ("isced_f", "languages"),
        {
            "fields": lambda record: elm_common.fields_and_languages(
                record.isced_f, record.languages
            ),
            "languages": lambda record: record.languages,
            "tag": lambda record: record.languages[0] if record.languages else "",
        },
        allows=lambda record: not ISCED_F.isdisjoint(record.isced_f),
    )


def _mode() -> Group:
    return Group(
        "mode",
        ("mode", "setting"),
        {
            "mode": lambda record: elm_common.mode_and_setting(record.mode, record.setting),
            "is_known": lambda record: record.mode is not None,
        },
    )


def _bodies(style: ProfileStyle, main: str, prefix: bytes) -> Group:
    """Return the group of the provider and the awarding body. ``main`` must be complete."""

    def awarding(record: Any) -> bytes:
        body = elm_common.organisation(record.awarding_body, "awarding-body", style)
        return elm_catalogue.awarding_start(body.json, prefix) if body.complete else b""

    def main_body(record: Any) -> Any:
        return (record.provider if main == "provider" else None) or record.awarding_body

    def awarded_specification(record: Any) -> bytes:
        if not awarding(record):
            return b""
        return elm_catalogue.SPECIFICATION + elm_catalogue.AWARDING_END

    return Group(
        "bodies",
        ("awarding_body", "provider"),
        {
            "awarding": awarding,
            "awarded": lambda record: (
                elm_catalogue.AWARDED_SPECIFICATION if awarding(record) else b""
            ),
            "awarded_specification": awarded_specification,
            "provider": lambda record: (
                b',"providedBy":'
                + elm_common.organisation(main_body(record), "provider", style).json
            ),
            "awarding_country": lambda record: (
                record.awarding_body.country if record.awarding_body else None
            ),
            "country": lambda record: main_body(record) and main_body(record).country,
        },
        allows=lambda record: elm_common.is_complete(main_body(record)),
    )


def _flags() -> tuple[Group, ...]:
    return (
        Group(
            "partial",
            ("partial",),
            {"partial": lambda record: elm_catalogue.partial_member(record.partial)},
        ),
        Group(
            "status",
            ("status",),
            {"status": lambda record: elm_catalogue.status_member(getattr(record, "status", None))},
        ),
        Group("micro", ("micro",), {"flag": lambda record: record.micro}),
    )


# parts that are written for each record


def outcomes_member(
    style: ProfileStyle, prefix: bytes, items: Sequence[Mapping[str, Any]] | None
) -> bytes:
    """Return the member for learning outcomes that rules have mapped."""
    written: list[bytes] = []
    for number, item in enumerate(items or (), 1):
        if style.ordered or len(item) != 1 or "title" not in item:
            return _nested(_unusual_outcomes_member(style, items), prefix)
        written += (_outcome_start(number, prefix), dumps(item["title"]), b"}")
    return b',"learningOutcome":[%b]' % b"".join(written) if written else b""


@lru_cache(maxsize=1_000)
def _outcome_start(number: int, prefix: bytes) -> bytes:
    return b'%b{"id":"%boutcome/%d","type":"LearningOutcome","title":' % (
        b"," if number > 1 else b"",
        prefix,
        number,
    )


def _unusual_outcomes_member(style: ProfileStyle, items: Any) -> bytes:
    outcomes = msgspec.convert(items, type=_OUTCOMES)
    if any(not elm_common.ESCO_SKILL.fullmatch(uri) for each in outcomes for uri in each.esco):
        raise NotFastError  # the record gets an issue
    return elm_common.outcomes_member(outcomes, style)


def _homepage_member(style: ProfileStyle, prefix: bytes, url: str | None) -> bytes:
    if not url:
        return b""
    # The rule has checked the address, because the field is a web address.
    page = elm_common.checked_web_resource(url, style, b"homepage")
    return b',"homepage":' + _nested(page, prefix)


def _entry_requirement(prefix: bytes, text: LangMap | None) -> bytes:
    return _nested(elm_common.entry_requirement_member(text or {}), prefix)


def _partial_of_qualification(partial_: bytes, kind: bytes) -> bytes:
    return partial_ if kind is elm_catalogue.IS_QUALIFICATION else b""


def _validity(prefix: bytes, start: date | None, end: date | None, awarding: bytes) -> bytes:
    return elm_catalogue.validity_member(start, end, prefix) if awarding else b""


def _notes(
    prefix: bytes, start: date | None, end: date | None, awarding: bytes, amount: str | None
) -> bytes:
    """Return the notes on an entry: its days, if no body awards it, and the national credits."""
    days = None if awarding else validity_text(start, end)
    return _notes_member(days, amount, prefix) if days or amount else b""


@lru_cache(maxsize=1_000)
def _notes_member(days: str | None, amount: str | None, prefix: bytes) -> bytes:
    return _nested(elm_common.additional_notes([text for text in (days, amount) if text]), prefix)


def _short_programme(micro: bool) -> bytes:
    return elm_common.SHORT_PROGRAMME if micro else b""


def _micro_issues(*present: bool) -> tuple[Issue, ...]:
    """Return the issues of a micro-credential that lacks an element (R14)."""
    micro, are_many, outcomes, hours, amount, mode, country = present
    if not micro:
        return ()
    if are_many:
        raise NotFastError  # the issue states the credits
    elements = {
        "learning_outcomes": outcomes,
        "workload_hours": hours or amount,
        "mode": mode,
        "awarding_body.country": country,
    }
    return missing_micro_elements(elements)


def _micro() -> Presence:
    """Return the rule about the elements of a micro-credential."""
    return Presence(
        "micro_rule",
        (
            "micro_flag",
            "credits_are_many",
            "learning_outcomes",
            "workload_hours",
            "credits_amount",
            "mode_is_known",
            "bodies_awarding_country",
        ),
        _micro_issues,
    )


def _default_language(tag: str) -> bytes:
    default = vocabularies.language(tag)
    return b',"defaultLanguage":' + default if default else b""


def _language_of_specification(tag: str, languages: tuple[str, ...], kind: bytes) -> bytes:
    if languages or kind is elm_catalogue.IS_QUALIFICATION:
        return b""
    return b',"language":[%b]' % (vocabularies.language(tag) or b"")


def _location(name: str | None, own_country: str | None, tag: str, country: str | None) -> bytes:
    return elm_catalogue.location_member(name, tag, own_country or country)


def _activity(title: LangMap, leads_to: str | None) -> bytes:
    return elm_catalogue.activity_member(title, leads_to) if leads_to else b""


def _nested(json: bytes, prefix: bytes) -> bytes:
    """Return a part with the ids of its nodes below ``prefix``."""
    return json.replace(ID_PREFIX_MARKER, prefix) if prefix is not _NO_PREFIX else json
