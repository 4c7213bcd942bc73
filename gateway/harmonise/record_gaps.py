"""Name what a record lacks: a part of its id, its kind, or a change time that can be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.records import MISSING_PARTS_CONTEXT_KEY, Issue, RawRecord

_CHANGE_TIME_ISSUES = {
    "unreadable": Issue(
        code="changed_at_unreadable",
        field="changed_at",
        message="the text of the change time has no form that the gateway reads; "
        "say under the stream's changed_at how the registry writes it",
    ),
    "in_future": Issue(
        code="changed_at_in_future",
        field="changed_at",
        message="the change time has not been reached; "
        "the next poll does not start at it, and later versions replace this one",
    ),
}


def note_gaps(
    raw: RawRecord, values: dict[str, Any], issues: list[Issue], *, expects_kind: bool
) -> None:
    """Note a change time that cannot be used, and a credential whose rule gives no kind."""
    if expects_kind and "kind" not in values and not any(issue.field == "kind" for issue in issues):
        issues.append(Issue(code="kind_missing", field="kind", message="the rule gives no value"))
    if raw.change_time_problem:
        issues.append(_CHANGE_TIME_ISSUES[raw.change_time_problem])


def missing_id_detail(raw: RawRecord, expressions: Sequence[str]) -> str:
    """Return the parts of the id that have no value, as the connector file names them."""
    numbers = raw.context.get(MISSING_PARTS_CONTEXT_KEY, "")
    parts = [
        f"part {number} of {len(expressions)} ({expressions[int(number) - 1]})"
        for number in numbers.split(", ")
        if number.isdigit() and 0 < int(number) <= len(expressions)
    ]
    if not parts:
        return "expected a native id where the stream's id looks"
    return f"expected a value for {' and '.join(parts)} of the stream's id"
