"""Rows 35 to 37: tables that change under a running gateway, and repeated work that is killed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import pytest

from gateway.messages.topics import REJECTIONS
from tests.support.fault_figures import note
from tests.support.fault_site import FAULTY, ROOT, Arena, ended, until
from tests.support.oracle import View, assert_sound, last, look, outcomes, settle

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]
Build = Callable[..., Arena]
KILLS = int(os.environ.get("GATEWAY_TEST_REPLAY_KILLS", "20"))


def test_table_broken_during_a_batch(build: Build) -> None:
    """Row 35: half-written, then nonsense; every record carries one digest of the tables, and the next start refuses the nonsense."""
    arena = build(200)
    mappings = arena.folder / "mappings"
    shutil.copytree(ROOT / "mappings", mappings)
    arena.environment["GATEWAY_MAPPINGS"] = str(mappings)
    table = next(
        path for path in sorted(mappings.rglob("*.yaml")) if path.stem.lower().startswith("fi")
    )
    good = table.read_text()
    process = arena.start()
    arena.said(process, "fenced harmonise-")
    table.write_text(good[: len(good) // 2] + "\n  half: [")
    arena.add(60)
    time.sleep(2)
    table.write_text("{{{ nonsense")
    arena.add(60, "credits")
    table_back = good
    time.sleep(1)
    view = wait(arena, 320)
    assert process.poll() is None, arena.log(process)
    digests = Counter(
        json.loads(found["provenance"]).get("tables_digest")
        for one in view.outputs
        if (found := dict(one.headers)).get("provenance")
    )
    assert len(digests) == 1, digests
    arena.stop(process)
    refused = arena.start()
    assert ended(refused) == 3, arena.log(refused)
    assert table.name in arena.log(refused)
    table.write_text(table_back)
    arena.start()
    verdict = settle(arena)
    assert_sound(verdict, 320)
    note(
        "35",
        "tables half-written and nonsense while running",
        arena,
        verdict,
        remark="one digest; next start exit 3",
    )


def wait(arena: Arena, count: int, seconds: float = 120):
    """Wait until so many raw records are there and delivered, without loading any table in this process."""
    deadline = time.monotonic() + seconds
    while True:
        view = asyncio.run(look(arena))
        if len(view.raw) >= count and not view.waiting:
            return view
        assert time.monotonic() < deadline, f"{len(view.raw)} raw records, {view.waiting} waiting"
        time.sleep(0.5)


def command(arena: Arena, *words: str) -> subprocess.CompletedProcess[str]:
    environment = arena.environment | {"GATEWAY_KAFKA_BOOTSTRAP": arena.bootstrap}
    return subprocess.run(
        [sys.executable, str(FAULTY), *words],
        env=environment,
        cwd=arena.folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_kills_during_a_replay(build: Build) -> None:
    """Rows 36 and 37: a mended table, and a replay that is asked for and killed; each rejection becomes one document and is gone."""
    seed = int(os.environ.get("GATEWAY_TEST_SEED", "0")) or random.SystemRandom().randrange(
        1_000_000
    )
    chance = random.Random(seed)
    arena = build(400)
    stood = mended(arena)
    for _ in range(KILLS):
        process = arena.start()
        arena.said(process, "fenced poll-f", 60)
        replay(arena)
        time.sleep(chance.uniform(0.0, 2.5))
        arena.kill(process)
    arena.start()
    view = accepted(arena)
    twice = doubled(view)
    assert not twice, f"{len(twice)} documents stand twice, such as {twice[0]}"
    assert {one.key for one in view.raw} == {
        f"{arena.name}|{served.id}".encode() for served in arena.registry.ledger
    }, "lost or invented"
    both = [key for key, kinds in outcomes(arena, view).items() if len(kinds) > 1]
    assert not both
    note(
        "37",
        f"SIGKILL x{KILLS} while {stood} rejections are replayed",
        arena,
        None,
        seed=seed,
        remark="lost 0, doubled 0",
    )


def test_planted_replay_without_waiting_is_detected(build: Build) -> None:
    """The planted defect of row 36: two replays while nobody harmonises."""
    arena = build(400)
    stood = mended(arena)
    before = len(asyncio.run(look(arena)).raw)
    poller = arena.start(roles="poll", defect="replay-at-once")
    for wanted in (before + stood, before + 2 * stood):
        replay(arena)
        until(lambda wanted=wanted: len(asyncio.run(look(arena)).raw) == wanted, 60)
    arena.stop(poller)
    arena.start()
    twice = doubled(accepted(arena))
    assert twice, "replay-at-once was not caught"
    note("0", "planted: replay-at-once", remark=f"caught: {len(twice)} documents stand twice")


def mended(arena: Arena) -> int:
    """Run the gateway while a row of a table is missing, stop it and put the row back; return how many records stand rejected for it."""
    arena.environment["GATEWAY_STOP_AFTER_REJECTED"] = (
        "0"  # nothing stops: they are to be rejected, all of them
    )
    file = arena.folder / "connectors" / f"{arena.name}.yaml"
    good = file.read_text()
    assert "degree: diploma, " in good
    file.write_text(good.replace("degree: diploma, ", ""))
    process = arena.start()
    stood = rejected(wait(arena, 400), b'"unmapped"')
    assert len(stood) > 100, "too few rejections for the test to mean anything"
    arena.stop(process)
    file.write_text(good)
    return len(stood)


def replay(arena: Arena) -> None:
    """Ask for a replay of what was unmapped."""
    done = command(arena, "rejections", "replay", "--connector", arena.name, "--reason", "unmapped")
    assert done.returncode == 0, done.stderr


def accepted(arena: Arena) -> View:
    """Wait until nothing stands rejected as unmapped and nothing waits; return what a subscriber sees then."""
    deadline = time.monotonic() + 180
    while True:
        view = asyncio.run(look(arena))
        still = rejected(view, b'"unmapped"')
        if not still and not view.waiting:
            return view
        assert time.monotonic() < deadline, f"{len(still)} still stand rejected"
        time.sleep(1)


def doubled(view: View) -> list[tuple[str, bytes, bytes]]:
    """Return the documents that were written twice."""
    events = Counter(
        (one.topic, one.key, dict(one.headers)["ce_id"])
        for one in view.outputs
        if one.topic != REJECTIONS.name
    )
    return [event for event, count in events.items() if count > 1]


def rejected(view: View, reason: bytes = b"") -> set[bytes]:
    """Records that stand rejected, by their raw key."""
    return {
        key
        for (topic, key), one in last(view).items()
        if topic == REJECTIONS.name and one.value and reason in one.value
    }
