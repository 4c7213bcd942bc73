"""Rows 1, 3, 4, 5, 10, 15, 39, 44 and 45: faults of the gateway's process."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from gateway.kafka.transactions import TransactionalProducer
from gateway.messages.topics import RAW
from gateway.settings import Settings
from tests.support.fault_figures import note
from tests.support.fault_site import FAULTY, FaultSite, ended, frozen, until
from tests.support.oracle import assert_sound, hidden, judge, look, rest, settle

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(1800)]
Build = Callable[..., FaultSite]
KILLS = int(os.environ.get("GATEWAY_TEST_KILLS", "100"))
WORKING = "fenced poll-f"
"""What the log says once a worker owns its connector and begins to poll."""


def test_hundred_random_kills(build: Build) -> None:
    """Row 1. Each life is given new work, begins to poll, and is killed 20 to 1,200 ms later."""
    seed = int(os.environ.get("GATEWAY_TEST_SEED", "0")) or random.SystemRandom().randrange(
        1_000_000
    )
    chance = random.Random(seed)
    fault_site = build(1_500)
    for number in range(KILLS):
        fault_site.add(
            chance.randrange(10, 40), chance.choice(("degrees", "credits", "enrolments"))
        )
        if number % 3 == 0:
            fault_site.change(chance.randrange(1, 8), "credits")
        if number % 10 == 9:
            fault_site.delete(2, "degrees")
        started = time.monotonic()
        process = fault_site.start()
        fault_site.said(process, WORKING, 60)
        fault_site.recoveries.append(time.monotonic() - started)
        slowness = max(
            1.0, fault_site.recoveries[-1] / 2
        )  # a start takes two seconds where nobody else works
        time.sleep(chance.uniform(0.02, 1.2) * slowness)
        fault_site.kill(process)
        if number % 10 == 9:  # between two lives as well, not only at the end
            verdict = rest_between(fault_site)
            assert not verdict, f"after {number + 1} kills, seed {seed}: {verdict}"
    fault_site.start()
    verdict = settle(fault_site, 240)
    note(
        "1",
        f"SIGKILL x{KILLS} at random",
        fault_site,
        verdict,
        seed=seed,
        remark=hidden(fault_site),
    )
    assert_sound(verdict, 1_500)


def rest_between(fault_site: FaultSite) -> list[str]:
    """What must hold at any moment, even with nobody alive: nothing doubled, nothing torn, no cursor ahead of its records."""
    view = asyncio.run(look(fault_site))
    early = (
        "I1:",
        "I1/I4:",
    )  # an open transaction of a dead worker hides what came behind it; what is lost is lost at the end, too
    return [
        problem for problem in judge(fault_site, view).problems if not problem.startswith(early)
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_in_the_middle_of_a_page(build: Build, number: signal.Signals) -> None:
    """Row 3: what is in flight is finished or left, within ten seconds, and the exit code names the signal."""
    fault_site = build(400)
    process = fault_site.start()
    fault_site.said(process, WORKING)
    time.sleep(0.7)
    started = time.monotonic()
    process.send_signal(number)
    assert ended(process, 20) == 128 + number, fault_site.log(process)
    took = time.monotonic() - started
    assert took < 12
    assert not rest_between(fault_site)
    fault_site.start()
    verdict = settle(fault_site)
    assert_sound(verdict, 400)
    note(
        "3",
        f"{number.name} in the middle of a page",
        fault_site,
        verdict,
        remark=f"ended in {took:.1f} s",
    )


@pytest.mark.parametrize(
    "failpoint", ["poll:before-commit:3:stop", "harmonise:before-commit:2:stop"]
)
def test_worker_frozen_before_commit_wakes_after_takeover(build: Build, failpoint: str) -> None:
    """Row 4: the one that wakes up commits nothing any more."""
    fault_site = build(300)
    first = fault_site.start(failpoint)
    frozen(first, 60)
    second = fault_site.start(GATEWAY_INSTANCE="second")
    fault_site.said(second, WORKING, 60)
    fault_site.add(60)
    until(lambda: '"polled"' in fault_site.log(second), 90)
    time.sleep(3)
    first.send_signal(signal.SIGCONT)
    fault_site.add(60)
    verdict = settle(fault_site)
    assert_sound(verdict, 400)
    note(
        "4",
        f"frozen at {failpoint.rsplit(':', 2)[0]}, woken beside its successor",
        fault_site,
        verdict,
    )


def test_two_workers_of_one_connector(build: Build) -> None:
    """Row 5: one of them owns it, the other waits; both have the same instance name, the worst an operator can do."""
    fault_site = build(200)
    first = fault_site.start(GATEWAY_INSTANCE="one")
    second = fault_site.start(GATEWAY_INSTANCE="two")
    third = fault_site.start(GATEWAY_INSTANCE="one")
    for _ in range(6):
        fault_site.add(20)
        time.sleep(1)
    third.kill()
    third.wait()
    fenced = sum(fault_site.log(one).count('"outcome": "fenced"') for one in (first, second))
    verdict = settle(fault_site)
    assert_sound(verdict, 300)
    assert fenced < 20, "they take turns"
    note(
        "5",
        "three workers of one connector, two of one name",
        fault_site,
        verdict,
        remark=f"fenced {fenced} times",
    )


def test_workers_join_leave_and_die_during_a_batch(build: Build) -> None:
    """Row 15: two, three, one; one of them killed."""
    fault_site = build(600)
    first = fault_site.start(GATEWAY_INSTANCE="one")
    second = fault_site.start(GATEWAY_INSTANCE="two")
    fault_site.said(first, "fenced harmonise-", 60)
    fault_site.add(200)
    third = fault_site.start(GATEWAY_INSTANCE="three")
    fault_site.said(third, "fenced harmonise-", 60)
    fault_site.add(200, "credits")
    time.sleep(1)
    fault_site.kill(first)
    fault_site.add(100)
    second.terminate()
    assert ended(second, 25) == 143
    fault_site.add(100, "credits")
    verdict = settle(fault_site, 120)
    assert_sound(verdict, 1_000)
    note("15", "rebalance 2-3-1 in mid-batch, one killed", fault_site, verdict)


def test_full_log_disk(build: Build) -> None:
    """Row 10: every write of the log fails; the work goes on."""
    fault_site = build(150)
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen(
            [sys.executable, str(FAULTY), "run", fault_site.name],
            env=fault_site.environment | {"GATEWAY_KAFKA_BOOTSTRAP": fault_site.bootstrap},
            stdout=full,
            stderr=full,
            cwd=fault_site.folder,
        )
    fault_site.running.append(process)
    verdict = settle(fault_site)
    assert_sound(verdict, 150)
    assert process.poll() is None
    note("10", "log on a full disk", fault_site, verdict)


@pytest.mark.parametrize("files", [30, 45, 60])
def test_too_few_file_descriptors(build: Build, files: int) -> None:
    """Row 45: it fails or it works; afterwards, with enough of them, everything is there once."""
    fault_site = build(150)
    log = (fault_site.folder / "starved.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, str(FAULTY), "run", fault_site.name],
        env=fault_site.environment | {"GATEWAY_KAFKA_BOOTSTRAP": fault_site.bootstrap},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
        stdout=log,
        stderr=log,
        cwd=fault_site.folder,
    )
    time.sleep(15)
    code = process.poll()
    process.kill()
    process.wait()
    assert not rest_between(fault_site)
    fault_site.start()
    verdict = settle(fault_site)
    assert_sound(verdict, 150)
    note(
        "45",
        f"{files} file descriptors",
        fault_site,
        verdict,
        remark="went on" if code is None else f"ended with {code}",
    )


def test_open_transaction_of_a_dead_worker_blocks_readers_briefly(
    build: Build,
) -> None:
    """Row 39: nobody takes over; a subscriber of the same partitions is held back until the broker ends the transaction."""
    fault_site = build(100)
    first = fault_site.start()
    assert_sound(settle(fault_site), 100)
    fault_site.stop(first)
    second = fault_site.start("poll:before-commit:1:kill")
    fault_site.add(20)
    assert ended(second) == -signal.SIGKILL
    took = held_back(fault_site)
    note(
        "39",
        "open transaction of a dead worker",
        remark=f"readers were held back {took:.0f} s; limit 32 s",
    )
    assert took < 32
    fault_site.start()
    assert_sound(settle(fault_site), 120)


def held_back(fault_site: FaultSite) -> float:
    """Return how long a transaction stays open on the raw topic."""
    assert is_open(fault_site), "no transaction is open"
    return until(lambda: not is_open(fault_site), 60)


def is_open(fault_site: FaultSite) -> bool:
    """Say whether the last stable offset of some partition of the raw topic is below its end."""

    async def ends(isolation: str) -> dict[TopicPartition, int]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=fault_site.bootstrap, isolation_level=isolation
        )
        await consumer.start()
        try:
            return await consumer.end_offsets(
                [TopicPartition(RAW.name, number) for number in range(RAW.partitions)]
            )
        finally:
            await consumer.stop()

    return asyncio.run(ends("read_committed")) != asyncio.run(ends("read_uncommitted"))


def test_planted_long_transaction_timeout_is_detected(build: Build) -> None:
    """The defect of row 39: with Kafka's own limit of fifteen minutes the readers are still held back after the time we promise."""
    fault_site = build(60)
    process = fault_site.start("poll:before-commit:1:kill", "long-timeout")
    assert ended(process) == -signal.SIGKILL
    deadline = time.monotonic() + 34
    while time.monotonic() < deadline:
        assert is_open(fault_site), "the planted defect was not seen"
    note("0", "planted: long-timeout", remark="caught: readers still held back after 34 s")
    fault_site.start()
    assert_sound(settle(fault_site), 60)


