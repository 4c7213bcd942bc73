"""Remember the outcomes of the rules for levels and credits.

The memories pay off because there are few levels, amounts and periods, but many records. They hold
nothing about a person.
"""

from __future__ import annotations

from gateway.harmonise.tables.credits import Credits
from gateway.harmonise.tables.level_and_credit_rules import (
    CreditQuestion,
    Effort,
    LevelQuestion,
    RuleEvaluation,
    RuleOutcome,
)
from gateway.harmonise.tables.levels import Levels
from gateway.harmonise.tables.table_periods import TablePeriods

_CACHE_SIZE = 10_000
_NO_EFFORT: Effort = (None, None)


class RuleOutcomeCache:
    """A cache of the rule outcomes of one set of tables.

    A question names the first day of a period in which the answers of the tables stay the same
    (``level_day``, ``credit_day``). So records of any day share the outcomes. Hours and months
    decide only when they are unusual, and are part of no other key.
    """

    __slots__ = (
        "_credits", "_known_credits", "_known_efforts", "_known_levels", "_levels",
        "credit_day", "level_day",
    )  # fmt: skip

    def __init__(self, levels: Levels, credits_: Credits) -> None:
        self._levels, self._credits = levels, credits_
        self._known_levels: dict[LevelQuestion, RuleOutcome] = {}
        self._known_credits: dict[CreditQuestion, RuleOutcome] = {}
        self._known_efforts: dict[tuple[CreditQuestion, Effort], RuleOutcome] = {}
        self.level_day = TablePeriods(levels.changing_days()).first_day
        """Returns the first day on which a country's tables answer for levels as on a day."""
        self.credit_day = TablePeriods(credits_.changing_days()).first_day
        """Returns the first day on which a country's tables answer for credits as on a day."""

    def level(self, question: LevelQuestion) -> RuleOutcome:
        """Return the outcome of the rules for a level."""
        outcome = self._known_levels.get(question)
        if outcome is None:
            outcome = self.evaluate_level(question)
            if len(self._known_levels) >= _CACHE_SIZE:
                self._known_levels.clear()
            self._known_levels[question] = outcome
        return outcome

    def credits(self, question: CreditQuestion, effort: Effort = _NO_EFFORT) -> RuleOutcome:
        """Return the outcome of the rules for an amount, with its hours and months."""
        outcome = self._known_credits.get(question)
        if outcome is None:
            outcome = self.evaluate_credits(question, _NO_EFFORT)
            if len(self._known_credits) >= _CACHE_SIZE:
                self._known_credits.clear()
            self._known_credits[question] = outcome
        if outcome.usual is None or outcome.usual.covers(*effort):
            return outcome
        unusual = self._known_efforts.get((question, effort))
        if unusual is None:
            unusual = self.evaluate_credits(question, effort)
            if len(self._known_efforts) >= _CACHE_SIZE:
                self._known_efforts.clear()
            self._known_efforts[question, effort] = unusual
        return unusual

    def evaluate_level(self, question: LevelQuestion) -> RuleOutcome:
        """Return the outcome of the rules for a level, without a memory."""
        evaluation = RuleEvaluation(self._levels, self._credits, question.country, question.prefix)
        return evaluation.outcome(lambda: evaluation.level(question))

    def evaluate_credits(self, question: CreditQuestion, effort: Effort) -> RuleOutcome:
        """Return the outcome of the rules for an amount, without a memory."""
        evaluation = RuleEvaluation(self._levels, self._credits, question.country, question.prefix)
        return evaluation.outcome(lambda: evaluation.credits(question, effort))
