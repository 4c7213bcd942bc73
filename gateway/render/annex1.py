"""The elements of a micro-credential from Council Recommendation 2022/C 243/02, Annex I.

Eleven elements are mandatory, and five are optional. SHACL checks few of them. The level is
mandatory only "if applicable", so a missing level is valid, but it is still reported.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.records import Credential


class Elements(NamedTuple):
    """Whether a micro-credential contains each element, the mandatory ones first."""

    learner: bool
    title: bool
    country: bool
    awarding_body: bool
    date: bool
    learning_outcomes: bool
    workload: bool
    level: bool
    assessment: bool
    participation: bool
    quality_assurance: bool
    prerequisites: bool
    supervision: bool
    grade: bool
    stackability: bool
    further_information: bool


def completeness(record: Credential, *, quality_assured: bool) -> dict[str, bool]:
    """Return the name of each element, and whether the record contains it."""
    holder, body, assessment = record.holder, record.awarding_body, record.assessment
    return Elements(
        learner=bool(holder.esi or holder.full_name or holder.family_name or holder.pseudonym),
        title=bool(record.title),
        country=bool((record.issuer or body) and (record.issuer or body).country),  # type: ignore[union-attr]
        awarding_body=bool(body and body.name),
        date=bool(record.awarded_on or record.issued_at),
        learning_outcomes=bool(record.learning_outcomes),
        workload=(record.credit_points, record.credit_framework, record.workload_hours)
        != (None, None, None),
        level=(record.eqf_level, record.nqf_level, record.cycle) != (None, None, None),
        assessment=bool(assessment and assessment.kind),
        participation=record.mode is not None,
        quality_assurance=bool(record.accreditation) or quality_assured,
        prerequisites=bool(record.entry_requirement),
        supervision=bool(assessment and assessment.supervision),
        grade=bool(assessment and assessment.grade),
        stackability=record.partial is not None,
        further_information=bool(record.further_information or record.homepage),
    )._asdict()
