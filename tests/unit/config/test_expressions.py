"""Check that built-in and compiled expressions select the same values.

Mistakes in an expression are reported when it is loaded.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from gateway.config.expressions.compiler import ExpressionError, compile_expression, text_of
from gateway.config.expressions.template import MissingValue, parse_template
from gateway.errors import StreamHalted

NS = {"r": "urn:r"}
XML = etree.fromstring(
    '<r:a xmlns:r="urn:r" id="1"><r:b k="x"><r:c>one</r:c><r:c l="nl">two</r:c></r:b><d>plain</d></r:a>'
)
JSON: dict[str, Any] = {
    "a": {"b": [{"c": 1}, {"c": None}, {"c": 3}], "ä": "x"},
    "with blank": "y",
    "n": None,
    "f": False,
    "lists": [[{"c": 5}], [{"c": 6}]],
    "one": [{"list": [7, 8]}],
}


@pytest.mark.parametrize(
    ("text", "plain", "found"),
    [
        ("r:b/r:c", True, ["one", "two"]),
        ("r:b/@k", True, ["x"]),
        ("@id", True, ["1"]),
        ("r:b/r:c[@l='nl']", True, ["two"]),
        ("d", True, ["plain"]),
        ("r:b/r:c/text()", True, ["one", "two"]),
        ("//r:c[2]", False, ["two"]),
        ("string(r:b/@none)", False, []),
        ("boolean(//d)", False, ["true"]),
        ("r:b[@k=$kept]/r:c[1]", False, ["one"]),
        ("$kept", True, ["x"]),
        ("number(d)", False, []),
    ],
)
def test_xpath(text: str, plain: bool, found: list[str]) -> None:
    select = compile_expression("xml", text, NS)
    assert select.is_direct_path is plain
    assert [text_of(value) for value in select(XML, {"kept": "x"})] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.b[].c", [1, 3]),
        ("lists[].c", [5, 6]),
        ("lists[][]", [{"c": 5}, {"c": 6}]),
        ("one[].list", [[7, 8]]),
        ("a.b[0].c", [1]),
        ("a.b[-1].c", [3]),
        ("a.ä", ["x"]),
        ('"with blank"', ["y"]),
        ("n", []),
        ("f", [False]),
        ("none.at.all", []),
        ("a.b[?c==`3`].c | [0]", [3]),
        ("length(a.b)", [3]),
    ],
)
def test_jmespath(text: str, found: list[Any]) -> None:
    assert compile_expression("json", text)(JSON) == found


@pytest.mark.parametrize("text", ["//r:c", "//d", "//r:a", "//c", "//r:none", "//r:b", "//e"])
def test_a_name_anywhere_equals_the_engine(text: str) -> None:
    root = etree.fromstring(
        '<!-- a --><r:a xmlns:r="urn:r"><r:b><r:c>1<r:c>2</r:c></r:c><d/><?p?><!-- b --></r:b>'
        '<c/><r:c/><r:a><d xmlns="urn:r"/></r:a><e><e/></e></r:a><!-- c -->'
    )
    engine, walk = etree.XPath(text, namespaces=NS), compile_expression("xml", text, NS)
    for node in root.iter("*"):
        assert walk(node) == engine(node)
    inside = root[0]
    root.remove(inside)
    assert walk(inside) == engine(inside)


def test_column_may_have_any_name() -> None:
    assert compile_expression("csv", "Date de début (réelle)")({"Date de début (réelle)": "1"}) == [
        "1"
    ]


@given(
    st.lists(
        st.sampled_from(["a", "b", "a[]", "b[]", "a[0]", "b[-1]", "a[][]", "b[0][]"]),
        min_size=1,
        max_size=3,
    ),
    st.recursive(
        st.integers() | st.none(),
        lambda inner: st.dictionaries(st.sampled_from("ab"), inner) | st.lists(inner, max_size=2),
        max_leaves=12,
    ),
)
def test_direct_path_equals_the_engine(path: list[str], value: Any) -> None:
    import jmespath

    expected = jmespath.search(".".join(path), value)
    listed = (
        []
        if expected is None
        else [item for item in expected if item is not None]
        if isinstance(expected, list)
        else [expected]
    )
    assert compile_expression("json", ".".join(path))(value) == listed


@pytest.mark.parametrize(
    ("kind", "text", "code", "column"),
    [
        ("xml", "q:a", "undefined-prefix", 0),
        ("xml", "//r:a/q:b", "undefined-prefix", 6),
        ("xml", "a[", "bad-expression", 0),
        ("xml", "upper-case(a)", "unknown-function", 0),
        ("json", "a[?", "bad-expression", 3),
        ("json", "foo(@)", "unknown-function", 0),
        ("json", "length(a, b)", "bad-expression", 0),
    ],
)
def test_invalid_expression_fails_at_load(kind: Any, text: str, code: str, column: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(kind, text, NS)
    assert (caught.value.code, caught.value.column) == (code, column)


def test_templates_accept_names_only() -> None:
    assert (
        parse_template("/a/{id}?x={page:03d}&y={{id}}&z={ not one }").fill({"id": "1", "page": 7})
        == "/a/1?x=007&y={id}&z={ not one }"
    )
    assert parse_template("{x.y}{x[0]}").names == frozenset()
    with pytest.raises(MissingValue):
        parse_template("{cursor}").fill({})


@pytest.mark.parametrize(
    "text",
    ["{since:%99999999d}", "{since:%-9999999Y}", "{page:1000d}", "{page:\u0661\u0662\u0661\u0662}"],
)
def test_placeholder_with_a_vast_width_is_refused(text: str):
    values = {"since": datetime(2026, 1, 1, tzinfo=UTC), "page": 3}
    with pytest.raises(StreamHalted, match="more than 999 characters"):
        parse_template(text).fill(values)


def test_digits_beside_a_time_directive_are_no_width():
    values = {"since": datetime(2026, 1, 1, tzinfo=UTC)}
    assert parse_template("{since:%Y9999-%05d}").fill(values) == "20269999-00001"
