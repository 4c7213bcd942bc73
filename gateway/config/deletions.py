"""Describe how many records the gateway may delete without a person."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

from gateway.config.types import ConfigModel

_PERCENT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?%")
_PER_CENT = 100
_ROUNDING = 1e-6
"""The product of a share and a number may be a little less than the true one."""


def _parse_share(value: object) -> float:
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value.strip())):
        share = float(match[1]) / _PER_CENT
        if share <= 1:
            return share
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and 0 <= value < 1:
        return float(value)
    raise ValueError("a share is a percentage from 0% to 100%, such as 25%")


Share = Annotated[float, BeforeValidator(_parse_share, json_schema_input_type=str | float)]
"""A share from 0 to 1, written as a percentage."""


class DeletionLimit(ConfigModel, title="Deletions"):
    """The number of records that one poll may delete without a person.

    The gateway withholds the deletions of a poll that exceeds both the share and the number.
    """

    share: Share = Field(0.1, description="Share of the known records of the stream")
    records: Annotated[int, Field(ge=0)] = Field(10, description="Number of records")
    unlimited: str | None = Field(
        None,
        description="Reason why a poll may delete any number of records, "
        "for a registry that replaces its records",
    )

    def model_post_init(self, _context: object, /) -> None:
        """Refuse a limit together with ``unlimited``, and an empty reason."""
        if self.unlimited is None:
            return
        if not self.unlimited.strip():
            raise ValueError("unlimited needs the reason why a poll may delete any number")
        if self.model_fields_set > {"unlimited"}:
            raise ValueError("unlimited stands alone; leave share and records out")

    def allows(self, deletions: int, known: int) -> bool:
        """Return whether a poll may delete this number of the records that were known before it."""
        return (
            self.unlimited is not None
            or deletions <= self.records
            or deletions <= self.share * known + _ROUNDING
        )


def _expand_shorthand(value: object) -> object:
    if value == "unlimited":
        raise ValueError('unlimited needs its reason: {unlimited: "why a poll may delete so many"}')
    if value is False or value == "off":
        raise ValueError(
            'the guard has no off; write {unlimited: "why a poll may delete any number of records"}'
        )
    if not isinstance(value, str | int | float | Decimal):
        return value
    return {"share": value, "records": 0} if _parse_share(value) == 0 else {"share": value}


Deletions = Annotated[
    DeletionLimit,
    BeforeValidator(_expand_shorthand, json_schema_input_type=str | float | DeletionLimit),
]
"""A limit on deletions. A percentage stands for the share, and 0 for no deletion at all."""
