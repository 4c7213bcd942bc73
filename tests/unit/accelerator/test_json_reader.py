"""The JSON reader of the accelerator never gives another value than the ordinary way."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.harmonise.values.payload import (
    MAX_BYTES,
    PayloadError,
    json_value,
    may_hold_invisible_text,
)
from tests.support.accelerator import needs_accelerator

pytestmark = needs_accelerator

PLACES = (
    ("code",),
    ("credits", "value"),
    ("credits", "deep", "er"),
    ("names",),
    ("fields",),
    ("any",),
    ("",),
    ("é",),
)
ORDINARY = object()
FLIPS = 100_000


def reader(places: Any = PLACES) -> Any:
    from qualification_gateway_speed import JsonReader

    return JsonReader(places)


def look_up(value: Any, places: Any) -> Any:
    """Return the values of the places, or ``ORDINARY`` if one of them is not in an object."""
    found = []
    for place in places:
        member = value
        for key in place:
            if member is None:
                break
            if type(member) is not dict:
                return ORDINARY
            member = member.get(key)
        found.append(member)
    return tuple(found)


def ordinary(body: bytes, places: Any = PLACES) -> Any:
    try:
        value = json_value(body)
    except PayloadError:
        return ORDINARY
    if type(value) is not dict:
        return ORDINARY
    found = look_up(value, places)
    return found if found is ORDINARY else (*found, may_hold_invisible_text(body, xml=False))


def assert_same(read: Any, body: bytes, places: Any = PLACES) -> bool:
    """Compare both ways, with types, and return whether the reader was certain."""
    found = read(body)
    if found is None:
        return False
    expected = ordinary(body, places)
    assert expected is not ORDINARY, (body, found)
    assert repr(found) == repr(expected), body
    return True


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-100, 100),
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.sampled_from(["", "nl", "a\u0000b", "\x7f", "\u200b", "😀", "é", '"', "\\", "/"]),
)
KEYS = st.one_of(
    st.sampled_from(
        ["code", "credits", "value", "deep", "er", "names", "lang", "text", "plain", "more", "a",
         "fields", "any", "", "é", "x"]
    ),
    st.text(max_size=3),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=20,
)
GOOD = {
    "code": "A-1",
    "credits": {"value": 120, "unit": "ECTS", "deep": {"er": True}, "rate": 7.5},
    "names": [
        {"lang": "lv", "text": {"plain": "Ūdens"}, "more": [{"a": 1, "b": ["x", [2]]}]},
        {"lang": "en", "text": {"plain": "Water / management"}, "more": []},
    ],
    "fields": ["0521", 4, None, True],
    "any": {"a": [1, {"b": "c", "d": None}], "e": []},
    "": 0,
    "é": -12,
    "rest": {"n": [[], {}, None, 12.25, "x"]},
}
WITH_PLAIN_KEYS = {key: value for key, value in GOOD.items() if key.isascii()}
"""The reader leaves keys with escapes to the ordinary way."""
WRITERS = (
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False),
    lambda value: json.dumps(value, separators=(",", ":")).replace("/", "\\/"),
    lambda value: json.dumps(value, indent=2, ensure_ascii=False),
)


@given(st.dictionaries(KEYS, VALUES, max_size=6), st.sampled_from(WRITERS))
@settings(max_examples=1_000, deadline=None)
def test_any_value_reads_as_in_the_ordinary_way(value: Any, write: Any) -> None:
    assert_same(reader().read, write(value).encode(errors="surrogatepass"))


@given(st.data())
@settings(max_examples=1_000, deadline=None)
def test_values_of_the_wanted_shape_read_as_in_the_ordinary_way(data: Any) -> None:
    value = dict(GOOD)
    for key in data.draw(st.lists(st.sampled_from(list(GOOD)), max_size=3)):
        value[key] = data.draw(VALUES)
    body = data.draw(st.sampled_from(WRITERS))(value).encode(errors="surrogatepass")
    assert_same(reader().read, body)


@pytest.mark.parametrize("write", WRITERS)
def test_an_ordinary_record_is_read(write: Any) -> None:
    assert assert_same(reader().read, write(WITH_PLAIN_KEYS).encode())


@pytest.mark.parametrize("write", WRITERS)
def test_flipped_bytes_never_give_another_value(write: Any) -> None:
    body, read, certain = write(WITH_PLAIN_KEYS).encode(), reader().read, 0
    rng = random.Random(19)
    interesting = (
        b'{}[]",:\\/u0123456789.eE+-truefalsn \n\t\r\x00\x1f\x7f\x80\xbf\xc3\xe2\xed\xf0\xff'
    )
    for _ in range(FLIPS // len(WRITERS) + 1):
        flipped = bytearray(body)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            place, kind = rng.randrange(len(flipped)), rng.random()
            if kind < 0.5:
                flipped[place] = rng.choice(interesting)
            elif kind < 0.7:
                flipped[place] ^= 1 << rng.randrange(8)
            elif kind < 0.85:
                del flipped[place]
            else:
                flipped.insert(place, rng.choice(interesting))
        certain += assert_same(read, bytes(flipped))
    assert certain > FLIPS // 20  # flipped letters inside texts remain readable


def nested(levels: int, inside: bytes = b"1") -> bytes:
    return b'{"x":' + b"[" * (levels - 1) + inside + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{} {}",
        b"{},",
        b"\xef\xbb\xbf{}",
        b'{"code":"a","code":"a"}',
        b'{"x":{"y":1,"y":2}}',
        b'{"code":1,"c\\u006fde":2}',
        b'{"any":{"k":1,"k":1}}',
        b'{"code":"\xff"}',
        b'{"code":"\xed\xa0\x80"}',
        b'{"code":"\\ud800"}',
        b'{"x":"\\udc00\\ud800"}',
        b'{"x":"\\ud800\\u0041"}',
        b'{"x":"\\u12g4"}',
        b'{"x":"\\u12"}',
        b'{"x":"\\u+123"}',
        b'{"x":"\\x"}',
        b'{"x":"\\"}',
        b'{"x":"a\nb"}',
        b'{"x":NaN}',
        b'{"x":-Infinity}',
        b'{"x":1e400}',
        b'{"x":01}',
        b'{"x":-}',
        b'{"x":1.}',
        b'{"x":.5}',
        b'{"x":+1}',
        b'{"x":tru}',
        b'{"x":"a}',
        b'{"x":1,}',
        b'{"x" 1}',
        b"{x:1}",
        b"{'x':1}",
        b'{"x":[1,]}',
        b'{"x":[1}}',
        b'{"code":7.5}',
        b'{"code":7e2}',
        b'{"code":12345678901234567890}',
        b'{"credits":"120 ECTS"}',
        b'{"credits":[{"value":1}]}',
        b'{"any":[1.5]}',
        b'{"any":{"a":1,"a":2}}',
        b'{"names":[{"a":1,"a":2}]}',
        nested(100),
        nested(101),
        nested(100_000),
    ],
)  # fmt: skip
def test_the_reader_leaves_unusual_texts_to_the_ordinary_way(body: bytes) -> None:
    assert reader().read(body) is None


def test_the_reader_is_certain_up_to_its_limits() -> None:
    read = reader().read
    assert assert_same(read, nested(99))
    assert not assert_same(read, b'{"x":"%b"}' % (b"y" * 1_000_000))
    assert MAX_BYTES >= 1_000_000  # the reader accepts no text that the ordinary way refuses
    wide = ",".join(f'"k{number}":{number}' for number in range(5_000))
    assert assert_same(read, f"{{{wide}}}".encode())
    assert not assert_same(read, f'{{{wide},"k77":0}}'.encode())


def test_the_largest_numbers_keep_their_value() -> None:
    read = reader().read
    for number in (0, 1, -1, 10**17, -(10**16), 999_999_999_999_999_999):
        assert assert_same(read, b'{"code":%d}' % number)


def test_a_reader_refuses_places_that_contradict_each_other() -> None:
    for places in ([("a",), ("a",)], [("a",), ("a", "b")], [("a", "b"), ("a",)], [()]):
        with pytest.raises(ValueError, match="a place"):
            reader(places)
    for wrong in (["a"], [1], [("a", 5)], None):
        with pytest.raises(TypeError):
            reader(wrong)


def test_a_reader_without_places_still_checks_the_text() -> None:
    read = reader([]).read
    assert read(b'{"a":1}') == (False,)
    assert read(b'{"a":"\\n"}') == (True,)
    assert read(b'{"a":1,"a":1}') is None
