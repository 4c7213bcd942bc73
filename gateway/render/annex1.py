"""The elements of a micro-credential from Council Recommendation 2022/C 243/02, Annex I.

Eleven elements are mandatory, and five are optional. SHACL checks few of them. The level is
mandatory only "if applicable", so a missing level is valid, but it is still reported.
"""

from __future__ import annotations

from gateway.records import Credential


def completeness(record: Credential, *, quality_assured: bool) -> dict[str, bool]:
    """Return the name of each element, and whether the record contains it."""
    holder, body, assessment = record.holder, record.awarding_body, record.assessment
    return {
        "learner": bool(holder.esi or holder.full_name or holder.family_name or holder.pseudonym),
        "title": bool(record.title),
        "country": bool((record.issuer or body) and (record.issuer or body).country),  # type: ignore[union-attr]
        "awarding_body": bool(body and body.name),
        "date": bool(record.awarded_on or record.issued_at),
        "learning_outcomes": bool(record.learning_outcomes),
        "workload": record.credit_points is not None
        or record.credit_framework is not None
        or record.workload_hours is not None,
        "level": record.eqf_level is not None
        or record.nqf_level is not None
        or record.cycle is not None,
        "assessment": bool(assessment and assessment.kind),
        "participation": record.mode is not None,
        "quality_assurance": bool(record.accreditation) or quality_assured,
        "prerequisites": bool(record.entry_requirement),
        "supervision": bool(assessment and assessment.supervision),
        "grade": bool(assessment and assessment.grade),
        "stackability": record.partial is not None,
        "further_information": bool(record.further_information or record.homepage),
    }
