"""Compare the form parser with the one of the standard library, on small and large pieces."""

from __future__ import annotations

import random
import tracemalloc
from urllib.parse import parse_qsl

import pytest

from gateway.errors import StreamHalted
from gateway.fetch import push_form
from gateway.fetch.push_form import MAX_FORM_FIELDS, read_form


@pytest.mark.parametrize("piece_bytes", [3, 4, 7, 65_536])
def test_form_equals_the_standard_library(
    piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_form, "_PIECE_BYTES", piece_bytes)
    choose = random.Random(7)
    for _ in range(2_000):
        value = bytes(choose.choice(b"%%%aAf0g2C3+ =;") for _ in range(choose.randrange(40)))
        data = b"x=1&doc=" + value + b"&y=2"
        expected = dict(parse_qsl(data.decode(), keep_blank_values=True))
        assert read_form(data, ("doc", "y"), "c") == {"doc": expected["doc"], "y": "2"}


def test_value_of_escapes_takes_little_memory() -> None:
    data = b"doc=" + b"%41" * 1_000_000
    tracemalloc.start()
    assert read_form(data, ("doc",), "c") == {"doc": "A" * 1_000_000}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(data)


def test_number_of_fields_is_limited() -> None:
    allowed = b"&".join(b"a%d=1" % number for number in range(MAX_FORM_FIELDS))
    assert read_form(allowed, ("a7",), "c") == {"a7": "1"}
    with pytest.raises(StreamHalted, match="fewer") as refused:
        read_form(allowed + b"&b=1", ("a7",), "c")
    assert refused.value.reason == "LIMIT_FIELDS"


@pytest.mark.parametrize("data", [b"doc=1&doc=1", b"doc=1&%64oc=2", b"doc&doc", b"doc=&x=1&doc="])
def test_repeated_field_is_refused(data: bytes) -> None:
    with pytest.raises(StreamHalted, match="'doc' twice") as refused:
        read_form(data, ("doc",), "c")
    assert refused.value.reason == "FIELD_REPEATED"


def test_other_fields_may_repeat() -> None:
    assert read_form(b"x=1&x=2&doc=3", ("doc",), "c") == {"doc": "3"}
