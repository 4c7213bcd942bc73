"""Run the targets of ``make fuzz`` for a few seconds.

The inputs are the seeds, the earlier findings, and random changes of both.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.fetch import push_receiver
from tests.support import fuzz_budget, fuzz_push
from tests.support.fuzz_mutations import mutate
from tests.support.fuzz_seeds import DOCUMENT, SEEDS, VALUE
from tests.support.fuzz_targets import TARGETS

FOUND: dict[str, tuple[str, bytes]] = {
    "a call of HTTP 0.9": ("push", b"\1\0\0GET /json?1\r\nHost: localhost\r\n\r\n"),
    "a call of HTTP 0.9 with an expectation": (
        "push",
        b"\1\0\0GET /json HTTP/0.9\r\nHost: localhost\r\nExpect: a\r\n\r\n",
    ),
    "a signed part whose namespace is no absolute address": (
        "signed_messages",
        (
            b"\1\3\4\t\3\t\3nullnullnull\xeeullnullnullnullnullnullnullnullnullnullnulln]9999-12-31T24:0"
            b"\1\x050\0?\xc8\x0b\1\x85"
        ),
    ),
    "a number with a format that is none": ("templates", b"/a/{page:pa'e}?s={size:%Y}"),
    "a width in the digits of another script": (
        "templates",
        "{page:\u0661\u0662\u0661\u0662999}".encode(),
    ),
    "the last day of the year 9999": ("casts", bytes([20, 0]) + b"9999"),
    "a function of JMESPath on nothing": (
        "select",
        b"\0join('-', items[].id)\0" + VALUE.replace("items", "others").encode(),
    ),
    "a function of JMESPath on another type": (
        "select",
        b"\0join('-', items[].n)\0" + VALUE.encode(),
    ),
    "a marked section of an unknown kind in markup": ("casts", b"\x02\xfe<![DOCTYPE [x]>"),
    "a marked section of an entity in markup": ("casts", b"\x02\xfea <![ %e; [x]]> b"),
    "a host with an IPv6 address": ("addresses", b"http://[::1]"),
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
EXAMPLES = {"language": 30, "push": 30, "signed_messages": 40, "signed_documents": 40}
"""The numbers of inputs of the slow targets."""
PLANTED = """
import re, sys, types
sys.path[:0] = [{root!r}, {root!r} + "/tests/fuzz"]
def slow(data): re.fullmatch(b"(a|a)*b", b"a" * 60)
def hungry(data): bytearray(900_000_000)
def wrong(data): {{}}[data]
for name, table in (("targets", "TARGETS"), ("seeds", "SEEDS")):
    module = sys.modules["tests.support.fuzz_" + name] = types.ModuleType(name)
    setattr(module, table, {{"planted": {kind} if name == "targets" else [b"seed"]}})
import run_fuzz
sys.argv[1:] = []
run_fuzz.fuzz_here("planted", [*run_fuzz.LIMITS, "-timeout=2", "-runs=100", "-artifact_prefix={place}/"])
"""
"""A target with a fault, run as ``make fuzz`` runs the others."""


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
        max_examples=EXAMPLES.get(target, 100),
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


@pytest.mark.parametrize("target", TARGETS)
def test_inputs_with_a_changed_structure_end_as_expected(target: str):
    chance = random.Random(7)
    for _ in range(EXAMPLES.get(target, 100)):
        seed = chance.choice(SEEDS[target])
        TARGETS[target](mutate(seed, chance, SEEDS[target], 4096))


def test_same_random_numbers_change_an_input_alike():
    changed = [
        [mutate(seed, random.Random(3), SEEDS["push"], 4096) for seed in SEEDS["push"]]
        for _ in range(2)
    ]
    assert changed[0] == changed[1]
    assert changed[0] != SEEDS["push"]


# --- planted faults


@pytest.mark.parametrize("kind", ["slow", "hungry", "wrong"])
def test_run_saves_the_input_of_a_planted_fault(kind: str, tmp_path: Path):
    script = PLANTED.format(root=str(Path(__file__).parents[2]), kind=kind, place=tmp_path)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode, done.stderr
    assert list(tmp_path.iterdir()), done.stderr


def test_budget_names_a_slow_input(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fuzz_budget, "MAX_SECONDS", 0.05)

    def spin(data: bytes) -> None:
        ends = time.process_time() + 0.2
        while time.process_time() < ends:
            pass

    with pytest.raises(AssertionError, match=r"0\.\d s"):
        fuzz_budget.within_budget(spin)(b"")


def test_budget_names_an_input_that_takes_much_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fuzz_budget, "MAX_KILOBYTES", 50_000)

    def fill(data: bytes) -> None:
        bytearray(b"x") * (fuzz_budget._peak() * 1024 + 100_000_000)

    with pytest.raises(AssertionError, match="kB"):
        fuzz_budget.within_budget(fill)(b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nTraceback",
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"oops",
    ],
)
def test_answer_that_is_not_well_formed_is_a_finding(answer: bytes):
    with pytest.raises(AssertionError):
        fuzz_push.read_answers(answer)


@pytest.mark.parametrize("fault", ["status", "log", "exception"])
def test_fault_of_the_push_port_is_a_finding(fault: str, monkeypatch: pytest.MonkeyPatch):
    async def broken(self, request):
        if fault == "exception":
            raise KeyError("planted")
        if fault == "log":
            push_receiver.log.error("planted")
        return web.Response(status=501 if fault == "status" else 200)

    fuzz_push.push(SEEDS["push"][0])
    monkeypatch.setattr(push_receiver.PushReceiver, "handle", broken)
    with pytest.raises(AssertionError):
        fuzz_push.push(SEEDS["push"][0])
