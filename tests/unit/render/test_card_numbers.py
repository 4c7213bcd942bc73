"""Check the two functions about card numbers against each other."""

from __future__ import annotations

import pytest

from gateway.identifiers import CardNumber, is_card_number, parse_card_number

NUMBER = "4b171400-b51e-103d-8abc-001999990002"


@pytest.mark.parametrize(
    "text",
    [
        NUMBER,
        NUMBER.upper(),
        NUMBER[:-1],
        f"{NUMBER}0",
        f" {NUMBER}",
        f"{NUMBER}\n",
        NUMBER.replace("103d", "403d"),
        NUMBER.replace("8abc", "7abc"),
        NUMBER.replace("8abc", "cabc"),
        NUMBER.replace("001999990002", "00199999000a"),
        NUMBER.replace("001999990002", "00199999000\u0662"),
        NUMBER.replace("b51e", "g51e"),
        NUMBER.replace("b51e", "B51E"),
        "",
    ],
)
def test_a_card_number_in_lower_case_is_its_own_value(text: str):
    parsed = parse_card_number(text)
    is_plain = isinstance(parsed, CardNumber) and parsed.value == text
    assert is_card_number(text) is is_plain


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (NUMBER[:-1], "BAD_SHAPE"),
        (NUMBER.replace("103d", "403d"), "VERSION_NOT_1"),
        (NUMBER.replace("8abc", "7abc"), "VARIANT_NOT_RFC4122"),
        (NUMBER.replace("001999990002", "00199999000a"), "NODE_NOT_DECIMAL"),
    ],
)
def test_each_problem_has_its_code(text: str, problem: str):
    assert parse_card_number(text) == problem


def test_the_parts_of_a_card_number():
    assert parse_card_number(NUMBER.upper()) == CardNumber(NUMBER, "001", "999990002")
