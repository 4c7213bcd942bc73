"""Records that hypothesis makes have the result of the ordinary way.

Each example is a list of records of one stream. They arise from an accepted record: hypothesis
replaces, removes, repeats, moves and exchanges values at any places. ``EQUALITY_EXAMPLES`` is the
number of examples of a stream.
"""

from __future__ import annotations

import copy
import os
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.equality import Process, World, assert_equal_way, facts, fetched
from tests.support.equality_neighbours import (
    ODD_VALUES,
    Place,
    places,
    relatives,
    value_at,
    with_value,
    without,
)
from tests.support.every_kind import FORMATS, KINDS, Format, accepted, every_kind, raw_of

pytestmark = pytest.mark.slow
"""``make equality`` runs these tests."""

EXAMPLES = int(os.environ.get("EQUALITY_EXAMPLES", "400"))
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.integers(0, 400),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-1000, 1000, places=3).map(float),
    TEXTS,
    st.dates().map(str),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.sampled_from(ODD_VALUES),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(("en", "lv", "value", "text", "code", "x")), inner, max_size=3),
    ),
    max_leaves=5,
)  # fmt: skip


@st.composite
def changed_payloads(draw: st.DrawFn, kind: str) -> Any:
    """Return an accepted payload with up to four changes."""
    payload: Any = accepted(kind)
    for _ in range(draw(st.integers(1, 4))):
        known = list(places(payload))
        if not known:
            break
        payload = draw(changes(payload, draw(st.sampled_from(known)), known))
    return payload


@st.composite
def changes(draw: st.DrawFn, payload: Any, place: Place, known: list[Place]) -> Any:
    """Return a payload with one change at a place."""
    value = value_at(payload, place)
    match draw(st.integers(0, 5)):
        case 0:
            return without(payload, place)
        case 1:
            return with_value(payload, place, draw(VALUES))
        case 2:
            near = relatives(value)
            return with_value(payload, place, draw(st.sampled_from(near))) if near else payload
        case 3:
            other = draw(st.sampled_from(known))
            return with_value(payload, place, copy.deepcopy(value_at(payload, other)))
        case 4:
            other = draw(st.sampled_from(known))
            if other[: len(place)] == place or place[: len(other)] == other:
                return payload
            return with_value(with_value(payload, place, value_at(payload, other)), other, value)
        case _:
            return with_value(payload, place, draw(SCALARS))


@cache
def processors(form: Format) -> tuple[Process, Process]:
    """Return the ordinary way, and a fast one that remembers the records of earlier examples."""
    world = World({"every-kind": every_kind(form)})
    return world.processor(fast=False), world.processor(fast=True)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_made_records(kind: str, form: Format):
    """Any values at any places, with accepted records between them."""
    ordinary, fast = processors(form)
    base = fetched(raw_of(kind, accepted(kind), form))
    plain = facts(ordinary, base)
    assert plain["outcome"] == "accepted"

    @settings(max_examples=EXAMPLES)
    @given(st.lists(changed_payloads(kind), min_size=1, max_size=6))
    def check(payloads: list[Any]) -> None:
        assert_equal_way(fast, plain, base)
        for payload in payloads:
            try:
                record = fetched(raw_of(kind, payload, form))
            except (msgspec.MsgspecError, UnicodeError):
                continue  # a value that no registry can send
            expected = facts(ordinary, record)
            for turn in range(2):
                assert_equal_way(fast, expected, record, turn)
        assert_equal_way(fast, plain, base, 1)

    check()


@pytest.mark.parametrize("form", FORMATS)
def test_made_amounts_and_days(form: Format):
    """Any day, amount, hours and months, as awards have them: the commonest records."""
    ordinary, fast = processors(form)

    @settings(max_examples=2 * EXAMPLES)
    @given(
        st.sampled_from(("programmes", "courses", "awards", "credentials")),
        st.dates(),
        st.one_of(st.integers(0, 500), st.decimals(0, 400, places=2).map(float)),
        st.sampled_from(("ECTS", "ects", "FET credit", "op", None)),
        st.sampled_from(("HE", "VET", "GEN", None)),
        st.one_of(st.none(), st.integers(-1, 20_000)),
        st.one_of(st.none(), st.integers(-1, 200)),
        st.sampled_from(("1", "5", "6", "7", "8", "9", "10", "x", None)),
        st.sampled_from(("NFQ", "nfq", "FETAC", None)),
        st.sampled_from(("6", 6, "7", "9", None)),
    )
    def check(kind, day, amount, unit, sector, hours, months, level, scheme, eqf) -> None:
        payload = accepted(kind) | {
            "credits": {"value": amount, "unit": unit, "sector": sector, "hours": hours},
            "level": {"scheme": scheme, "value": level, "eqf": eqf},
            "months": months,
            "begins": f"{day:%d.%m.%Y}",
            "awarded": day.isoformat(),
            "ends": None,
        }
        record = fetched(raw_of(kind, payload, form))
        expected = facts(ordinary, record)
        for turn in range(2):
            assert_equal_way(fast, expected, record, turn)

    check()
