"""Check that compiled JMESPath expressions find the same values as the jmespath library."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import jmespath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jmespath.exceptions import JMESPathError

from gateway.config.expressions.jmespath_compiler import compile_tree

NAMES = ["a", "b", "code", "type"]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, 2, 0.0, 1.5, Decimal(0), Decimal("1.5"), "", "x", "ects", "0"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=14,
)
_literals = st.sampled_from(
    ["'x'", "'ects'", "''", "`0`", "`1`", "`true`", "`false`", "`null`", "`[]`", "`1.5`"]
)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    name = st.sampled_from(NAMES)
    test = (
        st.builds(
            "{} {} {}".format, inner, st.sampled_from(["==", "!=", "<", ">="]), inner | _literals
        )
        | inner
    )
    return st.one_of(
        st.builds("{}.{}".format, inner, name),
        st.builds("{}[{}]".format, inner, st.integers(-3, 3)),
        st.builds("{}[]".format, inner),
        st.builds("{}[*].{}".format, inner, name),
        st.builds("{}[?{}]".format, inner, test),
        st.builds("{}[?{}].{}".format, inner, test, name),
        st.builds("({} || {})".format, inner, inner | _literals),
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} | {})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("length({})".format, inner),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("{}[0:2]".format, inner),
        st.builds("{}.*".format, inner),
    )


expressions = st.recursive(st.sampled_from([*NAMES, "@"]), _grown, max_leaves=6)


def both(text: str, value: Any) -> None:
    try:
        parsed = jmespath.compile(text)
    except JMESPathError:
        return
    find = compile_tree(parsed.parsed)
    try:
        expected = parsed.search(value)
    except (JMESPathError, TypeError) as error:
        with pytest.raises(type(error)):
            find(value)
        return
    assert repr(find(value)) == repr(expected), text


@settings(max_examples=400, deadline=None)
@given(expressions, values)
def test_compiled_jmespath_equals_the_library(text: str, value: Any) -> None:
    both(text, value)


@pytest.mark.parametrize(
    "text",
    [
        "a || b",
        "a.b[?type=='ects'].code | [0]",
        "a[?type=='x' || code=='x'].b",
        "a[?type]",
        "a[].b[]",
        "[a, b][]",
        "a[?b==`0`]",
        "a[?b==`false`]",
        "items || [@]",
    ],
)
@settings(max_examples=25, deadline=None)
@given(values)
def test_jmespath_of_shipped_connectors_is_compiled(text: str, value: Any) -> None:
    both(text, value)