@pytest.mark.parametrize("hours", [2, -2])
def test_clock_jump_of_the_gateway(build: Build, hours: int) -> None:
    """Row 44: a wrong clock may delay, it may not lose. Waiting goes by the monotonic clock."""
    fault_site = build(100)
    first = fault_site.start(GATEWAY_TEST_CLOCK=str(hours))
    fault_site.said(first, '"polled"', 60)
    fault_site.add(30)
    time.sleep(4)
    fault_site.kill(first)
    fault_site.add(30)
    fault_site.start()
    fault_site.add(10)
    verdict = settle(fault_site, 60)
    note("44", f"clock {hours:+d} h, then right again", fault_site, verdict)
    assert_sound(verdict, 160)


def test_planted_stop_without_drain_is_detected(build: Build) -> None:
    """The defect of row 3."""
    fault_site = build(60)
    process = fault_site.start(defect="no-handler")
    fault_site.said(process, WORKING)
    process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(12)
    note("0", "planted: no-handler", remark="caught: still running 12 s after SIGTERM")


def test_planted_final_fence_is_detected(build: Build) -> None:
    """The defect of row 7: somebody fences a stream once, and it never works again."""
    fault_site = build(60)
    process = fault_site.start(defect="fence-is-fatal")
    fault_site.said(process, '"polled"')

    async def fence() -> None:
        stranger = TransactionalProducer(
            Settings(kafka_bootstrap=fault_site.bootstrap),
            f"poll-{fault_site.name}-degrees",
            "poll",
        )
        await stranger.fence()
        await stranger.close()

    asyncio.run(fence())
    fault_site.add(20)
    verdict = rest(fault_site)
    assert any("did not settle" in problem for problem in verdict.problems), verdict
    note("0", "planted: fence-is-fatal", remark=f"caught: {verdict.problems[0][:80]}")
