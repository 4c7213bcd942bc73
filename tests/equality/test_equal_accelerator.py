"""The accelerator changes no byte: a process without it gives the same results."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys

import pytest

from gateway import accelerator
from tests.equality.test_equal_changed_bytes import changed
from tests.support.equality import ROOT, World, facts, fetched
from tests.support.equality_neighbours import neighbours
from tests.support.equality_records import (
    BENCH_SETS,
    CONNECTORS,
    JOB,
    bench_records,
    inline_records,
)
from tests.support.every_kind import FORMATS, KINDS, accepted, every_kind, raw_of, raw_of_body

PLAIN = (
    "import sys; sys.modules['qualification_gateway_speed'] = None; "
    "from tests.equality.test_equal_accelerator import digests; "
    "from gateway import accelerator; assert not accelerator.is_used; "
    "print('\\n'.join(digests()))"
)
"""A program that cannot import the accelerator and prints the digests."""


def digests() -> list[str]:
    """Return a digest of all results of each source of records, both ways."""
    found = []
    for fast in (False, True):
        for name, (world, records) in _sources().items():
            process = world.processor(fast=fast)
            state = hashlib.sha256()
            for record in records:
                state.update(repr(facts(process, record)).encode())
            found.append(f"{name} {'fast' if fast else 'ordinary'} {state.hexdigest()}")
    return found


def _sources():
    dice = random.Random(7)
    sources = {
        f"benchmark {kind}": (
            World({JOB.connector: JOB}),
            [fetched(raw) for raw in bench_records(kind, 300)],
        )
        for kind in BENCH_SETS
    }
    sources["inline"] = (
        World(CONNECTORS),
        [fetched(raw) for name in CONNECTORS for raw in inline_records(name)],
    )
    for form in FORMATS:
        raws = [raw_of(kind, accepted(kind), form) for kind in KINDS]
        raws += [
            raw_of(kind, payload, form)
            for kind in KINDS
            for _, payload in list(neighbours(accepted(kind)))[::13]
        ]
        raws += [
            raw_of_body(kind, changed(raw_of(kind, accepted(kind), form).body or b"", dice), form)
            for kind in KINDS
            for _ in range(200)
        ]
        world = World({"every-kind": every_kind(form)})
        sources[f"every kind {form}"] = world, [fetched(raw) for raw in raws]
    return sources


@pytest.mark.skipif(not accelerator.is_used, reason="the accelerator is not installed")
def test_accelerator_changes_no_byte():
    """Both ways with the accelerator, and both ways in a process without it."""
    plain = subprocess.run(
        [sys.executable, "-c", PLAIN], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert plain.returncode == 0, plain.stderr[-2000:]
    assert [line for line in plain.stdout.splitlines() if line[-64:].isalnum()] == digests()
