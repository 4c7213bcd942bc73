"""Durations, sizes, rates and shares: vast numbers are refused in the words of their type."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.config import types
from gateway.config.deletions import Share

VAST = ("9" * 12, "9" * 400, "9" * 5000)


@pytest.mark.parametrize(
    ("kind", "unit", "words"),
    [
        (types.Duration, "d", "a duration is a number and one of"),
        (types.Size, "GB", "a size is a number and one of"),
        (types.Rate, "/s", "a rate is a number of requests per"),
        (Share, "%", "a share is a percentage"),
    ],
)
def test_vast_number_is_refused_in_the_words_of_its_type(kind: object, unit: str, words: str):
    adapter = TypeAdapter(kind)
    for digits in VAST:
        try:
            adapter.validate_python(digits + unit)
        except ValidationError as refusal:
            assert words in str(refusal)
        else:
            assert len(digits) <= 12, "a number of 400 digits was taken"
            assert unit in {"GB", "/s"}


def test_longest_duration_is_a_hundred_years():
    adapter = TypeAdapter(types.Duration)
    assert adapter.validate_python("36500d").days == 36_500
    with pytest.raises(ValidationError, match="at most 36500d"):
        adapter.validate_python("36501d")
