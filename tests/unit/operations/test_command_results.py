"""Keep the results of commands, and find the workers that can carry one out."""

from __future__ import annotations

import pytest

from gateway.cli.command_sending import running_workers
from gateway.messages.status import SKIPPED, WorkerStatus, command_failed, command_is_waiting
from gateway.operations.command_results import MAX_COMMANDS, CommandResults

NOW = 1_800_000_000.0


def worker(**changes) -> WorkerStatus:
    values = {
        "worker": "w",
        "at": NOW - 5,
        "started": NOW - 60,
        "roles": ("harmonise", "poll"),
        "last_commit": {},
        "waiting": 0,
        "counts": {},
        "tables_digest": "",
        "connectors": ("aa",),
    }
    return WorkerStatus(**values | changes)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ["w"]),
        ({"connectors": None}, ["w"]),
        ({"connectors": ("bb",)}, []),
        ({"roles": ("harmonise",)}, []),
        ({"at": NOW - 60}, []),
    ],
    ids=["runs it", "does not say", "runs another", "does not poll", "silent"],
)
def test_only_a_poll_worker_that_reports_can_carry_out_a_command(changes, names):
    assert running_workers([worker(**changes)], "aa", NOW) == names


def test_command_waits_until_each_stream_has_ended():
    results = CommandResults()
    results.begin("1", "awards")
    results.begin("1", "cards")
    results.end(["1"], "awards", "3 records received")
    assert [command_is_waiting(text) for text in results.by_id["1"].values()] == [False, True]
    results.end(["1"], "cards", "scans have no period", SKIPPED)
    assert not any(map(command_failed, results.by_id["1"].values()))
    results.refuse("1", "no connector aa")
    assert results.by_id["1"] == {"": "failed: no connector aa"}
    assert command_failed(results.by_id["1"][""])


def test_only_the_last_commands_are_kept_and_none_without_an_id():
    results = CommandResults()
    for number in range(MAX_COMMANDS + 5):
        results.begin(str(number), "awards")
    results.begin("", "awards")
    results.end([""], "awards", "x")
    assert list(results.by_id) == [str(number) for number in range(5, MAX_COMMANDS + 5)]
