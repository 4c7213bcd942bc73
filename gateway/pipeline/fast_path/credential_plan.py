"""Describe the document of an award as parts.

The order of the parts is that of :mod:`gateway.render.elm_credential`. Values about a person are
written for each record, and no memory has them in a key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import partial
from typing import Any

from orjson import dumps

from gateway.harmonise.grade_rules import grade_rule
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.record_rules import find_bad_day, missing_micro_elements
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.values.misread_text import is_suspect
from gateway.identifiers import is_student_identifier
from gateway.messages.topics import CREDENTIALS_TOPIC, POINTERS_TOPIC
from gateway.pipeline.fast_path import credential_members
from gateway.pipeline.fast_path.catalogue_plans import outcomes_member
from gateway.pipeline.fast_path.credential_members import nested
from gateway.pipeline.fast_path.memory import NotFastError
from gateway.pipeline.fast_path.plan import (
    AWARD_DAYS,
    Check,
    Conclusion,
    Constant,
    Fact,
    Group,
    Part,
    Plan,
    Remembered,
    Root,
    Value,
    Written,
)
from gateway.pipeline.fast_path.pointer import POINTER_FIELDS, PointerWriter
from gateway.records import Assessment, Issue, LangMap, RawRecord
from gateway.render import elm_common, elm_credential, elm_credits, elm_levels
from gateway.render.annex1 import Elements
from gateway.render.elm_common import EDC
from gateway.render.elm_credential import SPECIFICATION_PREFIX
from gateway.render.record_ids import person_iri_writer
from gateway.render.render import ASSURED_OUTCOMES, SEALING_REQUIRED

_HOLDER = tuple(
    f"holder.{name}"
    for name in ("esi", "given_name", "family_name", "full_name", "birth_date", "email")
)
_NAMES = tuple(name for name in _HOLDER if name != "holder.birth_date")
_NO_ASSESSMENT = Assessment()


def credential_plan(
    harmoniser: Harmoniser, template: str | None, id_key: bytes, audience_key: bytes
) -> Plan:
    """Return the plan of a ``Credential`` without parts, and without accreditations of its own.

    ``template`` is the form of its IRI, if the stream sets one. ``audience_key`` is the key of the
    pseudonyms in pointers.
    """
    country, tables = harmoniser.connector.country, harmoniser.tables
    if tables is None:
        raise NotFastError
    write_iri = person_iri_writer(id_key, harmoniser.connector.connector, template)

    write_pointer = PointerWriter(harmoniser.connector.connector, country, audience_key)

    def identify(raw: RawRecord, timestamp: int) -> tuple[bytes, bytes]:
        write_pointer.published_at = timestamp
        return write_iri(raw.native_id)

    def has_true_days(awarded: date | None, issued: datetime | None, born: date | None) -> bool:
        return awarded is not None and find_bad_day(awarded, issued, born, country) is None

    return Plan(
        CREDENTIALS_TOPIC,
        (*_learning(), *_bodies(harmoniser), _assessment(country, tables)),
        _parts(),
        checked=("id", "changed_at"),
        checks=(
            Check(has_true_days, ("awarded_on", "issued_at", "holder.birth_date")),
            Check(_has_sound_holder, _NAMES),
            Check(_is_usual, ("revoked", "signed_original")),
            Check(_has_holder, (*_HOLDER, "holder.pseudonym"), applies="kind_is_micro"),
        ),
        days=AWARD_DAYS,
        facts=(
            Fact(_issues_of_grade, ("assessment.grade", "assessment_rule")),
            Fact(
                _needs_sealing,
                ("issued_at", "issuer_json", "issuer_has_eidas", "awarding_body_has_eidas"),
            ),
            Fact(
                _quality, ("awarding_body_quality", "awarded_on", "level_eqf", "title")
            ),
            Fact(
                _elements,
                (
                    "holder.esi", "holder.full_name", "holder.family_name",
                    "holder.pseudonym", "learning_outcomes", "workload_hours", "credits_is_known",
                    "level_is_known", "assessment_is_known", "mode_is_known", "entry_requirement",
                    "assessment_is_supervised", "assessment.grade", "partial_value",
                    "further_information", "homepage", "credits_has_amount",
                    "awarding_body_country",
                ),
                applies="kind_is_micro",
            ),
        ),
        conclude=_conclude,
        expressions={"issuer": "{issuer_json} or {awarding_body_json}"},
        values={
            "title_json": Fact(dumps, ("title",)),
            "process": Fact(
                elm_credential.awarding_process, ("awarding_body_json", "awarded_on")
            ),
        },
        second_topic=POINTERS_TOPIC,
        second=Fact(write_pointer, POINTER_FIELDS),
        identify=identify,
    )  # fmt: skip


def _parts() -> tuple[Part, ...]:
    return (
        Constant(elm_credential.START),
        Root(),
        Constant(elm_credential.ISSUER),
        Value("issuer"),
        Written(
            elm_credential.validity_members,
            ("issued_at", "valid_from", "awarded_on", "valid_until"),
        ),
        Written(elm_credential.display_member, ("title", "title_json")),
        Written(elm_credential.subject_start, _HOLDER),
        Constant(elm_credential.CLAIM),
        Written(
            elm_credential.achievement_start, ("title_json", "process", "description")
        ),
        Remembered("credits", "received"),
        Constant(elm_credential.SPECIFIED_BY),
        Remembered("level", "start"),
        *_specification(),
        Written(
            elm_credential.proof_of_specification,
            ("assessment_specification", "assessment.grade"),
        ),
        Constant(b"}"),
        Written(
            elm_credential.assessment_member,
            (
                "assessment_start", "process", "assessment.grade",
                "assessment_scale", "assessment_supervision", "assessment.assessed_on",
                "assessment_specification",
            ),
        ),
        Written(credential_members.further_information_member, ("further_information",)),
        Constant(b"}}}"),
    )  # fmt: skip


def _specification() -> tuple[Part, ...]:
    """Return the members of a specification, in the order of ``elm_common.specification``."""
    return (
        Constant(b'"title":'),
        Value("title_json"),
        Written(credential_members.description_member, ("description",)),
        Remembered("subject", "fields"),
        Written(partial(outcomes_member, EDC, SPECIFICATION_PREFIX), ("learning_outcomes",)),
        Remembered("credits", "points"),
        Written(elm_common.workload_members, ("workload_hours", "duration_months")),
        Written(credential_members.entry_requirement_member, ("entry_requirement",)),
        Written(credential_members.homepage_member, ("homepage",)),
        Remembered("mode", "mode"),
        Remembered("level", "other_levels"),
        Remembered("kind", "short_programme"),
        Remembered("credits", "note"),
        Remembered("level", "levels"),
        Written(elm_credential.partial_member, ("partial_value", "level_levels")),
    )


# groups


def _learning() -> tuple[Group, ...]:
    return (
        Group(
            "kind",
            ("kind", "micro"),
            {
                "names": lambda record: (record.kind, record.micro),
                "is_micro": lambda record: record.micro or record.kind == "micro_credential",
                "short_programme": lambda record: (
                    elm_common.SHORT_PROGRAMME if record.micro else b""
                ),
            },
            # Without a kind, the record gets an issue if a rule should give one.
            allows=lambda record: record.kind is not None,
        ),
        Group(
            "level",
            ("nqf_framework", "nqf_level", "eqf_declared", "cycle"),
            {
                "start": lambda record: (
                    elm_credential.specification_start(elm_levels.levels(record))
                ),
                "other_levels": lambda record: nested(elm_common.other_levels_member(record, EDC)),
                "levels": elm_levels.levels,
                "eqf": lambda record: record.eqf_level,
                "cycle": lambda record: record.cycle,
                "is_known": lambda record: (
                    (record.eqf_level, record.nqf_level, record.cycle) != (None, None, None)
                ),
            },
            period="level",
            judge="level",
        ),
        Group(
            "credits",
            (
                "credit_amount", "credit_unit", "credit_sector", "cycle",
                "assessment.kind", "kind", "micro",
            ),
            {
                "received": elm_credential.received_member,
                "points": lambda record: nested(elm_common.credit_member(record)),
                "note": _credit_note,
                "is_known": lambda record: (
                    record.credit_points is not None or record.credit_framework is not None
                ),
                "points_number": lambda record: record.credit_points,
                "has_amount": lambda record: bool(record.credit_amount),
            },
            period="credits",
            judge="credits",
        ),
        Group(
            "subject",
            ("isced_f", "languages"),
            {
                "isced": lambda record: record.isced_f,
                "fields": lambda record: (
                    elm_common.fields_and_languages(record.isced_f, record.languages)
                )
            },
        ),
        Group(
            "mode",
            ("mode", "setting"),
            {
                "mode": lambda record: elm_common.mode_and_setting(record.mode, record.setting),
                "is_known": lambda record: record.mode is not None,
            },
        ),
        Group("partial", ("partial",), {"value": lambda record: record.partial}),
    )  # fmt: skip


def _credit_note(record: Any) -> bytes:
    amount = elm_credits.national_amount(record)
    return nested(elm_common.additional_notes((amount,))) if amount else b""


def _bodies(harmoniser: Harmoniser) -> tuple[Group, ...]:
    def quality(record: Any) -> Callable[..., Mapping[str, str]] | None:
        if harmoniser.tables is None or harmoniser.providers is None:
            return None
        institutions = harmoniser.tables.institutions
        body, _ = institutions.complete(record.awarding_body, record.awarded_on, "awarding_body")
        return harmoniser.providers.quality_of(body).facts

    return (
        Group(
            "awarding_body",
            ("awarding_body",),
            {
                "json": lambda record: (
                    elm_common.organisation(record.awarding_body, "awarding-body", EDC).json
                ),
                "itself": lambda record: record.awarding_body,
                "has_eidas": lambda record: _has_eidas(record.awarding_body),
            },
            allows=lambda record: elm_common.is_complete(record.awarding_body),
            period="list",
            original_parts={
                "quality": quality,
                "country": lambda record: bool(record.awarding_body.country),
            },
        ),
        Group(
            "issuer",
            ("issuer",),
            {
                "json": lambda record: elm_common.organisation(record.issuer, "issuer", EDC).json,
                "has_eidas": lambda record: _has_eidas(record.issuer),
            },
            allows=lambda record: record.issuer is None or elm_common.is_complete(record.issuer),
        ),
    )


def _has_eidas(body: Any) -> bool:
    return body is not None and "eidas" in body.identifiers


def _assessment(country: str, tables: Tables) -> Group:
    def of(record: Any) -> Assessment:
        return record.assessment or _NO_ASSESSMENT

    return Group(
        "assessment",
        (
            "assessment.title", "assessment.kind", "assessment.supervision",
            "assessment.grading_scale",
        ),
        {
            "start": lambda record: elm_credential.assessment_start(of(record)),
            "scale": lambda record: of(record).grading_scale,
            "rule": lambda record: grade_rule(of(record).grading_scale, country, tables),
            "supervision": lambda record: elm_credential.supervision_member(of(record)),
            "specification": lambda record: elm_credential.assessment_specification(of(record)),
            "type": lambda record: of(record).kind,
            "is_known": lambda record: bool(of(record).kind),
            "is_supervised": lambda record: bool(of(record).supervision),
        },
    )  # fmt: skip


# checks and facts about one record


def _has_sound_holder(esi: str | None, *texts: str | None) -> bool:
    """Return whether the texts about the holder get no issue."""
    if esi is not None and not is_student_identifier(esi):
        return False
    present = [text for text in (esi, *texts) if text]
    return "".join(present).isascii() or not any(map(is_suspect, present))


def _is_usual(revoked: bool | None, original: str | None) -> bool:
    return not (revoked or original)


def _has_holder(*values: Any) -> bool:
    """Return whether a micro-credential names its holder."""
    return any(value is not None for value in values)


def _issues_of_grade(
    grade: str | None, rule: Callable[[str], tuple[Issue, ...]]
) -> tuple[Issue, ...]:
    return rule(grade) if grade else ()


def _needs_sealing(
    issued_at: datetime | None, issuer: bytes, issuer_has_eidas: bool, body_has_eidas: bool
) -> bool:
    return issued_at is None or not (issuer_has_eidas if issuer else body_has_eidas)


def _quality(
    facts_of: Callable[..., Mapping[str, str]] | None, day: date, eqf: int | None, title: LangMap
) -> tuple[tuple[str, str], ...]:
    return () if facts_of is None else tuple(facts_of(day, eqf, title.values()).items())


_MicroElements = tuple[Elements, bool, bool]


def _elements(
    esi: str | None,
    full_name: str | None,
    family_name: str | None,
    pseudonym: str | None,
    outcomes: Any,
    hours: Any,
    has_credits: bool,
    has_level: bool,
    has_assessment: bool,
    has_mode: bool,
    requirement: Any,
    is_supervised: bool,
    grade: str | None,
    partial_: bool | None,
    information: Any,
    homepage: str | None,
    has_amount: bool,
    has_country: bool,
) -> _MicroElements:
    """Return the elements of a micro-credential."""
    elements = Elements(
        learner=bool(esi or full_name or family_name or pseudonym),
        title=True,
        country=True,
        awarding_body=True,
        date=True,
        learning_outcomes=bool(outcomes),
        workload=has_credits or hours is not None,
        level=has_level,
        assessment=has_assessment,
        participation=has_mode,
        quality_assurance=False,
        prerequisites=bool(requirement),
        supervision=is_supervised,
        grade=bool(grade),
        stackability=partial_ is not None,
        further_information=bool(information or homepage),
    )
    return elements, bool(hours or has_amount), has_country


def _conclude(
    grade: tuple[Issue, ...],
    needs_sealing: bool,
    quality: tuple[tuple[str, str], ...],
    micro: _MicroElements | None,
) -> Conclusion:
    facts = dict(quality)
    issues = {"grade": grade, "document": (SEALING_REQUIRED,) if needs_sealing else ()}
    if micro is None:
        return Conclusion(issues, {}, facts)
    elements, effort, country = micro
    is_assured = facts.get("outcome", "") in ASSURED_OUTCOMES
    issues["presence"] = missing_micro_elements(
        {
            "learning_outcomes": elements.learning_outcomes,
            "workload_hours": effort,
            "assessment.kind": elements.assessment,
            "mode": elements.participation,
            "awarding_body.country": country,
        }
    )
    return Conclusion(issues, elements._replace(quality_assurance=is_assured)._asdict(), facts)
