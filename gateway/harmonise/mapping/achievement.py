"""Decide whether a record, or a part of it, is an award.

Only a value that the connector file names counts as achieved. A value that the file does not know,
an empty text and values that contradict each other never do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from gateway.config.achievement import Achievement
from gateway.config.connection import Condition
from gateway.config.expressions.compiler import Context, Evaluate, text_of
from gateway.config.expressions.conditions import (
    compile_values_condition,
    is_truthy_value,
    text_matcher,
)
from gateway.records import Issue

NOT_ACHIEVED, ACHIEVEMENT_UNKNOWN = "not_achieved", "achievement_unknown"
PART_NOT_ACHIEVED, PART_ACHIEVEMENT_UNKNOWN = "part_not_achieved", "part_achievement_unknown"
MEANINGS = {
    NOT_ACHIEVED: "The result was not achieved, or not yet, so it is not published",
    ACHIEVEMENT_UNKNOWN: "The connector file does not say whether this value is an award",
    PART_NOT_ACHIEVED: "The part was not achieved, or not yet, so it is left out",
    PART_ACHIEVEMENT_UNKNOWN: "The connector file does not say whether this part was achieved",
}
"""The meaning of each code, for explanations."""


class Shortfall(NamedTuple):
    """Why a record is no award: a reason code, and what the connector file expects."""

    reason: str
    detail: str


Judge = Callable[[Any, Context], Shortfall | None]
"""Returns why a node is no award, or ``None`` if it is one."""


def compile_achievement(rule: Achievement, select: Evaluate, nulls: frozenset[str]) -> Judge:
    """Return the judge of one condition, whose path ``select`` evaluates.

    A text of ``nulls`` counts as no value, except the empty text, which is never an award.
    """
    unfit = Shortfall(NOT_ACHIEVED, f"expected {_describe(rule)}; other records are no award")
    unknown = Shortfall(
        ACHIEVEMENT_UNKNOWN,
        f"expected {rule.path} to be {_alternatives(rule.is_)} (an award) "
        f"or {_alternatives(rule.not_)} (no award); "
        "add the record's value to is or to not, or write absent if it has none",
    )
    otherwise = unknown if rule.is_ and rule.not_ else unfit
    absent = {"achieved": None, "not_achieved": unfit, None: otherwise}[rule.absent]
    judge_texts = _compile_test(rule, unfit, otherwise)
    no_values = nulls - {""}
    if rule.exists is not None or judge_texts is None:
        return _compile_existence(rule, select, no_values, unfit)

    verdicts = {
        word: judge_texts([word])
        for word in (*rule.is_, *rule.not_)
        if word == word.strip() and "*" not in word and word not in no_values
    }

    def judge(node: Any, context: Context) -> Shortfall | None:
        values = select(node, context)
        if len(values) == 1 and (text := text_of(values[0]).strip()) in verdicts:
            return verdicts[text]
        texts = [text for value in values if (text := text_of(value).strip()) not in no_values]
        if not texts:
            return absent
        filled = [text for text in texts if text]
        return judge_texts(filled) if filled else otherwise

    return judge


def describe_achievement(rules: Sequence[Achievement]) -> str:
    """Return in words when a record is an award."""
    return "; and ".join(
        f"always: {rule.always}"
        if rule.always is not None
        else f"expected {_describe(rule)}"
        + (f" (no award: {_alternatives(rule.not_)})" if rule.is_ and rule.not_ else "")
        + (" (no value: achieved)" if rule.absent == "achieved" else "")
        for rule in rules
    )


def judge_all(judges: Sequence[Judge]) -> Judge | None:
    """Return the judge of several conditions, which an award fits all, or ``None`` without one.

    A record that certainly is no award is not achieved, even if another condition is undecided.
    """
    if len(judges) < 2:  # noqa: PLR2004 - one judge needs no other
        return judges[0] if judges else None

    def judge(node: Any, context: Context) -> Shortfall | None:
        undecided: Shortfall | None = None
        for one in judges:
            if shortfall := one(node, context):
                if shortfall.reason == NOT_ACHIEVED:
                    return shortfall
                undecided = undecided or shortfall
        return undecided

    return judge


def select_achieved(
    items: Iterable[Any], judge: Judge, context: Context, issues: list[Issue], field: str
) -> list[Any]:
    """Return the items that are achieved, and note an issue about those left out."""
    achieved: list[Any] = []
    left_out: dict[Shortfall, int] = {}
    for item in items:
        if item is None:
            continue
        shortfall = judge(item, context)
        if shortfall is None:
            achieved.append(item)
        else:
            left_out[shortfall] = left_out.get(shortfall, 0) + 1
    for shortfall, count in left_out.items():
        code = PART_NOT_ACHIEVED if shortfall.reason == NOT_ACHIEVED else PART_ACHIEVEMENT_UNKNOWN
        issues.append(Issue(code=code, field=field, message=f"{count} left out"))
    return achieved


TextsJudge = Callable[[list[str]], Shortfall | None]


def _compile_test(rule: Achievement, unfit: Shortfall, otherwise: Shortfall) -> TextsJudge | None:
    """Return the test of a list of texts, or ``None`` for a rule that tests existence."""
    fits, excludes = text_matcher(rule.is_), text_matcher(rule.not_)
    if rule.is_ and rule.not_:

        def judge_both(texts: list[str]) -> Shortfall | None:
            if any(map(excludes, texts)):
                return unfit if all(map(excludes, texts)) else otherwise
            return None if all(map(fits, texts)) else otherwise

        return judge_both
    if rule.is_:
        return lambda texts: None if any(map(fits, texts)) else unfit
    if rule.not_:
        return lambda texts: unfit if any(map(excludes, texts)) else None
    if rule.over is not None or rule.since is not None:
        test = compile_values_condition(
            Condition.model_validate({"path": ".", "over": rule.over, "since": rule.since})
        )
        return lambda texts: None if test(texts) else unfit
    return None


def _compile_existence(
    rule: Achievement, select: Evaluate, no_values: frozenset[str], unfit: Shortfall
) -> Judge:
    """Return the judge of ``exists``, or of a path alone."""

    def judge(node: Any, context: Context) -> Shortfall | None:
        values = select(node, context)
        if no_values:
            values = [
                value
                for value in values
                if isinstance(value, dict | list) or text_of(value).strip() not in no_values
            ]
        if rule.exists is None:
            return None if any(map(is_truthy_value, values)) else unfit
        if rule.exists:
            return None if any(map(_holds_something, values)) else unfit
        return unfit if values else None

    return judge


def _holds_something(value: Any) -> bool:
    return bool(value) if isinstance(value, dict | list) else bool(text_of(value).strip())


def _describe(rule: Achievement) -> str:
    """Return what a rule expects of an award, in words."""
    if rule.is_:
        return f"{rule.path} to be {_alternatives(rule.is_)}"
    if rule.not_:
        return f"{rule.path} to have a value other than {_alternatives(rule.not_)}"
    if rule.over is not None:
        return f"{rule.path} to be a number over {rule.over}"
    if rule.since is not None:
        return f"{rule.path} to be {rule.since} or later"
    return f"{'no' if rule.exists is False else 'a'} value at {rule.path}"


def _alternatives(words: Sequence[str]) -> str:
    return " or ".join(words)
