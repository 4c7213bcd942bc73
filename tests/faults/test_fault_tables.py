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
from tests.support.fault_site import FAULTY, ROOT, FaultSite, ended, until
from tests.support.oracle import View, assert_sound, last, look, outcomes, settle

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]
Build = Callable[..., FaultSite]
KILLS = int(os.environ.get("GATEWAY_TEST_REPLAY_KILLS", "20"))


def test_table_broken_during_a_batch(build: Build) -> None:
    """Row 35: half-written, then nonsense; every record carries one digest of the tables, and the next start refuses the nonsense."""
    fault_site = build(200)
    mappings = fault_site.folder / "mappings"
    shutil.copytree(ROOT / "mappings", mappings)
    fault_site.environment["GATEWAY_MAPPINGS"] = str(mappings)
    table = next(
        path for path in sorted(mappings.rglob("*.yaml")) if path.stem.lower().startswith("fi")
    )
    good = table.read_text()
    process = fault_site.start()
    fault_site.said(process, "fenced harmonise-")
    table.write_text(good[: len(good) // 2] + "\n  half: [")
    fault_site.add(60)
    time.sleep(2)
    table.write_text("{{{ nonsense")
    fault_site.add(60, "credits")
    table_back = good
    time.sleep(1)
    view = wait(fault_site, 320)
    assert process.poll() is None, fault_site.log(process)
    digests = Counter(
        json.loads(found["provenance"]).get("tables_digest")
        for one in view.outputs
        if (found := dict(one.headers)).get("provenance")
    )
    assert len(digests) == 1, digests
    fault_site.stop(process)
    refused = fault_site.start()
    assert ended(refused) == 3, fault_site.log(refused)
    assert table.name in fault_site.log(refused)
    table.write_text(table_back)
    fault_site.start()
    verdict = settle(fault_site)
    assert_sound(verdict, 320)
    note(
        "35",
        "tables half-written and nonsense while running",
        fault_site,
        verdict,
        remark="one digest; next start exit 3",
    )


def wait(fault_site: FaultSite, count: int, seconds: float = 120):
    """Wait until so many raw records are there and delivered, without loading any table in this process."""
    deadline = time.monotonic() + seconds
    while True:
        view = asyncio.run(look(fault_site))
        if len(view.raw) >= count and not view.waiting:
            return view
        assert time.monotonic() < deadline, f"{len(view.raw)} raw records, {view.waiting} waiting"
        time.sleep(0.5)


def command(fault_site: FaultSite, *words: str) -> subprocess.CompletedProcess[str]:
    environment = fault_site.environment | {"GATEWAY_KAFKA_BOOTSTRAP": fault_site.bootstrap}
    return subprocess.run(
        [sys.executable, str(FAULTY), *words],
        env=environment,
        cwd=fault_site.folder,
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
    fault_site = build(400)
    stood = mended(fault_site)
    for _ in range(KILLS):
        process = fault_site.start()
        fault_site.said(process, "fenced poll-f", 60)
        replay(fault_site)
        time.sleep(chance.uniform(0.0, 2.5))
        fault_site.kill(process)
    fault_site.start()
    view = accepted(fault_site)
    twice = doubled(view)
    assert not twice, f"{len(twice)} documents stand twice, such as {twice[0]}"
    assert {one.key for one in view.raw} == {
        f"{fault_site.name}|{served.id}".encode() for served in fault_site.registry.ledger
    }, "lost or invented"
    both = [key for key, kinds in outcomes(fault_site, view).items() if len(kinds) > 1]
    assert not both
    note(
        "37",
        f"SIGKILL x{KILLS} while {stood} rejections are replayed",
        fault_site,
        None,
        seed=seed,
        remark="lost 0, doubled 0",
    )


def test_planted_replay_without_waiting_is_detected(build: Build) -> None:
    """The planted defect of row 36: two replays while nobody harmonises."""
    fault_site = build(400)
    stood = mended(fault_site)
    before = len(asyncio.run(look(fault_site)).raw)
    poller = fault_site.start(roles="poll", defect="replay-at-once")
    for wanted in (before + stood, before + 2 * stood):
        replay(fault_site)
        until(lambda wanted=wanted: len(asyncio.run(look(fault_site)).raw) == wanted, 60)
    fault_site.stop(poller)
    fault_site.start()
    twice = doubled(accepted(fault_site))
    assert twice, "replay-at-once was not caught"
    note("0", "planted: replay-at-once", remark=f"caught: {len(twice)} documents stand twice")


def mended(fault_site: FaultSite) -> int:
    """Run the gateway while a row of a table is missing, stop it and put the row back; return how many records stand rejected for it."""
    fault_site.environment["GATEWAY_STOP_AFTER_REJECTED"] = (
        "0"  # nothing stops: they are to be rejected, all of them
    )
    file = fault_site.folder / "connectors" / f"{fault_site.name}.yaml"
    good = file.read_text()
    assert "degree: diploma, " in good
    file.write_text(good.replace("degree: diploma, ", ""))
    process = fault_site.start()
    stood = rejected(wait(fault_site, 400), b'"unmapped"')
    assert len(stood) > 100, "too few rejections for the test to mean anything"
    fault_site.stop(process)
    file.write_text(good)
    return len(stood)


def replay(fault_site: FaultSite) -> None:
    """Ask for a replay of what was unmapped."""
    done = command(
        fault_site, "rejections", "replay", "--connector", fault_site.name, "--reason", "unmapped"
    )
    assert done.returncode == 0, done.stderr


def accepted(fault_site: FaultSite) -> View:
    """Wait until nothing stands rejected as unmapped and nothing waits; return what a subscriber sees then."""
    deadline = time.monotonic() + 180
    while True:
        view = asyncio.run(look(fault_site))
        still = rejected(view, b'"unmapped"')
        if not still and not view.waiting:
            return view
        assert time.monotonic() < deadline, f"{len(still)} still stand rejected"
        time.sleep(1)


def doubled(view: View) -> list[tuple[str, bytes, bytes]]:
    """Return the documents that were written twice."""
    events = Counter(
        (one.topic, one.key, dict(one.headers)["ce_contentid"])
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
