"""Each rule still fires when the fast path remembers a neighbour that the rule accepts."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.rule_codes import RULES
from tests.equality.rule_cases import CASES, UNREACHABLE
from tests.support.equality import (
    ROOT,
    Process,
    World,
    assert_equal_way,
    facts,
    fetched,
    mapping_tables,
)
from tests.support.every_kind import FORMATS, Format, accepted, every_kind, raw_of

WITHOUT_TABLES = "AD"
"""A country whose accepted records have the codes of a country without tables, too."""


def test_every_rule_is_listed():
    """A new code needs a case here, or the reason why no record causes it."""
    codes = {str(code) for code in RULES}
    assert codes - CASES.keys() - UNREACHABLE.keys() == set()
    assert UNREACHABLE.keys() - codes == set()
    assert not UNREACHABLE.keys() & CASES.keys()


def codes_of(result: dict[str, Any]) -> set[str]:
    """Return the reason and the issues of a result."""
    return {result["reason"], *result["issues"]}


def world(form: Format, country: str) -> World:
    """Return a world with the tables of a country."""
    return World({"every-kind": every_kind(form, country)})


@cache
def ordinary_way(form: Format, country: str) -> Process:
    """Return a processor without a fast path."""
    return world(form, country).processor(fast=False, tables=mapping_tables())


@cache
def fast_tables() -> Tables:
    """Return the tables of all fast processors, which remember the outcomes of rules."""
    return Tables.load(ROOT / "mappings")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("code", CASES)
def test_rule_fires_after_accepted_records(code: str, form: Format):
    """The accepted record comes three times before the record that the rule is about."""
    country, stream, changes = CASES[code]
    if form == "xml" and code in {"control_character", "not_one_value"}:
        pytest.skip("XML has no such text")
    ordinary, fast = (
        ordinary_way(form, country),
        world(form, country).processor(fast=True, tables=fast_tables()),
    )
    good = fetched(raw_of(stream, accepted(stream), form))
    bad = fetched(raw_of(stream, accepted(stream) | changes, form))
    plain, expected = facts(ordinary, good), facts(ordinary, bad)
    assert plain["outcome"] == "accepted"
    assert code in codes_of(expected)
    assert code not in codes_of(plain) or country == WITHOUT_TABLES
    for turn in range(3):
        assert_equal_way(fast, plain, good, turn)
    for turn in range(3):
        assert_equal_way(fast, expected, bad, turn)
        assert_equal_way(fast, plain, good, turn)
