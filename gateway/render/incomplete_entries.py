"""Publish catalogue entries that LOQ does not accept, because their register lacks a field.

Many registers hold no learning outcomes, and some no fields of education. Nothing is invented, so
LOQ refuses their entries. The gateway publishes them on a topic of their own. See
docs/decisions/0090.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

import msgspec

from gateway.config.publishing_needs import ONLY_LOQ
from gateway.harmonise.mapping.code_lookup import ISCED_AMBIGUOUS, ISCED_NOT_STATED
from gateway.harmonise.tables.rule_codes import Code
from gateway.records import Issue, LearningOpportunity, Qualification, Rejected

LOQ_FIELD_MISSING = "loq_field_missing"
"""The code of the issue for each field that LOQ requires and the register does not hold."""
_NOTHING_SENT = {Code.MICRO_INCOMPLETE, ISCED_AMBIGUOUS, ISCED_NOT_STATED}
"""Issues of a field for which the registry sent no value, or a code without an equivalent."""
_SENT = "; the registry sent a value that cannot be used, so the entry is not incomplete but wrong"


def render_without_missing_fields(
    render_entry: Callable[[Container[str]], bytes | Rejected],
    rejected: Rejected,
    record: Qualification | LearningOpportunity,
    issues: Iterable[Issue],
) -> tuple[bytes | Rejected, tuple[str, ...]]:
    """Return an entry that LOQ refuses, as an ELM document, and the fields that it lacks.

    ``render_entry`` renders the entry without the fields that it is given. ``rejected`` is the
    refusal of LOQ, and ``issues`` are those of the rules. Return a rejection if the entry lacks a
    field that every reader needs, or if the registry sent a value that cannot be used.
    """
    with_issues = {
        issue.field.partition(".")[0].partition("[")[0]
        for issue in issues
        if issue.code not in _NOTHING_SENT
    }
    lacking: list[str] = []
    while rejected.field in ONLY_LOQ and rejected.field not in lacking:
        if rejected.field in with_issues or _has_unusable_value(record, rejected.field):
            return msgspec.structs.replace(rejected, detail=rejected.detail + _SENT), ()
        lacking.append(rejected.field)
        value = render_entry(lacking)
        if not isinstance(value, Rejected):
            return value, tuple(lacking)
        rejected = value
    return rejected, ()


def missing_field_issues(fields: Iterable[str]) -> list[Issue]:
    """Return an issue for each field that LOQ requires and the register does not hold."""
    message = "LOQ requires it, and the register does not hold it"
    return [Issue(code=LOQ_FIELD_MISSING, field=field, message=message) for field in fields]


def _has_unusable_value(record: Qualification | LearningOpportunity, field: str) -> bool:
    """Return whether the record holds a value that is not in the form that LOQ requires."""
    # An outcome without a title states nothing that a document could contain.
    return field != "learning_outcomes" and bool(getattr(record, field))
