"""Describe when a record, or a part of it, is an award.

A registry also holds results that were not achieved: failed examinations, courses in progress and
study rights of people who left. The gateway publishes only what was achieved.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gateway.config.types import ConfigModel, Day, Expression, OneOrMore, Words


class Achievement(ConfigModel, title="Achieved"):
    """The condition that an award fits. The gateway publishes nothing about a record without it."""

    always: str | None = Field(
        None, description="Reason why every record is an award, for a registry of awards alone"
    )
    path: Expression | None = Field(
        None,
        description="Expression to test, with is, not, over, since or exists; "
        "alone, it fits when it finds a value that is not false, 0 or empty",
    )
    is_: Words = Field((), alias="is", description="Values of an award, * as a wildcard")
    not_: Words = Field(
        (),
        alias="not",
        description="Values that are no award; with is as well, "
        "the gateway rejects a record with any other value",
    )
    over: int | None = Field(None, description="An award has a larger number than this")
    since: Day | None = Field(None, description="An award has this day or a later one")
    exists: bool | None = Field(
        None, description="An award has a value there (true), or none (false)"
    )
    absent: Literal["achieved", "not_achieved"] | None = Field(
        None,
        description="Meaning of a record without the value; not_achieved when left out, and a "
        "rejection if is and not both list values. An empty text never means achieved",
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a condition without a subject, and tests that do not go together."""
        if (self.always is None) == (self.path is None):
            raise ValueError(
                "give exactly one of always, path; write {path: STATUS, is: [passed]}, "
                'or {always: "why every record is an award"}'
            )
        tests = [
            name
            for name, is_given in (
                ("is or not", bool(self.is_ or self.not_)),
                ("over", self.over is not None),
                ("since", self.since is not None),
                ("exists", self.exists is not None),
            )
            if is_given
        ]
        if self.always is not None:
            if not self.always.strip():
                raise ValueError("always needs the reason why every record is an award")
            if tests or self.absent:
                raise ValueError("always stands alone; leave the tests and absent out")
        for name, words in (("is_", self.is_), ("not_", self.not_)):
            if name in self.model_fields_set and not words:
                raise ValueError(f"{name.strip('_')} needs at least one value")
        if both := set(self.is_) & set(self.not_):
            raise ValueError(f"{' and '.join(sorted(both))} cannot be under is and under not")
        if len(tests) > 1:
            raise ValueError(
                f"a condition has one test, found {' and '.join(tests)}; "
                "write a list of conditions, which all have to fit"
            )
        if self.absent and (not tests or tests == ["exists"]):
            raise ValueError("absent needs is, not, over or since")


def _expand_shorthand(value: object) -> object:
    if value == "always":
        raise ValueError('always needs its reason: {always: "why every record is an award"}')
    return {"path": value} if isinstance(value, str) else value


Achievements = Annotated[
    OneOrMore[Annotated[Achievement, BeforeValidator(_expand_shorthand)]],
    BeforeValidator(
        lambda value: value if isinstance(value, list | tuple) else (value,),
        json_schema_input_type=str | Achievement | list[str | Achievement],
    ),
]
"""One condition, or several that an award has to fit together. Empty when the file has none."""
