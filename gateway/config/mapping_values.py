"""Define the numbers, years and URIs that a mapping file may write in several forms."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from gateway.config.types import OneOrMore

MAX_ECTS_RATIO = 100
"""Most ECTS credits for one unit: more than a year and a half of study is a mistake."""
QDR_BASE_URI = "http://data.europa.eu/snb/qdr/"


def _ratio(value: object) -> Fraction:
    try:
        ratio = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        ratio = Fraction(0)
    if not 0 < ratio <= MAX_ECTS_RATIO:
        raise ValueError(
            f"expected a number above 0, at most {MAX_ECTS_RATIO}, or a fraction in quotes, "
            "such as 1, 1.5 or '10/7'"
        )
    return ratio


def _number(value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        # Pydantic reports a ValueError as a finding, but not a TypeError.
        raise ValueError("expected a number of hours, such as 25 or 26.67")  # noqa: TRY004
    return Fraction(str(value))


def _uri(value: object) -> str:
    text = str(value)
    if text.startswith("c_"):
        return QDR_BASE_URI + text
    if text.startswith(("http://", "https://")):
        return text
    raise ValueError(
        "expected c_ and eight hexadecimal digits (an id of the EU vocabulary) or a whole URI"
    )


Ratio = Annotated[
    Fraction,
    BeforeValidator(_ratio),
    WithJsonSchema({"type": ["number", "string"], "examples": [1, 1.5, "10/7"]}),
]
Hours = Annotated[Fraction, BeforeValidator(_number), WithJsonSchema({"type": "number"})]
Uri = Annotated[
    str, BeforeValidator(_uri), WithJsonSchema({"type": "string", "examples": ["c_218a7e54"]})
]


def _years(value: object) -> object:
    return (value,) if isinstance(value, int) else value


ReferencingYears = Annotated[
    OneOrMore[int],
    BeforeValidator(_years),
    Field(min_length=1),
    WithJsonSchema({"type": ["integer", "array"], "examples": [2021, [2010, 2019]]}),
]
