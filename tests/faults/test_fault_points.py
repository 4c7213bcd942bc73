"""Rows 2, 16, 40 and 41: kill, freeze or disconnect the gateway at each point of the protocol."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.support.fault_figures import note
from tests.support.fault_site import Arena, ended
from tests.support.oracle import aborted, assert_sound, settle

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
Build = Callable[..., Arena]

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


def kill_at(arena: Arena, failpoints: tuple[str, ...]) -> None:
    """One life of the gateway for each failpoint, all of them with something to do."""
    for failpoint in failpoints:
        process = arena.start(failpoint)
        assert ended(process) == -signal.SIGKILL, arena.log(process)
        arena.kills += 1
        arena.add(15)
        arena.add(15, "credits")
        arena.change(5)


def test_kill_at_two_protocol_points(build: Build) -> None:
    arena = build(150)
    kill_at(arena, SHORT)
    arena.start()
    verdict = settle(arena)
    assert_sound(verdict, 200)
    assert verdict.rejected, "row 16 needs records that cannot be mapped"
    assert aborted(arena) > 0, "nothing was aborted: the kills struck between transactions"
    note("2", "killed at 2 protocol points", arena, verdict)


@pytest.mark.slow
@pytest.mark.parametrize("failpoints", [POLL, HARMONISE], ids=["poll", "harmonise"])
def test_kill_at_each_protocol_point(build: Build, failpoints: tuple[str, ...]) -> None:
    arena = build(200)
    kill_at(arena, failpoints)
    arena.start()
    verdict = settle(arena)
    assert_sound(verdict, 300)
    note(
        "2", f"killed at {len(failpoints)} points of {failpoints[0].split(':')[0]}", arena, verdict
    )


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", AMBIGUOUS)
def test_unanswered_commit_is_never_assumed(build: Build, failpoint: str) -> None:
    """The exception comes before or after the commit took effect; the gateway cannot know, and must not guess."""
    arena = build(150)
    process = arena.start(failpoint)
    arena.said(process, "failpoint ")
    arena.add(20)
    verdict = settle(arena)
    assert_sound(verdict, 150)
    note("40" if failpoint.endswith("cancel") else "8", failpoint, arena, verdict)
