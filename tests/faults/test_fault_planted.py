"""Run each planted defect in the scenario that exposes it, and expect the verifier to fail.

These tests prove that the verifier can fail.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest

from tests.support.fault_figures import note
from tests.support.fault_site import STREAMS, FaultSite, ended, frozen, until
from tests.support.oracle import Verdict, look, rest
from tests.support.planted_defects import DEFECTS, GO_ON

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
Build = Callable[..., FaultSite]


def caught(defect: str, fault_site: FaultSite, verdict: Verdict, *expected: str) -> None:
    """Assert that the verifier complains, and of the right thing."""
    found = "\n".join(verdict.problems)
    assert verdict.problems, f"{defect} ({DEFECTS[defect].says}) was not caught: {verdict}"
    assert any(text in found for text in expected), (
        f"{defect} was caught for another reason: {verdict}"
    )
    note("0", f"planted: {defect}", remark=f"caught: {verdict.problems[-1][:90]}")


def killed(fault_site: FaultSite, failpoint: str, defect: str) -> None:
    process = fault_site.start(failpoint, defect)
    assert ended(process) == -signal.SIGKILL, fault_site.log(process)


def raw(fault_site: FaultSite) -> int:
    return len(asyncio.run(look(fault_site)).raw)


def test_planted_separate_cursor_commit_is_detected(build: Build) -> None:
    fault_site = build(150)
    killed(fault_site, "poll:before-commit:6:kill", "cursor-apart")
    fault_site.start(defect="cursor-apart")
    caught("cursor-apart", fault_site, rest(fault_site, 2), "are not on", "ahead of")


@pytest.mark.slow
class TestPlanted:
    """The others, in ``make faults``."""

    def test_planted_separate_offset_commit_is_detected(self, build: Build) -> None:
        fault_site = build(150)
        killed(fault_site, "harmonise:after-commit:1:kill", "offsets-apart")
        fault_site.start(defect="offsets-apart")
        caught("offsets-apart", fault_site, rest(fault_site), "I2/I8")

    @pytest.mark.parametrize(
        "failpoint", ["poll:after-commit:2:raise", "harmonise:after-commit:2:raise"]
    )
    def test_planted_assumed_abort_is_detected(self, build: Build, failpoint: str) -> None:
        fault_site = build(150)
        fault_site.start(failpoint, "assume-aborted")
        caught("assume-aborted", fault_site, rest(fault_site), "I2")

    @pytest.mark.parametrize(
        "failpoint", ["poll:before-commit:2:raise", "harmonise:before-commit:2:raise"]
    )
    def test_planted_dropped_batch_is_detected(self, build: Build, failpoint: str) -> None:
        fault_site = build(150)
        process = fault_site.start(failpoint, "drop-batch")
        fault_site.said(process, "failpoint ")
        fault_site.add(80)  # what follows takes the position past what was dropped
        caught("drop-batch", fault_site, rest(fault_site), "are not on", "are missing below")

    def test_planted_missing_reread_is_detected(self, build: Build) -> None:
        fault_site = build(150)
        process = fault_site.start("harmonise:before-commit:1:raise", "no-reseek")
        fault_site.said(process, "failpoint ")
        fault_site.add(40)
        caught("no-reseek", fault_site, rest(fault_site), "are missing below", "did not settle")

    def test_planted_in_memory_digests_are_detected(self, build: Build) -> None:
        fault_site = build(60, overlap="400d")
        first = fault_site.start(defect="memory-dedupe")
        fault_site.said(first, '"polled"')
        fault_site.kill(first)
        fault_site.start(defect="memory-dedupe")
        caught("memory-dedupe", fault_site, rest(fault_site), "I2", "I8")

    def test_planted_read_uncommitted_is_detected(self, build: Build) -> None:
        fault_site = build(150)
        killed(fault_site, "poll:after-flush:3:kill", "read-uncommitted")
        fault_site.start(defect="read-uncommitted")
        caught("read-uncommitted", fault_site, rest(fault_site), "are not on", "ahead of")

    def test_planted_random_transactional_id_is_detected(self, build: Build) -> None:
        fault_site = build(150)
        first = fault_site.start("poll:before-commit:2:stop", "random-id")
        frozen(first)
        second = fault_site.start(defect="random-id", GATEWAY_INSTANCE="second")
        until(lambda: fault_site.log(second).count('"polled"') >= 2, 90)
        first.send_signal(signal.SIGCONT)
        caught("random-id", fault_site, rest(fault_site), "I2")

    def test_planted_cursor_read_before_fence_is_detected(self, build: Build) -> None:
        """The predecessor has a page in hand and no transaction open; it commits between the read and the fence of its successor."""
        fault_site = build(150)
        first = fault_site.start("poll:before-begin:2:stop")
        frozen(first)
        second = fault_site.start(defect="cursor-before-fence", GATEWAY_INSTANCE="second")
        until(lambda: fault_site.log(second).count("defect: cursor read") >= len(STREAMS), 90)
        before = raw(fault_site)
        first.send_signal(signal.SIGCONT)
        until(
            lambda: raw(fault_site) > before, why=lambda: "the predecessor did not commit its page"
        )
        fault_site.kill(first)
        (fault_site.folder / GO_ON).touch()
        caught("cursor-before-fence", fault_site, rest(fault_site), "I2")

    def test_planted_crash_on_poison_record_is_detected(self, build: Build) -> None:
        fault_site = build(150)
        for _ in range(2):
            assert ended(fault_site.start(defect="crash-on-poison")) == 1
        caught("crash-on-poison", fault_site, rest(fault_site), "did not settle")

    @pytest.mark.usefixtures("small_credentials")
    def test_planted_unawaited_sends_are_detected(self, build: Build) -> None:
        fault_site = build(100)
        fault_site.environment["GATEWAY_COMPRESSION"] = "none"  # compressed, all documents fit
        fault_site.start(defect="unawaited-sends")
        caught("unawaited-sends", fault_site, rest(fault_site), "are missing below")
