"""An award that its holder agreed to share has the same pointer on the fast path."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gateway.messages.topics import POINTERS_TOPIC
from tests.support.equality import (
    MARCH,
    World,
    assert_same,
    differences,
    facts,
    fast_count,
    fetched,
)
from tests.support.every_kind import FORMATS, accepted, every_kind, raw_of

SKILL = "http://data.europa.eu/esco/skill/31a4e3b0-d0b4-4c7d-b1b2-3f8c5bd1a6a5"
CHANGES: dict[str, dict[str, Any]] = {
    "consent": {},
    "no consent": {"consent": False},
    "nothing about consent": {"consent": None},
    "no identifier": {"person": {"given": "Aino", "family": "Esimerkki"}},
    "an identifier of another form": {"person": {"esi": "urn:schac:other"}},
    "no day": {"awarded": None},
    "a certificate": {"type": "C"},
    "a micro-credential": {"type": "M", "micro": True},
    "a kind that no table has": {"type": "X"},
    "no assessment": {"exam": None},
    "attendance": {"exam": {"kind": "attendance"}},
    "a skill": {"outcomes": [{"text": "Reads maps", "kind": "skill", "skill": SKILL}]},
    "no skill of ESCO": {"outcomes": [{"text": "Reads maps", "skill": "https://x.example/1"}]},
    "no credits": {"credits": None},
    "no fields": {"fields": None},
    "no level": {"level": None},
    "a body without an identifier": {"body": {"name": "Example college", "country": "IE"}},
    "another body": {"body": {"name": "Other", "country": "IE", "pic": "900000018"}},
}


@pytest.mark.parametrize("form", FORMATS)
def test_pointers_are_the_same(form):
    """The awards follow each other twice, so that the second one meets what was remembered."""
    world = World({"every-kind": every_kind(form)})
    ordinary, fast = world.processor(fast=False), world.processor(fast=True)
    pointers = 0
    for number in range(3):
        for name, changes in CHANGES.items():
            payload = {**copy.deepcopy(accepted("awards")), **changes}
            raw = raw_of("awards", payload, form, native_id=f"{name} {number}", version=str(number))
            record = fetched(raw, timestamp=MARCH + 86_400_000 * number + 1)
            expected = facts(ordinary, record)
            assert_same(expected, facts(fast, record), record)
            pointers += any(
                topic == POINTERS_TOPIC and value
                for topic, _, _, value, *_ in expected.get("outgoing", ())
            )
    assert pointers > len(CHANGES)
    assert differences(fast) == 0
    assert fast_count(fast) > pointers // 2
