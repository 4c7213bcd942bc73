"""An e-mail address is one text with one @, and it has at most 255 characters."""

from __future__ import annotations

import pytest

from gateway.harmonise.values.casts import email
from gateway.harmonise.values.text import CastError

AT_THE_LIMIT = f"{'a' * 239}@office.example."


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("aino@office.example", "aino@office.example"),
        (" aino@office.example ", "aino@office.example"),
        ("o'brien+x@office.example", "o'brien+x@office.example"),
        ("a\u0301ino@office.example", "\u00e1ino@office.example"),
        ("\u00e1ino@office.example", "\u00e1ino@office.example"),
        (AT_THE_LIMIT, AT_THE_LIMIT),
    ],
)
def test_addresses(value: str, address: str):
    assert email(value) == address


@pytest.mark.parametrize(
    "value",
    [
        "aino", "@office.example", "aino@", "a@b@c", "ai no@office.example", "aino@office\nexample",
        "aino@office.example\x7f", "a\u202eino@office.example",
        f"a{AT_THE_LIMIT}", f"\u00e1{AT_THE_LIMIT}",
        True, ["aino@office.example"], 17,
    ],
)  # fmt: skip
def test_other_values_are_no_addresses(value: object):
    with pytest.raises(CastError):
        email(value)
