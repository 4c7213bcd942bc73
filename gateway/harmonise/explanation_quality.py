"""Explain the quality assurance of an award: outcome, report, permalink and day."""

from __future__ import annotations

from gateway.harmonise.quality_assurance import OUTCOME_MEANINGS
from gateway.records import Accepted, Credential, Outcome


def explain_quality(outcome: Outcome) -> dict[str, str]:
    """Return what is known about the quality assurance of an award on its day.

    Other records and awards without a day have none.
    """
    if not isinstance(outcome, Accepted) or not isinstance(outcome.record, Credential):
        return {}
    if outcome.record.awarded_on is None:
        return {}
    facts = outcome.provenance.quality_assurance
    day = {"day": outcome.record.awarded_on.isoformat()}
    if not facts:
        return day | {"outcome": "not assessed, because no registers of providers were read"}
    result = f"{facts['outcome']}: {OUTCOME_MEANINGS[facts['outcome']]}"
    shown = day | {"outcome": result}
    if "joined_by" in facts:
        shown["joined by"] = facts["joined_by"]
        shown["charter"] = {"true": "held", "false": "not held"}.get(
            facts.get("charter", ""), "not known"
        )
    if "report" in facts:
        agency = f" of {facts['agency']}" if "agency" in facts else ""
        valid = f", valid from {facts.get('valid_from', '?')} to {facts.get('valid_until', '?')}"
        shown["report"] = facts["report"] + agency + valid
    if "permalink" in facts:
        shown["permalink"] = facts["permalink"]
    return shown
