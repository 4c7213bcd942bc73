"""The state of a stream, as its worker reports it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.worker.status_reporter import stream_state

LOOP = (
    "the loop 'school' has no value, so the stream reads nothing; "
    "check its source under for_each.school in the connector file"
)


def stream(**changes: Any) -> Any:
    values = {
        "requests": SimpleNamespace(paused=False, pause_reason=""),
        "last_failure_kind": "",
        "last_error": "",
        "has_succeeded": True,
        "backfill": None,
        "connector": SimpleNamespace(push=None),
        "empty_loop": "",
    }
    return SimpleNamespace(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, ("running", "")),
        ({"empty_loop": "school"}, ("running", LOOP)),
        (
            {"empty_loop": "school", "last_error": "no answer", "last_failure_kind": "halt"},
            ("halted", "no answer"),
        ),
        ({"has_succeeded": False}, ("starting", "")),
    ],
)
def test_state_says_why_a_stream_reads_nothing(changes, state):
    assert stream_state(stream(**changes)) == state
