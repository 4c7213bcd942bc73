"""Run each planted defect in the scenario that exposes it, and expect the verifier to fail.

These tests prove that the verifier can fail.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest

from tests.support.fault_figures import note
from tests.support.fault_site import STREAMS, Arena, ended, frozen, until
from tests.support.oracle import Verdict, look, rest
from tests.support.planted_defects import DEFECTS, GO_ON

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
Build = Callable[..., Arena]


def caught(defect: str, arena: Arena, verdict: Verdict, *expected: str) -> None:
    """Assert that the verifier complains, and of the right thing."""
    found = "\n".join(verdict.problems)
    assert verdict.problems, f"{defect} ({DEFECTS[defect].says}) was not caught: {verdict}"
    assert any(text in found for text in expected), (
        f"{defect} was caught for another reason: {verdict}"
    )
    note("0", f"planted: {defect}", remark=f"caught: {verdict.problems[-1][:90]}")


def killed(arena: Arena, failpoint: str, defect: str) -> None:
    process = arena.start(failpoint, defect)
    assert ended(process) == -signal.SIGKILL, arena.log(process)


def raw(arena: Arena) -> int:
    return len(asyncio.run(look(arena)).raw)


def test_planted_separate_cursor_commit_is_detected(build: Build) -> None:
    arena = build(150)
    killed(arena, "poll:before-commit:6:kill", "cursor-apart")
    arena.start(defect="cursor-apart")
    caught("cursor-apart", arena, rest(arena, 2), "are not on", "ahead of")


@pytest.mark.slow
class TestPlanted:
    """The others, in ``make faults``."""

    def test_planted_separate_offset_commit_is_detected(self, build: Build) -> None:
        arena = build(150)
        killed(arena, "harmonise:after-commit:1:kill", "offsets-apart")
        arena.start(defect="offsets-apart")
        caught("offsets-apart", arena, rest(arena), "I2/I8")

    @pytest.mark.parametrize(
        "failpoint", ["poll:after-commit:2:raise", "harmonise:after-commit:2:raise"]
    )
    def test_planted_assumed_abort_is_detected(self, build: Build, failpoint: str) -> None:
        arena = build(150)
        arena.start(failpoint, "assume-aborted")
        caught("assume-aborted", arena, rest(arena), "I2")

    @pytest.mark.parametrize(
        "failpoint", ["poll:before-commit:2:raise", "harmonise:before-commit:2:raise"]
    )
    def test_planted_dropped_batch_is_detected(self, build: Build, failpoint: str) -> None:
        arena = build(150)
        process = arena.start(failpoint, "drop-batch")
        arena.said(process, "failpoint ")
        arena.add(80)  # what follows takes the position past what was dropped
        caught("drop-batch", arena, rest(arena), "are not on", "are missing below")

    def test_planted_missing_reread_is_detected(self, build: Build) -> None:
        arena = build(150)
        process = arena.start("harmonise:before-commit:1:raise", "no-reseek")
        arena.said(process, "failpoint ")
        arena.add(40)
        caught("no-reseek", arena, rest(arena), "are missing below", "did not settle")

    def test_planted_in_memory_digests_are_detected(self, build: Build) -> None:
        arena = build(60, overlap="400d")
        first = arena.start(defect="memory-dedupe")
        arena.said(first, '"polled"')
        arena.kill(first)
        arena.start(defect="memory-dedupe")
        caught("memory-dedupe", arena, rest(arena), "I2", "I8")

    def test_planted_read_uncommitted_is_detected(self, build: Build) -> None:
        arena = build(150)
        killed(arena, "poll:after-flush:3:kill", "read-uncommitted")
        arena.start(defect="read-uncommitted")
        caught("read-uncommitted", arena, rest(arena), "are not on", "ahead of")

    def test_planted_random_transactional_id_is_detected(self, build: Build) -> None:
        arena = build(150)
        first = arena.start("poll:before-commit:2:stop", "random-id")
        frozen(first)
        second = arena.start(defect="random-id", GATEWAY_INSTANCE="second")
        until(lambda: arena.log(second).count('"polled"') >= 2, 90)
        first.send_signal(signal.SIGCONT)
        caught("random-id", arena, rest(arena), "I2")

    def test_planted_cursor_read_before_fence_is_detected(self, build: Build) -> None:
        """The predecessor has a page in hand and no transaction open; it commits between the read and the fence of its successor."""
        arena = build(150)
        first = arena.start("poll:before-begin:2:stop")
        frozen(first)
        second = arena.start(defect="cursor-before-fence", GATEWAY_INSTANCE="second")
        until(lambda: arena.log(second).count("defect: cursor read") >= len(STREAMS), 90)
        before = raw(arena)
        first.send_signal(signal.SIGCONT)
        until(lambda: raw(arena) > before, why=lambda: "the predecessor did not commit its page")
        arena.kill(first)
        (arena.folder / GO_ON).touch()
        caught("cursor-before-fence", arena, rest(arena), "I2")

    def test_planted_crash_on_poison_record_is_detected(self, build: Build) -> None:
        arena = build(150)
        for _ in range(2):
            assert ended(arena.start(defect="crash-on-poison")) == 1
        caught("crash-on-poison", arena, rest(arena), "did not settle")

    @pytest.mark.usefixtures("small_credentials")
    def test_planted_unawaited_sends_are_detected(self, build: Build) -> None:
        arena = build(100)
        arena.start(defect="unawaited-sends")
        caught("unawaited-sends", arena, rest(arena), "are missing below")
