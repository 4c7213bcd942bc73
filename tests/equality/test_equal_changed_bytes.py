"""A record with changed bytes has the result of the ordinary way.

``EQUALITY_CHANGES`` is the number of changed records, at least 100,000 unless you set it, and
``EQUALITY_SEED`` selects others.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from gateway.records import RawRecord
from tests.support.equality import World, assert_equal_way, facts, fetched
from tests.support.equality_records import (
    CONNECTORS,
    JOB,
    bench_records,
    inline_records,
)
from tests.support.every_kind import FORMATS, KINDS, accepted, every_kind, raw_of

pytestmark = pytest.mark.slow
"""``make equality`` runs these tests."""

CHANGES = int(os.environ.get("EQUALITY_CHANGES", "100000"))
SEED = int(os.environ.get("EQUALITY_SEED", "20260301"))
BETWEEN = 40
"""After this many changed records, an unchanged one keeps the memories of the fast path warm."""
WORDS = (
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b"<", b">", b"&", b"/", b" ", b"\n", b"\t"),
    *(b"0", b"1", b"9", b"-", b"+", b".", b"e", b"E", b"a", b"A", b"\x00", b"\x7f", b"\xc3", b"\xff"),
    *(b"null", b"true", b"\\u0061", b"\\ud800", b"\xe2\x80\x8b", b"\xcc\x81", b"&#65;", b"<!---->"),
    *("ü".encode(), "Å«".encode(), b'","', b"]]>", b"<a/>", b"{}", b"[]", b'""', b"1.0", b"2020-02-30"),
)  # fmt: skip


def _bench(kind: str) -> Callable[[], tuple[World, list[RawRecord]]]:
    return lambda: (World({JOB.connector: JOB}), bench_records(kind, 60))


def _every_kind(form: str) -> Callable[[], tuple[World, list[RawRecord]]]:
    return lambda: (
        World({"every-kind": every_kind(form)}),
        [raw_of(kind, accepted(kind), form) for kind in KINDS],
    )


def _inline(*names: str) -> Callable[[], tuple[World, list[RawRecord]]]:
    return lambda: (
        World({name: CONNECTORS[name] for name in names}),
        [raw for name in names for raw in inline_records(name) if raw.body is not None],
    )


DEMO = ("demo-rest", "demo-soap", "demo-file")
SOURCES: dict[str, tuple[int, Callable[[], tuple[World, list[RawRecord]]]]] = {
    "few days and amounts": (15, _bench("few")),
    "any day and any amount": (15, _bench("any")),
    **{f"every kind as {form}": (25, _every_kind(form)) for form in FORMATS},
    "demo": (10, _inline(*DEMO)),
    "registries": (10, _inline(*(name for name in CONNECTORS if name not in DEMO))),
}
"""The share of all changes in percent, and the records that are changed."""


def changed(body: bytes, dice: random.Random) -> bytes:
    """Return a body with one to three changes at random places."""
    made = bytearray(body)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        place = dice.randrange(len(made)) if made else 0
        match dice.randrange(8):
            case 0 | 1 | 2 if made:
                made[place] ^= 1 << dice.randrange(8)
            case 3 if made:
                made[place] = dice.randrange(256)
            case 4 if made:
                del made[place : place + dice.choice((1, 1, 2, 5))]
            case 5:
                end = place + dice.choice((1, 2, 8, 30))
                other = dice.randrange(len(made) + 1)
                made[other:other] = made[place:end]
            case 6:
                word = dice.choice(WORDS)
                made[place : place + len(word)] = word
            case _:
                made[place:place] = dice.choice(WORDS)
    return bytes(made)


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("source", SOURCES)
def test_changed_bytes(source: str, half: int):
    """Flipped bits, and removed, repeated, overwritten and inserted bytes."""
    share, make = SOURCES[source]
    world, raws = make()
    ordinary, fast = world.processor(fast=False), world.processor(fast=True)
    dice = random.Random(f"{SEED} {source} {half}")
    found: Counter[str] = Counter()
    for number in range(CHANGES * share // 200):
        raw = dice.choice(raws)
        if number % BETWEEN == 0:
            record = fetched(raw)
            assert_equal_way(fast, facts(ordinary, record), record)
        record = fetched(replace(raw, body=changed(raw.body or b"", dice)))
        expected = facts(ordinary, record)
        assert_equal_way(fast, expected, record)
        found[expected.get("outcome", "exception")] += 1
    assert found["rejected"] > 0.1 * found.total()
    assert found["accepted"] > 0.05 * found.total()
