"""What a rejection says of values that do not fit the type of their field."""

from __future__ import annotations

import msgspec
import pytest

from gateway.harmonise.type_mismatch import describe_mismatch
from gateway.records import RECORD_TYPES

CREDENTIAL = RECORD_TYPES["credential"]


@pytest.mark.parametrize(
    ("values", "field", "reason", "detail"),
    [
        (
            {"parts": [{"title": {"en": "a"}}]},
            "parts[0].id",
            "missing",
            "expected a value: each entry of `parts` needs one",
        ),
        ({"parts": "CANARY"}, "parts", "wrong_type", "a list of entries"),
        ({"parts": ["CANARY"]}, "parts[0]", "wrong_type", "fields, each with a rule"),
        ({"parts": [{"id": 5}]}, "parts[0].id", "wrong_type", "a text, found a whole number"),
        ({"kind": "CANARY"}, "kind", "wrong_type", "one of diploma, certificate, transcript"),
        ({"title": "CANARY"}, "title", "wrong_type", "texts by language, such as `{en: …}`"),
        ({"title": {"en": 5}}, "title[...]", "wrong_type", "a text, found a whole number"),
        ({"credit_points": "CANARY"}, "credit_points", "wrong_type", "a number"),
        ({"issued_at": "CANARY"}, "issued_at", "wrong_type", "a date with a time"),
        ({"awarded_on": []}, "awarded_on", "wrong_type", "a date, found a list"),
        ({"isced_f": "CANARY"}, "isced_f", "wrong_type", "a list of texts, found a text"),
        ({"duration_months": "CANARY"}, "duration_months", "wrong_type", "a whole number"),
    ],
)
def test_rejection_names_the_type_and_no_value(values, field, reason, detail):
    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.convert({"id": "1", "title": {"en": "x"}, **values}, type=CREDENTIAL)
    found = describe_mismatch(CREDENTIAL, raised.value)
    assert found[:2] == (field, reason)
    assert detail in found[2]
    assert "CANARY" not in found[2]


def test_rejection_names_a_missing_field_of_the_record():
    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.convert({}, type=CREDENTIAL)
    found = describe_mismatch(CREDENTIAL, raised.value)
    assert found == ("id", "missing", "expected a value: each record needs one")
