"""Run the targets of ``make fuzz`` for a few seconds.

The inputs are the seeds, the earlier findings, and random changes of both.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fuzz_seeds import DOCUMENT, SEEDS, VALUE
from tests.support.fuzz_targets import TARGETS

FOUND: dict[str, tuple[str, bytes]] = {
    "the last day of the year 9999": ("casts", bytes([20, 0]) + b"9999"),
    "a function of JMESPath on nothing": (
        "select",
        b"\0join('-', items[].id)\0" + VALUE.replace("items", "others").encode(),
    ),
    "a function of JMESPath on another type": (
        "select",
        b"\0join('-', items[].n)\0" + VALUE.encode(),
    ),
    "an XPath with control characters": ("select", b"\1hoo\x14l\0" + DOCUMENT.encode()),
    "a ZIP whose directory points before its start": (
        "decode",
        (
            b"\4\1PK\3\4\24\0\0\0\b\0Fxx]\xf0\x0f\xbaU\x11\0\0\0\xf0\0\0\0\5\0\0\0a.csv\xcbK\xceL\xb1\xccM\xe52\xb4\xae\xe0\xca%\x01l\0"
            b"PK\1\2\x14\3\x14\0\0\0\b\0Fxx]\xf0\x0f\xbaU\x11\0\0\0\xf0\0\0\0\5\0\0\0\0\0\0\0\0\0\0\0\x80\1\0\0\0\0a.csv"
            b"PK\5\6\0\0\0\0\1\0\1\x003\0\0\0\x80\1\0\0\0\0"
        ),
    ),
    "a ZIP with a file of no name": (
        "decode",
        (
            b"\4\1PK\3\4\24\0\0\0\b\0Fxx]\xf0\x0f\xbaU\x11\0\0\0\xf0\0\0\0\5\0\0\0a.csv\xcbK\xceL\xb1\xccM\xe52\xb4\xae\xe0\xca\x1c\1l\0"
            b"PK\1\2\x14\3\x14\0\0\0\b\0Fxx]\xf0\x0f\xbaU\x11\0\0\0\xf0\0\0\0\5\0\0\0\0\0\0\0\0\0\0\0\x80\1\0\0\0\0\0.csv"
            b"PK\5\6\0\0\0\0\1\0\1\x003\0\0\x004\0\0\0\0\0"
        ),
    ),
}
"""What fuzzing found, mended since: name, target, input."""


@pytest.mark.parametrize("name", FOUND)
def test_fuzz_findings_stay_fixed(name: str):
    target, data = FOUND[name]
    TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
def test_fuzz_seeds_are_accepted(target: str):
    for seed in SEEDS[target]:
        TARGETS[target](seed)


def spliced(seed: bytes, start: float, length: int, piece: bytes, cut: float) -> bytes:
    """Put a piece into a seed, over what stands there, and end it early."""
    at = 1 + int(start * max(len(seed) - 1, 1))
    made = seed[:at] + piece + seed[at + length :]
    return made[: int(len(made) * cut) + 1]


@pytest.mark.parametrize("target", TARGETS)
def test_mutated_seeds_end_in_a_value_or_an_expected_error(target: str):
    words = [
        b"[",
        b"{",
        b'"',
        b"'",
        b"<",
        b"&",
        b"\0",
        b"\n",
        b": ",
        b"-",
        b"9" * 30,
        b"\xff",
        "\u202e".encode(),
        b"NaN",
        b"<!DOCTYPE a>",
    ]

    @settings(
        max_examples=60 if target == "language" else 150,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.sampled_from(SEEDS[target]),
        st.floats(0, 1),
        st.integers(0, 20),
        st.sampled_from(words) | st.binary(max_size=12),
        st.floats(0.5, 1),
    )
    def holds(seed: bytes, start: float, length: int, piece: bytes, cut: float) -> None:
        TARGETS[target](spliced(seed, start, length, piece, cut))

    holds()
