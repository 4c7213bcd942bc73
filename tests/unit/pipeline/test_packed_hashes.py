from __future__ import annotations

import random

from gateway.pipeline.packed_hashes import PackedHashes


def test_packed_hashes_behave_like_a_set() -> None:
    numbers = random.Random(7)
    packed, plain = PackedHashes(), set[int]()
    for _ in range(60_000):
        code = hash(("topic", numbers.randrange(20_000)))
        if numbers.random() < 0.6:
            packed.add(code)
            plain.add(code)
        else:
            packed.discard(code)
            plain.discard(code)
    assert len(packed) == len(plain)
    for number in range(20_000):
        code = hash(("topic", number))
        assert (code in packed) is (code in plain)


def test_packed_hashes_hold_the_smallest_and_the_largest_hash() -> None:
    packed = PackedHashes()
    for code in (-(2**63), 2**63 - 1, 0, -2):
        packed.add(code)
        packed.add(code)
    assert len(packed) == 4
    assert -(2**63) in packed
    assert 1 not in packed
