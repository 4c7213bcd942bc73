"""Rows 2, 16, 40 and 41: kill, freeze or disconnect the gateway at each point of the protocol."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.support.fault_figures import note
from tests.support.fault_site import FaultSite, ended
from tests.support.oracle import aborted, assert_sound, settle

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
Build = Callable[..., FaultSite]

SHORT = ("poll:after-flush:3:kill", "harmonise:before-commit:2:kill")
POLL = (
    "poll:before-cursor:2:kill",
    "poll:after-begin:2:kill",
    "poll:after-send:4:kill",
    "poll:after-flush:3:kill",
    "poll:before-commit:1:kill",
    "poll:after-commit:2:kill",
)
HARMONISE = (
    "harmonise:before-cursor:1:kill",
    "harmonise:after-begin:2:kill",
    "harmonise:after-send:3:kill",
    "harmonise:after-flush:2:kill",
    "harmonise:before-commit:2:kill",
    "harmonise:after-commit:1:kill",
)
AMBIGUOUS = (
    "poll:before-commit:2:raise",
    "poll:after-commit:2:raise",
    "poll:after-flush:2:raise",
    "harmonise:before-commit:2:raise",
    "harmonise:after-commit:2:raise",
    "poll:before-cursor:2:cancel",
    "poll:after-commit:2:cancel",
    "harmonise:before-cursor:2:cancel",
    "harmonise:after-commit:2:cancel",
)


def kill_at(fault_site: FaultSite, failpoints: tuple[str, ...]) -> None:
    """One life of the gateway for each failpoint, all of them with something to do."""
    for failpoint in failpoints:
        process = fault_site.start(failpoint)
        assert ended(process) == -signal.SIGKILL, fault_site.log(process)
        fault_site.kills += 1
        fault_site.add(15)
        fault_site.add(15, "credits")
        fault_site.change(5)


def test_kill_at_two_protocol_points(build: Build) -> None:
    fault_site = build(150)
    kill_at(fault_site, SHORT)
    fault_site.start()
    verdict = settle(fault_site)
    assert_sound(verdict, 200)
    assert verdict.rejected, "row 16 needs records that cannot be mapped"
    assert aborted(fault_site) > 0, "nothing was aborted: the kills struck between transactions"
    note("2", "killed at 2 protocol points", fault_site, verdict)


@pytest.mark.slow
@pytest.mark.parametrize("failpoints", [POLL, HARMONISE], ids=["poll", "harmonise"])
def test_kill_at_each_protocol_point(build: Build, failpoints: tuple[str, ...]) -> None:
    fault_site = build(200)
    kill_at(fault_site, failpoints)
    fault_site.start()
    verdict = settle(fault_site)
    assert_sound(verdict, 300)
    note(
        "2",
        f"killed at {len(failpoints)} points of {failpoints[0].split(':')[0]}",
        fault_site,
        verdict,
    )


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", AMBIGUOUS)
def test_unanswered_commit_is_never_assumed(build: Build, failpoint: str) -> None:
    """The exception comes before or after the commit took effect; the gateway cannot know, and must not guess."""
    fault_site = build(150)
    process = fault_site.start(failpoint)
    fault_site.said(process, "failpoint ")
    fault_site.add(20)
    verdict = settle(fault_site)
    assert_sound(verdict, 150)
    note("40" if failpoint.endswith("cancel") else "8", failpoint, fault_site, verdict)
