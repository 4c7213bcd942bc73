"""Check the fields that a ``when`` condition on records may read."""

from __future__ import annotations

from datetime import date

import pytest
from pydantic import ValidationError

from gateway.config.connection import Condition
from gateway.config.expressions.conditions import compile_record_condition


@pytest.mark.parametrize(
    ("day", "fits"),
    [
        ("2017-03-01", True),
        ("2017-02-28", False),
        ("2024-05-31T12:00:00Z", True),
        ("1999--", False),
        ("01.03.2018", False),
        ("", False),
        (None, False),
    ],
)
def test_since_condition_starts_on_its_day(day, fits):
    condition = Condition(path="awarded", since=date(2017, 3, 1))
    assert compile_record_condition(condition, "json", {})({"awarded": day}, {}) is fits


def test_since_condition_needs_a_path():
    with pytest.raises(ValidationError, match="belong to path"):
        Condition(status=200, since=date(2017, 3, 1))
