"""Check the shape of replies: names and places only, bounded, and compared with care."""

from __future__ import annotations

import time

import pytest
from lxml import etree

from gateway.fetch.decode.formats import DecodedDocument
from gateway.fetch.reply_shape import (
    MAX_NAMES,
    ReplyShape,
    ShapeDifference,
    compare,
    describe,
    merge,
)


def of_json(value) -> ReplyShape:
    return describe([DecodedDocument("json", value)])


def of_xml(text: str) -> ReplyShape:
    return describe([DecodedDocument("xml", etree.fromstring(text))])


def rows(number: int, **fields) -> list[dict]:
    return [{"id": str(index), **fields} for index in range(number)]


def test_a_renamed_field_is_gone_and_new():
    before = of_json({"items": rows(40, title_en="T")})
    now = of_json({"items": rows(40, label_en="T")})
    assert compare(before, now) == ShapeDifference(("items[].title_en",), ("items[].label_en",))


def test_a_renamed_list_is_named_once_and_not_its_fields():
    before = of_json({"items": rows(5, title="T")})
    now = of_json({"results": rows(5, title="T")})
    assert compare(before, now) == ShapeDifference(("items[]",), ("results[]",))


def test_a_list_that_became_an_object_differs():
    before, now = of_json({"items": rows(5)}), of_json({"items": rows(1)[0]})
    assert compare(before, now) == ShapeDifference(("items[]",), ("items",))


def test_an_empty_list_shows_no_change():
    assert not compare(of_json({"items": rows(5, a=1)}), of_json({"items": []}))


def test_a_field_that_only_has_empty_values_now_is_gone():
    before, now = of_json(rows(5, level="6")), of_json(rows(5, level=None))
    assert compare(before, now).gone == ("[].level",)


def test_a_field_of_some_records_may_be_missing_by_chance():
    some = [{"id": "1", "note": "x"}, *rows(4)]
    assert not compare(of_json(some), of_json(rows(2)))
    many = merge(of_json(rows(9, note="x")), of_json(rows(1)))
    assert compare(many, of_json(rows(3))).gone == ("[].note",)


def test_a_change_inside_xml_names_the_elements_and_attributes():
    before = of_xml('<r xmlns="u"><a id="1"><t lang="en">x</t></a><a id="2"><t>y</t></a></r>')
    now = of_xml('<r xmlns="u"><a nr="1"><label>x</label></a><a nr="2"><label>y</label></a></r>')
    found = compare(before, now)
    assert set(found.gone) == {"r.a/@id", "r.a.t"}
    assert set(found.new) == {"r.a/@nr", "r.a.label"}


def test_the_columns_of_a_table_are_fields():
    before = describe([DecodedDocument("csv", rows(3, name_en="x", level="6"))])
    now = describe([DecodedDocument("csv", rows(3, label_en="x", level="6"))])
    assert compare(before, now) == ShapeDifference(("(row).name_en",), ("(row).label_en",))


def test_a_table_without_its_header_shows_no_value():
    before = describe([DecodedDocument("csv", rows(3, name="x", level="6"))])
    now = describe([DecodedDocument("csv", [{"Aino": "Virtanen", "Lahti": "7"}])])
    found = compare(before, now)
    assert "Aino" not in str(found)
    assert found.new == ("*",)


@pytest.mark.parametrize(
    "key", ["19900101-123A", "aino.virtanen@example.org", "Aino Virtanen", "4711889", "x" * 90]
)
def test_a_key_that_may_be_a_value_is_not_named(key: str):
    shape = of_json({"students": {key: {"level": "6"}}})
    assert key not in str(shape)
    assert ("students.*", "level") in shape.names()


def test_no_value_is_in_a_shape():
    text = str(of_json({"items": rows(3, name="Aino Virtanen", born="1990-01-01")}))
    assert "Virtanen" not in text
    assert "1990" not in text


@pytest.mark.parametrize(
    "value",
    [
        {f"name_{chr(97 + index % 26)}{chr(97 + index // 26)}": 1 for index in range(190)},
        {f"k{index}": {"a": 1} for index in range(100_000)},
        [{f"f{one}{two}": [{"x": 1}] * 1_000 for two in range(10)} for one in range(1_000)],
    ],
)
def test_the_work_and_the_size_are_bounded(value):
    started = time.perf_counter()
    shape = of_json({"a": value, "b": value})
    assert time.perf_counter() - started < 0.2
    assert len(shape.names()) <= MAX_NAMES
    for _ in range(5):
        shape = merge(shape, of_json({"c": value}))
    assert len(shape.names()) <= MAX_NAMES


def test_deep_nesting_ends():
    value: dict = {}
    for _ in range(5_000):
        value = {"a": value}
    assert len(of_json(value).names()) < 300


def test_older_replies_count_less_and_are_forgotten():
    shape = of_json(rows(10, old="x"))
    for _ in range(60):
        shape = merge(shape, of_json(rows(10, young="x")))
    assert ("[]", "old") not in shape.names()
    assert compare(shape, of_json(rows(10, old="x"))).gone == ("[].young",)
