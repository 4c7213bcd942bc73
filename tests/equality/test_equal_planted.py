"""The comparison finds a memory whose key lacks what decides."""

from __future__ import annotations

import pytest

from gateway.pipeline.fast_path.entries import EntryMaker
from tests.support.equality import Comparison, World, fetched
from tests.support.every_kind import accepted, every_kind, raw_of


def test_a_key_without_the_day_is_found(monkeypatch: pytest.MonkeyPatch):
    """A level is remembered for all days, although the table has no answer for the earlier one."""
    payload = accepted("programmes") | {"level": {"scheme": "LKI", "value": "3"}, "ends": None}
    records = [
        fetched(raw_of("programmes", payload | {"begins": begins, "ends": ends}, "json"))
        for begins, ends in (("01.09.2023", "2025-01-01"), ("01.09.1990", "1991-01-01"))
    ]
    world = World({"every-kind": every_kind("json", "LV")})
    comparison = Comparison(world)
    comparison.assert_equal(records)
    monkeypatch.setattr(EntryMaker, "periods", lambda *_: (0, 0))
    with pytest.raises(AssertionError, match="pass 1"):
        comparison.assert_equal(records)
